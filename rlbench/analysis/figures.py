"""Figures of a comparison, made for paper: vectors, readable at column width, told apart without colour.

Every function returns a matplotlib `Figure` that belongs to no window and no global state. Names are drawn as they are:
what stands between two dollar signs of theirs is no formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from rlbench.analysis import statistics
from rlbench.analysis.compare import Comparison, require_scale
from rlbench.analysis.curves import curves
from rlbench.analysis.statistics import Interval
from rlbench.errors import UsageError
from rlbench.files import write_atomically

# Okabe and Ito, "Color Universal Design" (2008): told apart by people with any colour vision. The yellow is left out,
# which is too light for lines on white.
COLOURS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"
DASHES: tuple[Any, ...] = "solid", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5))
MARKERS = "osD^vPX"
WIDTH = 6.75  # inches: the text width of the field's conferences
PANEL = 1.65  # inches: height of one of several panels
ROW = 0.26  # inches: height of a line of intervals
LINE = 0.16  # inches: height of a line of a legend
COLUMNS = 3
POINTS = 300  # thresholds of a profile
FORMATS = "pdf", "svg", "png"
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: text stays text, which journals ask for
    "svg.fonttype": "none",
    "svg.hashsalt": "rlbench",  # the same figure gives the same file
}


@contextmanager
def styled() -> Iterator[None]:
    with mpl.rc_context(STYLE):
        yield


class Looks:
    """How each arm is drawn, the same in every figure of a comparison."""

    def __init__(self, arms: Sequence[str]) -> None:
        self.arms = list(arms)
        self.colour = dict(zip(self.arms, cycle(COLOURS), strict=False))
        # When the colours have gone round once, each meets the next dash, and the next marker.
        rounds = [divmod(place, len(COLOURS)) for place in range(len(self.arms))]
        self.dash = {arm: DASHES[sum(each) % len(DASHES)] for arm, each in zip(self.arms, rounds, strict=True)}
        self.marker = {arm: MARKERS[sum(each) % len(MARKERS)] for arm, each in zip(self.arms, rounds, strict=True)}

    def line(self, axes: Any, arm: str, x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """A curve with its interval; there is none where it is NaN."""
        axes.fill_between(x, low, high, color=self.colour[arm], alpha=0.18, linewidth=0)
        axes.plot(x, y, color=self.colour[arm], linestyle=self.dash[arm])

    def legend(self, figure: Figure, markers: bool = False) -> None:
        """Above the panels, where it hides nothing; of lines, or of markers."""
        lines = [
            Line2D([], [], color=self.colour[arm], linestyle="none", marker=self.marker[arm])
            if markers
            else Line2D([], [], color=self.colour[arm], linestyle=self.dash[arm])
            for arm in self.arms
        ]
        letters = 90 * figure.get_figwidth() / WIDTH
        columns = min(len(self.arms), max(1, int(letters / max(len(arm) + 6 for arm in self.arms))))
        legend = figure.legend(lines, self.arms, loc="outside upper center", ncols=columns, handlelength=2.8)
        for text in legend.get_texts():
            text.set_parse_math(False)


def learning_curves(comparison: Comparison, seed: int = 0) -> Figure:
    """The mean over seeds against steps, a panel a task, with 95 % bootstrap intervals."""
    looks = Looks(comparison.arms)
    figure, panels = grid(len(comparison.tasks))
    panel = dict(zip(comparison.tasks, panels, strict=True))
    for each in curves(comparison.evaluations, comparison.where, statistics.mean, seed=seed):
        assert each.task is not None
        looks.line(panel[each.task], each.arm, each.steps, each.value, each.low, each.high)
    for task, axes in panel.items():
        axes.set_title(task)
        steps_axis(axes)
    label(figure, "steps", comparison.name)
    looks.legend(figure)
    return figure


def sample_efficiency(comparison: Comparison, seed: int = 0) -> Figure:
    """The interquartile mean over all tasks and seeds against steps."""
    tasks = require_common(comparison)
    looks = Looks(comparison.arms)
    figure, (axes,) = grid(1)
    for each in curves(comparison.evaluations, comparison.where, statistics.iqm, over_tasks=True, seed=seed):
        looks.line(axes, each.arm, each.steps, each.value, each.low, each.high)
    axes.set_title(f"IQM over {len(tasks)} tasks" if len(tasks) > 1 else tasks[0])
    steps_axis(axes)
    label(figure, "steps", comparison.name)
    looks.legend(figure)
    return figure


def profiles(comparison: Comparison, seed: int = 0) -> Figure:
    """Performance profiles: the share of seeds, mean over tasks, that score better than each threshold."""
    tasks = require_common(comparison)
    looks = Looks(comparison.arms)
    every = np.concatenate([score for arm in comparison.arms for score in comparison.scores(arm, tasks)])
    margin = 0.02 * max(float(np.ptp(every)), 1e-9)
    thresholds = np.linspace(every.min() - margin, every.max() + margin, POINTS)
    figure, (axes,) = grid(1)
    for arm in comparison.arms:
        merits, bars = comparison.merits(arm, tasks), comparison.sign * thresholds
        band = statistics.profile_band(merits, bars, seed=seed)
        looks.line(axes, arm, thresholds, statistics.profile(merits, bars), *band)
    axes.set_ylim(-0.02, 1.02)
    label(figure, f"{comparison.name} τ", f"share of seeds {'below' if comparison.cost else 'above'} τ")
    looks.legend(figure)
    return figure


def improvements(comparison: Comparison, _seed: int = 0) -> Figure:
    """The probability of improvement of the better over the other, for every two arms, with 95 % intervals."""
    if not comparison.pairs:
        raise UsageError("an improvement takes two algorithms that share a task")
    figure, (axes,) = grid(1, height=0.7 + ROW * len(comparison.pairs))
    for row, pair in enumerate(comparison.pairs):
        dot(axes, pair.improvement, row, COLOURS[0] if pair.enough else "#888888", "o")
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set_xlim(0, 1.02)
    names = [f"{pair.arm} > {pair.other}" for pair in comparison.pairs]
    rows_axis(axes, names)
    event = "a higher value" if comparison.way == "neither" else "improvement"
    label(figure, f"probability of {event} (grey: not enough to tell)", "")
    return figure


def intervals(comparison: Comparison, _seed: int = 0) -> Figure:
    """Means with 95 % intervals and every seed's score, a panel a task; over tasks mean, median, IQM and gap."""
    looks = Looks(comparison.arms)
    panels: list[tuple[str, dict[str, Interval], dict[str, np.ndarray]]] = []
    if comparison.aggregates:
        names: list[tuple[str, Callable[[Any], Interval | None]]] = [
            ("mean", lambda each: each.mean), ("median", lambda each: each.median),
            ("IQM", lambda each: each.iqm), ("optimality gap", lambda each: each.gap),
        ]  # fmt: skip
        for name, of in names:
            found = {each.arm: value for each in comparison.aggregates if (value := of(each)) is not None}
            if found:
                panels.append((f"{name} over {len(comparison.common)} tasks", found, {}))
    for task in comparison.tasks:
        cells = {arm: comparison.cells[arm, task] for arm in comparison.arms if (arm, task) in comparison.cells}
        means = {arm: cell.mean for arm, cell in cells.items()}
        panels.append((task, means, {arm: cell.scores for arm, cell in cells.items()}))
    figure, axes_of = grid(len(panels), height=0.55 + ROW * len(comparison.arms), shared=True)
    order = comparison.arms[::-1]
    for axes, (title, means, seeds) in zip(axes_of, panels, strict=True):
        for row, arm in enumerate(order):
            if arm in seeds:
                axes.plot(seeds[arm], np.full(len(seeds[arm]), row), "|", color=looks.colour[arm], alpha=0.6, ms=5)
            if arm in means:
                dot(axes, means[arm], row, looks.colour[arm], looks.marker[arm])
        axes.set_title(title)
        rows_axis(axes, order)
    label(figure, comparison.name, "")
    return figure


