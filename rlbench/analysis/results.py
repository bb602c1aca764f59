"""Every run under a results folder as two tables, of which only what was appended is ever read again.

    results = Results(results_root())
    results.refresh()
    results.runs      # a row a run: where it lies, what it is, how far it has come, every key of its configuration
    results.metrics   # a row a run, seed and step: every metric that was reported
    results.damaged   # directories that look like runs and cannot be read, and why

Nothing is asked of the jobs that write, and nothing is written: any number of them may be at work, on any machine that
shares the file system. A line that is still being written is no line yet; a step that was reported again after a
resumption counts as it was reported last; a run that starts anew, or goes back to a checkpoint, is noticed and read
again. `refresh` may be called as often as one likes.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from rlbench import metrics
from rlbench.analysis.filters import Filter
from rlbench.errors import RunError, UsageError
from rlbench.files import parse_yaml
from rlbench.identity import essence
from rlbench.metrics import Way
from rlbench.tracking.rundir import RunDir, judged, run_paths

FILES = "config.yaml", "meta.json", "status.json", "metrics.jsonl"
YOUNG = 60.0  # seconds for which a directory may lack files before it counts as damaged: a job is about to write them
BATCH = 1 << 24  # bytes of metrics parsed at once
TAIL = 256  # bytes before the place read up to, by which it is recognised
SECTION = re.compile(r"^(?=[^\s#-])", re.MULTILINE)
STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'  # of JSON
NAME = re.compile(rb"(%b)\s*:" % STRING)
NULL = re.compile(rb"%b\s*:\s*(null)?" % STRING)
KEYS: dict[str, Any] = {"run": pl.UInt32, "seed": pl.Int64, "step": pl.Int64}
FACTS: dict[str, Any] = {
    "run": pl.UInt32,
    "id": pl.String,
    "path": pl.String,
    "algo": pl.String,
    "problem": pl.String,
    "experiment": pl.String,
    "env": pl.String,
    "dataset": pl.String,
    "fingerprint": pl.String,
    "simulator": pl.String,
    "state": pl.String,
    "stage": pl.String,
    "step": pl.Int64,
    "steps": pl.Int64,
    "seconds": pl.Float64,
    "heartbeat": pl.Float64,
    "host": pl.String,
    "pid": pl.Int64,
    "error": pl.String,
    "metric": pl.String,
    "score": pl.Float64,
    "began": pl.String,
    "commit": pl.String,
    "device": pl.String,
    "metric_directions": pl.String,
}
Signature = tuple[tuple[int, int, int], ...]


@dataclass
class Run:
    """What is known of one directory, and up to where its metrics have been read."""

    number: int
    directory: RunDir
    signature: Signature
    config: dict[str, Any]
    meta: dict[str, Any]
    status: dict[str, Any]
    position: int = 0
    tail: bytes = b""
    rows_from: Signature | None = None
    """The signature with which the metrics were last read."""

    def facts(self) -> dict[str, Any]:
        """The run's row of the table, by `FACTS`."""
        path, status = self.directory.path, judged(self.status)
        dataset, score = self.meta.get("dataset") or {}, status.get("score") or {}
        values = score.get("values") or {}
        return {
            **{key: status.get(key) for key in FACTS},
            "run": self.number,
            "id": path.name,
            "path": str(path),
            "algo": path.parts[-3],
            "problem": path.parts[-2],
            "experiment": self.meta.get("experiment"),
            "env": self.config.get("env.name"),
            "dataset": self.config.get("dataset.level"),
            "fingerprint": dataset.get("fingerprint"),
            "simulator": self.meta.get("simulator"),
            "metric": score.get("metric"),
            "score": sum(values.values()) / len(values) if values else None,
            "began": self.meta.get("began"),
            "commit": (self.meta.get("git") or {}).get("commit"),
            "device": self.meta.get("device"),
            "metric_directions": json.dumps(self.meta.get("metric_directions") or {}),
        }


