"""One run: found finished, or built, trained, evaluated, checkpointed and, after any kill, taken up where it stood.

Algorithms are driven by their four methods alone (train, evaluate, state_dict, load_state_dict). Nothing here imports
torch before there is something to train.
"""

from __future__ import annotations

import errno
import math
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from rlbench import config
from rlbench.errors import Interrupted, RunError, UsageError
from rlbench.importing import importing
from rlbench.metrics import declared, headline
from rlbench.signals import Stop
from rlbench.tracking import meta
from rlbench.tracking.progress import Progress, result
from rlbench.tracking.rundir import RunDir, Score, alone, put_back
from rlbench.tracking.usage import Usage

if TYPE_CHECKING:
    from rlbench.build import Algorithm
    from rlbench.tracking.wandb import WandbMirror

CHUNK = 0.5  # seconds of training between two looks at the clock and for signals
HEARTBEAT = 10.0  # seconds between two writes of status.json, and between two looks at what the machine gives
GLANCE = 1.0  # seconds below which such a look says little
CHECKPOINT_SHARE = 0.02  # largest share of the time that checkpoints may take
DISK_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
Metrics = dict[str, list[float]]
Judge = Callable[[int, Metrics], bool]


def run(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    path: Path | None = None,
    *,
    goes_on: Judge = lambda *_: True,
    wait: bool = False,
) -> int:
    """Run a composed configuration in `path`, by default the directory that its content names.

    Args:
        cfg: the run.
        overrides: the words it was composed from.
        path: where it lies.
        goes_on: asked after every evaluation, with its step and metrics, whether there is a point in more.
        wait: for another process that runs it; otherwise that is an error.

    Returns:
        The exit code: 0 when the run is finished (now or before) or was not to go on, 128 + signal when it was
        interrupted.

    Raises:
        UsageError: what was asked for cannot be built.
        RunError: it failed, or another process is running it, or it is finished and its results cannot be read.
    """
    path = path or config.run_directory(cfg)
    with alone(path, print if wait else None):
        put_back(path)
        if RunDir(path).finished() and not cfg.rerun:
            try:
                came = result(RunDir(path))
            except (OSError, RunError) as error:
                raise RunError(
                    f"{path} is finished, and its results cannot be read: {error}\n"
                    "the command that began it, with rerun=true, trains it anew"
                ) from error
            print("This run is finished already (rerun=true would start it anew).")
            print(came)
            return 0
        # A run that starts anew leaves the old one in its place until there is something to put there.
        place = path.with_name(f".{path.name}.new") if cfg.rerun and path.exists() else path
        facts = {"experiment": config.experiment_id(cfg), **meta.describe()}
        directory = RunDir.create(place, OmegaConf.to_yaml(cfg, resolve=True), overrides, facts)
        with Stop() as stop, Progress(path.parent.parent.name + " " + path.parent.name) as progress:
            code = Training(cfg, overrides, directory, path, stop, progress, goes_on).outcome()
        if code == 0:
            print(result(RunDir(path)))
        return code


def to_host(metrics: dict[str, Any]) -> Metrics:
    """Metrics of every seed as numbers, in one transfer."""
    import torch

    if not metrics:
        return {}
    values = [torch.as_tensor(value).detach().float() for value in metrics.values()]
    device = next((value.device for value in values if value.device.type != "cpu"), "cpu")
    table = torch.stack([value.to(device) for value in values])
    return dict(zip(metrics, table.tolist(), strict=True))


def no_numbers(metrics: Metrics, seeds: Sequence[int]) -> list[tuple[str, int, float]]:
    """The losses and scores that are no numbers, with their seeds; other metrics may have nothing to say yet."""
    return [
        (name, seed, value)
        for name, values in metrics.items()
        if "loss" in name or name.startswith("eval/")
        for seed, value in zip(seeds, values, strict=True)
        if not math.isfinite(value)
    ]


@dataclass
class Clock:
    """Seconds and units of training proper since the last report, and how many units fit into a chunk."""

    seconds: float = 0.0
    units: int = 0
    chunk: int = 1

    def add(self, units: int, seconds: float) -> None:
        self.seconds += seconds
        self.units += units
        self.chunk = max(1, min(2 * self.chunk, int(CHUNK * units / max(seconds, 1e-9))))

    def speed(self) -> float:
        """Units a second since this was last asked."""
        speed = self.units / max(self.seconds, 1e-9)
        self.units, self.seconds = 0, 0.0
        return speed