def frontier(comparison: Comparison, across: Comparison) -> Figure:
    """Scores against another metric's, a panel a task: every seed, the mean over seeds, and how each run got there.

    Args:
        comparison: of the metric upwards.
        across: of the same runs, of the metric to the right.

    Raises:
        UsageError: no seed has both.
    """
    both = across.evaluations.rename({"value": "x"}).join(comparison.evaluations, on=["run", "seed", "step"])
    paths = both.sort("step").partition_by("run", "seed")
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (arm, task), cell in comparison.cells.items():
        other = across.cells.get((arm, task))
        shared = [(other.seeds[seed], y) for seed, y in cell.seeds.items() if seed in other.seeds] if other else []
        if shared:
            points.setdefault(task, {})[arm] = shared
    if not points:
        raise UsageError(f"no seed has a score of both {across.metric} and {comparison.metric}")
    looks = Looks([arm for arm in comparison.arms if any(arm in of for of in points.values())])
    figure, panels = grid(len(points), height=2.3 + LINE * len(looks.arms) if len(points) == 1 else None)
    for axes, task in zip(panels, sorted(points), strict=True):
        for path in paths:
            place = comparison.where[path["run"][0]]
            if place.task == task and place.arm in points[task]:
                axes.plot(path["x"], path["value"], color=looks.colour[place.arm], linewidth=0.6, alpha=0.5)
        for arm, seeds in points[task].items():
            x, y = np.array(seeds).T
            colour, marker = looks.colour[arm], looks.marker[arm]
            axes.plot(x, y, marker, color=colour, markersize=3, alpha=0.5, markeredgewidth=0)
            axes.plot([x.mean()], [y.mean()], marker, color=colour, markersize=6, markeredgecolor="white")
        axes.set_title(task)
    label(figure, across.name, comparison.name)
    looks.legend(figure, markers=True)
    return figure