class Results:
    """The runs under a results folder.

    Args:
        root: the folder that holds `runs/`.
        words: take only the runs that fit these (see `rlbench.analysis.filters`).
        keep: which metrics the table of metrics gets, of all that there are; the losses are most of a file.

    Attributes:
        runs: a row a run, in the order of their paths: the columns of `FACTS`, then every key of the configuration,
            dotted (`algo.gamma`, `eval.every`, `seed`, `seeds`), null where a run has no such key, JSON text where the
            values of one key are not of one type. `run` is a number that stays the run's own for as long as this
            object lives, and joins the two tables. `experiment` is equal for runs that differ in nothing but their
            seeds and in what changes no result (hardware, tracking, ...): see `rlbench.config.experiment_id`. `score`
            is the mean over seeds of the last evaluation. `metric_directions` is JSON text (see `way`).
        metrics: `run`, `seed`, `step` (each three once), then a float64 column a metric, null where a row has it not.
            The rows of one run and seed are in the order of their steps.
        damaged: directories that were left out though they may fit, and why.
    """

    def __init__(self, root: Path, words: Sequence[str] = (), keep: Callable[[str], bool] | None = None) -> None:
        self.root = root
        self.filter = Filter(words)
        self.keep = keep
        self.runs = pl.DataFrame(schema=FACTS)
        self.metrics = pl.DataFrame(schema=KEYS)
        self.damaged: dict[Path, str] = {}
        self._known: dict[Path, Run] = {}
        self._damage: dict[Path, tuple[Signature, str]] = {}
        self._configs: tuple[list[tuple[int, int]], pl.DataFrame] = [], pl.DataFrame()
        self._count = 0

    def refresh(self) -> set[int]:
        """Look again, and read what is new.

        Returns:
            The numbers of the runs that are new or gone, or whose files have changed.

        Raises:
            UsageError: a filter names a key that no run has.
        """
        present = run_paths(self.root)
        changed = self._forget(set(self._known) - set(present))
        for path in set(self._damage) - set(present):
            del self._damage[path]
        for path in present:
            changed |= self._look(path)
        facts = {path: run.facts() for path, run in sorted(self._known.items())}
        chosen = self.filter.chosen({path: {**self._known[path].config, **each} for path, each in facts.items()})
        runs = [self._known[path] for path in chosen]
        self._leave_out({run.number for run in self._known.values()} - {run.number for run in runs})
        new = [run for run in runs if run.rows_from != run.signature]
        changed |= self._read(runs)
        self._require_ends([run for run in new if run.directory.path in self._known])
        runs = [run for run in runs if run.directory.path in self._known]
        self._tabulate(runs, facts)
        damage = {path: reason for path, (_, reason) in sorted(self._damage.items())}
        self.damaged = {path: reason for path, reason in damage.items() if self.filter.may_fit(path)}
        return changed

    def require_fit(self) -> None:
        """Raise `UsageError` where a word of the filter fits no run, or all together none; of the last `refresh`."""
        facts = {path: {**run.config, **run.facts()} for path, run in sorted(self._known.items())}
        self.filter.require_known(facts, list(self._damage))
        words = self.filter.words
        if facts and len(words) > 1 and self.runs.is_empty() and not self.damaged:
            raise UsageError(
                f"each of {', '.join(words)} fits some run, and no run fits them all\n"
                "several values of a key go into one word, KEY=A,B: several runs are id=A,B"
            )

    def _look(self, path: Path) -> set[int]:
        """Bring what is known of one directory up to date, metrics apart."""
        run = self._known.get(path)
        signature: Signature = ()
        try:
            stats = [(path / name).stat() for name in FILES]
            signature = tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in stats)
            if signature == (run.signature if run else self._damage.get(path, ((), ""))[0]):
                return set()
            directory = RunDir.open(path)
            config, meta, status = stored_config(directory), directory.meta(), directory.raw_status()
            if "experiment" not in meta:
                raise RunError(f"{path / 'meta.json'} names no experiment: made by an earlier version of rlbench")
        except FileNotFoundError as error:
            gone = self._forget({path})
            if RunDir(path).finished() or not is_young(path):
                self._damage[path] = signature, f"{error.filename} is missing"
            return gone
        except (OSError, RunError) as error:
            self._damage[path] = signature, str(error)
            return self._forget({path})
        self._damage.pop(path, None)
        if run is None:
            run = self._known[path] = Run(self._count, directory, signature, config, meta, status)
            self._count += 1
        run.signature, run.config, run.meta, run.status = signature, config, meta, status
        return {run.number}

    def _forget(self, paths: set[Path]) -> set[int]:
        """Drop runs and their rows; returns their numbers."""
        numbers = {self._known.pop(path).number for path in paths if path in self._known}
        if numbers:
            self.metrics = self.metrics.filter(~pl.col("run").is_in(list(numbers)))
        return numbers

    def _leave_out(self, numbers: set[int]) -> None:
        """Drop the rows of runs that fit the filter no longer; should they fit again, they are read again."""
        for run in self._known.values():
            if run.number in numbers and run.rows_from is not None:
                run.position, run.tail, run.rows_from = 0, b"", None
                self.metrics = self.metrics.filter(pl.col("run") != run.number)

    # -- metrics -------------------------------------------------------------------------------------------------------

    def _read(self, runs: Sequence[Run]) -> set[int]:
        """Read the metrics that these runs have reported since the last time."""
        anew: set[int] = set()
        frames = []
        for batch in self._batches(runs, anew):
            frames += self._parsed(batch)
        if anew:
            self.metrics = self.metrics.filter(~pl.col("run").is_in(list(anew)))
        if frames:
            self._add(pl.concat(frames, how="diagonal"))
        return anew

    def _batches(self, runs: Sequence[Run], anew: set[int]) -> Iterator[list[tuple[Run, bytes]]]:
        batch: list[tuple[Run, bytes]] = []
        size = 0
        for run in runs:
            if run.rows_from == run.signature:
                continue
            run.rows_from = run.signature
            try:
                lines, continued = appended(run)
            except OSError as error:
                self._give_up(run, str(error))
                continue
            if not continued:
                anew.add(run.number)
            if lines:
                batch.append((run, lines))
                size += len(lines)
            if size > BATCH:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _parsed(self, batch: Sequence[tuple[Run, bytes]]) -> list[pl.DataFrame]:
        """The rows of several runs; a run with a damaged line is given up."""
        try:
            frame, counts = parse([lines for _, lines in batch])
        except ValueError as error:
            if len(batch) > 1:
                return [frame for each in batch for frame in self._parsed([each])]
            ((run, _),) = batch
            self._give_up(run, reason(run.directory, error))
            return []
        rows = pl.Series("run", np.repeat([run.number for run, _ in batch], counts), pl.UInt32)
        kept = [name for name in frame.columns if name not in KEYS and (self.keep is None or self.keep(name))]
        return [frame.select(rows, "seed", "step", *kept)]

    def _require_ends(self, runs: Sequence[Run]) -> None:
        """Give up finished runs whose metrics end before their last score: the file was cut short since."""
        rows = self.metrics.filter(pl.col("run").is_in([run.number for run in runs]))
        ends = {
            (run, str(seed)): step
            for run, seed, step in rows.group_by("run", "seed").agg(pl.col("step").max()).iter_rows()
        }
        for run in runs:
            score = run.status.get("score") or {}
            if run.status.get("state") != "finished" or not score.get("values"):
                continue
            end = min(ends.get((run.number, seed), 0) for seed in score["values"])
            if end < score["step"]:
                self._give_up(
                    run, f"metrics.jsonl ends at step {end:,}, status.json says it finished at step {score['step']:,}"
                )

    def _give_up(self, run: Run, why: str) -> None:
        path = run.directory.path
        self._damage[path] = run.signature, why
        self._forget({path})

    def _add(self, rows: pl.DataFrame) -> None:
        """Put rows behind those that there are; where a step comes a second time, the later row stays."""
        touched = self.metrics.filter(pl.col("run").is_in(rows["run"].unique().implode()))
        last = touched.group_by("run", maintain_order=True).last().select(*KEYS)
        order = pl.concat([last, rows.select(*KEYS)]).with_row_index("place")
        order = order.sort("run", "place") if last.height else order
        before = pl.col("step").shift(), pl.col("seed").shift()
        backwards = (pl.col("step") < before[0]) | ((pl.col("step") == before[0]) & (pl.col("seed") <= before[1]))
        doubtful = order.filter((pl.col("run") == pl.col("run").shift()) & backwards)["run"].unique()
        self.metrics = pl.concat([self.metrics, rows], how="diagonal")
        if len(doubtful):
            again = pl.col("run").is_in(doubtful.implode())
            once = self.metrics.filter(again).unique(list(KEYS), keep="last", maintain_order=True)
            once = once.sort("run", "step", "seed")
            self.metrics = pl.concat([self.metrics.filter(~again), once])
        if self.metrics.n_chunks() > 64:
            self.metrics = self.metrics.rechunk()

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _tabulate(self, runs: Sequence[Run], facts: dict[Path, dict[str, Any]]) -> None:
        rows = [facts[run.directory.path] for run in runs]
        table = pl.DataFrame({key: [row[key] for row in rows] for key in FACTS}, schema=FACTS, strict=False)
        state = [(run.number, run.signature[0][2]) for run in runs]
        if state != self._configs[0] or not runs:
            keys = {key: None for run in runs for key in run.config if key not in FACTS}
            self._configs = state, pl.DataFrame([column(key, [run.config.get(key) for run in runs]) for key in keys])
        self.runs = pl.concat([table, self._configs[1]], how="horizontal")


