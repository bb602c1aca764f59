"""`rlbench logs RUN|SWEEP`: what runs say."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlbench.cli import Parser

if TYPE_CHECKING:
    from rlbench.launch.states import State
    from rlbench.launch.sweep import Sweep

HELP = """\
Print what a run, or each run of a sweep, has said so far, all its lives together: what it printed in a queue; of one at
a terminal, what befell it. With -f, go on until it has ended."""
LOOK = 0.2  # seconds between two looks into the files
ASK = 5.0  # seconds between two questions whether the runs have ended


def main(argv: Sequence[str]) -> int:
    parser = Parser("logs", HELP)
    parser.add_argument("target", metavar="RUN|SWEEP", help="first digits of a run's id, its directory, or a sweep")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the end")
    given = parser.parse_args(argv)

    from rlbench.launch.find import meant, run_of
    from rlbench.launch.states import ACTIVE, labels, states
    from rlbench.launch.sweep import Sweep

    target = meant(given.target)

    def now() -> tuple[Sweep | None, list[State]]:
        if isinstance(target, Sweep):
            return target, states(target)
        sweep, state = run_of(target)
        return sweep, [state]

    sweep, found = now()
    names = labels([each.run for each in found])
    reader = Reader({names[each.run.path]: file(sweep, each) for each in found})
    reader.read()
    if given.follow:
        follow(reader, lambda: any(each.name in ACTIVE for each in now()[1]))
    if not reader.heard:
        print("nothing was said yet; what a run prints at a terminal is kept nowhere else", file=sys.stderr)
    return 0


def file(sweep: Sweep | None, state: State) -> Path:
    """Where a run's words are: what it printed in a queue, else the log of its directory."""
    if sweep is not None and sweep.hardware["where"] != "here":
        return sweep.output(state.run)
    return state.run.directory / "log.txt"


def follow(reader: Reader, active: Callable[[], bool]) -> None:
    """Print what is added until nothing is to be expected any more."""
    asked = time.monotonic()
    while True:
        time.sleep(LOOK)
        if reader.read() or time.monotonic() - asked < ASK:
            continue
        if not active():
            reader.read()  # what came since the last look
            return
        asked = time.monotonic()


class Reader:
    """Prints what is added to files.

    Args:
        files: by what they are called.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        self.places = dict.fromkeys(files, 0)
        self.heard = ""
        """The file that spoke last."""

    def read(self) -> bool:
        """Print what is new; whether there was anything."""
        before = sum(self.places.values())
        for name, path in self.files.items():
            if path.exists() and path.stat().st_size > self.places[name]:
                with path.open("rb") as content:
                    content.seek(self.places[name])
                    text = content.read()
                self.places[name] += len(text)
                if len(self.files) > 1 and self.heard != name:
                    print(f"\n==> {name} <==")
                self.heard = name
                sys.stdout.write(text.decode(errors="replace"))
                sys.stdout.flush()
        return sum(self.places.values()) > before
