"""Tables as text: nothing is lost, nothing is too wide."""

import sys

import pytest

from rlbench.columns import folded, shows_colours

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


def test_columns_to_the_right_end_at_one_place_and_colours_move_nothing() -> None:
    rows = [["id", "steps", "state"], ["a", "1,000", "finished"], ["b", "10", "failed"], ["finished", "", "new"]]
    plain = list(folded(rows, 80, [1]))
    assert plain == [
        "id        steps  state", "a         1,000  finished", "b            10  failed", "finished         new",
    ]  # fmt: skip
    coloured = list(folded(rows, 80, [1], {"failed": "31"}))
    assert coloured[2] == "b            10  \x1b[31mfailed  \x1b[0m"
    assert [coloured[i] for i in (0, 1, 3)] == [plain[i] for i in (0, 1, 3)]


def test_colours_are_for_terminals_that_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not shows_colours()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert shows_colours()
    monkeypatch.setenv("TERM", "dumb")
    assert not shows_colours()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not shows_colours()


def test_a_terminal_too_narrow_for_anything_ends() -> None:
    assert len(list(folded(ROWS, 5))) > 3
