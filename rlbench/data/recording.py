"""Recording one's own data: a wrapper around an environment, whatever acts in it.

    env = Recorder(gymnasium.make("Hopper-v4"), "mine.hdf5")
    ...                 # reset() and step() as ever
    env.close()         # mine.hdf5 is there, in D4RL's layout: rlbench dataset=file:mine.hdf5

Until `close`, and if the script ends before, the episodes that were played out lie in `mine.hdf5.partial`: a Recorder
of the same file goes on with them, and `dataset=file:mine.hdf5.partial` reads them.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from rlbench.data import export, journal
from rlbench.data.provenance import which
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError


class Recorder(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """Writes all that is played in an environment into a file, episode by episode.

    An episode that `reset` or `close` breaks off is truncated there.

    Args:
        env: observations and actions are boxes; they are recorded flat, as float32.
        path: the HDF5 file that `close` writes.

    Raises:
        UsageError: the file is there, or another process records it, or the environment has other spaces.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, np.ndarray], path: str | Path) -> None:
        super().__init__(env)
        self.path = Path(path).expanduser().absolute()
        if self.path.exists():
            raise UsageError(f"{self.path} exists: record into another file, or remove it")
        spaces = (env.observation_space, env.action_space)
        if not all(isinstance(space, gymnasium.spaces.Box) for space in spaces):
            raise UsageError(f"only boxes are recorded, this is {spaces[0]} and {spaces[1]}")
        widths = [int(np.prod(space.shape)) for space in spaces if space.shape is not None]
        facts = {
            "env": env.spec.id if env.spec else type(env.unwrapped).__name__,
            "which": which(env.spec.kwargs) if env.spec else {},
            "versions": {package: version(package) for package in ("gymnasium", "mujoco", "numpy")},
        }
        self.journal = journal.Journal(self.path.with_name(f"{self.path.name}.partial"), widths[0], widths[1], facts)
        self.observation: np.ndarray | None = None
        self.rows: list[np.ndarray] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.end_episode()
        observation, info = super().reset(seed=seed, options=options)
        self.observation = row(observation)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        if self.observation is None:
            raise UsageError("a step before reset, or after the episode's end")
        acted = row(action)
        following, reward, terminated, truncated, info = super().step(action)
        after = row(following)
        ends = (terminated, truncated and not terminated)
        self.rows.append(np.concatenate([self.observation, acted, row(reward), after, row(ends)]))
        self.observation = after
        if terminated or truncated:
            self.end_episode()
        return following, reward, terminated, truncated, info

    def end_episode(self) -> None:
        """Add the episode to the file."""
        if self.rows:
            table = np.stack(self.rows)
            table[-1, -1] = not table[-1, -2]
            self.journal.add(table)
        self.rows, self.observation = [], None

    def close(self) -> None:
        """Close the environment, and write the file."""
        super().close()
        if self.journal.file.closed:
            return
        self.end_episode()
        data = journal.load(self.journal.path)
        if len(data):
            card = {"id": self.path.name, "about": "recorded with rlbench", **data.card}
            export.to_d4rl(Transitions(data.table, data.observation_dim, data.action_dim, card), self.path)
        self.journal.path.unlink()
        self.journal.close()


def row(value: Any) -> np.ndarray:
    """Flat float32, of its own memory."""
    return np.array(value, dtype=np.float32).reshape(-1)
