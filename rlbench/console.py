"""The console that tables are printed on."""

import sys

from rich.console import Console


class Wide(Console):
    """As wide as the terminal, and wide where there is none: a pipe or a file."""

    def __init__(self) -> None:
        super().__init__(width=None if sys.stdout.isatty() else 160)

    def on_broken_pipe(self) -> None:
        """A reader that has seen enough is no failure: `rlbench list | head`."""
        raise BrokenPipeError
