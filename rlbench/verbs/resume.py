"""`rlbench resume RUN|SWEEP`: go on with what was stopped, failed or lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlbench.cli import Parser
from rlbench.errors import RunError

HELP = """\
Go on with a run or a sweep that was stopped, as it was written down; the command that began it does the same. What is
finished, queued or at work is left alone. A run of a sweep on a cluster goes back to its queue, any other goes on
here."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("resume", HELP)
    parser.add_argument("target", metavar="RUN|SWEEP", help="first digits of a run's id, its directory, or a sweep")
    given = parser.parse_args(argv)

    from rlbench.launch import start
    from rlbench.launch.find import meant
    from rlbench.launch.sweep import Sweep

    target = meant(given.target)
    return start.proceed(target) if isinstance(target, Sweep) else one(target)


def one(directory: Path) -> int:
    """Go on with the run of a directory."""
    from rlbench import config
    from rlbench.launch import start
    from rlbench.launch.job import execute
    from rlbench.launch.sweep import Sweep, holding
    from rlbench.run import run
    from rlbench.tracking.rundir import RunDir

    held = holding(directory)
    for sweep, planned in reversed(held):
        if sweep.hardware["where"] == "slurm":
            return start.place("slurm").start(Sweep(sweep.path, [planned.path]))
    if not (directory / "config.yaml").exists():
        if not held:
            raise RunError(
                f"{directory} holds no config.yaml: its run was killed as it began\n"
                "the command that began it begins it again"
            )
        return execute(*held[-1])  # planned, and never begun
    recorded = RunDir(directory)
    recorded.require_whole()  # config.load expects no damage
    cfg = config.load(directory / "config.yaml")
    cfg.rerun = False
    return run(cfg, recorded.overrides(), directory)
