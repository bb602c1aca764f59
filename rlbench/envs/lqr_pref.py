"""A scalar linear-quadratic regulator, whose optimal advantages have a closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from rlbench.envs.solved import Behaviour, Solved
from rlbench.types import NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from rlbench.task import Task

GAINS = 0.5, 2.2
"""Gains of the behaviour's feedback, uniform, one a segment; N(0, 1) is added to its actions."""
STEPS = 100
"""Steps of an episode in which a policy is judged: gamma^100 is little."""


@dataclass(frozen=True)
class LQRPref(Solved):
    """x' = a x + b u + noise N(0, 1), reward -(q x^2 + r u^2), x_0 ~ N(0, 1).

    With Riccati's P = q + gamma a^2 P - (gamma a b P)^2 / (r + gamma b^2 P), the best action is u = -K x, K = gamma a b
    P / (r + gamma b^2 P), and A*(x, u) = -M (u + K x)^2 with M = r + gamma b^2 P.

    Args:
        name: the word after `env=`.
        gamma: discount.
        a: what becomes of the state.
        b: what an action does to it.
        q: price of the state.
        r: price of an action.
        noise: standard deviation of the disturbance.
    """

    actions: ClassVar[Literal["unbounded"]] = "unbounded"

    a: float
    b: float
    q: Positive
    r: Positive
    noise: NonNegative

    def simulator(self) -> str:
        return f"{self.name}, gain {self.K:.4f} is best"

    def dims(self) -> tuple[int, int]:
        return 1, 1

    @cached_property
    def P(self) -> float:  # noqa: N802  Riccati's
        p, before = self.q, 0.0
        while abs(p - before) > 1e-14 * p:
            cross = self.gamma * self.a * self.b * p
            before, p = p, self.q + self.gamma * self.a**2 * p - cross**2 / (self.r + self.gamma * self.b**2 * p)
        return p

    @property
    def M(self) -> float:  # noqa: N802  as above
        return self.r + self.gamma * self.b**2 * self.P

    @property
    def K(self) -> float:  # noqa: N802  as above
        return self.gamma * self.a * self.b * self.P / self.M

    def behave(self, segments: int, length: int, rng: np.random.Generator) -> Behaviour:
        gain = rng.uniform(*GAINS, size=segments)
        state, action = np.empty((2, segments, length))
        x = rng.normal(size=segments)
        for t in range(length):
            state[:, t] = x
            action[:, t] = -gain * x + rng.normal(size=segments)
            x = self.a * x + self.b * action[:, t] + self.noise * rng.normal(size=segments)
        reward = -(self.q * state**2 + self.r * action**2)
        return Behaviour(state[..., None], action[..., None], reward, -self.M * (action + self.K * state) ** 2)

    def judge(self, policy: Callable[[Tensor], Tensor], task: Task) -> dict[str, np.ndarray]:
        """Discounted return, how much less it is than the optimum's under the same noise, and the gain."""
        import torch

        shape = len(task.seeds), task.eval_episodes
        luck = [np.random.default_rng([seed, 0x10F]).normal(size=(STEPS + 1, shape[1])) for seed in task.seeds]
        draws = torch.tensor(np.stack(luck, 1), dtype=torch.float32, device=task.device)

        def play(act: Callable[[Tensor], Tensor]) -> np.ndarray:
            x, total = draws[0], torch.zeros(shape, device=task.device)
            for t in range(STEPS):
                u = act(x[..., None])[..., 0]
                total = total - self.gamma**t * (self.q * x**2 + self.r * u**2)
                x = self.a * x + self.b * u + self.noise * draws[t + 1]
            return total.double().mean(1).cpu().numpy()

        ends = policy(torch.tensor([[-1.0], [1.0]], device=task.device).expand(shape[0], -1, -1))
        gain = (ends[:, 0, 0] - ends[:, 1, 0]).double().cpu().numpy() / 2
        found = play(policy)
        return {"eval/return": found, "eval/regret": play(lambda x: -self.K * x) - found, "eval/gain": gain}
