"""Score functions: their gradient is that of the expected cost, and HDPO's is worth more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.errors import UsageError
from rlbench.nets.optim import Params, gradients
from tests.algos.inventory.cases import built

NAMES = ["inventory_reinforce", "inventory_reward_to_go"]
ONE = ["env=inv_one_store", "env.lead_time=1", "env.train.periods=4", "env.train.ignored=0", "env.dev.traces=16"]


def expected_gradient(algorithm: Any, task: Any, rounds: int) -> Tensor:
    """Of the expected cost with exploration, by differentiating through the recursion and what is drawn."""
    traces, found = algorithm.epochs.traces, []
    for _ in range(rounds):

        def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
            def act(moment: Any) -> Tensor:
                mean = algorithm.policy.raw(params, moment)
                noise = torch.randn(mean.shape)
                orders: Tensor = algorithm.policy.orders(mean + params["log_std"].exp() * noise, moment)
                return orders

            return task.costs(act, traces).sum(-1).mean(1), {}

        found.append(torch.cat([grad.flatten() for grad in gradients(loss, algorithm.params)[0]]))
    return torch.stack(found).mean(0)


@pytest.mark.parametrize("name", NAMES)
def test_estimate_points_where_the_expected_cost_rises(name: str) -> None:
    torch.manual_seed(0)
    words = [f"algo={name}", *ONE, "env.train.traces=16384", "algo.batch_size=16384", "algo.policy.hidden_dims=[2]"]
    algorithm, task = built(*words)
    expected = expected_gradient(algorithm, task, 4)
    estimates: list[Tensor] = []

    def update(loss: Any) -> None:
        estimates.append(torch.cat([grad.flatten() for grad in gradients(loss, algorithm.params)[0]]))

    algorithm.update = update
    for _ in range(12):
        algorithm.step()
    estimate = torch.stack(estimates).mean(0) * 4  # a mean over four periods, not a sum
    error = float((estimate - expected).norm() / expected.norm())
    assert error < (0.35 if name == "inventory_reinforce" else 0.15)


def test_baseline_lowers_the_variance() -> None:
    spread = {}
    for name in NAMES:
        algorithm, _ = built(f"algo={name}", *ONE, "env.train.traces=4096", "algo.batch_size=256")
        estimates: list[Tensor] = []

        def update(loss: Any, algorithm: Any = algorithm, estimates: list[Tensor] = estimates) -> None:
            estimates.append(torch.cat([grad.flatten() for grad in gradients(loss, algorithm.params)[0]]))

        algorithm.update = update
        for _ in range(20):
            algorithm.step()
        spread[name] = float(torch.stack(estimates).var(0).sum())
    assert spread["inventory_reward_to_go"] < 0.5 * spread["inventory_reinforce"]


def test_clipping_stops_what_has_gone_far_enough() -> None:
    """After many updates on one batch, the ratio is near where its gradient ends, not far beyond."""
    ratios = {}
    for clip in (0.2, 1e9):
        words = ["algo=inventory_ppo", *ONE, "env.train.traces=512", "algo.updates=60", f"algo.clip={clip}"]
        algorithm, _ = built(*words, "algo.learning_rate=0.003")
        played: list[Any] = []
        original = algorithm.play

        def play(traces: Any, original: Any = original, played: list[Any] = played) -> Any:
            played.append(original(traces))
            return played[-1]

        algorithm.play = play
        before = {name: value.clone() for name, value in algorithm.params.items()}
        algorithm.step()
        with torch.no_grad():
            logs = [
                algorithm.log_probability(algorithm.params, *period) - algorithm.log_probability(before, *period)
                for period in played[0][0]
            ]
        ratios[clip] = float(torch.stack(logs).abs().mean())
    assert ratios[0.2] < 0.5 * ratios[1e9]


@pytest.mark.parametrize("name", ["inventory_reward_to_go", "inventory_ppo"])
@pytest.mark.parametrize("words", [["algo.batch_size=1"], ["env.train.traces=1"]], ids=" ".join)
def test_a_batch_that_is_its_own_mean_is_refused(name: str, words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"compared with the batch's mean\nboth are to be at least 2"):
        built(f"algo={name}", *ONE, "env.train.traces=8", *words)


@pytest.mark.parametrize(
    ("name", "least"), [("inventory_reinforce", 1), ("inventory_reward_to_go", 2), ("inventory_ppo", 2)]
)
def test_the_smallest_batch_is_learned_from(name: str, least: int) -> None:
    algorithm, _ = built(f"algo={name}", *ONE, "env.train.traces=8", f"algo.batch_size={least}")
    before = {key: value.clone() for key, value in algorithm.params.items()}
    algorithm.train(3)
    for key, value in algorithm.params.items():
        assert bool(value.isfinite().all())
        assert not torch.equal(value, before[key])


@pytest.mark.slow
def test_hdpo_beats_score_functions_at_equal_simulated_periods() -> None:
    words = ["env=inv_one_store", "seeds=3", "algo.batch_size=128", "algo.dev_every=20", "env.train.traces=4096"]
    cost = {}
    for name in ("hdpo", "inventory_reinforce", "inventory_reward_to_go", "inventory_ppo"):
        algorithm, _ = built(f"algo={name}", *words)
        algorithm.train(50)
        cost[name] = algorithm.evaluate()["eval/cost"]
    ours = cost.pop("hdpo")
    for name, other in cost.items():
        assert float(ours.mean()) < float(other.mean()), name
