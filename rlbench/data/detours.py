"""The dataset of `env=pointmaze2d_sparse`: random walks, and a few noisy detours over the top of the wall."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data.transitions import Transitions
from rlbench.envs.pictured import Pictured
from rlbench.types import Count, Fraction, NonNegative

if TYPE_CHECKING:
    from rlbench.data.store import Progress
    from rlbench.envs.control import Control

WAYPOINTS = np.array([[-0.25, 0.8], [0.25, 0.8], [0.9, 0.0]])
"""Where a detour leads, one after the other; it heads for the next when it is within a step."""
NEAR = 0.1
AT_ONCE = 64
"""States that are drawn at once."""


class Detours:
    """Whole episodes of both kinds.

    Args:
        env: `pointmaze2d_sparse`, or its pictures.
        rows: transitions.
        detours: share of them that detours make.
        noise: standard deviation of the Gaussian noise on a detour's actions.
        seed: of the draws.
    """

    def __init__(self, env: Control, *, rows: Count, detours: Fraction, noise: NonNegative, seed: int) -> None:
        self.env = env
        self.rows, self.detours, self.noise, self.seed = rows, detours, noise, seed

    def identity(self) -> dict[str, Any]:
        """What determines the content."""
        return {
            "dataset": "detours", "rows": self.rows, "detours": self.detours, "noise": self.noise, "seed": self.seed,
        }  # fmt: skip

    def load(self, progress: Progress | None = None) -> Transitions:
        """The transitions: walks, then detours; where the rows of a kind fall into an episode, it is cut there."""
        walk, detour = (np.random.default_rng([self.seed, kind]) for kind in range(2))
        count = round(self.detours * self.rows)
        table = np.concatenate(
            [
                episodes(walk, self.rows - count, lambda state, _: walk.uniform(-1, 1, state.shape)),
                episodes(detour, count, lambda state, goal: self.heading(detour, state, goal)),
            ]
        )
        card = {"id": "detours", "source": "computed", **self.identity()}
        states = Transitions(table, 2, 2, card)
        return seen(states, self.env, progress) if isinstance(self.env, Pictured) else states

    def heading(self, rng: np.random.Generator, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Actions towards goals, `[N, 2]`, as far as one step reaches, with noise."""
        from rlbench.envs.point_maze import STEP

        way = (goal - state) / STEP
        way /= np.maximum(np.abs(way).max(1, keepdims=True), 1.0)
        return np.clip(way + self.noise * rng.standard_normal(state.shape), -1.0, 1.0)


def seen(states: Transitions, env: Pictured, progress: Progress | None) -> Transitions:
    """The same transitions of pictures: of each episode one frame more than it has rows."""
    from rlbench.data.frames import numbers
    from rlbench.envs.point_maze import drawn

    after = states.episode_ends - 1
    shown = np.insert(states.observation, states.episode_ends, states.next_observation[after], axis=0)
    frames = np.empty((len(shown), *env.frame_shape), dtype=np.uint8)
    for block in range(0, len(shown), AT_ONCE):
        frames[block : block + AT_ONCE] = drawn(shown[block : block + AT_ONCE], env.size).transpose(0, 3, 1, 2)
        if progress is not None:
            progress("drawing detours", min(block + AT_ONCE, len(shown)), len(shown))
    frame = np.arange(len(states)) + states.episode
    first = states.episode_starts[states.episode] + states.episode
    columns = [numbers(each, first, env.frames) for each in (frame, frame + 1)]
    return Transitions.of_columns(
        columns[0], states.action, states.reward, columns[1], states.terminated, states.truncated, states.card, frames
    )


def episodes(rng: np.random.Generator, rows: int, act: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Episodes until there are enough rows, as the table of `Transitions` has them, exactly `rows`; the last is
    truncated.

    Args:
        rng: draws the starts.
        rows: how many.
        act: from states and the waypoints that are next to actions, `[N, 2]` each.
    """
    from rlbench.envs.point_maze import TIME_LIMIT, arrived, move, start

    parts: list[np.ndarray] = []
    found = 0
    while found < rows:
        state = start(rng, 64)
        towards = np.zeros(len(state), dtype=int)
        steps = np.zeros((TIME_LIMIT, len(state), 9), dtype=np.float32)
        lengths = np.full(len(state), TIME_LIMIT)
        running = np.ones(len(state), dtype=bool)
        for time in range(TIME_LIMIT):
            action = act(state, WAYPOINTS[towards]).astype(np.float32)
            following = move(state, action.astype(np.float64))
            there = arrived(following)
            steps[time, :, :-1] = np.concatenate([state, action, there[:, None], following, there[:, None]], 1)
            lengths[running & there] = time + 1
            running &= ~there
            state = following
            reached = np.linalg.norm(state - WAYPOINTS[towards], axis=1) <= NEAR
            towards = np.minimum(towards + reached, len(WAYPOINTS) - 1)
        steps[-1, running, -1] = 1.0
        parts += [steps[:length, i] for i, length in enumerate(lengths)]
        found += int(lengths.sum())
    table = np.concatenate(parts)[:rows] if parts else np.zeros((0, 9), dtype=np.float32)
    if len(table) and not table[-1, -2]:
        table[-1, -1] = 1.0
    return table