class Training:
    """The life of one process that works on a run.

    Args:
        cfg: the run.
        overrides: the words it was composed from.
        directory: where it writes.
        path: where the directory belongs; differs while a run that starts anew is being built.
        stop: hears the signals.
        progress: shows the stage.
        goes_on: whether there is a point in more, after an evaluation.
    """

    def __init__(
        self,
        cfg: DictConfig,
        overrides: Sequence[str],
        directory: RunDir,
        path: Path,
        stop: Stop,
        progress: Progress,
        goes_on: Judge = lambda *_: True,
    ) -> None:
        self.cfg = cfg
        self.overrides = overrides
        self.directory = directory
        self.path = path
        self.stop = stop
        self.progress = progress
        self.goes_on = goes_on
        self.pruned = False
        """Whether it was not to go on."""
        self.seeds = range(cfg.seed, cfg.seed + cfg.seeds)
        self.steps: int = cfg.steps
        self.step = 0
        self.unreported: Metrics | None = None
        """Metrics of `step` that are in no row yet: they wait for the evaluation of the same step."""
        self.latest: dict[str, Any] = {}
        """Metrics of the last chunk, where the algorithm left them."""
        self.before = 0.0
        """Seconds that earlier lives took."""
        self.began = time.monotonic()
        self.heard = -math.inf
        self.usage = Usage()
        self.saved, self.saving = self.began, 0.0
        """When the last checkpoint was written, and how long that took."""
        self.clock = Clock()
        self.trained: tuple[int, float] | None = None
        """Where and when the training of this life began."""
        self.diverged: list[int] = []
        """Seeds whose numbers are none any more."""
        self.score: Score | None = None
        self.mirror: WandbMirror | None = None
        self.ending = ExitStack()
        self.algorithm: Algorithm

    def outcome(self) -> int:
        """Work until the end, a signal or a failure; the status says which."""
        state, error = "failed", None
        try:
            self.recall()
            self.write_status("building", "building")
            self.prepare()
            self.train()
            state = "pruned" if self.pruned else "finished"
            return 0
        except (Interrupted, KeyboardInterrupt) as signal:
            state = "interrupted"
            self.say(f"interrupted at step {self.step:,}; {self.remedy()} goes on")
            return signal.exit_code if isinstance(signal, Interrupted) else 130
        except (UsageError, RunError) as failure:
            error = str(failure)
            raise
        except Exception as failure:
            error = self.explain(failure)
            raise RunError(error) from failure
        finally:
            self.close(state, error)

    def explain(self, failure: Exception) -> str:
        """One sentence about what nobody foresaw; the traceback goes to log.txt."""
        if isinstance(failure, OSError) and failure.errno in DISK_FULL:
            return (
                f"no space left for {failure.filename or self.directory.path}; the last checkpoint is safe: "
                f"free some space, then {self.remedy()}"
            )
        self.directory.log(traceback.format_exc())
        return f"{type(failure).__name__}: {failure} (traceback in {self.directory.path / 'log.txt'})"

    def remedy(self) -> str:
        """How to go on."""
        begun = self.directory.path == self.path
        return f"`rlbench resume {self.path.name}`" if begun else "the same command"

    def close(self, state: str, error: str | None) -> None:
        try:
            self.write_status(state, error=error)
        except OSError as failure:  # the disk is full: what is on it stands, and the reason to stop goes to the user
            self.progress.say(f"status.json could not be written: {failure}")
        self.ending.close()
        if self.mirror is not None:
            self.mirror.finish(state)

    def say(self, text: str) -> None:
        self.progress.say(text)
        self.directory.log(text)

    def write_status(self, state: str, stage: str = "training", error: str | None = None) -> None:
        self.heard = time.monotonic()
        self.directory.write_status(
            state=state, step=self.step, steps=self.steps, seeds=self.cfg.seeds, stage=stage,
            seconds=self.seconds(), speed=self.speed(), score=self.score and asdict(self.score), error=error,
            diverged=self.diverged,
        )  # fmt: skip
        if self.usage.age() > GLANCE:
            self.directory.append_usage(step=self.step, **self.usage.row())

    def seconds(self) -> float:
        """Since the run began, all lives together."""
        return self.before + time.monotonic() - self.began

    def speed(self) -> float | None:
        """Steps a second, evaluations and checkpoints included, since this life began to train; None before."""
        if self.trained is None or self.step == self.trained[0]:
            return None
        return (self.step - self.trained[0]) / (time.monotonic() - self.trained[1])

    def at(self, stage: str, done: int, total: int) -> None:
        """Show the stage, and give a sign of life."""
        self.progress(stage, done, total)
        if time.monotonic() - self.heard > HEARTBEAT:
            self.write_status("running" if stage == "training" else "building", stage)

    def recall(self) -> None:
        """What the last life said of itself holds until this one is built."""
        with suppress(RunError):  # there was none, or it left a damaged file
            last = self.directory.raw_status()
            self.step, self.before = last["step"], last["seconds"]
            if last["score"] is not None:
                values = {int(seed): value for seed, value in last["score"]["values"].items()}
                self.score = Score(**{**last["score"], "values": values})

    def prepare(self) -> None:
        """Build everything and go to where the last life stood.

        What can be refused is refused before anything of an earlier life is changed.
        """
        config.fetch(self.cfg, self.at)  # before torch is imported: who is offline is told within moments
        with importing():
            import torch

            from rlbench import cpu
            from rlbench.checkpoint import Checkpoints
            from rlbench.processes import assembled

        threads = self.cfg.hardware.threads
        if (used := threads * self.cfg.hardware.processes) > meta.cores():
            self.say(f"{used} threads (hardware.threads), and {meta.cores()} cores: expect it to be slow")
        cpu.settle(threads)
        facts = self.directory.meta()
        facts["matmul"] = self.matmul(facts)
        together = assembled(self.cfg, lambda: self.directory.path, self.stop, self.at, self.say)
        self.algorithm, task = self.ending.enter_context(together)
        with self.stop.held():
            facts["compiled"] = self.capture(facts, task.device.type)
            facts |= {"threads": threads, "device": str(task.device), "simulator": task.env.simulator()}
            facts["metric_directions"] = declared(
                task.env.metric_directions, getattr(self.algorithm, "metric_directions", {})
            )
            if task.data is not None:
                self.refuse_other_data(facts, task.data.fingerprint)
                facts.setdefault("dataset", {"fingerprint": task.data.fingerprint, **task.data.card})
            if self.directory.path != self.path:
                self.directory = self.directory.replace(self.path)
            self.directory.write_meta(facts)
            self.directory.write_config(OmegaConf.to_yaml(self.cfg, resolve=True), self.overrides)
            self.wait: Callable[[], None] = torch.accelerator.synchronize if task.device.type != "cpu" else lambda: None
            self.checkpoints = Checkpoints(self.directory.checkpoints, self.cfg.checkpoint.keep, self.say)
            self.restore()
            if self.cfg.wandb.mode != "disabled":
                from rlbench.tracking.wandb import WandbMirror

                self.mirror = WandbMirror(self.cfg, self.directory.path, self.path.name)
            self.trained = self.step, time.monotonic()
            self.write_status("running")

    def refuse_other_data(self, facts: dict[str, Any], fingerprint: str) -> None:
        """Raise `RunError` where the run began with data of another fingerprint than those that are there now."""
        first = facts.get("dataset", {}).get("fingerprint", fingerprint)
        if first != fingerprint:
            raise RunError(
                f"the data are others than those this run began with: their fingerprint is {fingerprint[:16]}, and "
                f"{self.directory.path / 'meta.json'} has {first[:16]}\n"
                "with those it goes on; the command that began it, with rerun=true, starts anew with these"
            )

    def matmul(self, facts: dict[str, Any]) -> str:
        """The library that multiplies float32 matrices: probed by the first life, kept by the later ones."""
        from rlbench.build import processor
        from rlbench.nets.matmul import choose_matmul_backend, use

        if "matmul" not in facts:
            return choose_matmul_backend(device=processor(self.cfg.hardware.device).type)
        return use(facts["matmul"])

    def capture(self, facts: dict[str, Any], device: str) -> bool:
        """Have updates run as recorded, and compiled if asked for; whether they are compiled.

        That is decided by the first life, and kept by the later ones.
        """
        from rlbench.build import Capturable
        from rlbench.nets.capture import AUTO_STEPS, EAGER_UPDATES, obstacle

        if not isinstance(self.algorithm, Capturable):
            return False
        reason = obstacle()
        wanted = facts.get("compiled", self.cfg.compile == "on")
        if self.cfg.compile == "auto" and "compiled" not in facts:
            wanted = self.steps >= AUTO_STEPS and reason is None
        if wanted and reason is not None:
            raise UsageError(reason)
        after = 0 if wanted or device == "cuda" else EAGER_UPDATES
        self.algorithm.capture(compiled=wanted, after=after, say=self.say)
        return bool(wanted)

    def restore(self) -> None:
        from rlbench.build import restore

        size = self.directory.size()
        state = self.checkpoints.load(fits=lambda saved: saved["size"] <= size)
        if state is None:
            self.step, self.before, self.score = 0, 0.0, None
            self.directory.truncate(0)
            return
        restore(self.algorithm, state)
        self.step, self.unreported, self.before = state["step"], state["unreported"], state["seconds"]
        self.directory.truncate(state["size"])
        self.score = self.directory.score()
        self.say(f"going on from step {self.step:,} of {self.steps:,}")

    def checkpoint(self) -> None:
        """Save the state, unless the last losses say that it is ruined: sound ones would go to make room for it."""
        self.refuse_divergence(to_host(self.latest))
        start = time.monotonic()
        state = {
            "algorithm": self.algorithm.state_dict(),
            "step": self.step,
            "unreported": self.unreported,
            "size": self.directory.size(),
            "seconds": self.seconds(),
        }
        self.checkpoints.save(state, self.step)
        self.saved = time.monotonic()
        self.saving = self.saved - start

    def train(self) -> None:
        """Train to the end. Between any two statements outside `held`, the state is whole and a signal may strike."""
        try:
            while True:
                if self.unreported is not None:
                    self.report(self.unreported)
                if self.step >= self.steps or self.pruned:
                    break
                with self.stop.held():
                    self.advance()
                    pause = max(self.cfg.checkpoint.every_seconds, self.saving / CHECKPOINT_SHARE)
                    if time.monotonic() - self.saved > pause:
                        self.checkpoint()
            with self.stop.held():
                self.checkpoint()
        except Interrupted:
            self.checkpoint()
            raise

    def due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.steps

    def advance(self) -> None:
        """One chunk of training, at most to where something is to be reported."""
        periods = self.cfg.log.every, self.cfg.eval.every
        n = min(self.clock.chunk, self.steps - self.step, *(every - self.step % every for every in periods))
        start = time.perf_counter()
        self.latest = self.algorithm.train(n)
        self.wait()
        self.clock.add(n, time.perf_counter() - start)
        self.step += n
        if any(self.due(every) for every in periods):
            self.unreported = to_host(self.latest)
        self.at("training", self.step, self.steps)

    def report(self, metrics: Metrics) -> None:
        """Write the rows of this step, after the evaluation that may be due."""
        self.refuse_divergence(metrics)
        if self.due(self.cfg.eval.every):
            metrics = {**metrics, **{name: list(map(float, v)) for name, v in self.algorithm.evaluate().items()}}
            self.refuse_divergence(metrics)
        with self.stop.held():
            common = {"time": round(self.seconds(), 3), "time/updates_per_second": round(self.clock.speed(), 3)}
            rows = []
            for place, seed in enumerate(self.seeds):
                finite = {name: value[place] for name, value in metrics.items() if math.isfinite(value[place])}
                rows.append({"step": self.step, "seed": seed, **common, **finite})
            self.directory.append(rows)
            self.unreported = None
            if (metric := headline(metrics)) is not None:
                self.score = Score(metric, self.step, dict(zip(self.seeds, metrics[metric], strict=True)))
                self.progress.score = f"{metric} {self.score}"
            if self.mirror is not None:
                self.mirror.log(rows)
            if self.due(self.cfg.eval.every) and not self.goes_on(self.step, metrics) and self.step < self.steps:
                self.pruned = True
                self.say(
                    f"stopped early, at step {self.step:,}: others do better; {self.remedy()} goes on all the same"
                )

    def refuse_divergence(self, metrics: Metrics) -> None:
        """A loss or a score that is no number ends the run."""
        if wrong := no_numbers(metrics, self.seeds):
            self.diverged = sorted({seed for _, seed, _ in wrong})
            name, seed, value = wrong[0]
            raise RunError(
                f"{name} of seed {seed} is {value} at step {self.step:,}: training diverged. "
                "A lower learning rate is the usual cure; the checkpoints are from before it was seen."
            )
