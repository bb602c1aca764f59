"""The recursion of the stock by hand, the numbers of the authors' code, demand, and the gymnasium environment."""

from __future__ import annotations

import math
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from gymnasium.utils.env_checker import check_env

from rlbench import config, cpu, paths
from rlbench.build import build
from rlbench.choices import Choices
from rlbench.envs.inventory.demand import Normal, Poisson, Seasonal, weeks_to_christmas
from rlbench.envs.inventory.network import OUTSIDE, WINDOW, Link, Moment, Network
from rlbench.envs.inventory.problems import Inventory
from rlbench.envs.inventory.simulator import Simulator
from rlbench.rng import SeedStreams
from tests.algos.inventory.cases import built

NAMES = [name for name in Choices().options("env") if Choices().about("env", name)["is"] == "inventory"]


def problem(name: str, **changes: Any) -> Inventory:
    content = yaml.safe_load((paths.conf_root() / "env" / f"{name}.yaml").read_text())
    found: Inventory = config.instantiate({**content, **changes})
    return found


def play(network: Network, stock: list[list[float]], orders: list[list[float]], demand: list[list[float]]) -> Any:
    """Stocks after each period and their costs, of one trace; a unit short costs 9 everywhere."""
    simulator, now = Simulator(network), torch.tensor([[stock]])
    stocks, costs = [], []
    for order, asked in zip(orders, demand, strict=True):
        underage = torch.full((1, 1, network.stores), 9.0)
        now, cost = simulator.step(now, torch.tensor([[order]]), torch.tensor([[asked]]), underage)
        stocks.append(now[0, 0].tolist())
        costs.append(float(cost))
    return stocks, costs


def test_an_order_is_on_hand_after_its_lead_time() -> None:
    network = Network(1, (Link(OUTSIDE, 0, 2),), (1.0,), lost=False)
    stocks, costs = play(network, [[4.0, 3.0]], [[10.0], [0.0], [0.0]], [[6.0], [0.0], [5.0]])
    assert stocks == [[[1.0, 10.0]], [[11.0, 0.0]], [[6.0, 0.0]]]
    assert costs == [18.0, 1.0, 6.0]  # two short, one left, six left


@pytest.mark.parametrize(("lost", "left"), [(False, -2.0), (True, 0.0)])
def test_demand_that_is_not_served_waits_or_is_lost(lost: bool, left: float) -> None:
    network = Network(1, (Link(OUTSIDE, 0, 1),), (1.0,), lost=lost)
    stocks, costs = play(network, [[4.0]], [[0.0]], [[6.0]])
    assert (stocks, costs) == ([[[left]]], [18.0])


def test_sales_earn() -> None:
    network = Network(1, (Link(OUTSIDE, 0, 1),), (1.0,), lost=True, profit=True)
    assert play(network, [[4.0]], [[5.0], [0.0]], [[6.0], [2.0]]) == ([[[5.0]], [[3.0]]], [-36.0, -15.0])


def test_a_warehouse_ships_and_holds_and_pays() -> None:
    """Store 0 gets from warehouse 2 with lead time 3, store 1 with 1; the warehouse from outside, 2 a unit, lead 2."""
    links = (Link(2, 0, 3), Link(2, 1, 1), Link(OUTSIDE, 2, 2, 2.0))
    network = Network(2, links, (1.0, 1.0, 0.5), lost=True)
    stock = [[5.0, 0.0, 0.0], [5.0, 0.0, 0.0], [10.0, 1.0, 0.0]]
    stocks, costs = play(network, stock, [[2.0, 4.0, 7.0]], [[5.0, 3.0]])
    assert stocks == [[[0.0, 0.0, 2.0], [6.0, 0.0, 0.0], [5.0, 7.0, 0.0]]]
    assert costs == [2.0 + 0.5 * 4 + 2 * 7]
    assert network.used == [0, 1, 2, 3, 6, 7]
    assert (network.suppliers, network.imports, network.levels) == ({2: [0, 1]}, [2], 2)


def test_parameters_are_those_of_the_authors() -> None:
    five = problem("inv_one_warehouse")
    assert five.demand.mean == [3.743, 4.750, 4.555, 3.801, 6.852]
    assert five.demand.std == [1.765, 2.124, 1.622, 1.405, 1.714]
    assert {link.lead for link in five.network.links[:5]} == {2, 3}
    assert all(6.3 <= each <= 11.7 for each in five.underage_range[0])
    ten = problem("inv_many_warehouses").network
    supplied = {w: {link.target for link in ten.links if link.source == w} for w in (10, 11)}
    assert supplied == {10: {2, 3, 4, 6, 7, 8}, 11: set(range(10)) - {6}}
    leads = {(link.source - 10, link.target): link.lead for link in ten.links if link.source >= 0}
    assert {store: lead for (w, store), lead in leads.items() if w == 0} == {2: 6, 3: 6, 4: 6, 6: 6, 7: 5, 8: 6}
    assert {lead for (w, store), lead in leads.items() if w == 1 and store in (1, 4)} == {1}
    assert [link.price for link in ten.links[-2:]] == [0.5, 1.5]
    assert problem("inv_serial").network.levels == 4
    shops = problem("inv_retail").network
    supplied = {w - 21: {link.target for link in shops.links if link.source == w} for w in (21, 22, 23)}
    without = {0: {3, 14}, 1: {5, 10, 11, 12, 13}, 2: {11}}
    assert supplied == {w: set(range(21)) - missing for w, missing in without.items()}
    assert [(link.lead, link.price) for link in shops.links[-3:]] == [(3, 0.5), (3, 1.5), (3, 0.7)]


