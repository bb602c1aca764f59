"""The keys of a run that belong to no algorithm, environment or dataset: their types and what they mean.

Read as text by `rlbench.signatures`, like the constructors: nothing here is ever instantiated.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from rlbench.types import Count, NonNegativeInt, Positive, Range, Seed


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
class Slurm:
    """What a job asks of the cluster; null leaves a thing to the cluster.

    Args:
        partition: where jobs queue.
        account: whom they are charged to.
        qos: quality of service.
        minutes: time limit of one job; a run that takes longer goes on in the next.
        memory_gb: main memory of a job.
        cpus: processor cores of a job.
        gres: generic resources of a job, e.g. gpu:1.
        constraint: features of the node, e.g. a100|h100.
        at_once: most jobs of a sweep that run at the same time.
        restarts: most times that a job goes back to the queue, for its time limit or for others to pass.
        notice: seconds before the time limit at which a run is told to save.
        extra: further options of sbatch, by their long names, e.g. {nice: 100}.
        setup: shell lines before the run, e.g. [module load cuda].
    """

    partition: str | None
    account: str | None
    qos: str | None
    minutes: Count
    memory_gb: Positive
    cpus: Count
    gres: str | None
    constraint: str | None
    at_once: Count | None
    restarts: NonNegativeInt
    notice: Count
    extra: dict[str, str]
    setup: list[str]


@dataclass
class Hardware:
    """Where a run computes.

    Args:
        where: in this process, in a queue over this machine's cores and GPUs, or on the cluster.
        device: cpu or cuda; auto: the GPU where there is one.
        threads: processor threads of one process.
        processes: processes of one run, each with a GPU of its own where there are GPUs; for algorithms that share the
            work of an update.
        pack: most runs of a sweep, alike but for the seed, that are trained together as one (as seeds= does).
        workers: runs at a time in the queue over this machine; null: as many as fit its cores or GPUs.
        runs_per_gpu: of these, on each GPU.
        slurm: what a job asks of the cluster.
    """

    where: Literal["here", "local", "slurm"]
    device: Literal["cpu", "cuda", "auto"]
    threads: Count
    processes: Count
    pack: Count
    workers: Count | None
    runs_per_gpu: Count
    slurm: Slurm


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
class Search:
    """What values interval(), choice() and range() take, each time in a run of its own, a trial.

    Args:
        sampler: random, or tpe: near the values that did well.
        trials: how many there are.
        metric: what a trial is judged by, the mean over its seeds at its last evaluation; null: its score.
        direction: maximize or minimize; auto: as the metric goes, costs down and others up (docs/comparing.md).
        seed: of the draws.
        reduction_factor: at every rung, one trial in so many goes on; null: all do.
        grace: evaluations before the first rung; each further one is at reduction_factor times as many.
    """

    sampler: Literal["random", "tpe"]
    trials: Count
    metric: str | None
    direction: Literal["auto", "maximize", "minimize"]
    seed: Seed
    reduction_factor: Annotated[int, Range(2)] | None
    grace: Count


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
        compile: whether updates run as compiled graphs, which agree up to rounding and cost some 10 seconds at the
            start: on, off, or auto (in a run of 100,000 steps or more, where there is a C++ compiler).
        rerun: start anew what is finished already.
        hardware: where it computes.
        wandb: its mirror in Weights & Biases.
        search: how good values are found; absent: nothing is searched.
    """

    seed: Seed
    seeds: Count
    steps: Count
    eval: Evaluation
    log: Log
    checkpoint: Checkpoint
    compile: Literal["on", "off", "auto"]
    rerun: bool
    hardware: Hardware
    wandb: Wandb
    search: Search | None = None
