"""The W&B mirror: a view of the run directory in Weights & Biases that can neither stop nor slow a run.

A process of its own reads `metrics.jsonl` and makes all calls of wandb; the trainer only writes one byte to a pipe when
there are new rows, and never imports wandb. The mirror outlives a killed trainer and hands over what it left.

Row k of a seed in `metrics.jsonl` is W&B's internal step k. A resumed run goes on behind the last row that W&B has:
online the server says which, offline `wandb.json` says it of the last life that ended well. A row that is written
again after an older checkpoint is at a place already taken, and is passed over.

`rlbench wandb sync` (`rlbench.tracking.wandb_sync`) sends what the server does not yet have.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from rlbench.errors import RunError
from rlbench.files import write_atomically

if TYPE_CHECKING:
    import wandb

INIT_SECONDS = 10  # before online gives way to offline
FINISH_SECONDS = 8  # for the last rows to reach the server
LEAVE_SECONDS = 12  # before the trainer leaves the mirror to end by itself
END_SECONDS = 5  # for W&B's service to end when all is said
EARLIER_LIFE_SECONDS = 30  # for the mirror of a killed life to end

# What the user's environment says counts where the config still says this.
DEFAULTS: dict[str, str | None] = {"mode": "offline", "project": "rlbench", "entity": None}
FOREIGN = {f"WANDB_{key}" for key in ("SERVICE", "RUN_ID", "RESUME", "RESUME_FROM", "FORK_FROM", "SWEEP_ID")}
"""What belongs to another W&B run around this one, and must not reach ours."""
PROVENANCE = "experiment", "simulator", "metric_directions", "dataset", "device", "versions", "git", "machine", "began"
"""What W&B gets of meta.json: with it, a run that was pulled compares as one that was made here."""
STATE = "rlbench/state"
"""The entry of W&B's summary that says how the run ended."""
MODES = {"dryrun": "offline", "run": "online", "shared": "online"}  # W&B's other words for them


class WandbMirror:
    """The trainer's end of the mirror.

    Construct it when `metrics.jsonl` has been cut back to the checkpoint that the run resumes from, and call `finish`
    on every way out; a trainer that dies without it is shown as failed.

    Args:
        cfg: the composed config; its `wandb` section says how to mirror.
        run_dir: `<results>/runs/<algorithm>/<environment>-<dataset>/<run_id>`.
        run_id: the run's id; W&B's ids are `<run_id>-s<seed>`.
    """

    def __init__(self, cfg: DictConfig, run_dir: Path, run_id: str) -> None:
        self._run_dir = run_dir.resolve()
        self._process: subprocess.Popen[str] | None = None
        content: Any = OmegaConf.to_container(cfg, resolve=True)
        request = request_of(content, self._run_dir, run_id)
        if request["mode"] == "disabled":
            return
        if importlib.util.find_spec("wandb") is None:
            _warn("the package wandb is not installed: nothing is mirrored; `pip install wandb`, or tracking=disabled")
            return
        try:
            self._process = _spawn(self._run_dir)
        except OSError as error:
            _warn(f"the mirror could not be started ({error})")
            return
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        self._relayed = 0
        self._relay = threading.Thread(target=self._pass_on, daemon=True)
        self._relay.start()
        self._write(json.dumps(request) + "\n")
        os.set_blocking(self._pipe.fileno(), False)

    def log(self, rows: list[dict[str, Any]]) -> None:
        """Tell the mirror that `rows` have been appended to `metrics.jsonl`, where it reads them."""
        if self._process is not None:
            self._write("\n")

    def finish(self, state: str) -> None:
        """End the mirror with the run's `state` ("finished" is success for W&B), within `LEAVE_SECONDS`."""
        if self._process is None:
            return
        self._write(f"{state}\n")
        self._pipe.close()
        try:
            code = self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            _warn(f"the mirror still hands rows over and is left to it; if any are missing, {_remedy(self._run_dir)}")
        else:
            self._relay.join(1)  # a wandb-core that lingers may hold the other end
            if code != 0 and not self._relayed:
                _warn(f"the mirror ended with code {code}; rows may be missing, {_remedy(self._run_dir)}")
        self._process = None

    def _write(self, text: str) -> None:
        # A full pipe: the mirror is behind, and reads the whole file when it wakes. A broken one: it has said why.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe.fileno(), text.encode())

    def _pass_on(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._relayed += 1
            _warn(line.rstrip())


def _spawn(run_dir: Path) -> subprocess.Popen[str]:
    package_root = str(Path(__file__).parents[2])
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, environment.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "rlbench.tracking.wandb", str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is the trainer's to answer
    )