def test_products_of_a_shop_have_prices_of_their_own_and_begin_with_nothing() -> None:
    _, task = built("algo=stock_cover", "env.train.traces=512")
    traces = next(task.traces("train"))
    assert float(traces.stock.abs().max()) == 0
    prices = traces.underage[0]
    assert float(prices.min()) == pytest.approx(6.3, abs=0.01)
    assert float(prices.max()) == pytest.approx(11.7, abs=0.01)
    assert float(prices.std(0).min()) > 1.4  # (11.7 - 6.3) / sqrt(12) = 1.56
    assert float(prices.std(1).min()) > 0.8


def test_demand_has_the_moments_that_it_should() -> None:
    streams = SeedStreams([0], "demand")
    law = Normal([5.0, 6.0], [1.6, 2.0], correlation=0.5)
    draws = law.draw(streams, 4000, 34)[0].transpose(0, 1).flatten(1).numpy()
    np.testing.assert_allclose(draws.mean(1), [5.0, 6.0], atol=0.03)
    np.testing.assert_allclose(draws.std(1), [1.6, 2.0], atol=0.02)
    assert np.corrcoef(draws)[0, 1] == pytest.approx(0.5, abs=0.02)
    counts = Poisson(5.0).draw(streams, 4000, 34).flatten().numpy()
    assert (counts.mean(), counts.var()) == (pytest.approx(5, abs=0.05), pytest.approx(5, abs=0.1))
    for k in (0, 5, 9):
        assert (counts == k).mean() == pytest.approx(math.exp(-5) * 5**k / math.factorial(k), abs=0.003)


def test_seasons_rise_to_christmas_and_noise_lasts() -> None:
    law = Seasonal([20.0], spread=0.5, persistence=0.7, noise=0.35, christmas=0.8, first_week=20)
    log = law.draw(SeedStreams([0], "demand"), 8000, 60)[0, :, 0, WINDOW:].log()
    weeks = weeks_to_christmas(20, 60)
    calm, peak = int((weeks > 20).nonzero()[0]), int((weeks == 0).nonzero()[0])
    assert float(log[:, peak].mean() - log[:, calm].mean()) == pytest.approx(0.8, abs=0.02)
    assert float(log[:, calm].exp().mean()) == pytest.approx(20, abs=0.4)
    noise = log - log.mean(1, keepdim=True)  # of one product
    assert float((noise[:, 0] * noise[:, 1]).mean() - (noise[:, 0] * noise[:, 5]).mean()) > 0.02
    assert law.calendar(60)[peak] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_never_ships_what_is_not_there(name: str) -> None:
    small = [f"env.{split}.traces=64" for split in ("train", "dev", "test")]
    for algo in ("hdpo", "hdpo_gnn", "hdpo_data_driven"):
        algorithm, task = built(f"algo={algo}", f"env={name}", *small, "env.train.periods=25", "env.train.ignored=5")
        network, traces = task.network, algorithm.epochs.next()
        seen: list[Any] = []

        def act(moment: Moment, act: Any = algorithm.act, seen: list[Any] = seen) -> torch.Tensor:
            orders: torch.Tensor = act(moment)
            seen.append((moment, orders))
            return orders

        with torch.no_grad():
            task.costs(act, traces)
        for moment, orders in seen:
            assert float(orders.min()) >= 0
            for supplier, links in network.suppliers.items():
                shipped, there = orders[..., links].sum(-1), moment.supply(supplier)
                assert bool((shipped <= there * (1 + 1e-5) + 1e-5).all())
                if not network.keeps:
                    torch.testing.assert_close(shipped, there)


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_finds_nothing_wrong(name: str) -> None:
    env: Any = gymnasium.make("rlbench.envs.inventory.gym:Inventory-v0", problem=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*infinity.*")  # stock has no bounds
        check_env(env.unwrapped, skip_render_check=True)


def test_an_episode_is_a_trace() -> None:
    """The base stock earns what it costs when all periods of the same trace are played in a batch."""
    algorithm, task = built("algo=newsvendor", "env.train.traces=1")
    env: Any = gymnasium.make("rlbench.envs.inventory.gym:Inventory-v0", problem="inv_one_store").unwrapped
    stock, _ = env.reset(seed=0)
    over, rewards = False, []
    while not over:
        order = max(29.58502 - float(stock.sum()), 0.0)
        stock, reward, _, over, info = env.step(np.array([order / 10 - 1]))  # up to four times the mean
        assert info["orders"][0] == pytest.approx(min(order, 20.0), abs=1e-5)
        rewards.append(reward)
    capped = task.costs(lambda moment: algorithm.act(moment).clamp(max=20), env.traces)
    np.testing.assert_allclose(-np.array(rewards), capped[0, 0].numpy(), atol=1e-3)


def test_a_hub_that_keeps_nothing_ships_though_nobody_orders() -> None:
    env: Any = gymnasium.make("rlbench.envs.inventory.gym:Inventory-v0", problem="inv_transshipment").unwrapped
    env.reset(seed=0)
    hub, links = next((supplier, links) for supplier, links in env.problem.network.suppliers.items())
    action = np.ones(env.action_space.shape)
    action[links] = -1.0
    for _ in range(8):
        there = float(env.stock[0, 0, hub, 0])
        orders = env.step(action)[-1]["orders"]
        np.testing.assert_allclose(orders[links], there / len(orders[links]), rtol=1e-5)
    assert there > 0


def test_an_algorithm_of_continuous_control_learns_to_order() -> None:
    """In 80 episodes, PPO is far from orders at random (-5364) and not better than the optimum (-519)."""
    cpu.settle(1)
    words = ["algo=ppo", "env=inv_one_store_control", "algo.horizon=50", "algo.batch_size=1000", "tracking=disabled"]
    algorithm, _ = build(config.compose(words))
    algorithm.train(4000)
    assert -3000 < float(algorithm.evaluate()["eval/return"][0]) < -500
