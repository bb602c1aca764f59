"""What the pages of the dashboard show, as JSON would hold it: functions of the tables of runs and metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from rlbench.analysis import arms, figures, statistics
from rlbench.analysis.compare import compare, evaluated, require_scale
from rlbench.analysis.contents import contents, defined
from rlbench.analysis.curves import curves, thinned
from rlbench.analysis.filters import Filter
from rlbench.analysis.protocols import Protocol
from rlbench.analysis.results import FACTS, Results, flat
from rlbench.errors import UsageError
from rlbench.metrics import is_cost
from rlbench.paths import results_root
from rlbench.tracking.rundir import RunDir

LOG = 1 << 16  # bytes of the end of a log that a page shows
LOOKS = 500  # at the machine, of which a chart is drawn
VIDEOS = ".mp4", ".webm"
SHOWN = "id", "algo", "problem", "state", "step", "steps", "score", "metric", "seconds", "heartbeat", "host", "error"
NAMING = "_target_", "name", "level"
"""Keys that say again what the columns `algo` and `problem` say."""
Row = dict[str, Any]


def chosen(results: Results, words: Sequence[str]) -> pl.DataFrame:
    """The runs that fit these words (see `rlbench.analysis.filters`).

    Raises:
        UsageError: a key is none that any run has.
    """
    rows = {Path(row["path"]): row for row in results.runs.to_dicts()}
    fitting = [str(path) for path in Filter(words).chosen(rows)]
    return results.runs.filter(pl.col("path").is_in(fitting))


def runs(results: Results, words: Sequence[str]) -> Row:
    """The table: a row a run, with every key of the configuration in which some of them differ."""
    table = chosen(results, words)
    rows = table.to_dicts()
    settings = [key for key in table.columns if key not in FACTS and key.rpartition(".")[2] not in NAMING]
    keys = [key for key in settings if table[key].n_unique() > 1]
    listed = [
        {**{key: row[key] for key in (*SHOWN, "seed", "seeds", *keys)}, "lower_is_better": judged_by_cost(row)}
        for row in rows
    ]
    metrics = [name for name in results.metrics.columns if "/" in name]
    return {
        "runs": listed,
        "keys": keys,
        "settings": sorted({*settings, "algo", "env", "dataset"}),
        "metrics": sorted(metrics, key=lambda name: (not name.startswith("eval/"), name)),
        "total": results.runs.height,
        "damaged": {str(path): why for path, why in results.damaged.items()},
        "folder": str(results.root),
    }


def judged_by_cost(row: Row) -> bool:
    """Whether a low score of a run is a good one."""
    return is_cost(row["metric"] or "", json.loads(row["metric_directions"]))


def learning_curves(results: Results, words: Sequence[str], metric: str, by: Sequence[str], over_tasks: bool) -> Row:
    """Curves aggregated over seeds, with 95 % intervals; of runs that are still at work, as far as they have come.

    Raises:
        UsageError: nothing can be drawn; the message says why.
    """
    table = chosen(results, words)
    evaluations = evaluated(results, table, metric, None)
    table = table.filter(pl.col("run").is_in(evaluations["run"].unique().implode()))
    if not table.height:
        raise UsageError(f"no run that fits has reported {metric} yet")
    rows = table.to_dicts()
    places, notes = arms.places(rows, by)
    where = {row["run"]: place for row, place in zip(rows, places, strict=True)}
    found = curves(evaluations, where, statistics.iqm if over_tasks else statistics.mean, over_tasks=over_tasks)
    if not found:
        raise UsageError("no task is shared by all lines: nothing can be drawn over all tasks")
    if over_tasks:
        require_scale(metric, found[0].tasks)
    return {
        "curves": [
            {
                "arm": each.arm, "task": each.task or f"IQM over {len(each.tasks)} tasks",
                "seeds": int(each.seeds.max(initial=0)),
                **{name: numbers(getattr(each, name)) for name in ("steps", "value", "low", "high")},
            }
            for each in found if len(each.steps)
        ],
        "notes": notes,
    }  # fmt: skip


def numbers(values: np.ndarray) -> list[float | None]:
    """As JSON has them: null for NaN, and no more digits than a figure shows."""
    return [None if value != value else float(f"{value:.6g}") for value in values.tolist()]


def comparison(results: Results, words: Sequence[str], protocol: str, metric: str | None, by: Sequence[str]) -> Row:
    """Everything that `rlbench compare` says, and the figures of `rlbench plot`.

    Raises:
        UsageError: there is nothing to compare.
    """
    narrowed = narrow(results, words)
    found = compare(narrowed, Protocol.of(protocol), metric, by)
    drawn = {}
    for kind in ("bars", "profile", "improvement"):
        try:
            with figures.styled():
                svg = figures.encoded(figures.KINDS[kind](found, 0), "svg").decode()
        except UsageError:  # one algorithm alone, or no task in common
            continue
        drawn[kind] = svg[svg.index("<svg") :]
    return {**contents(found), "figures": drawn, "title": found.protocol.title}


def narrow(results: Results, words: Sequence[str]) -> Results:
    """The same tables with only the runs that fit, read from no file again."""
    table = chosen(results, words)
    narrowed = Results(results.root)
    narrowed.runs = table
    narrowed.metrics = results.metrics.filter(pl.col("run").is_in(table["run"].implode()))
    narrowed.damaged = {path: why for path, why in results.damaged.items() if Filter(words).may_fit(path)}
    return narrowed


def run(results: Results, id: str) -> Row:
    """One run: its facts, metrics, log, configuration and files.

    Raises:
        UsageError: there is none of this id.
    """
    row = row_of(results, id)
    path = Path(row["path"])
    directory = RunDir(path)
    metrics = results.metrics.filter(pl.col("run") == row["run"])
    reported = [name for name in metrics.columns if "/" in name and metrics[name].null_count() < metrics.height]
    series = {}
    for name in reported:
        rows = metrics.select("seed", "step", name).drop_nulls().partition_by("seed", as_dict=True, maintain_order=True)
        series[name] = {
            str(seed): {"steps": numbers(part["step"].to_numpy()), "values": numbers(part[name].to_numpy())}
            for (seed,), part in rows.items()
        }
    files = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
    return defined(
        {
            "facts": {key: row[key] for key in (*SHOWN, "simulator", "device", "began", "commit", "path")},
            "meta": directory.meta(),
            "config": directory.config(),
            "series": series,
            "system": system(directory),
            "log": log(path),
            "files": {str(each.relative_to(path)): each.stat().st_size for each in files},
            "videos": [str(each.relative_to(path)) for each in files if each.suffix in VIDEOS],
        }
    )


def system(directory: RunDir) -> dict[str, Row]:
    """What a run took of its machine: each quantity against the time of day, in seconds since 1970."""
    rows = directory.usage()
    rows = [rows[place] for place in thinned(np.arange(len(rows)), LOOKS)]
    names = sorted({name for row in rows for name in row if name.startswith("system/")})
    having = {name: [row for row in rows if name in row] for name in names}
    return {
        name: {"at": [row["at"] for row in each], "values": [row[name] for row in each]}
        for name, each in having.items()
    }


def row_of(results: Results, id: str) -> Row:
    found = results.runs.filter(pl.col("id") == id).to_dicts()
    if not found:
        raise UsageError(f"no run {id} in {results.root}")
    return found[0]


def log(path: Path) -> str:
    """The end of what a run said, in its directory and in the outputs of the sweeps that had it."""
    outputs = [path / "log.txt", *sorted(results_root().glob(f"sweeps/*/output/{path.name}.txt"))]
    return "\n".join(tail(each) for each in outputs if each.exists())


def tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG))
        return file.read().decode(errors="replace")


def difference(results: Results, ids: Sequence[str]) -> Row:
    """What differs between the configurations of runs, key by key."""
    configs = [flat((Path(row_of(results, id)["path"]) / "config.yaml").read_text()) for id in ids]
    keys = sorted({key for config in configs for key in config})
    values = {key: [yaml_text(config.get(key)) for config in configs] for key in keys}
    return {
        "ids": list(ids),
        "differs": {key: each for key, each in values.items() if len(set(each)) > 1},
        "same": sum(len(set(each)) == 1 for each in values.values()),
    }


def yaml_text(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).removesuffix("\n...\n").strip()
