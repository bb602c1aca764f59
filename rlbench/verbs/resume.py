"""`rlbench resume RUN`: go on with a run that was stopped."""

from __future__ import annotations

from collections.abc import Sequence

from rlbench.cli import Parser
from rlbench.paths import results_root
from rlbench.tracking.rundir import resolve

HELP = """\
Go on with a run that was stopped, as its config.yaml says; the command that began it does the same."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("resume", HELP)
    parser.add_argument("run", metavar="RUN", help="first digits of its id, or its directory")
    given = parser.parse_args(argv)

    from rlbench import config
    from rlbench.run import run

    directory = resolve(given.run, results_root())
    cfg = config.load(directory.path / "config.yaml")
    cfg.rerun = False
    return run(cfg, directory.overrides(), directory.path)