def way(runs: pl.DataFrame, metric: str) -> Way:
    """Which values of a metric are better, as these rows of the table of runs have it.

    Raises:
        UsageError: they do not agree.
    """
    first, *others = sorted({metrics.way(metric, json.loads(text)) for text in runs["metric_directions"].unique()})
    if others:
        raise UsageError(
            f"which values of {metric} are better differs between the runs ({', '.join([first, *others])}): "
            "compare one kind"
        )
    return first


def is_young(path: Path) -> bool:
    """Whether a directory may still be on its way into being, or is gone."""
    try:
        return time.time() - path.stat().st_mtime < YOUNG
    except OSError:
        return True


def stored_config(directory: RunDir) -> dict[str, Any]:
    """A run's configuration, keys dotted.

    Raises:
        RunError: it is none, or not a whole one.
    """
    try:
        config = flat(directory.config())
    except (ValueError, yaml.YAMLError) as error:
        raise RunError(f"{directory.path / 'config.yaml'}: {' '.join(str(error).split())}") from error
    # Only in doubt: it parses the file as a whole, which takes longer than all the rest.
    if not config.keys() >= {"algo.name", "env.name", "dataset.level"}:
        directory.require_whole()
    return config


def flat(text: str) -> dict[str, Any]:
    """A stored configuration, keys dotted, without what only describes a choice.

    The runs of an experiment differ in a line or two: sections that are equal to the letter are parsed once.
    """
    merged: dict[str, Any] = {}
    for section in SECTION.split(text):
        merged |= flat_section(section)
    return merged


