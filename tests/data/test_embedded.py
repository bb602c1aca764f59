"""Embedded data: recorded alike whatever the machine's cores, of the size asked for, as measured."""

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rlbench.data import behaviour, recorder, store
from rlbench.data.behaviour import LEVELS
from rlbench.data.embedded import Embedded, join
from rlbench.data.recorder import record, record_shard
from rlbench.envs.control import Control
from rlbench.errors import RunError, UsageError
from tests.data.helpers import control


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_recorded_and_kept(level: str) -> None:
    env, seen = control(), []
    data = Embedded(env, level, 2500).load(lambda text, done, total: seen.append((text, done, total)))
    assert len(data) == 2500
    assert (data.observation_dim, data.action_dim) == env.dims() == (11, 3)
    assert np.isfinite(data.table).all()
    assert np.abs(data.action).max() <= 1
    inside = np.setdiff1d(np.arange(len(data) - 1), data.episode_ends - 1)
    np.testing.assert_array_equal(data.next_observation[inside], data.observation[inside + 1])
    assert not (data.terminated * data.truncated).any()
    assert seen[0][1] == 0
    assert seen[-1][1] == seen[-1][2] >= 2500
    card = data.card
    assert card["id"] == f"rlbench/hopper/{level}"
    assert "d4rl" not in str(card).lower()
    assert card["env"] == "Hopper-v4"
    assert {"mujoco", "gymnasium", "numpy"} <= set(card["versions"])
    assert card["rows"] == 2500
    assert card["reference"] == {"min": env.reference_min, "max": env.reference_max}
    seen.clear()
    again = Embedded(env, level, 2500).load(lambda text, done, total: seen.append((text, done, total)))
    assert not seen
    assert again.fingerprint == data.fingerprint


def test_one_recording_serves_runs_of_every_scale() -> None:
    """Whoever recorded the data does not decide on which scale others' scores are."""
    env = control()
    other = replace(env, reference_min=0.0, reference_max=1000.0)
    recorded, read = Embedded(other, "random", 300).load(), Embedded(env, "random", 300).load()
    assert recorded.fingerprint == read.fingerprint
    assert len(store.stored()) == 1
    assert (env.informed_by(read.card).score(3234.3), other.informed_by(recorded.card).score(1000.0)) == (100, 100)
    again = Embedded(other, "random", 300).load().card
    assert again == {**read.card, "reference": {"min": 0.0, "max": 1000.0}}


def test_the_simulator_agrees_with_the_table() -> None:
    """Rows are what the environment does: each transition, put back into the simulator, comes out again."""
    data = Embedded(control(), "medium", 600).load()
    simulator = control().make()
    simulator.reset(seed=0)
    for row in range(0, 600, 7):
        state = data.observation[row].astype(np.float64)
        if np.abs(state[5:]).max() >= 10:  # velocities are clipped in the observation
            continue
        simulator.unwrapped.set_state(np.concatenate([[0.0], state[:5]]), state[5:])  # type: ignore[attr-defined]
        following, _, terminated, _, _ = simulator.step(data.action[row])
        np.testing.assert_allclose(following, data.next_observation[row], atol=2e-2, rtol=1e-2)
        assert terminated == bool(data.terminated[row])


def test_the_same_rows_from_any_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    env = control()
    monkeypatch.setattr(recorder, "SHARD_ROWS", 300)
    parts = [(None, 700), (behaviour.Behaviour.of("hopper").path("5000"), 500)]
    tables = []
    for cores, inline in ((1, 10**6), (2, 0), (3, 0)):
        monkeypatch.setattr(recorder, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(recorder, "INLINE_ROWS", inline)
        tables.append(record(env, parts, [0], "test", None))
    for other in tables[1:]:
        for mine, theirs in zip(tables[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_shards_differ() -> None:
    first, second = (record_shard(control(), None, 100, [0, 0, shard]) for shard in (0, 1))
    assert not np.array_equal(first[:20], second[:20])


def test_join_keeps_episodes_whole_and_parts_equal() -> None:
    def part(value: float, lengths: list[int]) -> np.ndarray:
        table = np.full((sum(lengths), 8), value, np.float32)
        table[:, -2:] = 0
        table[np.cumsum(lengths) - 1, -1] = 1
        return table

    rows = join([part(1, [4, 4, 4]), part(2, [3, 3, 3, 3]), part(3, [5, 5])], [10, 20, 28])
    assert len(rows) == 28
    np.testing.assert_array_equal(rows[:, 0], [1] * 12 + [2] * 9 + [3] * 7)
    np.testing.assert_array_equal(np.flatnonzero(rows[:, -1]) + 1, [4, 8, 12, 15, 18, 21, 26])


def test_identity_needs_no_simulator_and_no_torch() -> None:
    code = (
        "import sys\n"
        "from rlbench.envs.control import Control\n"
        "from rlbench.data.embedded import Embedded\n"
        "identity = Embedded(Control('hopper', 'Hopper-v4'), 'medium', 5000).identity()\n"
        "assert len(identity['policies']) >= 2 and identity['size'] == 5000\n"
        "assert not {'torch', 'gymnasium', 'mujoco'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


def test_identity_tells_datasets_apart() -> None:
    env = control()
    base = Embedded(env, "medium", 5000).identity()
    assert base == Embedded(control(), "medium", 5000).identity()
    assert base != Embedded(env, "expert", 5000).identity()
    assert base != Embedded(env, "medium", 5001).identity()
    assert base != Embedded(replace(env, id="Hopper-v5"), "medium", 5000).identity()


def test_a_recording_unlike_the_manifest_is_refused() -> None:
    dataset = Embedded(control(), "random", 3000)
    manifest = copy.deepcopy(dataset.behaviour.manifest)
    manifest["policies"]["random"]["return"]["mean"] += 40
    dataset.behaviour = replace(dataset.behaviour, manifest=manifest)
    with pytest.raises(RunError, match=r"random has a mean return of .* MuJoCo"):
        dataset.load()


def test_unknown_environments_and_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="env=ant"):
        Embedded(Control("ant", "Ant-v4"), "medium", 10)
    with pytest.raises(UsageError, match="dataset=best"):
        Embedded(control(), "best", 10)


def test_a_policy_without_a_row_is_refused() -> None:
    with pytest.raises(UsageError, match=r"dataset.size=1 has no row for some of the \d policies") as said:
        Embedded(control(), "medium_expert", 1)
    least = int(str(said.value).split("at least ")[1].split()[0])
    assert len(Embedded(control(), "medium_expert", least).load()) == least
    with pytest.raises(UsageError):
        Embedded(control(), "medium_expert", least - 1)
