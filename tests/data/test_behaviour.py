"""Behaviour policies: what is shipped, and that it acts as the network it was saved from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rlbench.data import behaviour
from rlbench.data.behaviour import Behaviour, TanhGaussianPolicy, UniformPolicy
from rlbench.errors import RunError, UsageError
from rlbench.nets.mlp import MLP
from rlbench.nets.policy import TanhGaussian
from rlbench.rng import SeedStreams


def test_acts_as_the_torch_policy() -> None:
    network, head = MLP(11, [256, 256], 6), TanhGaussian(-5.0, 2.0)
    params = network.init(SeedStreams([3], "parameters"))
    params["2.bias"][..., 3:] += torch.tensor([-9.0, 0.0, 9.0])  # both bounds of the log-std are met
    arrays = {f"{name.split('.')[1][0]}{name[0]}": value[0].numpy() for name, value in params.items()}
    arrays |= {"log_std_min": np.array(-5.0), "log_std_max": np.array(2.0)}
    policy, mode = TanhGaussianPolicy(arrays), TanhGaussianPolicy(arrays, sampled=False)

    observations = np.random.default_rng(0).normal(size=(20, 11)).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((20, 3), dtype=np.float32)
    output = network(params, torch.from_numpy(observations)[None])
    wanted = head.sample(output, torch.from_numpy(noise)[None])[0][0].numpy()
    rng = np.random.default_rng(1)
    acted = np.array([policy(row, rng) for row in observations])
    assert acted.dtype == np.float32
    np.testing.assert_allclose(acted, wanted, atol=1e-5)
    np.testing.assert_allclose([mode(row, rng) for row in observations], head.mode(output)[0].numpy(), atol=1e-5)


def test_uniform_actions_fill_the_box() -> None:
    policy, rng = UniformPolicy(np.array([-1.0, 0.0]), np.array([1.0, 0.4])), np.random.default_rng(0)
    actions = np.array([policy(np.zeros(3), rng) for _ in range(4000)])
    np.testing.assert_allclose(actions.min(0), [-1, 0], atol=0.01)
    np.testing.assert_allclose(actions.max(0), [1, 0.4], atol=0.01)
    np.testing.assert_allclose(actions.mean(0), [0, 0.2], atol=0.05)


@pytest.mark.parametrize("env", behaviour.environments())
def test_shipped_policies_are_whole_and_described(env: str) -> None:
    known = Behaviour.of(env)
    used = {name for level in known.levels for name in known.mix(level)}
    files = {path.stem for path in known.folder.glob("*.npz")}
    assert files == used - {behaviour.RANDOM}
    assert used == set(known.manifest["policies"])
    for name in files:
        assert known.path(name) == known.folder / f"{name}.npz"
    assert {"command", "seed", "steps", "versions"} <= set(known.manifest["training"])
    for level in known.levels:
        assert sum(known.mix(level).values()) == pytest.approx(1)
    score = {name: known.measured(name)["score"] for name in used}
    expert = score[next(iter(known.mix("expert")))]
    medium = sum(share * score[name] for name, share in known.mix("medium").items())
    assert expert / 6 < medium < expert / 2
    if "mixed" in known.levels:
        assert [score[name] for name in known.mix("mixed")] == pytest.approx(
            sorted(score[n] for n in known.mix("mixed")), abs=8
        )


def test_shipped_policies_are_small() -> None:
    assert sum(path.stat().st_size for path in behaviour.FOLDER.glob("*/*.npz")) < 5e6


def test_medium_was_chosen_as_a_fair_task() -> None:
    for env in behaviour.environments():
        known = Behaviour.of(env)
        if "trials" not in known.manifest:  # the pendulum's is made by another recipe
            continue
        trial = next(t for t in known.manifest["trials"] if [str(s) for s in t["steps"]] == list(known.mix("medium")))
        assert trial["best_bc"] <= 1.2 * trial["bc"], env
        assert abs(trial["bc"] - trial["data"]) <= 0.25 * trial["data"], env


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"env=ant.*dataset=file:PATH"):
        Behaviour.of("ant")
    env = behaviour.environments()[0]
    with pytest.raises(UsageError, match=r"dataset=bad.*medium_expert"):
        Behaviour.of(env).mix("bad")
    shipped = Behaviour.of(env)
    name = next(iter(shipped.mix("expert")))
    (tmp_path / env).mkdir()
    (tmp_path / env / "manifest.json").write_text(json.dumps(shipped.manifest))
    (tmp_path / env / f"{name}.npz").write_bytes((shipped.folder / f"{name}.npz").read_bytes()[:-1])
    with pytest.raises(RunError, match="damaged"):
        Behaviour.of(env, tmp_path).path(name)