@cache
def flat_section(text: str) -> dict[str, Any]:
    """One key at the top of a configuration, and what stands below it."""
    content = parse_yaml(text)
    if not isinstance(content or {}, dict):
        raise ValueError("no keys and values")
    return dict(dotted(essence(content or {}), ""))


def dotted(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, each in value.items():
        if isinstance(each, dict):
            yield from dotted(each, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", each


def column(name: str, values: Sequence[Any]) -> pl.Series:
    """Values of one key of the configuration, in the type that they share; as JSON text where they share none."""
    kinds = {type(value) for value in values if value is not None}
    for kind, allowed in ((pl.Boolean, {bool}), (pl.Int64, {int}), (pl.Float64, {int, float}), (pl.String, {str})):
        if kinds <= allowed:
            return pl.Series(name, values, kind, strict=False)
    texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(name, texts, pl.String)


def appended(run: Run) -> tuple[bytes, bool]:
    """The whole lines of a run that have not been read, and whether they go on where the last reading ended.

    They do not where the file is another one or was cut back: then they are all its lines.
    """
    with (run.directory.metrics).open("rb") as file:
        file.seek(run.position - len(run.tail))
        continued = file.read(len(run.tail)) == run.tail
        if not continued:
            file.seek(0)
            run.position, run.tail = 0, b""
        data = file.read()
    lines = data[: data.rfind(b"\n") + 1]
    run.position += len(lines)
    run.tail = (run.tail + lines[-TAIL:])[-TAIL:]
    return lines, continued


def parse(files: Sequence[bytes]) -> tuple[pl.DataFrame, list[int]]:
    """Rows of several files of metrics, in their order, and how many each file has.

    Raises:
        ValueError: a line is no row of metrics.
    """
    data = b"".join(files)
    sample = b"".join(lines[: lines.find(b"\n")] + lines[lines.rfind(b"\n", 0, -1) :] for lines in files)
    frame = table(data, NAME.findall(sample))
    # A name that the sample has not would be left out without a word: count what there is against what was read.
    if filled(frame) != count(data, b":"):
        names = NAME.findall(data)
        frame = table(data, names)
        empty = len(names) - filled(frame)
        if empty and empty != sum(map(bool, NULL.findall(data))):
            raise ValueError("a row has a name twice")
    counts = [count(lines, b"\n") for lines in files]
    if frame.height != sum(counts):
        raise ValueError("a line is empty")
    if frame["step"].null_count() or frame["seed"].null_count():
        raise ValueError("a row has no step or no seed")
    return frame, counts


def count(data: bytes, character: bytes) -> int:
    """How often a character occurs; where it is frequent, some ten times as fast as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(character)))


def filled(frame: pl.DataFrame) -> int:
    """How many values there are."""
    return sum(frame.height - nulls for nulls in frame.null_count().row(0))


def table(data: bytes, names: Sequence[bytes]) -> pl.DataFrame:
    """JSON lines with these names, which are JSON themselves.

    Raises:
        ValueError: a line is no row of metrics.
    """
    schema = {**{json.loads(name): pl.Float64 for name in dict.fromkeys(names)}, "seed": pl.Int64, "step": pl.Int64}
    try:
        return pl.read_ndjson(data, schema=schema)
    except pl.exceptions.PolarsError as error:
        raise ValueError(str(error)) from error


def reason(directory: RunDir, error: ValueError) -> str:
    """Why a file of metrics cannot be read, with the line where that can be told."""
    try:
        directory.rows()
    except (RunError, OSError) as known:
        return str(known)
    return f"{directory.metrics}: {error}"
