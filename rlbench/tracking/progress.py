"""What a person at the terminal sees of a run: a bar, or, where there is no terminal, a line now and then."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from rlbench.tracking.rundir import RunDir, decimals, mean_and_spread

LINE_EVERY = 30.0  # seconds between lines where there is no terminal; a run shorter than this prints none


class Speed(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s", style="cyan")


class Progress:
    """Stage, step, speed, time left and the latest score, on stderr; a run goes on where nobody reads them any more.

    Args:
        label: what runs.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        console = Console(stderr=True)
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            Speed(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[score]}"),
        ]
        self.bar = Bar(*columns, console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self.score = ""
        """The latest score, shown behind the bar."""
        self._stage = ""
        self._last = self._began = time.monotonic()
        self._from = 0

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            with suppress(OSError):
                self.bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of this stage are done."""
        changed = stage != self._stage
        if changed:
            self._stage, self._began, self._from = stage, time.monotonic(), done
        if self.bar:
            with suppress(OSError):
                self._draw(self.bar, changed, done, total)
        elif time.monotonic() - self._last > LINE_EVERY:
            self._last = time.monotonic()
            self._line(done, total)

    def _draw(self, bar: Bar, changed: bool, done: int, total: int) -> None:
        if changed:
            for task in bar.task_ids:
                bar.remove_task(task)
            bar.add_task(f"{self.label} · {self._stage}", completed=done, total=total, score=self.score)
        else:
            bar.update(bar.task_ids[0], completed=done, total=total, score=self.score)

    def _line(self, done: int, total: int) -> None:
        speed = (done - self._from) / max(time.monotonic() - self._began, 1e-9)
        left = f", {duration((total - done) / speed)} left" if speed > 0 and total else ""
        score = f", {self.score}" if self.score else ""
        self.say(f"{self.label} · {self._stage}: {done:,} of {total:,}, {speed:,.4g}/s{left}{score}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        with suppress(OSError):
            if self.bar:
                self.bar.console.print(text, markup=False, highlight=False)
            else:
                sys.stderr.write(text + "\n")
                sys.stderr.flush()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: `1:02:03`, `12:34`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def result(directory: RunDir) -> str:
    """What came of a run: score per seed, mean and spread, time taken and where it lies."""
    score, status, lines = directory.score(), directory.status(), []
    if score is not None:
        place = directory.meta().get("simulator")
        lines.append(f"{score.metric} at step {score.step:,}" + (f" in {place}" if place else ""))
        digits = decimals(score.values.values())
        lines += [f"  seed {seed:<6}{value:12,.{digits}f}" for seed, value in score.values.items()]
        if len(score.values) > 1:
            mean, spread = mean_and_spread(list(score.values.values()))
            lines.append(f"  mean       {mean:12,.{digits}f} ± {spread:,.{digits}f}")
    lines.append(f"{status['step']:,} of {status['steps']:,} steps in {duration(status['seconds'])}: {directory.path}")
    return "\n".join(lines)
