"""A run's directory: what was run and what came of it, readable without rlbench; the reading needs no torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rlbench.errors import RunError, UsageError
from rlbench.files import parse_yaml, write_atomically
from rlbench.metrics import Ways, headline

ID = re.compile(r"[0-9a-f]{10}")
SILENT = 600.0  # seconds without a heartbeat after which a run on another machine counts as lost
EPISODES = "episodes.json"  # scores of single episodes of the trained policies, where `rlbench eval --keep` was asked
Row = dict[str, Any]
Kinds = dict[str, Any]
"""Types of the values of a JSON object, by key."""
STATUS: Kinds = {
    "state": str,
    "stage": str,
    "step": int,
    "steps": int,
    "seeds": int,
    "seconds": int | float,
    "speed": int | float | None,
    "score": dict | None,
    "error": str | None,
    "diverged": list,
    "heartbeat": int | float,
    "pid": int,
    "host": str,
}
DISPENSABLE = {"speed", "error", "diverged"}
"""Of a status; a reader does without."""
SCORE: Kinds = {"metric": str, "step": int, "values": dict}
META: Kinds = {
    "experiment": str,
    "simulator": str | None,
    "dataset": dict | None,
    "device": str | None,
    "metric_directions": dict | None,
    "versions": dict | None,
    "git": dict | None,
    "machine": dict | None,
    "resumed": list,
}


class RunDir:
    """One directory: config.yaml, overrides.yaml, meta.json, metrics.jsonl, system.jsonl, status.json, log.txt, ckpt/.

    Every file but the three that grow is replaced whole; of those, a half-written last line is no line yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "ckpt"
        self.metrics = path / "metrics.jsonl"
        self.system = path / "system.jsonl"

    @classmethod
    def create(cls, path: Path, config: str, overrides: Sequence[str], meta: dict[str, Any]) -> RunDir:
        """The directory of a run that begins, or begins again: what was recorded in it stays.

        Args:
            path: where. In a place beside it (`.<id>.new`, see `replace`) nothing stays: it is another attempt's, whose
                process is gone, since whoever writes there is `alone`.
            config: the composed configuration, as YAML; in a later life the first one's stays (see `write_config`).
            overrides: the words it was composed from; likewise.
            meta: where the results come from; in a later life it joins the list `resumed` of the first one's.
        """
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path)
        if (path / "meta.json").exists():
            first = run.meta()
            run.write_meta({**first, "resumed": [*first["resumed"], meta]})
        else:
            run.write_meta({**meta, "resumed": []})
        if not (path / "config.yaml").exists():
            run.write_config(config, overrides)
        run.metrics.touch()
        return run

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing directory.

        Raises:
            RunError: something that every run has is missing or damaged.
        """
        run = cls(path)
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path} holds no config.yaml: not a run, or a damaged one")
        run.status()
        return run

    @property
    def id(self) -> str:
        return self.path.name

    def _json(self, name: str, kinds: Kinds) -> dict[str, Any]:
        path = self.path / name
        with readable(path):
            content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise RunError(f"{path} holds no JSON object")
        _require_kinds(path, content, kinds)
        return content

    def config(self) -> str:
        """The composed configuration, as YAML text.

        Raises:
            RunError: it cannot be read.
        """
        path = self.path / "config.yaml"
        with readable(path):
            return path.read_text()

    def content(self) -> dict[str, Any]:
        """The composed configuration.

        Raises:
            RunError: it cannot be read, or is none.
        """
        import yaml

        text, path = self.config(), self.path / "config.yaml"
        try:
            content = parse_yaml(text)
        except yaml.YAMLError as error:
            raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise RunError(f"{path} holds no configuration")
        return content

    def require_whole(self) -> None:
        """Raise `RunError` where the configuration is none that a run was made from: empty, cut short, damaged."""
        content = self.content()
        for part in ("algo", "env", "dataset"):
            chosen = content.get(part)
            if not isinstance(chosen, dict) or ("_target_" in chosen and not isinstance(chosen.get("about"), dict)):
                raise RunError(f"{self.path / 'config.yaml'} has no {part}: it was cut short, or is another file")

    def overrides(self) -> list[str]:
        """The words that the configuration was composed from.

        Raises:
            RunError: they cannot be read.
        """
        path = self.path / "overrides.yaml"
        with readable(path):
            return [json.loads(line[2:]) for line in path.read_text().splitlines() if line.startswith("- ")]

    def meta(self) -> dict[str, Any]:
        """Where the results come from.

        Raises:
            RunError: it cannot be read, or holds something else.
        """
        return self._json("meta.json", META)

    def metric_directions(self) -> Ways:
        """By metric, which values are better, where the run declares it (see `rlbench.metrics.is_cost`)."""
        return self.meta().get("metric_directions", {})

    def write_config(self, config: str, overrides: Sequence[str]) -> None:
        """Replace config.yaml and overrides.yaml: by a life that was built, for that what `resume` reads can be."""
        words = "".join(f"- {json.dumps(word)}\n" for word in overrides) or "[]\n"
        write_atomically(self.path / "overrides.yaml", words)
        write_atomically(self.path / "config.yaml", config)

    def write_meta(self, meta: dict[str, Any]) -> None:
        write_atomically(self.path / "meta.json", json.dumps(meta, indent=1, default=str) + "\n")

    def status(self) -> dict[str, Any]:
        """The last status written; a run whose process is gone is `lost`, whatever it said of itself (raises as
        `raw_status`)."""
        return judged(self.raw_status())

    def raw_status(self) -> dict[str, Any]:
        """The last status as it was written.

        Raises:
            RunError: it cannot be read, or is none.
        """
        status, path = self._json("status.json", STATUS), self.path / "status.json"
        if missing := [key for key in STATUS if key not in status and key not in DISPENSABLE]:
            raise RunError(f"{path} has no {missing[0]}")
        if (score := status.get("score")) is not None:
            _require_kinds(path, score, SCORE, "score.")
            if missing := SCORE.keys() - score.keys():
                raise RunError(f"{path} has no score.{min(missing)}")
            _require_kinds(path, score["values"], dict.fromkeys(score["values"], int | float), "score.values.")
        return status

    def finished(self) -> bool:
        """Whether the run says that nothing is left to do; a status that cannot be read says no such thing."""
        try:
            return bool(self.status()["state"] == "finished")
        except RunError:
            return False

    def write_status(self, **status: Any) -> None:
        """Replace the status; the heartbeat, process and machine are added."""
        entry = {**status, "heartbeat": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
        write_atomically(self.path / "status.json", json.dumps(entry) + "\n")

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows to metrics.jsonl; when this returns, no kill of this process can take them back."""
        _append(self.metrics, rows)

    def size(self) -> int:
        """Bytes of metrics.jsonl, safe on the disk: what a checkpoint remembers, and `truncate` goes back to."""
        with self.metrics.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def truncate(self, size: int) -> None:
        """Forget the rows after the checkpoint that is gone back to: they will be written again."""
        with self.metrics.open("ab") as file:
            file.truncate(size)

    def rows(self) -> list[Row]:
        """All rows reported.

        Raises:
            RunError: a line other than the last is damaged.
        """
        return list(self._parse(self.metrics.read_bytes()))

    def curve(self, metric: str) -> dict[int, dict[int, float]]:
        """What was reported of one metric, by step and seed."""
        found: dict[int, dict[int, float]] = {}
        data = self.metrics.read_bytes() if self.metrics.exists() else b""
        for row in self._parse(data, having=json.dumps(metric).encode()):
            found.setdefault(row["step"], {})[row["seed"]] = row[metric]
        return found

    def _parse(self, data: bytes, having: bytes = b"") -> Iterator[Row]:
        for number, line in enumerate(data.split(b"\n")[:-1], 1):  # what follows the last newline is half a line
            if having not in line:  # most rows have no evaluation, and need not be parsed by who looks for one
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise RunError(f"{self.metrics}: line {number} is damaged ({error})") from error

    def append_usage(self, **usage: float) -> None:
        """Add a row to system.jsonl; the moment is added."""
        _append(self.system, [{"at": round(time.time(), 1), **usage}])

    def usage(self) -> list[Row]:
        """What the run took of its machine (see `rlbench.tracking.usage`), all lives together."""
        found = []
        for line in self.system.read_bytes().splitlines() if self.system.exists() else ():
            with suppress(ValueError):  # a kill may have cut one short, which the next life then wrote behind
                found.append(json.loads(line))
        return found

    def score(self) -> Score | None:
        """What the last evaluation found."""
        rows = [row for row in self.rows() if headline(row) is not None]
        if not rows:
            return None
        metric, step = headline(rows[-1]), rows[-1]["step"]
        assert metric is not None
        return Score(metric, step, {row["seed"]: row[metric] for row in rows if row["step"] == step})

    def log(self, text: str) -> None:
        """Add a line to log.txt."""
        with (self.path / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def replace(self, path: Path) -> RunDir:
        """Take the place of the run at `path`, which goes."""
        old = leaving(path)
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
        self.path.replace(path)
        shutil.rmtree(old)
        return RunDir(path)


def leaving(path: Path) -> Path:
    """Where the run at `path` lies while another takes its place (see `RunDir.replace`)."""
    return path.with_name(f".{path.name}.old")


def put_back(path: Path) -> None:
    """Set right what a kill in the middle of `RunDir.replace` left; for who is `alone` at `path`.

    A run that was leaving comes back where none has taken its place, and goes for good where one has.
    """
    if path.exists():
        shutil.rmtree(leaving(path), ignore_errors=True)
    elif leaving(path).exists():
        leaving(path).replace(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `RunError` where a file cannot be read."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _require_kinds(path: Path, content: dict[str, Any], kinds: Kinds, prefix: str = "") -> None:
    """Raise `RunError` where a value of a JSON object is none that rlbench writes; what is not there is not judged."""
    for key, kind in kinds.items():
        if key in content and not isinstance(content[key], kind):
            raise RunError(f"{path} is damaged: {prefix}{key} is {json.dumps(content[key])[:60]}")


def _append(path: Path, rows: Iterable[Row]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with path.open("ab") as file:
        file.write(text.encode())


@dataclass(frozen=True)
class Score:
    """One evaluation of every seed."""

    metric: str
    step: int
    values: dict[int, float]

    def __str__(self) -> str:
        mean, spread = mean_and_spread(list(self.values.values()))
        digits = decimals([mean])
        return f"{mean:.{digits}f}" if len(self.values) == 1 else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for one value)."""
    mean = sum(values) / len(values)
    return mean, (sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)) ** 0.5


def decimals(values: Iterable[float]) -> int:
    """How many are shown: two, and two more where all values are small."""
    return 2 if max(map(abs, values)) >= 1 else 4


def judged(status: dict[str, Any]) -> dict[str, Any]:
    """A status as it is to be read now: one that speaks of work, of a process that is gone, is `lost`."""
    if status.get("state") in ("building", "running") and not is_alive(status):
        return {**status, "state": "lost"}
    return status


def is_alive(writer: dict[str, Any]) -> bool:
    """Whether the process that gave a sign of life still runs; on another machine, whether it was heard of lately.

    Args:
        writer: its `pid` and `host`, and the moment of the sign, `heartbeat`.
    """
    heartbeat = float(writer.get("heartbeat", 0))
    if writer.get("host") != socket.gethostname():
        return time.time() - heartbeat < SILENT
    if int(writer["pid"]) <= 0:  # no process: kill() takes 0 and less for groups of them, or for all
        return False
    try:
        os.kill(int(writer["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and is another user's
        return True
    return not _is_another(int(writer["pid"]), heartbeat)


def _is_another(pid: int, heartbeat: float) -> bool:
    """Whether a process is dead but for its number, or has that number from one that died (where Linux tells)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return False
    began = time.time() - uptime + int(fields[18]) / os.sysconf("SC_CLK_TCK")
    return state == "Z" or began > heartbeat + 2  # seconds, for the rounding of either


@contextmanager
def alone(path: Path, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """No other process runs the run at `path`.

    Args:
        path: its directory.
        wait: if one does, it is waited for, and this told in a sentence: it may be an earlier life that is slow to die.

    Raises:
        RunError: one does; the message says who. Or nothing can be written there.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            owner = Path(lock.lock_file).read_text().strip() or "another process"
            busy = f"{owner} runs this very run ({path})"
            if wait is None:
                raise RunError(f"{busy}; `rlbench show {path.name}` shows how far") from error
            wait(f"{busy}: waiting for its end")
            lock.acquire(poll_interval=1)
    except OSError as error:
        raise RunError(
            f"cannot write {path.parent} ({error.strerror or error}): set RLBENCH_RESULTS to another place"
        ) from error
    try:
        Path(lock.lock_file).write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Found:
    """What a search under a results folder turned up."""

    runs: list[RunDir]
    damaged: dict[Path, str]
    """Directories that look like runs and cannot be read, and why."""


def run_paths(root: Path) -> list[Path]:
    """Every `<root>/runs/<algorithm>/<environment-dataset>/<id>/`, in order."""
    folders = [root / "runs"]
    for _ in range(2):
        folders = [Path(entry) for folder in folders for entry in _folders(folder)]
    return sorted(Path(entry) for folder in folders for entry in _folders(folder) if ID.fullmatch(entry.name))


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    """The folders in one; none where it is gone, or was none."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def find_runs(root: Path) -> Found:
    """Every run under a results folder, in the order of their paths."""
    runs, damaged = [], {}
    for path in run_paths(root):
        try:
            runs.append(RunDir.open(path))
        except (RunError, OSError) as error:  # another user's, perhaps
            damaged[path] = str(error)
    return Found(runs, damaged)


def resolve(word: str, root: Path) -> RunDir:
    """The run that a person means: the path of its directory, or the first digits of its id.

    Raises:
        UsageError: no run, or more than one, is meant.
    """
    if not word:  # every id begins with it
        raise UsageError("'' names no run; `rlbench runs` lists them")
    if (Path(word) / "config.yaml").is_file():
        return RunDir.open(Path(word).resolve())
    matches = [path for path in run_paths(root) if path.name.startswith(word)]
    if not matches:
        raise UsageError(f"no run {word!r} in {root / 'runs'}; `rlbench runs` lists them")
    if len(matches) > 1:
        listed = "\n  ".join(str(path) for path in matches)
        raise UsageError(f"{word!r} means more than one run; more of the id tells them apart:\n  {listed}")
    return RunDir.open(matches[0])
