"""`rlbench unpack FILE`: the runs of a file that `rlbench pack` made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.paths import results_root

HELP = """\
Put the runs of a file that `rlbench pack` made into the results folder (RLBENCH_RESULTS moves it). Runs that are there
already stay as they are."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("unpack", HELP)
    parser.add_argument("file", type=Path, metavar="FILE")
    given = parser.read(argv)
    if not given.file.is_file():
        raise UsageError(f"there is no file {given.file}")

    from rlbench.tracking.pack import unpack

    new = [is_new for _, is_new in unpack(given.file, results_root())]
    here = f", {new.count(False):,} already here" if False in new else ""
    print(f"{new.count(True):,} unpacked{here}, in {results_root() / 'runs'}")
    return 0
