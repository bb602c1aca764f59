"""Transitions recorded once: a test fails when a simulator's dynamics change.

`python tests/envs/test_golden.py` writes golden.npz anew, for a simulator whose change is wanted.
"""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlbench.envs.control import Control

ROWS = Path(__file__).with_name("golden.npz")
EXPERTS = Path(os.environ.get("RLBENCH_TEST_DATA", Path(__file__).parents[3] / "shared/data")) / "mujoco-experts"
IDS = "Hopper-v4", "HalfCheetah-v4", "Walker2d-v4"
OUTCOMES = "next_positions", "next_velocities", "rewards"


def replay(id: str, positions: np.ndarray, velocities: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Positions, velocities and rewards `[N]` after each action `[N, a]` from each state `[N, nq]`, `[N, nv]`."""
    env: Any = Control("x", id).make().unwrapped
    env.reset(seed=0)
    found = []
    for position, velocity, action in zip(positions, velocities, actions, strict=True):
        env.set_state(position, velocity)
        reward = env.step(action)[1]
        found.append((env.data.qpos.copy(), env.data.qvel.copy(), reward))
    env.close()
    return tuple(np.array(column) for column in zip(*found, strict=True))


def record(id: str, steps: int = 64) -> dict[str, np.ndarray]:
    """States that random actions come by, in the air and on the ground, and what follows them."""
    env: Any = Control("x", id).make().unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (steps, env.action_space.shape[0]))
    states = []
    for action in actions:
        states.append((env.data.qpos.copy(), env.data.qvel.copy()))
        env.step(action)
    env.close()
    positions, velocities = (np.array(column) for column in zip(*states, strict=True))
    following = dict(zip(OUTCOMES, replay(id, positions, velocities, actions), strict=True))
    return {"positions": positions, "velocities": velocities, "actions": actions, **following}


@pytest.mark.parametrize("id", IDS)
def test_the_dynamics_are_those_that_were_recorded(id: str) -> None:
    with np.load(ROWS) as stored:
        rows = {name.partition("/")[2]: stored[name] for name in stored if name.startswith(id)}
    found = replay(id, rows["positions"], rows["velocities"], rows["actions"])
    for name, values in zip(OUTCOMES, found, strict=True):
        np.testing.assert_allclose(values, rows[name], rtol=1e-7, atol=1e-7, err_msg=f"MuJoCo {version('mujoco')}")


@pytest.mark.parametrize(("id", "position_dim", "clipped"), [("Hopper-v4", 6, 10.0), ("HalfCheetah-v4", 9, np.inf)])
def test_experts_of_others_replay(id: str, position_dim: int, clipped: float) -> None:
    """float32 observations lack the root's x, which the dynamics do not depend on; of a clipped velocity, the state is
    not known."""
    path = EXPERTS / f"{id}.hdf5"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with h5py.File(path) as file:
        names = "observations", "actions", "next_observations", "terminals", "timeouts"
        observations, actions, following, *ends = (np.asarray(file[name], dtype=np.float64) for name in names)
    velocities = observations[:, position_dim - 1 :]
    known = (np.abs(velocities).max(axis=1) < clipped) & ~np.any(ends, axis=0)
    known &= np.abs(following[:, position_dim - 1 :]).max(axis=1) < clipped
    assert known.sum() > 500
    positions = np.pad(observations[:, : position_dim - 1], [(1, 0), (0, 0)][::-1])
    next_positions, next_velocities, _ = replay(id, positions[known], velocities[known], actions[known])
    found = np.concatenate([next_positions[:, 1:], next_velocities], axis=1)
    errors = np.abs(found - following[known]).max(axis=1)
    # Contacts of MuJoCo 3.5 differ by 1.4e-2 here; what is left is float32's rounding of the states.
    assert np.median(errors) < 1e-5
    assert np.quantile(errors, 0.95) < 1e-3


if __name__ == "__main__":
    rows: dict[str, Any] = {f"{id}/{name}": array for id in IDS for name, array in record(id).items()}
    np.savez_compressed(ROWS, **rows)
