"""Problems that are solved step by step: what algorithms that act ask of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.envs.problem import Problem

if TYPE_CHECKING:
    import gymnasium

    from rlbench.envs.simulators import Simulators


class Stepwise(Problem):
    """A problem that is given as a gymnasium environment, with a box of observations and of actions."""

    def make(self, **kwargs: Any) -> gymnasium.Env:
        """A new environment, time limit included (raises as `require`)."""
        raise NotImplementedError

    def simulators(self) -> Simulators:
        """Environments to play many episodes in at once."""
        from rlbench.envs.simulators import Simulators

        return Simulators(self.make)

    def dims(self) -> tuple[int, int]:
        """Widths of observation and action."""
        raise NotImplementedError

    def row_dims(self) -> tuple[int, int]:
        """Widths of observation and action in the rows of data."""
        return self.dims()

    def discrete(self) -> bool:
        """Whether an action is a choice: of n numbers, the place of the largest."""
        from rlbench.envs.vectors import OneHotAction

        env = self.make()
        env.close()
        return isinstance(env, OneHotAction)

    def action_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest actions, `[a]` each."""
        env = self.make()
        box: Any = env.action_space
        env.close()
        return box.low.reshape(-1), box.high.reshape(-1)

    def time_limit(self) -> int | None:
        """Steps after which an episode is cut."""
        env = self.make()
        env.close()
        return env.spec.max_episode_steps if env.spec else None

    def score(self, returns: Any) -> Any:
        """Normalised score, 100-based; None where there is no scale."""
        return None
