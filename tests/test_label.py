"""Segments are cut where they may be, and labelled by what an oracle or people say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlbench import cli, config, label
from rlbench.build import build
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError
from tests.data.helpers import control

HUMAN = Path(__file__).parents[2] / "shared" / "data" / "human-preferences"


def transitions(lengths: list[int], width: int = 2) -> Transitions:
    """Episodes of these lengths, each row's observation its number; the last is unfinished."""
    rows = sum(lengths)
    rng = np.random.default_rng(0)
    state = np.repeat(np.arange(rows, dtype=float)[:, None], width, 1)
    cut = np.zeros(rows)
    cut[np.cumsum(lengths[:-1]) - 1] = 1
    action, reward = rng.uniform(-0.9, 0.9, (rows, 2)), rng.normal(size=rows)
    return Transitions.of_columns(state, action, reward, state + 1, np.zeros(rows), cut, {"id": "counted"})


def test_segments_lie_within_episodes_and_pairs_in_two() -> None:
    data = transitions([5, 3, 9, 4, 12, 6])
    rng = np.random.default_rng(0)
    for segments in (4, 5, 6, 40, 41):
        rows = label.cut(data, segments, 4, rng)
        assert len(rows) == segments
        assert label.crossing(data, rows, 4) == 0
        episode, half = data.episode[rows], segments // 2
        assert 1 not in episode
        assert (episode[:half] != episode[half : 2 * half]).all()
        if segments == 5:
            assert len(set(episode)) == 5
    starts = {int(row) for _ in range(40) for row in label.cut(data, 40, 4, rng)}
    lengths = zip(data.episode_starts, data.episode_ends, strict=True)
    assert starts == {row for begin, end in lengths for row in range(begin, end - 3)}
    with pytest.raises(UsageError, match="two episodes of so many steps, and there are 1"):
        label.cut(data, 4, 10, rng)


def test_regrets_are_what_the_oracle_says() -> None:
    """A policy without noise: V is Q at its action, to be computed by hand."""
    words = ["algo=sac", "env=disc2d", "steps=10", "algo.log_std_min=-20", "algo.log_std_max=-19", "algo.gamma=0.9"]
    oracle: Any = build(config.compose([*words, "algo.hidden_dims=[16]", "seeds=2"]))[0]
    rng = np.random.default_rng(1)
    arrays = {
        "obs": rng.normal(size=(5, 4, 2)).astype(np.float32),
        "action": rng.uniform(-0.9, 0.9, (5, 4, 2)).astype(np.float32),
        "reward": rng.normal(size=(5, 4)).astype(np.float32),
    }
    found = label.regrets(oracle, arrays, seed=0)
    state, action = (torch.from_numpy(arrays[name]).flatten(0, 1).expand(2, -1, -1) for name in ("obs", "action"))
    with torch.no_grad():
        best = oracle.action(oracle.actor_params, state)
        q, v = (oracle.critic(oracle.params["critic"], state, a).mean((0, 2)).view(5, 4) for a in (action, best))
    q, v, r = q.numpy(), v.numpy(), arrays["reward"]
    expected = {
        "rl_sum": r[:, 0] + r[:, 1] + r[:, 2] + v[:, 3] - v[:, 0],
        "rl_sum_disc": r[:, 0] + 0.9 * r[:, 1] + 0.81 * r[:, 2] + 0.729 * v[:, 3] - v[:, 0],
        "rl_dir": (q - v).sum(1),
        "rl_dir_disc": ((q - v) * [1, 0.9, 0.81, 0.729]).sum(1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)
    mean, log_std = oracle.policy.split(oracle.actor(oracle.actor_params, state))
    normal = torch.distributions.Normal(mean.double(), log_std.double().exp())
    squashed = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform()])
    likely = squashed.log_prob(action.double()).sum(-1).mean(0).view(5, 4).sum(1).detach()
    np.testing.assert_allclose(found["rl_lp"], likely, rtol=1e-4)


