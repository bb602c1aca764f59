"""The keys of a run that belong to no algorithm, environment or dataset: their types and what they mean.

Read as text by `rlbench.signatures`, like the constructors: nothing here is ever instantiated.
"""

from dataclasses import dataclass
from typing import Literal

from rlbench.types import Count, NonNegativeInt, Positive


@dataclass
class Evaluation:
    """When a run is judged.

    Args:
        every: steps between two evaluations.
        episodes: episodes of one evaluation, for each seed.
    """

    every: Count
    episodes: Count


@dataclass
class Log:
    """What is written down on the way.

    Args:
        every: steps between two rows of training metrics.
    """

    every: Count


@dataclass
class Checkpoint:
    """From where a killed run goes on.

    Args:
        every_seconds: seconds between two checkpoints, at least.
        keep: how many of the latest stay.
    """

    every_seconds: Positive
    keep: Count


@dataclass
class Hardware:
    """Where a run computes.

    Args:
        device: cpu or cuda.
        threads: processor threads of one run.
    """

    device: Literal["cpu", "cuda"]
    threads: Count


@dataclass
class Wandb:
    """The mirror in Weights & Biases.

    Args:
        mode: offline (files that `wandb sync` sends), online or disabled.
        project: its project.
        entity: whose; null: the account's own.
        group: its group; null: algorithm, environment and dataset.
        tags: its tags.
    """

    mode: Literal["offline", "online", "disabled"]
    project: str
    entity: str | None
    group: str | None
    tags: list[str]


@dataclass
class Run:
    """One run.

    Args:
        seed: the first seed.
        seeds: how many seeds are trained together: seed, seed + 1, ...
        steps: length, in the algorithm's units (updates offline, environment steps online).
        eval: when it is judged.
        log: what is written down on the way.
        checkpoint: from where it goes on when killed.
        rerun: start anew what is finished already.
        hardware: where it computes.
        wandb: its mirror in Weights & Biases.
    """

    seed: NonNegativeInt
    seeds: Count
    steps: Count
    eval: Evaluation
    log: Log
    checkpoint: Checkpoint
    rerun: bool
    hardware: Hardware
    wandb: Wandb
