"""Updates as compiled graphs: the losses of the eager ones, from the same random numbers, and nothing of their own."""

from copy import deepcopy
from typing import Any

import pytest
import torch

from rlbench.nets.capture import obstacle
from tests.algos.helpers import build, synthetic

pytestmark = [
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
    pytest.mark.slow,
]
UPDATES = 100
CHANGES: dict[str, dict[str, Any]] = {
    "bc": {},
    "td3_bc": {},
    "iql": {},
    "cql": {"hidden_dims": [32, 32]},
    "sac_n": {"num_critics": 4},
    "edac": {"num_critics": 4},
    "rebrac": {"batch_size": 64},
}


def pair(name: str, seeds: tuple[int, ...]) -> tuple[Any, Any]:
    """The algorithm twice, eager and compiled."""
    changes: dict[str, Any] = {"hidden_dims": [64, 64], "batch_size": 64} | CHANGES[name]
    eager, compiled = (build(name, synthetic(), seeds, **changes) for _ in range(2))
    compiled.compile()
    return eager, compiled


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(
        float(((found[name] - value).abs() / value.abs().clamp(min=1.0)).max()) for name, value in expected.items()
    )


@pytest.mark.parametrize("name", CHANGES)
def test_losses_are_the_eager_ones(name: str) -> None:
    eager, compiled = pair(name, (3, 7))
    for _ in range(UPDATES // 10):
        metrics = eager.train(10)
        assert worst(compiled.train(10), metrics) < 1e-4
    assert compiled.step == UPDATES


def test_resumes_to_the_bit() -> None:
    _, whole = pair("td3_bc", (3, 7))
    expected = whole.train(13)
    _, parts = pair("td3_bc", (3, 7))
    parts.train(5)
    _, resumed = pair("td3_bc", (3, 7))
    resumed.load_state_dict(deepcopy(parts.state_dict()))
    for other in (parts, resumed):
        metrics = other.train(8)
        assert worst(metrics, expected) == 0
        for group, params in whole.params.items():
            for key, value in params.items():
                torch.testing.assert_close(other.params[group][key], value, rtol=0, atol=0)


def test_schedules_reach_the_graph() -> None:
    """A rate that was fixed at the capture would leave the actor where a fixed rate takes it."""
    eager, compiled = (build("iql", synthetic(), (0,), steps=20, hidden_dims=[16], batch_size=32) for _ in range(2))
    compiled.compile()
    eager.train(20)
    compiled.train(20)
    assert float(compiled.actor_optimizer.rate) == float(eager.actor_optimizer.rate) < 1e-5
    for key, value in eager.params["actor"].items():
        torch.testing.assert_close(compiled.params["actor"][key], value, rtol=0, atol=1e-5)
