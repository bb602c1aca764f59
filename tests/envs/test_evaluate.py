"""The evaluator, in an environment whose outcomes are known."""

from typing import Any

import gymnasium
import numpy as np
import torch

from rlbench.envs.control import Control
from rlbench.envs.evaluate import evaluate


class Sign(gymnasium.Env[np.ndarray, np.ndarray]):
    """Two steps, each rewarded with its action; the last one's sign decides success."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> Any:
        self.steps += 1
        info = {"success": bool(action[0] > 0)}
        return np.zeros(1, np.float32), float(action[0]), self.steps == 2, False, info


gymnasium.register("Sign-v0", entry_point=lambda **_: Sign())


def test_success_is_that_of_the_last_step() -> None:
    actions = iter([[[1.0, 1.0], [-1.0, -1.0]], [[0.5, -0.5], [-0.5, -0.5]]])
    found = evaluate(Control("sign", "Sign-v0"), lambda _: torch.tensor(next(actions))[..., None], (0, 1), 2)
    assert found["eval/success"].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert found["eval/return"].tolist() == [[1.5, 0.5], [-1.5, -1.5]]
    assert found["eval/length"].tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_nothing_is_said_of_success_where_it_is_not_known() -> None:
    found = evaluate(Control("hopper", "Hopper-v4"), lambda o: torch.zeros(*o.shape[:2], 3), (0,), 1)
    assert "eval/success" not in found
