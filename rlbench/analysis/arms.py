"""Which runs are the same arm of a comparison, and which the same task: by what their configurations say, not by name.

An arm is what is compared (an algorithm with its hyperparameters), a task is what it is compared on (environment, data,
simulator). Runs that differ in any of these never share a cell; the labels say what differs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlbench.analysis.filters import ALIASES
from rlbench.errors import UsageError
from rlbench.identity import DETERMINING
from rlbench.spelling import closest

Row = Mapping[str, Any]
TASK = "env", "dataset"
ARM = [part for part in DETERMINING if part not in TASK]
PROVENANCE = "simulator", "fingerprint"
"""What a run found out, and its configuration does not say."""


@dataclass(frozen=True)
class Place:
    """Where a run stands in a comparison."""

    arm: str
    task: str


def places(runs: Sequence[Row], by: Sequence[str] = (), pooled: bool = False) -> tuple[list[Place], list[str]]:
    """The arm and the task of each run.

    Args:
        runs: rows of the table of runs.
        by: keys whose values are the arms, in place of algorithms with all their settings.
        pooled: let runs that differ in other settings share an arm: they are its candidates.

    Returns:
        The places, and sentences on what a reader should know of them.

    Raises:
        UsageError: a key is unknown, or an arm would mix runs that differ.
    """
    keys = [resolved(key, runs) for key in by]
    on_task = [key for key in task_keys(runs) if not any(covers(each, key) for each in keys)]
    in_arm = arm_keys(runs)
    apart = [*([] if pooled else ["algo", *in_arm]), *task_keys(runs)]
    bases = [part for part in TASK if not any(covers(key, f"{part}.name") for key in keys)]
    names = [row["problem"] if bases == [*TASK] else "-".join(str(row[part]) for part in bases) for row in runs]
    tasks, notes = labelled(runs, names, on_task, "task")
    if keys:
        names = [", ".join(assignment(key, row.get(key)) for key in keys) for row in runs]
    else:
        names = distinguished(runs, tasks, in_arm)
    found = [Place(name, task) for name, task in zip(names, tasks, strict=True)]
    refuse_mixtures(runs, found, apart, by)
    return found, [*notes, *tuned(runs, found, in_arm), *confounded(runs, found, in_arm, keys)]


def task_keys(runs: Sequence[Row]) -> list[str]:
    """With the names of the environment and the data set among them: their configurations have these too."""
    return [key for key in columns(runs) if key in PROVENANCE or key.partition(".")[0] in TASK]


def arm_keys(runs: Sequence[Row]) -> list[str]:
    return [key for key in columns(runs) if key != "algo" and key.partition(".")[0] in ARM]


def columns(runs: Sequence[Row]) -> list[str]:
    """Keys on which the runs could differ; a file's path is no part of what it holds."""
    return [key for key in (runs[0] if runs else ()) if key != "dataset.path"]


def resolved(key: str, runs: Sequence[Row]) -> str:
    """The column that a key of `by` means."""
    known = columns(runs)
    key = ALIASES.get(key, (key,))[0] if key not in known else key
    if key not in known:
        near = closest(key, known)
        raise UsageError(f"--by {key}: no run has this key" + (f"\ndid you mean {near[0]}?" if near else ""))
    return key


def covers(key: str, other: str) -> bool:
    """Whether runs of different values of one key differ in another one because of it."""
    if key.startswith("dataset"):
        return other == key or other == "fingerprint" or (key == "dataset" and other.startswith("dataset."))
    if key.startswith("env"):
        return other == key or other == "simulator" or (key == "env" and other.startswith("env."))
    return other == key


def varying(rows: Iterable[Row], keys: Collection[str]) -> list[str]:
    """The keys in which some of the rows differ."""
    rows = list(rows)
    return [key for key in keys if len({each.get(key) for each in rows}) > 1]


def telling(rows: Sequence[Row], keys: Collection[str]) -> list[str]:
    """The keys in which some of the rows differ, without evaluation and provenance where these follow from the others.

    A longer run that is evaluated less often is told by its length, an environment by its settings.
    """
    found = varying(rows, keys)
    for key in [each for each in found if each in PROVENANCE or each.startswith("eval.")]:
        others = [each for each in found if each != key]
        alike = grouped(rows, [tuple(str(row.get(each)) for each in others) for row in rows])
        if others and not any(varying(group, [key]) for group in alike.values()):
            found = others
    return found


