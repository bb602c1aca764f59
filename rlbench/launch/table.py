"""What a person sees of many runs: a table, which lives while a queue works at a terminal, or a line for each end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rlbench.columns import COLOURS
from rlbench.launch.states import ACTIVE, AMISS, State, labels, summary
from rlbench.tracking.progress import duration

REST = 6  # lines of the terminal that are not rows of the table


def table(found: Sequence[State], names: dict[str, str], flat: bool = False) -> Table:
    """A row for each run.

    Args:
        found: the runs.
        names: what tells them apart, by their paths.
        flat: whether a row has one line, whatever is cut off.
    """
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("run", overflow="fold")
    made.add_column("id", no_wrap=True)
    made.add_column("state", no_wrap=True)
    for name in ("steps", "speed", "score", "left"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("")
    for each in found:
        done = each.name == "finished" or not each.status
        made.add_row(
            Text(names[each.run.path], no_wrap=flat, overflow="ellipsis" if flat else "fold"),
            each.run.directory.resolve().name,
            Text(each.name, style=COLOURS.get(each.name, "cyan")),
            f"{each.steps:,}" if done else f"{each.step:,}/{each.steps:,}",
            f"{each.speed:,.4g}/s" if each.speed else "",
            str(each.score or ""),
            duration(each.left) if each.left is not None else "",
            Text((each.reason or "").split("\n")[0], no_wrap=True, overflow="ellipsis"),
        )
    return made


class Display:
    """What a queue shows of its runs.

    Args:
        found: every run of the sweep, as it is when the queue begins.
    """

    def __init__(self, found: Sequence[State]) -> None:
        self.found = {each.run.path: each for each in found}
        self.names = labels([each.run for each in found])
        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def update(self, state: State) -> None:
        """How a run is now."""
        before = self.found[state.run.path].name
        self.found[state.run.path] = state
        if not self.live and before != state.name and state.name not in ACTIVE:
            self.line(state)

    def line(self, state: State) -> None:
        """A run has ended."""
        over = sum(each.name not in (*ACTIVE, "new") for each in self.found.values())
        came = f"{state.score}" if state.name in ("finished", "pruned") and state.score else state.reason or ""
        took = duration(state.status["seconds"]) if state.status else ""
        words = f"[{over}/{len(self.found)}]", state.name, self.names[state.run.path], took, came
        print(" ".join(word for word in words if word), flush=True)

    def show(self) -> None:
        """Draw the table anew, where there is one."""
        if self.live:
            self.live.update(self.picture(), refresh=True)

    def picture(self) -> Table:
        """All runs, or, where they are more than fit the terminal, those that are at work or failed."""
        found = list(self.found.values())
        fit = self.console.height - REST
        if len(found) > fit:
            working = [each for each in found if each.name in ACTIVE and each.name != "queued"]
            amiss = [each for each in found if each.name in AMISS]
            found = [*amiss[-max(fit - len(working), 1) :], *working][:fit]
        made = table(found, self.names, flat=True)
        made.caption, made.caption_justify = summary(list(self.found.values())), "left"
        return made
