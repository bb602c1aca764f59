"""From a configuration to something that trains: environment, dataset, task, algorithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from omegaconf import DictConfig

from rlbench import config, cpu, paths
from rlbench.artefacts import Artefacts, Report
from rlbench.checkpoint import Checkpoints
from rlbench.envs.problem import Problem
from rlbench.errors import RunError, UsageError
from rlbench.signals import Stop
from rlbench.task import Task
from rlbench.tracking.progress import Progress
from rlbench.tracking.rundir import RunDir


class Data(Protocol):
    """All that a run knows of a dataset."""

    @property
    def fingerprint(self) -> str:
        """A hash of the content."""
        ...

    @property
    def card(self) -> dict[str, Any]:
        """Where the data come from, as JSON would hold it."""
        ...


class Algorithm(Protocol):
    """All that a run knows of an algorithm; metrics hold one value a seed."""

    def train(self, n: int) -> dict[str, Any]: ...

    def evaluate(self) -> dict[str, Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Capturable(Algorithm, Protocol):
    """An algorithm whose updates can be recorded (see `rlbench.nets.capture`)."""

    def capture(self, *, compiled: bool, after: int = 0, say: Callable[[str], None] = print) -> None: ...


def build(
    cfg: DictConfig,
    stop: Stop | None = None,
    report: Report = lambda *_: None,
    say: Callable[[str], None] = print,
) -> tuple[Algorithm, Task]:
    """The algorithm of a run, untrained, and its task; it may train its stages here.

    Args:
        cfg: the run.
        stop: ends the training of a stage early.
        report: told `(stage, done, total)`.
        say: told, in a sentence, what a person would want to know.
    """
    device = processor(cfg.hardware.device)
    torch.backends.cudnn.deterministic = True  # convolutions: what goes on from a checkpoint is the same to the bit
    env: Problem = config.instantiate(cfg.env)
    env.require()  # before data are read and models learned in vain
    data: Data | None = None
    if "_target_" in cfg.dataset:
        data = config.instantiate(cfg.dataset, env=env).load(progress=report)
        env = env.informed_by(data.card)
        for doubt in env.doubts(data.card):
            say(doubt)
    task = env.task(
        Task(
            seeds=tuple(range(cfg.seed, cfg.seed + cfg.seeds)),
            steps=cfg.steps,
            device=device,
            env=env,
            data=data,
            eval_episodes=cfg.eval.episodes,
            artefacts=Artefacts(paths.cache_root() / "artefacts", device, stop, report, say),
        )
    )
    return config.instantiate(cfg.algo, task=task), task


def processor(device: str) -> torch.device:
    """The device of `hardware.device`.

    Raises:
        UsageError: there is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "hardware.device=cuda: torch finds no NVIDIA GPU here\nhardware=cpu computes; `rlbench doctor` says why"
        )
    return torch.device(device)


def build_trained(directory: RunDir, *words: str) -> tuple[Algorithm, Task, int]:
    """A run's algorithm as its newest checkpoint has it, its task, and the step of that checkpoint.

    Args:
        directory: the run.
        words: `KEY=VALUE` of keys of its configuration that get other values: `eval.episodes=100`.

    Raises:
        RunError: there is no checkpoint, or the configuration is damaged.
        UsageError: a word names no key, or no value that it takes.
    """
    directory.require_whole()  # config.load expects no damage
    cfg = config.load(directory.path / "config.yaml", words)
    cpu.settle(cfg.hardware.threads)
    with Stop() as stop, Progress(directory.id) as progress:
        state = Checkpoints(directory.checkpoints, keep=cfg.checkpoint.keep, say=progress.say).load()
        if state is None:
            raise RunError(f"{directory.path} has no checkpoint yet")
        if (life := directory.status()["state"]) != "finished" and state["step"] < cfg.steps:
            progress.say(f"note: {life}, saved at step {state['step']:,} of {cfg.steps:,}")
        algorithm, task = build(cfg, stop, progress, progress.say)
    restore(algorithm, state)
    return algorithm, task, state["step"]


def restore(algorithm: Algorithm, checkpoint: dict[str, Any]) -> None:
    """Give an algorithm the state that a checkpoint has of it.

    Raises:
        RunError: it lacks something that the algorithm saves now: another version of rlbench wrote it.
    """
    try:
        algorithm.load_state_dict(checkpoint["algorithm"])
    except KeyError as error:
        raise RunError(
            f"the checkpoint lacks {error}, which this version of rlbench saves: another one wrote it (meta.json says "
            "which)\ngo on with that, or start anew with rerun=true"
        ) from error