def grouped(rows: Sequence[Row], by: Sequence[Hashable]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row, key in zip(rows, by, strict=True):
        groups[key].append(row)
    return dict(groups)


def labelled(rows: Sequence[Row], names: Sequence[str], keys: Sequence[str], what: str) -> tuple[list[str], list[str]]:
    """Names that tell apart what the keys tell apart, and a sentence for each name that had to be split."""
    differing = {name: telling(group, keys) for name, group in grouped(rows, names).items()}
    labels = [with_values(name, row, differing[name]) for name, row in zip(names, rows, strict=True)]
    notes = [
        f"{name} is more than one {what}, kept apart: {differ(found)}" for name, found in differing.items() if found
    ]
    return labels, notes


def distinguished(runs: Sequence[Row], tasks: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Names of arms: the algorithm, with the settings in which its runs on one task differ, whichever task.

    Settings that differ from task to task alone (they are tuned) are no part of the name.
    """
    differing: dict[str, list[str]] = defaultdict(list)
    by_place = grouped(runs, [(row["algo"], task) for row, task in zip(runs, tasks, strict=True)])
    for (algo, _), group in by_place.items():
        differing[algo] += [key for key in telling(group, keys) if key not in differing[algo]]
    return [with_values(row["algo"], row, differing[row["algo"]]) for row in runs]


def with_values(name: str, row: Row, keys: Sequence[str]) -> str:
    return " ".join([name, *(assignment(key, row.get(key)) for key in keys)])


def assignment(key: str, value: Any) -> str:
    """A key and its value, in a label."""
    if key == "algo":
        return str(value)
    text = str(value)[:8] if key == "fingerprint" else str(value).replace(", ", ",")
    return f"{short(key)}={text}"


def short(key: str) -> str:
    return key.removeprefix("algo.")


def differ(keys: Sequence[str]) -> str:
    """`gamma differs`, `gamma, tau differ`."""
    return f"{', '.join(map(short, keys))} differ" + ("s" if len(keys) == 1 else "")


def refuse_mixtures(runs: Sequence[Row], found: Sequence[Place], keys: Sequence[str], by: Sequence[str]) -> None:
    """Raise `UsageError` where runs of one place differ in one of the keys."""
    for place, group in grouped(runs, found).items():
        if mixed := telling(group, keys):
            key, *more = mixed
            values = sorted({typed(row.get(key)) for row in group})
            # A filter takes what stands between commas for values of its own: no word keeps a simulator alone.
            keep = "" if "," in values[0] else f"keep one, {key}={values[0]}, or "
            raise UsageError(
                f"--by {','.join(by)} would mix runs of {place.arm} on {place.task} that differ in {key} "
                f"({', '.join(values)})" + (f" and {len(more)} more" if more else "")
                + f"\n{keep}add it: --by {','.join([*by, key])}"
            )  # fmt: skip


def typed(value: Any) -> str:
    """A value as a filter takes it: `null`, `true`, `0.7`."""
    return value if isinstance(value, str) else json.dumps(value)


def tuned(runs: Sequence[Row], places: Sequence[Place], keys: Sequence[str]) -> list[str]:
    """A sentence for each arm whose settings differ from task to task."""
    arms = grouped(runs, [place.arm for place in places])
    found = {arm: varying(group, keys) for arm, group in arms.items()}
    return [f"{arm}: {differ(keys)} between tasks" for arm, keys in found.items() if keys]


def confounded(runs: Sequence[Row], found: Sequence[Place], keys: Sequence[str], by: Sequence[str]) -> list[str]:
    """A sentence on what else differs between arms: their length and evaluation, and, `by` keys, all settings.

    Algorithms have settings of their own, which say nothing more than that they are others.
    """
    between_algorithms = not by or "algo" in by
    shared = [key for key in keys if key not in by and not (between_algorithms and key.startswith("algo."))]
    notes = []
    for key in shared:
        values = {
            arm: sorted({row.get(key) for row in group}, key=str)
            for arm, group in grouped(runs, [place.arm for place in found]).items()
        }
        named = [arm for arm in values if f" {short(key)}=" in arm]
        if len({str(each) for each in values.values()}) > 1 and not named:
            text = "; ".join(f"{arm} {', '.join(map(str, each))}" for arm, each in list(values.items())[:6])
            notes.append(f"the arms also differ in {short(key)}: {text}" + ("; ..." if len(values) > 6 else ""))
    return notes
