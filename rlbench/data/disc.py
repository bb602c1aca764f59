"""The dataset of `env=disc2d`: transitions whose next states are uniform in the unit disc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data.transitions import Transitions

if TYPE_CHECKING:
    from rlbench.data.store import Progress
    from rlbench.envs.control import Control


class Disc:
    """Unconnected transitions: next states uniform in the unit disc, actions uniform, states what they must be.

    Args:
        env: `disc2d`.
        rows: transitions.
        seed: of the draws.
    """

    def __init__(self, env: Control, *, rows: int, seed: int) -> None:
        self.env = env
        self.rows = rows
        self.seed = seed

    def identity(self) -> dict[str, Any]:
        """What determines the content."""
        return {"dataset": "disc", "rows": self.rows, "seed": self.seed}

    def load(self, progress: Progress | None = None) -> Transitions:
        """The transitions, each an episode of its own."""
        from rlbench.envs.disc2d import STEP

        rng = np.random.default_rng(self.seed)
        radius, angle = np.sqrt(rng.uniform(size=self.rows)), rng.uniform(0, 2 * np.pi, self.rows)
        following = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        action = rng.uniform(-1, 1, (self.rows, 2))
        ends = np.zeros(self.rows), np.ones(self.rows)
        card = {"id": "disc", "source": "computed", **self.identity()}
        return Transitions.of_columns(following - STEP * action, action, -radius, following, *ends, card)
