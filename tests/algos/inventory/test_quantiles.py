"""Newsvendors on forecasts: what they know, which quantile they take, what it is worth."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlbench.algos.inventory.newsvendor import Newsvendor
from rlbench.envs.inventory.network import WINDOW, Moment
from rlbench.errors import UsageError
from tests.algos.inventory.cases import built, train

SMALL = ["env.train.traces=512", "env.dev.traces=128", "env.test.traces=512"]
QUICK = [*SMALL, "algo.policy.forecast_epochs=15", "algo.policy.forecast_batch_size=256"]


def test_of_demand_without_memory_the_forecast_is_the_closed_form() -> None:
    """The quantile .9 of five periods is the optimal base stock, whatever was demanded before."""
    algorithm, task = built("algo=quantile_newsvendor", "env=inv_one_store", *QUICK)
    traces = next(task.traces("test"))
    level = algorithm.policy.raw({}, Moment(task.simulator.start(traces), traces, 40))
    assert float(level.mean()) == pytest.approx(Newsvendor(5.0, 1.6, 4, 1.0, 9.0).level, abs=0.5)
    share = (traces.demand[..., WINDOW + 40 : WINDOW + 45].sum(-1) <= level).float().mean()
    assert float(share) == pytest.approx(0.9, abs=0.05)


def test_training_traces_are_as_long_as_what_is_forecast() -> None:
    """An order with lead time 5 has to last for six periods."""
    words = [
        "algo=quantile_newsvendor",
        "env.lead_time=5",
        "env.train.ignored=0",
        *QUICK,
        "algo.policy.forecast_epochs=1",
    ]
    algorithm, task = built(*words, "env.train.periods=6")
    traces = next(task.traces("test"))
    assert bool(algorithm.act(Moment(task.simulator.start(traces), traces, 0)).isfinite().all())
    with pytest.raises(UsageError, match=r"env.train.periods=5: .* 6 periods .*\nat least env.train.periods=6"):
        built(*words, "env.train.periods=5")


@pytest.fixture(scope="module")
def newsvendor() -> tuple[Any, Any]:
    return built("algo=quantile_newsvendor", *QUICK)


def test_quantiles_cover_what_they_say(newsvendor: tuple[Any, Any]) -> None:
    algorithm, task = newsvendor
    traces, covered = next(task.traces("test")), []
    for period in range(0, 30, 5):
        moment = Moment(task.simulator.start(traces), traces, period)
        first = WINDOW + period
        ahead = traces.demand[..., first : first + algorithm.policy.forecaster.horizon].sum(-1)
        covered.append((ahead <= algorithm.policy.forecaster.quantiles(moment)).float().mean((0, 1)))
    shares = torch.stack(covered).mean(0)
    assert float((shares - torch.arange(1, 20) / 20).abs().max()) < 0.06


def test_between_and_beyond_the_quantiles_are_straight_lines(newsvendor: tuple[Any, Any]) -> None:
    algorithm, task = newsvendor
    forecaster, traces = algorithm.policy.forecaster, next(task.traces("dev"))
    moment = Moment(task.simulator.start(traces), traces, 5)
    known = forecaster.quantiles(moment)

    def at(share: float) -> torch.Tensor:
        found: torch.Tensor = forecaster.quantile(moment, torch.full((1, 128, 1), share))[..., 0]
        return found

    torch.testing.assert_close(at(0.05), known[..., 0])
    torch.testing.assert_close(at(0.90), known[..., 17], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(at(0.525), known[..., 9:11].mean(-1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(at(0.975), 1.5 * known[..., 18] - 0.5 * known[..., 17], rtol=1e-4, atol=1e-4)
    share = torch.full((1, 128, 1), 0.99, requires_grad=True)
    forecaster.quantile(moment, share).sum().backward()
    assert share.grad is not None
    assert float(share.grad.min()) >= 0
    assert float(share.grad.max()) > 0


def test_who_knows_more_earns_more(newsvendor: tuple[Any, Any]) -> None:
    earned = {"quantile_newsvendor": train(newsvendor[0], 1)["eval/return"][0]}
    for name in ("returns_newsvendor", "just_in_time"):
        words = QUICK if name == "returns_newsvendor" else SMALL
        earned[name] = train(built(f"algo={name}", *words)[0], 1)["eval/return"][0]
    assert earned["quantile_newsvendor"] < earned["returns_newsvendor"] < earned["just_in_time"]


def test_just_in_time_sells_all_that_is_asked_for_and_holds_nothing() -> None:
    algorithm, task = built("algo=just_in_time", *SMALL)
    traces = next(task.traces("test"))
    costs = task.costs(algorithm.act, traces)[..., 20:]
    sold = (traces.underage * traces.demand[:, :, 0, WINDOW + 20 :]).squeeze(2)
    assert sold.shape[-1] == 16
    torch.testing.assert_close(-costs, sold, rtol=1e-3, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fixed_quantile", "transformed_newsvendor"])
def test_learned_quantiles_earn_more_than_the_first_ones(name: str) -> None:
    algorithm, task = built(f"algo={name}", *QUICK, "algo.batch_size=128", "algo.dev_every=6", "env.train.periods=30")
    before = float(task.cost(algorithm.act, "dev"))
    algorithm.train(12)
    assert float(task.cost(algorithm.act, "dev")) < before
