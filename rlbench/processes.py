"""Several processes for one run, each with a device of its own where there are GPUs: `hardware.processes`.

The process of the run leads. What it asks of its algorithm, the others ask of theirs at the same time and with the same
arguments, in one process group of torch.distributed. So an algorithm may use collective operations (`all_reduce`,
`DistributedDataParallel`, `fully_shard`) wherever it likes, and nothing else of a run knows that there are several.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf

from rlbench import config, cpu
from rlbench.artefacts import Report
from rlbench.build import Algorithm, build, processor
from rlbench.errors import RunError, UsageError
from rlbench.nets import matmul
from rlbench.signals import Stop
from rlbench.task import Task

TICK = 0.05  # seconds between two looks at the other processes
NOTICE = 10.0  # seconds in which an operation is to fail that waits for a process which has died
LEAVE = 5.0  # seconds for the others to end
NEWS = 1.0  # seconds in which a process hears that its leader has died
HELD = timedelta(days=7)  # processes wait so long for each other: all of them may have been suspended
LEAVING = "leave"  # in place of a method
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR2}  # heard by the leader alone


@contextmanager
def assembled(
    cfg: DictConfig, folder: Callable[[], Path], stop: Stop, report: Report, say: Callable[[str], None]
) -> Iterator[tuple[Algorithm, Task]]:
    """The algorithm of a run, untrained, and its task, as `build` makes them, in as many processes as it is to have.

    Args:
        cfg: the run.
        folder: where the other processes print to; it may be given another name meanwhile.
        stop: ends the training of a stage early.
        report: told `(stage, done, total)`.
        say: told, in a sentence, what a person would want to know.
    """
    if cfg.hardware.processes == 1:
        yield build(cfg, stop, report, say)
        return
    with Others(cfg, folder, say) as others:
        with others.watched():
            algorithm, task = build(cfg, stop, report, say)
        yield Leader(algorithm, others, stop), task


class Leader:
    """An algorithm whose methods are called in every process.

    Args:
        algorithm: this process's own.
        others: the other processes.
        stop: signals wait until all processes have left a method.
    """

    def __init__(self, algorithm: Algorithm, others: Others, stop: Stop) -> None:
        self.algorithm = algorithm
        self.others = others
        self.stop = stop

    def train(self, n: int) -> dict[str, Any]:
        return cast(dict[str, Any], self.everywhere("train", n))

    def evaluate(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.everywhere("evaluate"))

    def state_dict(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.everywhere("state_dict"))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.everywhere("load_state_dict", state)

    def everywhere(self, method: str, *arguments: Any) -> Any:
        with self.stop.held(), self.others.watched():
            dist.broadcast_object_list([method, arguments], group=self.others.line)
            return getattr(self.algorithm, method)(*arguments)


class Others:
    """The processes of a run that follow the one that leads; `with` them, this process is the one.

    Args:
        cfg: the run.
        folder: where they print to, asked each time.
        say: told when one has died.
    """

    def __init__(self, cfg: DictConfig, folder: Callable[[], Path], say: Callable[[str], None]) -> None:
        self.cfg = cfg
        self.folder = folder
        self.say = say
        self.device = processor(cfg.hardware.device).type
        self.processes: list[subprocess.Popen[bytes]] = []
        self.sound = False
        """Whether all of them wait to be told what to do."""
        self.entered: float | None = None
        """Since when this process does what may wait for the others; None: it does not."""
        self.ended = threading.Event()

    def __enter__(self) -> Others:
        count = self.cfg.hardware.processes
        if self.device == "cuda" and torch.cuda.device_count() < count:
            raise UsageError(
                f"hardware.processes={count}, and torch finds {torch.cuda.device_count()} GPUs here\n"
                "hardware.device=cpu computes on the processor"
            )
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # on this machine alone, whatever its name means elsewhere
        self.meeting = tempfile.TemporaryDirectory(prefix="rlbench-")
        try:
            for rank in range(1, count):
                self.start(rank)
            while not all(here(self.meeting.name, rank).exists() for rank in range(1, count)):
                if death := self.death():
                    raise RunError(death)
                time.sleep(TICK)
            self.line = join(self.meeting.name, 0, count, self.device)
            self.sound = True
        except BaseException:
            self.end()
            raise
        threading.Thread(target=self.watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, rank: int) -> None:
        """Start one of them. It hears no signals, and ends when the pipe to it does."""
        asked = {
            "config": OmegaConf.to_container(self.cfg),
            "device": self.device,
            "rank": rank,
            "meeting": self.meeting.name,
            "matmul": matmul.in_use(),
        }
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what is blocked here is blocked there for good
        try:
            with self.output(rank).open("ab") as file:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "rlbench.processes"],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # the modules are ours
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.processes.append(process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has died already, and will be found dead
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()

    def output(self, rank: int) -> Path:
        return self.folder() / f"process-{rank}.txt"

    def death(self, patience: float = 0.0) -> str | None:
        """Which of them has died, and of what; None where all are alive, and stay so for some seconds."""
        end = time.monotonic() + patience
        while True:
            for rank, process in enumerate(self.processes, 1):
                if (code := process.poll()) is not None:
                    said = ""
                    with suppress(FileNotFoundError):  # the folder is being given its other name
                        said = self.output(rank).read_text(errors="replace").strip().rpartition("\n")[2]
                    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed: {said}"
                    return f"process {rank + 1} of {len(self.processes) + 1} {how} ({self.output(rank)})"
            if time.monotonic() >= end:
                return None
            time.sleep(TICK)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What is done inside may wait for the others.

        Raises:
            RunError: it failed because one of them has died.
        """
        self.entered = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.sound = False
            if isinstance(error, RuntimeError) and (death := self.death(LEAVE)):  # a collective operation has failed
                raise RunError(death) from error
            raise
        finally:
            self.entered = None

    def watch(self) -> None:
        """End this process, if it waits for one that has died: not all operations fail by themselves."""
        while (death := self.death()) is None:
            if self.ended.wait(TICK):
                return
        found = time.monotonic()
        while not self.ended.wait(TICK):
            if self.entered is not None and time.monotonic() - max(self.entered, found) > NOTICE:
                self.say(f"{death}: this process waits for it in vain, and ends")
                os._exit(1)

    def end(self) -> None:
        """End them, and the process group."""
        if self.sound:
            self.ended.set()
            with suppress(RuntimeError):
                dist.broadcast_object_list([LEAVING, ()], group=self.line)
            dist.destroy_process_group()
        for process in self.processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        for process in self.processes:
            try:
                process.wait(LEAVE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if dist.is_initialized():  # what one of them has left, alone
            self.entered = time.monotonic()
            dist.destroy_process_group()
        self.ended.set()
        self.meeting.cleanup()


def here(meeting: str, rank: int) -> Path:
    """The file that says that a process is ready to join."""
    return Path(meeting, str(rank))


def join(meeting: str, rank: int, count: int, device: str) -> dist.ProcessGroup:
    """Join the process group of a run; returns a second group, for the methods' names and arguments."""
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{meeting}/store", rank=rank, world_size=count, timeout=HELD)
    line = dist.new_group(backend="gloo", timeout=HELD)
    assert isinstance(line, dist.ProcessGroup)
    return line


def follow() -> None:
    """Do what the leader does, until it is gone."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_leader, daemon=True).start()
    rank, device = asked["rank"], asked["device"]
    cfg = config.checked_anew(OmegaConf.create(asked["config"]), Path("the leader's configuration"))
    if device == "cuda":
        OmegaConf.update(cfg, "hardware.device", f"cuda:{rank}")
        torch.cuda.set_device(rank)
    cpu.settle(cfg.hardware.threads)
    matmul.use(asked["matmul"])
    here(asked["meeting"], rank).touch()
    line = join(asked["meeting"], rank, cfg.hardware.processes, device)
    algorithm, _ = build(cfg)
    while True:
        call: list[Any] = [None, None]
        dist.broadcast_object_list(call, group=line)
        method, arguments = cast(tuple[str, Sequence[Any]], call)
        if method == LEAVING:
            dist.destroy_process_group()
            os._exit(0)
        getattr(algorithm, method)(*arguments)


def end_with_leader() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    try:
        follow()
    except Exception as error:  # noqa: BLE001 - whichever it is, the leader is told the last line of its traceback
        if isinstance(error, RuntimeError):  # an operation failed: has the leader died, `end_with_leader` ends this
            time.sleep(NEWS)
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)  # at once: the leader waits
