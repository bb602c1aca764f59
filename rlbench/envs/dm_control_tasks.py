"""Tasks of the DeepMind Control Suite as V-D4RL has them, over dm_control's simulator (the extra `dm_control`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from rlbench.envs.drawing import cannot_draw, draw_without_a_screen, rendering
from rlbench.errors import RunError

REPEAT = 2
"""Steps of the simulator that an action is taken for."""
HORIZON = 1000 // REPEAT
"""Steps of an episode."""
CAMERA = 0
"""What pictures are taken with: each task's first one, which goes along."""
FILMED = 240
"""Width and height of a film."""


class ControlSuite(gymnasium.Env[np.ndarray, np.ndarray]):
    """One task of Tassa et al., "DeepMind Control Suite" (2018), each action taken twice as in Lu et al., "Challenges
    and Opportunities in Offline Reinforcement Learning from Visual Observations" (2022).

    Observed is what the suite shows of the state, its parts one behind the other in its own order: float32 `[d]`. The
    reward is the sum over both steps, so that an episode returns 1,000 at most.

    Args:
        domain: the suite's name of the body, e.g. `walker`.
        task: what it is to do, e.g. `walk`.
        render_mode: `rgb_array`, or None.

    Raises:
        RunError: MuJoCo cannot draw on this machine, without which the suite cannot be imported.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012  gymnasium's name and kind for it

    def __init__(self, domain: str, task: str, render_mode: str | None = None) -> None:
        draw_without_a_screen()
        try:
            from dm_control import suite
        except Exception as error:  # it looks for a way to draw at once
            raise RunError(cannot_draw(error)) from error
        self.scene, self.render_mode = f"{domain}_{task}", render_mode
        self.env = suite.load(domain, task)
        self.model, self.data = self.env.physics.model.ptr, self.env.physics.data.ptr
        width = sum(int(np.prod(spec.shape)) for spec in self.env.observation_spec().values())
        action = self.env.action_spec()
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = gymnasium.spaces.Box(np.float32(action.minimum), np.float32(action.maximum))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.env.task.random.seed(int(self.np_random.integers(1 << 32)))
        return shown(self.env.reset()), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        earned = 0.0
        for _ in range(REPEAT):
            found = self.env.step(action)
            earned += found.reward
            if found.last():
                break
        ended = bool(found.last() and found.discount == 0)
        return shown(found), earned, ended, bool(found.last() and not ended), {}

    def render(self) -> Any:
        return drawing(self, FILMED)()

    def close(self) -> None:
        self.env.close()


def shown(found: Any) -> np.ndarray:
    """A time step's observations, one behind the other: float32 `[d]`."""
    return np.concatenate([np.ravel(part) for part in found.observation.values()]).astype(np.float32)


def drawing(env: ControlSuite, size: int) -> Callable[[], np.ndarray]:
    """Draws what the suite itself does: body, floor and sky, as the first camera sees them.

    Raises:
        RunError: MuJoCo cannot draw on this machine.
    """
    renderer = rendering(env.scene, env.model, size)

    def draw() -> np.ndarray:
        renderer.update_scene(env.data, camera=CAMERA)
        return np.asarray(renderer.render())

    return draw


gymnasium.register("DMControl-v0", entry_point=f"{__name__}:ControlSuite", max_episode_steps=HORIZON)