def request_of(content: dict[str, Any], run_dir: Path, run_id: str) -> dict[str, Any]:
    """What the mirror is asked to do, by a run's configuration."""
    settings = content["wandb"]
    asked = {
        key: os.environ.get(f"WANDB_{key.upper()}") or default if settings[key] == default else settings[key]
        for key, default in DEFAULTS.items()
    }
    algorithm, problem = run_dir.parent.parent.name, run_dir.parent.name
    facts = read_json(run_dir / "meta.json")
    return {
        "mode": MODES.get(str(asked["mode"]), asked["mode"]),
        "project": asked["project"],
        "entity": asked["entity"],
        "group": settings["group"] or f"{algorithm}-{problem}",
        "tags": settings["tags"],
        "dir": str(folder_of(run_dir)),
        "runs": {
            str(seed): {"id": f"{run_id}-s{seed}", "name": f"{algorithm}-{problem}-s{seed}-{run_id}"}
            for seed in range(content["seed"], content["seed"] + content["seeds"])
        },
        "config": {
            **content,
            "rlbench": {
                "run": f"{algorithm}/{problem}/{run_id}",
                **{key: facts[key] for key in PROVENANCE if key in facts},
            },
        },
    }


def folder_of(run_dir: Path) -> Path:
    """Where W&B keeps its own files of a run."""
    return Path(os.environ.get("WANDB_DIR") or run_dir.parents[3]).resolve()


def main(argv: list[str] | None = None) -> int:
    """The mirror's own process. Exit code 0, or 1 where rows did not reach their goal."""
    (word,) = sys.argv[1:] if argv is None else argv
    run_dir = Path(word).resolve()
    # A stop signal meant for the trainer reaches its whole job; the mirror ends when the trainer has.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)
    try:
        with lock(run_dir).acquire(timeout=EARLIER_LIFE_SECONDS):
            return _follow(run_dir)
    except Timeout:
        _say(f"the mirror of an earlier life has not ended, so this one does not start; later, {_remedy(run_dir)}")
    except Exception as error:  # noqa: BLE001 - whatever wandb raises, the run goes on and the user hears of it
        _say(f"the mirror failed ({type(error).__name__}: {error}; more in {run_dir / 'wandb.log'}), the run goes on")
        with suppress(OSError):  # the disk may be full
            (run_dir / "wandb.log").write_text(traceback.format_exc())
    return 1


def alone_and_quiet() -> None:
    """Before wandb is imported into a command: nothing of a run around it, and no lines of its own."""
    for key in FOREIGN:
        os.environ.pop(key, None)
    os.environ["WANDB_SILENT"] = "true"
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # W&B's measurements of itself


@contextmanager
def asking() -> Iterator[None]:
    """Around the calls of wandb of a command that only asks the server: alone and quiet, and sure to end.

    wandb waits without limit for its service to end, which misses that it is to (seen with wandb 0.31) when its last
    answer comes too late to be read. It ends with this process all the same.
    """
    alone_and_quiet()
    import wandb

    try:
        yield
    finally:
        ending = threading.Thread(target=wandb.teardown, daemon=True)
        ending.start()
        ending.join(END_SECONDS)


def lock(run_dir: Path) -> FileLock:
    """Who holds it sends the run."""
    return FileLock(run_dir / ".wandb.lock")


