"""The published figures: read right, and transcribed right as far as arithmetic can tell."""

from collections import defaultdict

import pytest

from rlbench import config
from rlbench.analysis.published import figures, load, read
from rlbench.data import d4rl

PRINTED = [table for table in read()["tables"] if "average" in table and table["key"] != "cocoa"]


def test_cells_by_hand() -> None:
    table = {
        "source": "s", "key": "k", "columns": ["a", "b", "c", "d", "e", "f"], "metric": "m", "seeds": 4,
        "spread": "population", "rows": {"t": "1.5±0.3 - 5..8 .86[.84,.87] ~60 <10"},
    }  # fmt: skip
    a, c, d, e, f = figures(table, {})
    assert (a.value, a.spread) == (1.5, 0.3)
    assert a.deviation == pytest.approx(0.3 * (4 / 3) ** 0.5)
    assert (c.method, c.value, c.upto) == ("c", 5.0, 8.0)
    assert (d.value, d.interval, d.deviation) == (0.86, (0.84, 0.87), None)
    assert (e.value, e.mark) == (60.0, "~")
    assert (f.value, f.mark) == (10.0, "<")


@pytest.mark.parametrize("row", ["1.5 2", "1,5", "1±", "a"])
def test_a_cell_that_is_no_figure_is_refused(row: str) -> None:
    with pytest.raises(ValueError):
        list(figures({"source": "s", "key": "k", "columns": ["a"], "rows": {"t": row}}, {}))


@pytest.mark.parametrize("table", PRINTED, ids=lambda table: table["source"])
def test_averages_are_those_that_the_source_prints(table: dict[str, object]) -> None:
    """A slip in any cell of 9 moves its column's average by more than its rounding."""
    printed = [float(each) for each in str(table["average"]).split()]
    columns = defaultdict(list)
    for figure in figures(table, {}):
        columns[figure.method].append(figure.value)
    assert len(columns) == len(printed)
    for values, average in zip(columns.values(), printed, strict=True):
        assert sum(values) / len(values) == pytest.approx(average, abs=0.0075)  # two cut theirs off


def test_cocoas_averages_are_over_the_data_sets_that_have_a_figure() -> None:
    (table,) = [table for table in read()["tables"] if table["key"] == "cocoa"]
    columns = defaultdict(list)
    for figure in figures(table, {}):
        columns[figure.method].append(figure.value)
    for method, average in zip(table["columns"], str(table["average"]).split(), strict=True):
        values = columns[method]
        assert len(values) == (9 if "IQL" in method else 12)
        assert sum(values) / len(values) == pytest.approx(float(average), abs=0.06)


def test_what_can_be_run_here_is_chosen_by_words_that_compose() -> None:
    """Every data set is one of D4RL's, every method an algorithm of ours with the settings named."""
    held = [figure for figure in load() if figure.words]
    assert {figure.key for figure in held} >= {"corl", "offlinerl-kit", "cocoa", "papers", "offlinerl-lib", "jax-corl"}
    for words in {figure.words for figure in held if figure.task == "hopper-medium-v2"}:
        cfg = config.compose(words)
        assert cfg.dataset.id == "hopper-medium-v2"
    for task in {figure.task for figure in held}:
        assert d4rl.entry(task).id == task


def test_figures_carry_their_source() -> None:
    for figure in load():
        assert figure.source
        assert figure.metric
        assert figure.verified or figure.key in ("recalled", "cpl", "seeupo", "flare")
    iql = {
        figure.key: figure.value
        for figure in load()
        if (figure.method, figure.task) == ("IQL", "hopper-medium-replay-v2")
    }
    assert (iql["corl"], iql["papers"]) == (97.43, 94.7)
    (fmq,) = [f for f in load() if (f.key, f.method, f.task) == ("fmq", "FMQ", "IQM") and f.interval]
    assert (fmq.value, fmq.interval) == (0.91, (0.89, 0.93))
