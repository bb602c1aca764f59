"""Sending runs to W&B when they have ended: what its server lacks, many runs at a time.

One wandb-core process takes them all. Opening a run and handing its rows over is quick and happens in turn; waiting
until the server has taken the last row is what lasts, and happens for `AT_ONCE` runs at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import BaseFileLock, Timeout

from rlbench.errors import RunError
from rlbench.tracking import wandb as mirrors
from rlbench.tracking.rundir import RunDir
from rlbench.tracking.wandb import Mirror

AT_ONCE = 16  # runs whose last rows are on their way
FINISH_SECONDS = 30  # for these to reach the server
GIVE_UP = 2  # runs in a row that cannot be opened: it is not the runs, it is the server


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    path: Path
    kind: Literal["sent", "up to date", "left", "failed"]
    text: str


@dataclass(frozen=True)
class _Closing:
    """A run whose last rows are on their way."""

    path: Path
    mirror: Mirror
    lock: BaseFileLock


def sync(runs: Mapping[Path, str]) -> Iterator[Outcome]:
    """Send what the server lacks.

    Args:
        runs: directories, and the state that each run is in.

    Yields:
        What became of each, in the order in which it is known. Runs that the server is known to have, or that are not
        to be sent, come first, and cost no call of wandb.
    """
    waiting: dict[Path, str] = {}
    for path, state in runs.items():
        if (outcome := _settled(path, state)) is not None:
            yield outcome
        else:
            waiting[path] = state
    if waiting:
        yield from _send(waiting)


def _settled(path: Path, state: str) -> Outcome | None:
    """What can be said of a run without asking the server."""
    meta, ledger = mirrors.read_json(path / "meta.json"), mirrors.read_json(path / "wandb.json")
    if "pulled" in meta and not meta["resumed"]:
        return Outcome(path, "left", "was pulled from W&B")
    if state in ("building", "running"):
        return Outcome(path, "left", "at work: its own mirror has it until it ends")
    if not ledger and RunDir(path).content()["wandb"]["mode"] == "disabled":
        return Outcome(path, "left", "made with tracking=disabled")
    if ledger.get("sent") == {"size": mirrors.size_of(path), "state": state}:
        return Outcome(path, "up to date", "up to date")
    return None


def _send(runs: Mapping[Path, str]) -> Iterator[Outcome]:
    mirrors.alone_and_quiet()
    import wandb

    closing: dict[Future[bool], _Closing] = {}
    in_vain = 0
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for path, state in runs.items():
                if in_vain == GIVE_UP:
                    yield Outcome(path, "failed", "not tried: the server cannot be used")
                    continue
                if len(closing) == AT_ONCE:
                    yield from _closed(closing)
                lock = mirrors.lock(path)
                try:
                    lock.acquire(timeout=mirrors.EARLIER_LIFE_SECONDS)
                    mirror = _handed_over(path)
                except Timeout:
                    yield Outcome(path, "left", "its own mirror is still at work")
                except (wandb.Error, OSError, ValueError, RunError) as error:
                    lock.release()
                    in_vain = in_vain + 1 if isinstance(error, wandb.Error) else in_vain
                    yield Outcome(path, "failed", _why(error))
                else:
                    in_vain = 0
                    closing[pool.submit(mirror.close, state)] = _Closing(path, mirror, lock)
            while closing:
                yield from _closed(closing)
    finally:
        wandb.teardown()


def _handed_over(path: Path) -> Mirror:
    """Open a run's W&B runs, and hand over the rows that the server has not."""
    ledger = mirrors.read_json(path / "wandb.json")
    request = ledger.get("request") or mirrors.request_of(RunDir(path).content(), path, path.name)
    if not Path(request["dir"]).is_dir():  # the run was made on another machine
        request["dir"] = str(mirrors.folder_of(path))
    runs = mirrors.open_runs(request, online=True, anew=False, finish_seconds=FINISH_SECONDS)
    mirror = Mirror(path, request, ledger, runs, online=True)
    mirror.hand_over()
    return mirror


def _closed(closing: dict[Future[bool], _Closing]) -> Iterator[Outcome]:
    """What became of the runs that end next."""
    for future in wait(closing, return_when=FIRST_COMPLETED).done:
        run = closing.pop(future)
        run.lock.release()
        yield _outcome(run, future)


def _outcome(run: _Closing, future: Future[bool]) -> Outcome:
    if (error := future.exception()) is not None:
        return Outcome(run.path, "failed", _why(error))
    if not future.result():
        return Outcome(run.path, "failed", "the server did not take all rows")
    if run.mirror.handed == 0:
        return Outcome(run.path, "up to date", "up to date")
    return Outcome(run.path, "sent", f"sent {run.mirror.handed:,} row" + "s" * (run.mirror.handed != 1))


def _why(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return text or type(error).__name__