def _follow(run_dir: Path) -> int:
    """Mirror a living run.

    Standard input is the request, then a line for each time that there are new rows, at last the run's state.
    """
    import wandb

    request = json.loads(sys.stdin.readline())
    ledger = read_json(run_dir / "wandb.json")
    online = request["mode"] == "online"
    try:
        runs = open_runs(request, online, anew=not ledger)
    except wandb.Error as error:
        if not online:
            raise
        _say(f"{_reason(error)}, so the run is mirrored offline; when it has ended, {_remedy(run_dir)}")
        wandb.teardown()  # or the id counts as in use
        online = False
        runs = open_runs(request, online, anew=not ledger)
    mirror = Mirror(run_dir, request, ledger, runs, online)
    mirror.hand_over()
    state = "died"
    for line in sys.stdin:
        mirror.hand_over()
        state = line.strip() or state
    mirror.hand_over()  # what a killed trainer wrote and did not tell
    if mirror.close(state):
        return 0
    _say(f"the server did not take all rows; they are in the run directory, {_remedy(run_dir)}")
    return 1


def open_runs(
    request: dict[str, Any], online: bool, anew: bool, finish_seconds: float = FINISH_SECONDS
) -> dict[int, wandb.Run]:
    """One W&B run a seed, in one wandb-core process (the second costs 6 ms).

    Args:
        request: what `request_of` made.
        online: whether the server is to have it while it is open.
        anew: whether it begins, and does not go on with what the server has.
        finish_seconds: that its end may take.

    Raises:
        wandb.Error: the server cannot be used.
        RunError: the server has what was run later than this, after `rerun=true`.
    """
    Path(request["dir"]).mkdir(parents=True, exist_ok=True)
    return {int(seed): _opened(request, seed, online, anew, finish_seconds) for seed in request["runs"]}


