"""HDPO's gradient, its policies, and what they come to next to exact optima."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench import config
from rlbench.algos.inventory.newsvendor import Newsvendor
from rlbench.envs.inventory.network import Moment, Traces
from rlbench.errors import UsageError
from rlbench.nets.optim import Params, gradients
from tests.algos.inventory.cases import built, train

TINY = ["env.train.traces=32", "env.dev.traces=16", "env.test.traces=16"]


def objective(algorithm: Any, task: Any, traces: Traces) -> Any:
    def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
        return task.costs(lambda moment: algorithm.policy(params, moment), traces).mean((1, 2)), {}

    return loss


def doubled(task: Any, traces: Traces) -> Traces:
    """The same in double precision."""
    simulator = task.simulator
    for name in ("arrivals", "shipments", "holding"):
        setattr(simulator, name, getattr(simulator, name).double())
    return Traces(traces.demand.double(), traces.stock.double(), traces.underage.double(), traces.calendar.double())


@pytest.mark.parametrize(
    "words",
    [
        ["algo=hdpo", "env=inv_one_store", "algo.policy.hidden_dims=[2]"],
        ["algo=hdpo", "env=inv_one_warehouse", "algo.policy.hidden_dims=[2]"],
        ["algo=echelon_stock", "env=inv_serial"],
        ["algo=hdpo_gnn", "env=inv_serial", "algo.policy.hidden_dims=[2]", "algo.policy.width=2"],
    ],
    ids=" ".join,
)
def test_gradient_is_that_of_central_differences(words: list[str]) -> None:
    """In double precision, the cost being piecewise smooth: no kink lies within the step."""
    algorithm, task = built(*words, *TINY, "env.train.periods=12", "env.train.ignored=0")
    traces = doubled(task, algorithm.epochs.traces)
    for name in ("mean", "std"):
        task.__dict__[name] = getattr(task, name).double()
    for name in ("lead", "incoming", "outgoing"):
        if hasattr(algorithm.policy, name):
            setattr(algorithm.policy, name, getattr(algorithm.policy, name).double())
    params = {name: value.double() for name, value in algorithm.params.items()}
    loss = objective(algorithm, task, traces)
    found = torch.cat([grad.flatten() for grad in gradients(loss, params)[0]])
    assert float(found.abs().max()) > 0
    expected, step = [], 1e-6
    for value in params.values():
        flat = value.view(-1)
        for place in range(flat.numel()):
            before, ends = float(flat[place]), []
            for at in (before + step, before - step):
                flat[place] = at
                ends.append(float(loss(params)[0]))
            flat[place] = before
            expected.append((ends[0] - ends[1]) / (2 * step))
    error = float((found - torch.tensor(expected, dtype=torch.float64)).norm() / found.norm())
    assert error < 1e-3


@pytest.mark.parametrize("env", ["inv_one_warehouse", "inv_transshipment"])
def test_graph_network_orders_the_same_whatever_the_order_of_stores(env: str) -> None:
    algorithm, task = built("algo=hdpo_gnn", f"env={env}", *TINY)
    policy, traces, n = algorithm.policy, algorithm.epochs.traces, 5
    stock = torch.rand(1, 32, n + 1, task.network.slots) * 8
    stock.view(1, 32, -1)[..., [i for i in range(stock[0, 0].numel()) if i not in task.network.used]] = 0.0
    orders = policy(algorithm.params, Moment(stock, traces, 3))
    order = torch.tensor([3, 0, 4, 2, 1])
    leads = [link.lead for link in task.network.links[:n]]
    # The same stores in another order: their stock, costs, demand and lead times.
    network, simulator = task.network, task.simulator
    links = tuple(
        type(link)(link.source, place, leads[int(order[place])], link.price)
        for place, link in enumerate(network.links[:n])
    )
    holding = tuple(network.holding[int(each)] for each in order)
    other = type(network)(
        n, links + network.links[n:], (*holding, network.holding[n]), network.lost, keeps=network.keeps
    )
    with torch.no_grad():
        task.env.__dict__["network"] = other
        task.__dict__["simulator"] = type(simulator)(other)
        task.__dict__["mean"], task.__dict__["std"] = task.mean[order], task.std[order]
        again = type(policy)(task, hidden_dims=[32, 32], width=32, demand="moments")
        shuffled = Traces(
            traces.demand[:, :, order], traces.stock[:, :, order], traces.underage[:, :, order], traces.calendar
        )
        places = torch.cat([order, torch.tensor([n])])
        permuted = again(algorithm.params, Moment(stock[:, :, places], shuffled, 3))
    assert float((permuted - orders[..., places]).abs().max()) < 1e-5 * float(orders.max())
    assert float(orders.detach().std()) > 0


def test_graph_network_of_a_chain_has_a_round_for_each_echelon() -> None:
    rounds = [
        built("algo=hdpo_gnn", f"env={env}", *TINY)[0].policy.rounds for env in ("inv_serial", "inv_one_warehouse")
    ]
    assert rounds == [3, 1]


def test_stock_cover_fills_up_and_splits_what_is_missing() -> None:
    algorithm, task = built("algo=stock_cover", "env.train.traces=4")
    policy, network, traces = algorithm.policy, task.network, algorithm.epochs.next()
    params = {"periods": torch.full((1, 1, 24), 3.0), "shares": torch.zeros(1, 1, len(network.links))}
    periods, stock = math.log1p(math.exp(3.0)), task.simulator.start(traces)
    stock[..., 21:, 0] = 1e6
    moment = Moment(stock, traces, 0)
    orders, recent = policy(params, moment), moment.past.mean(-1)
    for place, link in enumerate(network.links[:-3]):
        sources = sum(other.target == link.target for other in network.links)
        torch.testing.assert_close(orders[..., place], periods * recent[..., link.target] / sources)
    assert float(orders[..., -3:].max()) == 0
    stock[..., 21:, 0] = 7.0
    short = policy(params, moment)
    for w in range(3):
        links = network.suppliers[21 + w]
        torch.testing.assert_close(short[..., links].sum(-1), torch.full((1, 4), 7.0))
        wanted = (periods * recent.sum(-1) - 7).clamp(min=0)
        torch.testing.assert_close(short[..., network.imports[w]], wanted)


@pytest.mark.parametrize("name", ["hdpo", "hdpo_gnn", "hdpo_data_driven", "stock_cover"])
def test_a_hub_that_keeps_nothing_ships_all_to_stores_that_want_nothing(name: str) -> None:
    algorithm, task = built(f"algo={name}", "env=inv_transshipment", *TINY)
    policy, traces = algorithm.policy, algorithm.epochs.traces
    stock = task.simulator.start(traces)
    stock[:, :, :5, 0], stock[:, :, 5, 0] = 1e4, torch.linspace(0, 100, 32)
    if name != "stock_cover":  # it sees that the stores have too much
        net = policy.head if name == "hdpo_gnn" else policy.net
        algorithm.params[net.layers[-1][1]] -= 1e6

    def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
        orders = policy(params, Moment(stock, traces, 0))
        shipped = orders[..., task.network.suppliers[5]]
        torch.testing.assert_close(shipped.sum(-1), stock[:, :, 5, 0])
        if name != "hdpo":  # whose softmax has shares of what is not wanted, too
            torch.testing.assert_close(shipped, shipped.mean(-1, keepdim=True).expand_as(shipped))
        following, cost = task.simulator.step(stock, orders, traces.demand[..., 16], traces.underage)
        assert float(following.detach()[:, :, 5, 0].abs().max()) < 1e-3
        return (cost + following.sum((2, 3))).mean(1), {}

    assert all(bool(grad.isfinite().all()) for grad in gradients(loss, algorithm.params)[0])


def test_graph_network_is_told_the_season_with_past_demand() -> None:
    algorithm, task = built("algo=hdpo_gnn", "env=inv_retail", "algo.policy.demand=past", "env.train.traces=4")
    policy, traces = algorithm.policy, algorithm.epochs.next()
    features = policy.node_features(Moment(task.simulator.start(traces), traces, 7))
    assert features.shape[-1] == policy.features
    assert torch.equal(features[..., :21, -1], traces.calendar[7].expand(1, 4, 21))
    assert float(features[..., 21:, -1].abs().max()) == 0


def test_base_stock_learns_the_level_in_closed_form() -> None:
    algorithm, _ = built("algo=base_stock", "algo.batch_size=256", "env.train.traces=8192")
    algorithm.train(150)
    level = float(algorithm.policy.levels(algorithm.best))
    store = Newsvendor(5.0, 1.6, 4, 1.0, 9.0)
    assert level == pytest.approx(store.level, abs=0.15)
    assert store.cost(level) <= 1.005 * store.cost(store.level)


def test_every_trace_comes_once_an_epoch() -> None:
    algorithm, _ = built("algo=base_stock", *TINY, "algo.batch_size=8", "seeds=2")
    epochs = algorithm.epochs
    for _ in range(2):
        batches = [epochs.next().demand[..., 0, 20] for _ in range(4)]
        seen = torch.cat(batches, 1).sort(1).values
        assert torch.equal(seen, epochs.traces.demand[..., 0, 20].sort(1).values)


def test_settings_of_the_authors_differ_by_environment() -> None:
    rates = {env: config.compose(["algo=hdpo", f"env={env}"]).algo for env in ("inv_one_store", "inv_serial")}
    assert (rates["inv_one_store"].learning_rate, rates["inv_serial"].learning_rate) == (3e-3, 1e-2)
    assert (rates["inv_one_store"].policy.hidden_dims, rates["inv_serial"].policy.hidden_dims) == ([32] * 3, [32] * 2)
    typed = config.compose(["algo=hdpo", "env=inv_serial", "algo.learning_rate=0.5"])
    assert typed.algo.learning_rate == 0.5


def test_the_best_on_the_dev_traces_is_kept() -> None:
    algorithm, task = built("algo=base_stock", *TINY, "algo.dev_every=1", "seeds=2")
    algorithm.params["level"][0] = 29.0  # nearly the best: what comes after it is worse
    algorithm.choose()
    kept = algorithm.best["level"][0].clone()
    algorithm.params["level"][0] = 80.0
    algorithm.train(3)
    assert float(algorithm.best["level"][0]) == float(kept) == 29.0
    assert float(algorithm.best["level"][1]) == float(algorithm.params["level"][1])
    cost = task.cost(algorithm.act, "dev")
    torch.testing.assert_close(cost, algorithm.best_cost)


def test_patience_ends_the_training_of_a_seed() -> None:
    algorithm, _ = built("algo=base_stock", *TINY, "algo.dev_every=1", "algo.patience=5", "algo.learning_rate=1e-9")
    algorithm.params["level"][0] = 29.585
    algorithm.train(20)
    before = algorithm.params["level"].clone()
    algorithm.train(20)
    assert algorithm.over()
    assert torch.equal(algorithm.params["level"], before)
    assert algorithm.time == 40


def test_whole_demand_means_whole_orders_in_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, task = built("algo=capped_base_stock", "env=inv_one_store_lost", *TINY)
    original, seen, ordered = task.simulator.step, dict[str, Tensor](), list[Tensor]()

    def step(stock: Tensor, orders: Tensor, demand: Tensor, underage: Tensor) -> Any:
        ordered.append(orders)
        return original(stock, orders, demand, underage)

    monkeypatch.setattr(task.simulator, "step", step)
    for purpose in ("dev", "test"):
        task.cost(algorithm.act, purpose)
        seen[purpose] = torch.stack(ordered)
        ordered.clear()
    assert bool((seen["test"] == seen["test"].round()).all())
    assert not bool((seen["dev"] == seen["dev"].round()).all())


@pytest.mark.slow
def test_lost_sales_cap_orders() -> None:
    """With L = 4, optimum < capped base stock < base stock: 6.836, about 6.92, about 7.27."""
    words = ["env=inv_one_store_lost", "algo.batch_size=128", "env.train.traces=4096"]
    capped, plain = (train(built(f"algo={name}", *words)[0], 100) for name in ("capped_base_stock", "base_stock"))
    best = train(built("algo=lost_sales_vi", "env.train.traces=64")[0], 1)
    assert best["eval/cost"][0] < capped["eval/cost"][0] < 7.05
    assert 7.2 < plain["eval/cost"][0] < 7.4


@pytest.mark.slow
def test_levels_of_a_chain_are_learned() -> None:
    """Within 1 % of the optimum on the same traces."""
    learned = train(built("algo=echelon_stock", "algo.batch_size=256")[0], 300)["eval/cost"][0]
    best = train(built("algo=clark_scarf")[0], 1)["eval/cost"][0]
    assert 0.997 * best < learned < 1.01 * best


@pytest.mark.slow
def test_plain_network_nears_the_optimum_of_a_store() -> None:
    """Within 3 % after 600 steps, on the same traces."""
    words = ["algo.batch_size=128", "env.train.periods=30", "env.train.ignored=10"]
    learned = train(built("algo=hdpo", *words)[0], 600)["eval/cost"][0]
    best = train(built("algo=newsvendor")[0], 1)["eval/cost"][0]
    assert best < learned < 1.03 * best


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_graph_network_nears_the_bound_behind_a_hub() -> None:
    """Within 4 % of the lower bound, and of what nearly reaches it on the same traces."""
    words = ["env=inv_transshipment", "seeds=3"]
    shorter = ["env.train.periods=30", "env.train.ignored=10", "env.dev.traces=256"]
    steps = ["algo.batch_size=32", "algo.learning_rate=3e-3"]
    learned = train(built("algo=hdpo_gnn", *words, *shorter, *steps)[0], 500)["eval/cost"]
    best = train(built("algo=federgruen_zipkin", *words)[0], 1)
    for cost, near, bound in zip(learned, best["eval/cost"], best["eval/bound"], strict=True):
        assert 0.997 * near < cost < 1.04 * min(near, bound)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("algo", "batch_size", "steps"), [("hdpo", 256, 2000), ("hdpo_gnn", 64, 1500)])
def test_networks_near_the_optimum_of_a_chain(algo: str, batch_size: int, steps: int) -> None:
    """Within 4 % on the same traces, and not below it."""
    learned = train(built(f"algo={algo}", "env=inv_serial", f"algo.batch_size={batch_size}")[0], steps)["eval/cost"][0]
    best = train(built("algo=clark_scarf")[0], 1)["eval/cost"][0]
    assert 0.997 * best < learned < 1.04 * best


def test_patience_lasts_to_the_first_look() -> None:
    with pytest.raises(UsageError, match=r"algo.patience=10 .* at least algo.dev_every=25"):
        built("algo=hdpo", "env=inv_one_store", *TINY, "algo.dev_every=25", "algo.patience=10")