def test_comparisons_of_people(tmp_path: Path) -> None:
    path = tmp_path / "human.npz"
    np.savez(path, indices_1=[3, 20, 7], indices_2=[12, 0, 1], labels=[0, -1], query_len=5)
    rows, human, length = label.comparisons(path)
    assert (rows.tolist(), human.tolist(), length) == ([3, 20, 12, 0], [0, 0.5], 5)
    data = transitions([10, 8, 12])
    arrays = label.label(data, control("disc2d"), rows, length, None, seed=0)
    assert arrays["obs"][:, 0, 0].tolist() == [3, 20, 12, 0]
    assert arrays["obs"][:, 4, 0].tolist() == [7, 24, 16, 4]
    np.testing.assert_allclose(arrays["partial_return"], [data.reward[row : row + 5].sum() for row in rows], rtol=1e-5)
    assert label.crossing(data, rows, length) == 0
    assert label.crossing(data, np.array([6, 14]), length) == 2
    with pytest.raises(RunError, match="segments begin up to row 26 and have 5 steps, and there are 30 rows"):
        label.label(data, control("disc2d"), np.array([26]), length, None, seed=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": [3]}, "labels are to be 0, 1 or -1, one for each of the first indices"),
        ({"labels": [0, 1]}, "labels are to be 0, 1 or -1, one for each of the first indices"),
        ({"labels": 0}, "indices_1, indices_2 and labels are to be lists of numbers"),
        ({"labels": ["0"]}, "indices_1, indices_2 and labels are to be lists of numbers"),
        ({"indices_2": [[12]]}, "indices_1, indices_2 and labels are to be lists of numbers"),
        ({"query_len": 0}, "query_len=0, and segments have one step at least"),
        ({"query_len": np.inf}, "wanted an npz with indices_1, indices_2, labels, query_len"),
        ({"query_len": [5, 5]}, "wanted an npz with indices_1, indices_2, labels, query_len"),
    ],
)
def test_what_is_no_comparison_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "human.npz"
    np.savez(path, **{"indices_1": [3], "indices_2": [12], "labels": [1], "query_len": 5, **changes})
    with pytest.raises(UsageError) as error:
        label.comparisons(path)
    assert str(error.value) == f"comparisons={path}: {said}"


def test_a_file_without_comparisons_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", first=[3])
    with pytest.raises(UsageError, match="wanted an npz with indices_1, indices_2, labels, query_len"):
        label.comparisons(tmp_path / "other.npz")


def test_real_comparisons_are_read() -> None:
    if not HUMAN.is_dir():
        pytest.skip(f"no human comparisons in {HUMAN}")
    rows, human, length = label.comparisons(HUMAN / "hopper-medium-replay-v2.npz")
    assert (len(rows), len(human), length) == (1000, 500, 100)
    assert rows.max() + length <= 402_000
    assert set(human.tolist()) == {0.0, 0.5, 1.0}
    assert len(label.comparisons(HUMAN / "hopper-medium-expert-v2.npz")[1]) == 100


def test_from_a_run_of_sac_to_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    small = ["tracking=disabled", "eval.episodes=1"]
    sac = ["algo=sac", "env=disc2d", "steps=40", "algo.start_steps=20", "algo.batch_size=16", "algo.hidden_dims=[16]"]
    assert cli.main([*sac, *small]) == 0
    oracle = config.run_id(config.compose([*sac, *small]))
    to = tmp_path / "labelled.npz"
    words = ["env=disc2d", "dataset=disc", "dataset.rows=300", "segments=50", "length=1", "--to", str(to)]
    capsys.readouterr()
    assert cli.main(["data", "label", f"oracle={oracle}", *words]) == 0
    told = capsys.readouterr().out
    assert f"50 segments of 1 steps of disc, labelled by run {oracle} after 40 steps" in told
    assert "labels: partial_return, rl_sum, rl_sum_disc, rl_dir, rl_dir_disc, rl_lp" in told
    assert f"rlbench algo=cpl env=disc2d dataset=pref_segments:{to} dataset.label=rl_sum" in told
    for mode in ("rank", "comparison", "score"):
        run = ["algo=cpl", "env=disc2d", f"dataset=pref_segments:{to}", f"dataset.mode={mode}"]
        assert cli.main([*run, "steps=6", "algo.bc_steps=3", "algo.hidden_dims=[16]", *small]) == 0
    assert cli.main(["algo=pref_sft", *run[1:], "steps=6", *small]) == 2
    assert "algo=pref_sft learns from pairs" in capsys.readouterr().err
    assert cli.main(["data", "label", *words]) == 2
    assert "it exists" in capsys.readouterr().err
    to.unlink()
    assert cli.main(["data", "label", *words]) == 0
    assert "no oracle=RUN: the only label is partial_return, which is no regret" in capsys.readouterr().out
    shifted = [*sac, "algo.reward_shift=-1", *small]
    assert cli.main(shifted) == 0
    assert (
        cli.main(["data", "label", f"oracle={config.run_id(config.compose(shifted))}", *words[:-1], "other.npz"]) == 2
    )
    assert "has values of shifted rewards (algo.reward_shift=-1)" in capsys.readouterr().err
