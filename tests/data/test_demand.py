"""Demand of one's own: how it is cut, what is refused, and what is learned from it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlbench import config
from rlbench.data.demand import to_christmas
from rlbench.envs.inventory.network import WINDOW
from rlbench.errors import UsageError
from tests.algos.inventory.cases import built

SHARED = Path(__file__).parents[3] / "shared/data/favorita-21-stores/weekly_sales.pt"
SHORT = ["env.train.periods=20", "env.dev.periods=10", "env.test.periods=10"]
FEW = [
    "env.train.traces=6",
    "env.dev.traces=4",
    "env.test.traces=4",
    *(f"env.{each}.ignored=2" for each in ("train", "dev", "test")),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """20 products, one store, 60 periods: demand is product + period / 100."""
    path = tmp_path / "demand.npy"
    np.save(path, np.arange(20)[:, None] + np.arange(60) / 100)
    return path


def words(path: Path, *more: str) -> list[str]:
    return ["algo=hdpo_data_driven", "env=inv_one_store_seasonal", f"dataset=demand:{path}", *SHORT, *FEW, *more]


def test_purposes_have_periods_of_their_own(table: Path) -> None:
    _, task = built(*words(table))
    for purpose, first in (("train", 0), ("dev", 20), ("test", 30)):
        traces = next(task.traces(purpose))  # type: ignore[arg-type]
        length = getattr(task.env, purpose).periods
        expected = np.arange(len(traces.demand[0]))[:, None] + np.arange(first, first + WINDOW + length) / 100
        np.testing.assert_allclose(traces.demand[0, :, 0], expected, rtol=1e-6)
    assert float(task.mean) == pytest.approx(9.5 + (WINDOW + 19) / 200, rel=1e-5)


def test_purposes_have_products_of_their_own(table: Path) -> None:
    _, task = built(*words(table, "dataset.split=product"))
    for purpose, products in (("train", range(6)), ("dev", range(6, 10)), ("test", range(10, 14))):
        traces = next(task.traces(purpose))  # type: ignore[arg-type]
        np.testing.assert_allclose(traces.demand[0, :, 0, 0], list(products))


def test_the_season_is_known_where_the_first_week_is(table: Path) -> None:
    _, task = built(*words(table, "dataset.first_week=2013-01-07"))
    assert task.columns == 1
    calendar = next(task.traces("dev")).calendar[:, 0] * 52
    # Dev begins 36 weeks after the first period: 16 to look back on, 20 to train on.
    expected = [to_christmas(date(2013, 1, 7).toordinal() + 7 * (36 + k)) for k in range(10)]
    np.testing.assert_allclose(calendar, expected, atol=1e-3)
    assert expected[0] == pytest.approx((date(2013, 12, 18) - date(2013, 9, 16)).days / 7)
    assert to_christmas(date(2013, 12, 18).toordinal()) == 0
    assert to_christmas(date(2013, 12, 19).toordinal()) == 364 / 7


def test_purposes_begin_where_they_are_told_to(table: Path) -> None:
    """What is ignored of a trace may have been trained on."""
    _, task = built(*words(table, "dataset.starts=[0,18,27]"))
    for purpose, first in (("train", 0), ("dev", 18), ("test", 27)):
        traces = next(task.traces(purpose))  # type: ignore[arg-type]
        np.testing.assert_allclose(traces.demand[0, 0, 0, 0], first / 100, atol=1e-6)


def test_returned_goods_are_no_demand(tmp_path: Path) -> None:
    torch.save(torch.full((8, 1, 60), -3.0), tmp_path / "returns.pt")
    _, task = built(*words(tmp_path / "returns.pt", "algo=just_in_time"))
    assert float(next(task.traces("test")).demand.max()) == 0


def test_forecasts_are_of_what_was_trained_on(table: Path) -> None:
    """Other periods or another calendar: another forecaster, not that of the cache."""
    small = ["algo=transformed_newsvendor", "algo.policy.forecast_epochs=1", "algo.policy.forecast_hidden_dims=[4]"]
    changes = (["dataset.starts=[0,18,27]"], ["dataset.starts=[2,20,29]"], ["dataset.first_week=2013-01-07"],
               ["dataset.first_week=2013-03-04"], ["dataset.first_week=2013-01-07"])  # fmt: skip
    found = [built(*words(table, *small, *each))[0].policy.forecaster.params for each in changes]
    assert not torch.equal(found[0]["0.weight"], found[1]["0.weight"])
    assert not torch.equal(found[2]["0.weight"], found[3]["0.weight"])
    assert torch.equal(found[2]["0.weight"], found[4]["0.weight"])


@pytest.mark.parametrize(
    ("array", "more", "said"),
    [
        (np.ones((4, 2, 60)), [], "it has 2 stores, env=inv_one_store_seasonal has 1"),
        (np.ones((4, 40)), [], "it has 40 periods, 56 are needed"),
        (np.ones((4, 60)), ["dataset.split=product"], "it has 4 products, 14 are asked for"),
        (np.ones(60), [], "it has 1 dimensions"),
        (np.full((4, 60), np.nan), [], "not finite"),
        (np.ones((4, 60)), ["dataset.first_week=week7"], "is no date"),
        (np.ones((4, 60)), ["dataset.starts=[0,20]"], "wanted are three periods"),
        (np.ones((4, 60)), ["dataset.starts=[0,20,40]"], "it has 60 periods, 66 are needed"),
        (np.ones((4, 60)), ["dataset.starts=[0,17,30]"], "begins before the periods for train end\nlet it start at 18"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path: Path, array: Any, more: list[str], said: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UsageError, match=said):
        built(*words(tmp_path / "x.npy", *more))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_text("arm,idle\n")
    with pytest.raises(UsageError, match=r"x\.npy"):
        built(*words(tmp_path / "x.npy"))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.pt").write_text("arm,idle\n")
    for name in ("empty.npy", "text.pt"):
        with pytest.raises(UsageError, match=name):
            built(*words(tmp_path / name))
    with pytest.raises(UsageError, match="does not exist"):
        built(*words(tmp_path / "y.npy"))


def test_a_run_is_named_by_what_is_in_the_file(table: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.npy"
    copy.write_bytes(table.read_bytes())
    first, second = (config.run_id(config.compose(words(path))) for path in (table, copy))
    assert first == second
    np.save(tmp_path / "other.npy", np.ones((20, 60)))
    assert config.run_id(config.compose(words(tmp_path / "other.npy"))) != first


def test_exact_solutions_are_not_for_recorded_demand(table: Path) -> None:
    with pytest.raises(UsageError, match=r"needs none|collects its own data"):
        config.compose(["algo=newsvendor", "env=inv_one_store", f"dataset=demand:{table}"])


@pytest.mark.skipif(not SHARED.exists(), reason="weekly sales of 21 stores may not be passed on; they are not here")
def test_weekly_sales_of_21_stores() -> None:
    """Stock cover earns on the last weeks, which it has not seen, more than before it has learned."""
    words = ["env=inv_retail", f"dataset=demand:{SHARED}", "dataset.first_week=2013-01-01", "algo.dev_every=5"]
    algorithm, task = built("algo=stock_cover", *words)
    assert task.data is not None
    assert task.data.values.shape == (288, 21, 171)
    for purpose, first, last in (("train", 0, 111), ("dev", 88, 141), ("test", 118, 171)):
        traces = next(task.traces(purpose))  # type: ignore[arg-type]
        np.testing.assert_array_equal(traces.demand[0].numpy(), task.data.values[..., first:last])
    before = float(task.cost(algorithm.act, "test"))
    algorithm.train(10)
    assert float(task.cost(algorithm.act, "test")) < before < 0