def _opened(request: dict[str, Any], seed: str, online: bool, anew: bool, finish_seconds: float) -> wandb.Run:
    """The W&B run of a seed. What the server has from before `rerun=true` is not gone on with, but replaced."""
    import wandb

    named, config = request["runs"][seed], dict(request["config"])
    facts = config.pop("rlbench")  # or what the server has there could not be seen
    run: Any = wandb.init(
        mode="online" if online else "offline",
        project=request["project"],
        entity=request["entity"],
        id=named["id"],
        name=named["name"],
        group=request["group"],
        tags=request["tags"],
        job_type="train",
        config=config | {"seed": int(seed)},
        dir=request["dir"],
        # Without it W&B starts the id anew: right for a first life, and for `rerun=true`. Offline it is kept for
        # the day when `wandb sync` joins the lives.
        resume=None if anew else "allow",
        reinit="create_new",
        settings=wandb.Settings(
            init_timeout=INIT_SECONDS,
            finish_timeout=finish_seconds,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            # The run directory's meta.json knows these, and knows them of the trainer.
            program="rlbench",
            disable_git=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
    )
    here, there = facts.get("began"), run.config.get("rlbench", {}).get("began")
    if here and there and here != there:
        run.finish(exit_code=_exit_code(run.summary.get(STATE, "finished")))
        if datetime.fromisoformat(here) < datetime.fromisoformat(there):
            raise RunError(f"W&B has what was run later, {there} and not {here}: delete {run.url} to send this")
        return _opened(request, seed, online, anew=True, finish_seconds=finish_seconds)
    run.config.update({"rlbench": facts}, allow_val_change=True)
    # Several lives make W&B's own step count doubtful as an axis.
    run.define_metric("*", step_metric="step")
    return run


def _exit_code(state: str) -> int:
    """What a run's end is to W&B, which knows success and failure alone."""
    return 0 if state in ("finished", "pruned") else 1


class Mirror:
    """Hands the whole lines of `metrics.jsonl` over once each, and keeps the ledger, `wandb.json`.

    It also keeps `wandb sync` from sending a row twice. That puts the rows of a folder behind those that the server
    has, whichever they are, and goes no further than a folder that a kill left incomplete. So it may have the complete
    folders of a run that has only ever been offline; the others are marked as synced, and `rlbench wandb sync` stands
    in for it.
    """

    def __init__(
        self, run_dir: Path, request: dict[str, Any], ledger: dict[str, Any], runs: dict[int, wandb.Run], online: bool
    ) -> None:
        self.handed = 0
        self._path = run_dir / "metrics.jsonl"
        self._run_dir = run_dir
        self._runs = runs
        self._online = online
        self._position = 0
        self._seen: Counter[int] = Counter()
        self._rows_at_start = {}
        was_online = online or ledger.get("was_online", False)
        held = ledger.get("held", {})
        for seed, run in runs.items():
            last = held.get(str(seed), {"rows": 0, "folder": None})
            self._rows_at_start[seed] = run.starting_step if online else last["rows"]
            current = Path(run.settings.sync_dir)
            found = [path for path in Path(run.settings.wandb_dir).glob(f"*run-*-{run.id}") if path != current]
            for folder in sorted(found, key=_time_of, reverse=True):
                if folder.name == last["folder"] and not online:
                    break
                _mark_as_synced(folder, run.id)
            if was_online:
                _mark_as_synced(current, run.id)
        self._ledger = {
            "was_online": was_online,
            "urls": {seed: run.url for seed, run in runs.items()} if online else {},
            "held": held,
            "request": request,
        }
        self._write_ledger()

    def _write_ledger(self) -> None:
        write_atomically(self._run_dir / "wandb.json", json.dumps(self._ledger, indent=1))

    def hand_over(self) -> None:
        """Hand over what has been appended since the last time."""
        for row in self._new_rows():
            seed = row["seed"]
            index = self._seen[seed]
            self._seen[seed] += 1
            if index >= self._rows_at_start[seed]:
                self._runs[seed].log(row, step=index, commit=True)
                self.handed += 1

    def _new_rows(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    return
                self._position += len(line)
                yield json.loads(line)

    def close(self, state: str) -> bool:
        """End the W&B runs, all at once and in bounded time; returns whether all rows reached their goal."""

        def finish(run: wandb.Run) -> bool:
            try:
                run.summary[STATE] = state
                run.finish(exit_code=_exit_code(state))
            except TimeoutError:
                return False
            return not _gave_up(run)

        with ThreadPoolExecutor(len(self._runs)) as pool:
            complete = all(pool.map(finish, self._runs.values()))
        if not complete:
            return False
        for seed, run in self._runs.items():
            rows = max(self._rows_at_start[seed], self._seen[seed])
            self._ledger["held"][str(seed)] = {"rows": rows, "folder": Path(run.settings.sync_dir).name}
        if self._online:
            self._ledger["sent"] = {"size": size_of(self._run_dir), "state": state}
        self._write_ledger()
        return True


def _gave_up(run: wandb.Run) -> bool:
    """Whether wandb-core stopped sending because the server refused a request.

    It then writes that to its log alone, takes all further rows for nothing, and ends as if the server had them.
    """
    log = Path(run.settings.log_internal)
    return log.exists() and b"filestream: fatal error" in log.read_bytes()


def _time_of(folder: Path) -> str:
    return folder.name.removeprefix("offline-")


def _mark_as_synced(folder: Path, wandb_id: str) -> None:
    (folder / f"run-{wandb_id}.wandb.synced").touch()


def size_of(run_dir: Path) -> int:
    """Bytes of the run's metrics."""
    metrics = run_dir / "metrics.jsonl"
    return metrics.stat().st_size if metrics.exists() else 0


def _reason(error: Exception) -> str:
    return f"no server can be used ({str(error).partition(chr(10))[0]})"


def _remedy(run_dir: Path) -> str:
    return f"`rlbench wandb sync {run_dir.name}` sends what the server lacks"


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _say(text: str) -> None:
    """To whoever started this process; a killed trainer hears nothing any more."""
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _warn(text: str) -> None:
    sys.stderr.write(f"W&B: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
