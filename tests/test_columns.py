"""Tables as text: nothing is lost, nothing is too wide."""

import pytest

from rlbench.columns import folded

ROWS = [
    ["", "", "paper"],
    ["federgruen_zipkin", "Myopic Allocation with its Lower Bound", "Federgruen and Zipkin, Management Science 1984"],
    ["bc", "Behaviour Cloning", "Pomerleau 1988"],
]


def test_what_fits_is_one_line_a_row() -> None:
    lines = list(folded(ROWS, 160))
    assert len(lines) == 3
    assert lines[2].split("  ")[0] == "bc"
    assert lines[0].index("paper") == lines[1].index("Federgruen") == lines[2].index("Pomerleau")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_what_is_too_wide_is_folded_and_nothing_is_lost(width: int) -> None:
    lines = list(folded(ROWS, width))
    assert max(map(len, lines)) <= width
    assert len(lines) > 3
    assert sorted(" ".join(lines).split()) == sorted(" ".join(cell for row in ROWS for cell in row).split())
    assert any(line.startswith("federgruen_zipkin  ") for line in lines)  # names can be copied whole


def test_a_terminal_too_narrow_for_anything_ends() -> None:
    assert len(list(folded(ROWS, 5))) > 3
