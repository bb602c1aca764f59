"""The page on a data set."""

import numpy as np

from rlbench.data import info
from rlbench.data.transitions import Transitions


def dataset() -> Transitions:
    """Two episodes, returns 6 and 4; four distinct cells of state and action in five rows."""
    state = np.array([[0.0], [0.0], [10.0], [0.0], [10.0]])
    action = np.array([[-1.0], [1.0], [-1.0], [-1.0], [1.0]])
    card = {"id": "mine", "licence": "MIT", "reference": {"min": 0.0, "max": 10.0}, "policies": [{"name": "a"}]}
    flags = np.array([0, 0, 1, 0, 0]), np.array([0, 0, 0, 0, 1])
    return Transitions.of_columns(state, action, np.array([1.0, 2, 3, 2, 2]), state, *flags, card)


def test_coverage_counts_cells() -> None:
    assert info.coverage(dataset()) == (4, 5)


def test_coverage_is_of_a_sets_own_range() -> None:
    """A hundredth of the range is covered as well as all of it, and the page says so."""
    wide = dataset()
    narrow = Transitions(wide.table * np.array([0.01, 0.01, 1, 1, 1, 1], dtype=np.float32), 1, 1, wide.card)
    assert info.coverage(narrow) == info.coverage(wide)
    (line,) = (line for line in info.lines(narrow) if line.startswith("  coverage"))
    assert line.endswith("cells are parts of this set's own range, and do not compare with another set's")


def test_histogram_counts_everything() -> None:
    values = np.arange(100.0)
    bars = list(info.histogram(values))
    assert len(bars) == info.BINS
    assert sum(int(bar.split()[3]) for bar in bars) == 100
    assert len(list(info.histogram(np.ones(7)))) == 1


def test_page() -> None:
    page = "\n".join(info.lines(dataset()))
    for said in (
        "licence      MIT",
        "source       not told",
        "policies     a",
        "2: 1 terminated, 1 truncated, 0 unfinished",
        "5.0 ± 1.0",
        "normalised score 50.0",
        "length of an episode: 2.5 ± 0.5",
        "80%",
    ):
        assert said in page
