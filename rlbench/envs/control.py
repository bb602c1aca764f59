"""Control environments: what they are called, how they are scored, when they end."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rlbench.data import provenance
from rlbench.envs.problem import common
from rlbench.envs.stepwise import Stepwise
from rlbench.errors import RunError, UsageError
from rlbench.spelling import closest

if TYPE_CHECKING:
    import gymnasium
    from torch import Tensor

    from rlbench.task import ControlTask, Task


@dataclass(frozen=True)
class Control(Stepwise):
    """A gymnasium environment with a box of observations and of actions (others become so: `rlbench.envs.vectors`), and
    its scale of scores.

    Args:
        name: the word after `env=`.
        id: gymnasium's id, e.g. `Hopper-v4`, or `module:Name-v0` for an id that the module registers.
        reference_min: return that scores 0 (D4RL's `ref_min_score`).
        reference_max: return that scores 100.
        termination: which rule of `rlbench.envs.terminations` ends an episode, for model rollouts; None: not known.
        kwargs: passed to `gymnasium.make`.
        install: what to give pip where a package is missing.
        requires: the package that holds the simulator, where it is not the id's module; it registers an id without one.
    """

    judged_by: ClassVar[frozenset[str]] = frozenset({"id", "kwargs", "reference_min", "reference_max"})

    name: str
    id: str
    reference_min: float | None = None
    reference_max: float | None = None
    termination: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    install: str | None = None
    requires: str | None = None

    @property
    def installed(self) -> bool:
        """Whether the package that holds the environment is there: without it, data can be read, not learned from."""
        module = self.requires or self.id.rpartition(":")[0]
        return not module or find_spec(module.split(".")[0]) is not None

    def require(self) -> None:
        """Raise `RunError` if the package that holds the environment is not installed."""
        if not self.installed:
            package = self.install or self.id.partition(":")[0].replace("_", "-")
            raise RunError(f"env={self.name} ({self.id}) is not installed: pip install '{package}'")

    def doubts(self, card: dict[str, Any]) -> list[str]:
        return provenance.doubts(card, self)

    def informed_by(self, card: dict[str, Any]) -> Control:
        return provenance.judge(self, card)

    def task(self, task: Task) -> ControlTask:
        from rlbench.nets.mlp import Networks
        from rlbench.task import ControlTask, Features

        observation_dim, action_dim = self.dims()
        networks = Networks(observation_dim, action_dim)
        return ControlTask(**common(task), networks=networks, features=Features(observation_dim))

    def make(self, **kwargs: Any) -> gymnasium.Env:
        import gymnasium

        from rlbench.envs.seeded import Seeded
        from rlbench.envs.vectors import as_vectors

        self.require()
        with warnings.catch_warnings():
            # v4 is asked for on purpose: it is what D4RL's scores refer to.
            warnings.filterwarnings("ignore", message=".*out of date.*", category=DeprecationWarning)
            id = self.id if ":" in self.id or not self.requires else f"{self.requires}:{self.id}"
            try:
                env = gymnasium.make(id, **{**self.kwargs, **kwargs})
            except gymnasium.error.UnregisteredEnv as error:
                near = closest(self.id, gymnasium.registry)
                hint = f"\ndid you mean {near[0]}?" if near else ""
                raise UsageError(f"env={self.name}: there is no environment {self.id}{hint}") from error
            except TypeError as error:
                if not self.kwargs:
                    raise
                reason = str(error).partition(" was raised from")[0]
                raise UsageError(
                    f"env={self.name}: {self.id} is not made with env.kwargs={self.kwargs}: {reason}"
                ) from error
        if type(env.unwrapped).__module__.startswith("ogbench."):
            env = Seeded(env)
        return as_vectors(env)

    def dims(self) -> tuple[int, int]:
        """Widths of observation and action.

        Raises:
            UsageError: they are no boxes.
        """
        import gymnasium

        env = self.make()
        shapes = env.observation_space.shape, env.action_space.shape
        env.close()
        if not isinstance(env.action_space, gymnasium.spaces.Box) or shapes[0] is None or shapes[1] is None:
            spaces = f"{env.observation_space} and {env.action_space}"
            raise UsageError(f"env={self.name} ({self.id}) has {spaces}: wanted a box of observations, one of actions")
        return int(np.prod(shapes[0])), int(np.prod(shapes[1]))

    def simulator(self) -> str:
        """What computes the dynamics: gymnasium's id and, where it is MuJoCo, its version, on which scores depend."""
        env = self.make()
        env.close()
        id, model = self.id.rpartition(":")[2], getattr(env.unwrapped, "model", None)
        return f"{id}, MuJoCo {version('mujoco')}" if type(model).__module__.startswith("mujoco") else id

    def score(self, returns: Any) -> Any:
        """Normalised score, 100-based: 100 (return - reference_min) / (reference_max - reference_min)."""
        if self.reference_min is None or self.reference_max is None:
            return None
        return 100.0 * (returns - self.reference_min) / (self.reference_max - self.reference_min)

    def terminated(self, next_observation: Tensor) -> Tensor:
        """Whether a (predicted) next observation ends the episode: `[..., d]` to bool `[...]`."""
        from rlbench.envs.terminations import TERMINATIONS

        if self.termination is None:
            raise ValueError(f"env={self.name} has no known termination rule, which model rollouts need")
        return TERMINATIONS[self.termination](next_observation)
