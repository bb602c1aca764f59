"""The exact references, against numbers that others have, and against plays of the policies that they belong to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rlbench.algos.inventory.clark_scarf import solve
from rlbench.algos.inventory.lost_sales import LostSales
from rlbench.algos.inventory.newsvendor import RARELY_CLIPPED, Newsvendor
from rlbench.envs.inventory.network import Moment
from rlbench.errors import UsageError
from tests.algos.inventory.cases import built, train

MORE = ["env.train.traces=1024", "env.test.traces=16384", "env.test.periods=150", "env.test.ignored=100"]


@pytest.mark.parametrize(
    ("underage", "lead", "level", "cost"),
    [(9, 4, 29.585, 6.279), (4, 4, 28.011, 5.008), (39, 4, 32.012, 8.364), (9, 20, 114.396, 12.868)],
)
def test_base_stock_in_closed_form(underage: float, lead: int, level: float, cost: float) -> None:
    store = Newsvendor(5.0, 1.6, lead, 1.0, underage)
    assert store.level == pytest.approx(level, abs=5e-4)
    assert store.cost(store.level) == pytest.approx(cost, abs=5e-4)
    assert store.cost(store.level) < min(store.cost(store.level - 0.1), store.cost(store.level + 0.1))


def test_cost_of_a_base_stock_is_the_integral() -> None:
    store = Newsvendor(5.0, 1.6, 3, 1.0, 9.0)
    demand = np.linspace(20 - 8 * 3.2, 20 + 8 * 3.2, 400_001)
    density = np.exp(-(((demand - 20) / 3.2) ** 2) / 2) / (3.2 * math.sqrt(2 * math.pi))
    for level in (18.0, 24.1, 30.0):
        cost = np.where(demand < level, level - demand, 9 * (demand - level))
        assert store.cost(level) == pytest.approx(np.trapezoid(cost * density, demand), rel=1e-6)


@pytest.mark.parametrize(("lead", "underage"), [(1, 9.0), (4, 9.0), (4, 39.0)])
def test_a_play_of_the_base_stock_costs_what_the_formula_says(lead: int, underage: float) -> None:
    """Were the risk period L and not L + 1, costs would be off by more than 10 %."""
    words = ["algo=newsvendor", f"env.lead_time={lead}", f"env.underage=[{underage}]", *MORE]
    metrics = train(built(*words)[0], 1)
    assert metrics["eval/cost"][0] == pytest.approx(metrics["eval/bound"][0], rel=0.01)


def test_where_demand_is_rarely_clipped_the_base_stock_is_in_closed_form() -> None:
    store = Newsvendor(5.0, 1.6, 4, 1.0, 9.0)
    algorithm, _ = built("algo=newsvendor", "env.train.traces=8")
    assert (algorithm.policy.level, algorithm.policy.bound) == (store.level, store.cost(store.level))
    for lead in (1, 4, 20):
        least = Newsvendor(RARELY_CLIPPED * 1.6, 1.6, lead, 1.0, 9.0)
        assert least.cost(least.level) == pytest.approx(solve(least.mean, 1.6, [lead], [1.0], 9.0).cost, rel=1e-3)


def test_where_demand_is_often_clipped_the_base_stock_costs_what_was_solved() -> None:
    """In closed form, it would cost 19.6, which is no bound: its play costs 17.8."""
    metrics = train(built("algo=newsvendor", "env.std=5", *MORE)[0], 1)
    assert metrics["eval/cost"][0] == pytest.approx(metrics["eval/bound"][0], rel=0.01)


@pytest.mark.parametrize(
    "words",
    [
        ["algo=newsvendor"],
        ["algo=newsvendor", "env.std=5"],  # clipping raises the mean by 0.42, of which each earns 9
        ["algo=clark_scarf", "env=inv_one_store"],
        ["algo=lost_sales_vi", "env.lead_time=2"],
        ["algo=federgruen_zipkin", "env.test.traces=4096"],
    ],
    ids=" ".join,
)
def test_bounds_are_of_what_is_charged_where_sales_earn(words: list[str]) -> None:
    metrics = train(built(*MORE, *words, "env.profit=true")[0], 1)
    assert metrics["eval/cost"][0] == pytest.approx(metrics["eval/bound"][0], abs=0.15)


ZIPKIN = {
    1: {4: 4.04, 9: 5.44, 19: 6.68, 39: 7.84},
    2: {4: 4.40, 9: 6.09, 19: 7.66, 39: 9.11},
    3: {4: 4.60, 9: 6.53, 19: 8.36, 39: 10.04},
    4: {4: 4.73, 9: 6.84, 19: 8.89},
}


@pytest.mark.parametrize(("lead", "underage"), [(lead, p) for lead, row in ZIPKIN.items() for p in row])
def test_lost_sales_cost_what_zipkin_found(lead: int, underage: float) -> None:
    assert LostSales(5.0, lead, 1.0, underage).solve()[0] == pytest.approx(ZIPKIN[lead][int(underage)], abs=5.1e-3)


class Wider(LostSales):
    """The same problem, solved on a larger grid."""

    @property
    def most_on_hand(self) -> int:
        return super().most_on_hand + 12


@pytest.mark.parametrize(
    ("mean", "lead", "underage"), [(0.3, 1, 39.0), (0.5, 1, 9.0), (0.2, 1, 9.0), (1.0, 1, 200.0), (0.05, 2, 39.0)]
)
def test_the_lost_sales_optimum_of_slow_movers_does_not_end_at_the_edge_of_its_grid(
    mean: float, lead: int, underage: float
) -> None:
    cost, order = LostSales(mean, lead, 1.0, underage).solve()
    wider_cost, wider_order = Wider(mean, lead, 1.0, underage).solve()
    assert cost == pytest.approx(wider_cost, abs=1e-6)
    position = np.indices(order.shape).sum(0)
    reached = position <= len(order) - 1
    assert (order[reached] == wider_order[: len(order)][reached]).all()
    assert (order[position >= len(order) - 1] == 0).all()


def test_a_play_of_the_lost_sales_optimum_costs_what_was_solved() -> None:
    algorithm, task = built("algo=lost_sales_vi", "env.lead_time=2", *MORE)
    metrics = train(algorithm, 1)
    assert metrics["eval/bound"][0] == pytest.approx(6.0936, abs=1e-4)
    assert metrics["eval/cost"][0] == pytest.approx(6.0936, rel=0.01)
    for stock, order in (([0.0, 0.0], 7.0), ([20.0, 9.0], 0.0)):
        moment = Moment(torch.tensor([[[stock]]]), next(task.traces("dev")), 0)
        assert float(algorithm.act(moment)) == order
    assert algorithm.files(0)["orders.csv"].startswith("on_hand,arrives_in_1,order\n0,0,7\n")


@pytest.mark.parametrize(("underage", "cost"), [(4, 8.753), (9, 10.734), (39, 13.910)])
def test_clark_and_scarf(underage: float, cost: float) -> None:
    found = solve(5.0, 2.0, [4, 3, 4, 2], [1.0, 0.5, 0.2, 0.1], underage)
    assert found.cost == pytest.approx(cost, abs=1.5e-3)
    if underage == 9:
        np.testing.assert_allclose(found.levels, [32.35, 49.00, 72.80, 83.20], atol=0.06)


def test_a_chain_of_one_is_a_newsvendor() -> None:
    """Normal demand that is hardly ever clipped; a grid of 100,000 points where it hardly varies."""
    for std in (1.5, 0.03):
        store, found = Newsvendor(10.0, std, 3, 1.0, 9.0), solve(10.0, std, [3], [1.0], 9.0)
        assert found.levels[0] == pytest.approx(store.level, abs=0.02 * std)
        assert found.cost == pytest.approx(store.cost(store.level), rel=1e-3)


def test_a_play_of_clark_and_scarf_costs_what_was_solved() -> None:
    metrics = train(built("algo=clark_scarf", *MORE)[0], 1)
    assert metrics["eval/cost"][0] == pytest.approx(metrics["eval/bound"][0], rel=0.01)


@pytest.mark.parametrize(("underage", "bound"), [(4, 5.296), (9, 6.640)])
def test_transshipment_is_bounded_and_the_bound_is_nearly_reached(underage: float, bound: float) -> None:
    metrics = train(built("algo=federgruen_zipkin", f"env.underage=[{underage}]", *MORE, "env.test.traces=4096")[0], 1)
    assert metrics["eval/bound"][0] == pytest.approx(bound, abs=5e-4)
    assert 0.995 * bound < metrics["eval/cost"][0] < 1.02 * bound


def test_what_arrives_at_the_hub_goes_to_the_lowest_stores() -> None:
    algorithm, task = built("algo=federgruen_zipkin", "env.train.traces=8")
    policy, traces = algorithm.policy, next(task.traces("train"))
    stock = torch.zeros(1, 8, 6, task.network.slots)
    stock[..., :5, 0] = policy.mean + torch.tensor([-4.0, -2.0, 0.0, 3.0, 9.0]) * policy.deviation
    for supply in (1.0, 30.0, 200.0):
        stock[..., 5, 0] = supply
        orders = algorithm.act(Moment(stock, traces, 0))[0, 0]
        given, position = orders[:5], stock[0, 0, :5].sum(-1)
        assert float(given.sum()) == pytest.approx(supply, rel=1e-5)
        filled = ((position + given - policy.mean) / policy.deviation)[given > 0]
        torch.testing.assert_close(filled, filled[:1].expand_as(filled), atol=1e-3, rtol=1e-3)
        untouched = ((position - policy.mean) / policy.deviation)[given == 0]
        assert bool((untouched >= filled[0] - 1e-3).all())
        assert float(orders[5]) == pytest.approx(max(policy.level - float(stock[0, 0].sum()), 0), abs=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["algo=newsvendor", "env=inv_serial"], "env=inv_one_store"),
        (["algo=clark_scarf", "env=inv_one_warehouse"], "env=inv_serial"),
        (["algo=lost_sales_vi", "env=inv_one_store"], "env=inv_one_store_lost"),
        (["algo=lost_sales_vi", "env.lead_time=8"], "algo=capped_base_stock"),
        (["algo=federgruen_zipkin", "env=inv_one_warehouse"], "env=inv_transshipment"),
        (["algo=base_stock", "env=inv_transshipment"], "env=inv_one_store"),
        (["algo=echelon_stock", "env=inv_one_warehouse"], "env=inv_serial"),
        (["algo=echelon_stock", "env=inv_transshipment", "env.stores=1"], "stages can keep stock"),
        (["algo=just_in_time", "env=inv_retail"], "env=inv_one_store_seasonal"),
        (["algo=clark_scarf", "env.std=0"], "demand that varies"),
        (["algo=newsvendor", "env.std=0"], "demand that varies"),
        (["algo=federgruen_zipkin", "env.cv=[0,0]"], "demand that varies"),
        (["algo=federgruen_zipkin", "env.clipped=true"], "demand that is not clipped at 0: env.clipped=false"),
        (
            ["algo=clark_scarf", "env=inv_one_warehouse", "env.stores=1", "env.lost=false", "env.clipped=false"],
            "demand that is clipped at 0",
        ),
        (["algo=hdpo", "env.dev.ignored=100"], "dev ignores 100 of 100"),
        (["algo=clark_scarf", "env.holding=[1.0]"], "4 lead times and 1 holding costs"),
        (["algo=clark_scarf", "env.lead_times=[]", "env.holding=[]"], "0 lead times and 0 holding costs"),
        (["algo=hdpo", "env=inv_one_warehouse", "env.lead_times=[]"], "lead_times are empty\nwanted are 1 lists of 5"),
        (
            ["algo=hdpo", "env=inv_one_warehouse", "env.lead_times=[[]]"],
            "lead_times are empty\nwanted are 1 lists of 5",
        ),
        (["algo=hdpo", "env=inv_one_warehouse", "env.lead_times=[[2,3],[2,3]]"], "lead_times are 2 x 2"),
        (["algo=hdpo", "env=inv_one_warehouse", "env.lead_times=[[2,0,2,2,2]]"], "no warehouse supplies store 1"),
        (["algo=hdpo", "env=inv_one_warehouse", "env.lead_times=[[3,2]]"], "[[least, largest]]"),
        (["algo=hdpo", "env=inv_one_warehouse", "env.holding=[]"], "one number, or [least, largest]"),
        (["algo=hdpo", "env=inv_one_store", "env.underage=[9,2]"], "one number, or [least, largest]"),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        built(*words, "env.train.traces=8")