KINDS: dict[str, Callable[[Comparison, int], Figure]] = {
    "curves": learning_curves,
    "efficiency": sample_efficiency,
    "profile": profiles,
    "improvement": improvements,
    "bars": intervals,
}
"""By the word of `rlbench plot`, but for the frontier; the number is the seed of the bootstrap."""


def require_common(comparison: Comparison) -> list[str]:
    """The tasks over which this figure is drawn.

    Raises:
        UsageError: no task is shared by all arms, or their scores cannot be averaged.
    """
    if not comparison.common:
        raise UsageError("this figure is drawn over the tasks that all algorithms share, and there is none")
    require_scale(comparison.metric, comparison.common)
    return comparison.common


def grid(count: int, height: float | None = None, shared: bool = False) -> tuple[Figure, list[Any]]:
    """A figure with so many panels, in rows."""
    columns = min(count, 2 if count == 4 else COLUMNS)
    rows = math.ceil(count / columns)
    width = WIDTH if columns > 1 else 0.6 * WIDTH
    figure = Figure(figsize=(width, rows * (height or (PANEL if count > 1 else 2.3)) + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=shared).flatten()
    for axes in panels:
        axes.title.set_parse_math(False)
    for empty in panels[count:]:
        empty.remove()
    return figure, list(panels[:count])


def steps_axis(axes: Any) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(left=0)


def logarithmic(figure: Figure) -> None:
    """Let scores be read by their order of magnitude; those that are not above 0 are not drawn.

    Raises:
        UsageError: none is above 0 in a panel.
    """
    for axes in figure.axes:
        if not any(np.any(np.asarray(line.get_ydata(), float) > 0) for line in axes.lines):
            raise UsageError(f"--log: no score is above 0 on {axes.get_title()}; draw it without")
        axes.set_yscale("log", nonpositive="mask")


def rows_axis(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))


def dot(axes: Any, interval: Interval, row: int, colour: str, marker: str) -> None:
    """A point estimate and its interval."""
    if not math.isnan(interval.low):
        ends = [interval.low, interval.high]
        axes.plot(ends, [row, row], color=colour, linewidth=3, alpha=0.4, solid_capstyle="butt")
    axes.plot([interval.value], [row], marker, color=colour, markersize=4)


def label(figure: Figure, x: str, y: str) -> None:
    figure.supxlabel(x, fontsize=8, parse_math=False)
    if y:
        figure.supylabel(y, fontsize=8, parse_math=False)


def encoded(figure: Figure, form: str) -> bytes:
    """The figure as a file's content, the same for the same figure.

    Args:
        figure: the figure.
        form: one of `FORMATS`.
    """
    stamp = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[form]
    buffer = BytesIO()
    with styled():
        figure.savefig(buffer, format=form, dpi=200, metadata=stamp)
    return buffer.getvalue()


def require_format(path: Path) -> None:
    """Raise `UsageError` where a file's name ends in none of `FORMATS`, or its folder is missing."""
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise UsageError(f"--out {path}: a figure's name ends in {', '.join(f'.{each}' for each in FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")


def save(figure: Figure, path: Path) -> None:
    """Write the figure, in the format that the name ends in (see `require_format`)."""
    write_atomically(path, encoded(figure, path.suffix.lower().removeprefix(".")))
