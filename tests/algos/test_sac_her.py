"""SAC with hindsight: relabelling against brute force, what it is for, and its runs."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlbench import cli, config
from rlbench.algos.online.sac_her import HindsightReplay
from rlbench.build import build
from rlbench.data.sampling import Batch
from rlbench.errors import UsageError
from rlbench.rng import SeedStreams
from rlbench.run import run
from rlbench.tracking.rundir import RunDir

WORDS = ["algo=sac_her", "tracking=disabled", "hardware=cpu"]
NEAR = "env.radius=0.1"


def built(*words: str) -> Any:
    return build(config.compose([*WORDS, *words]))[0]


def test_a_later_row_is_one_of_the_same_episode_drawn_evenly_from_what_comes() -> None:
    """Two seeds whose episodes end apart, some of them longer than the ring of twelve rows; the last ones still run."""
    replay, stream = HindsightReplay(2, 12, 2), SeedStreams((0, 1), "minibatches")
    lengths = [[2, 3, 1, 15, 4, 100], [6, 1, 1, 2, 3, 14, 100]]
    episode = [np.repeat(np.arange(len(each)), each)[:30] for each in lengths]
    for step in range(30):
        ended = np.array([step + 1 < 30 and each[step + 1] != each[step] for each in episode])
        rows = torch.tensor([[[step, each[step]]] for each in episode], dtype=torch.float32)
        replay.append(rows, ended)
        if step % 7 and step < 29:
            continue
        drawn, later = (each[..., :2].int().numpy() for each in replay.pairs(4000, stream))
        for seed in (0, 1):
            kept = range(max(0, step - 11), step + 1)
            expected: dict[tuple[int, int], float] = {}
            for row in kept:
                rest = [n for n in kept if n >= row and episode[seed][n] == episode[seed][row]]
                expected |= {(row, n): 4000 / len(kept) / len(rest) for n in rest}
            pairs, counts = np.unique(np.stack([drawn[seed, :, 0], later[seed, :, 0]]), axis=1, return_counts=True)
            found = dict(zip(map(tuple, pairs.T.tolist()), counts, strict=True))
            assert found.keys() == expected.keys()
            chi = sum((found[pair] - wanted) ** 2 / wanted for pair, wanted in expected.items())
            freedom = len(expected) - 1
            assert abs(chi - freedom) <= 5 * np.sqrt(2 * freedom)


def test_relabelled_rows_against_brute_force() -> None:
    """Of a known episode: goals, rewards and their number; everything else as it was."""
    her = built(NEAR, "algo.batch_size=64")
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.uniform(-0.05, 0.05, (31, 2)), 0)
    goal = path[11] + [0.04, 0.0]  # the asked one, passed by on the way
    for t in range(30):
        row = [*path[t], *goal, *rng.uniform(-1, 1, 2), -7.0, *path[t + 1], *goal, float(t == 29)]
        her.remember(torch.tensor([[row]], dtype=torch.float32), np.array([t == 29]))
    rows, later = her.buffer.pairs(64, SeedStreams((0,), "test"))
    before = rows.clone()
    batch, old, after = (Batch.of_rows(each, 4, 2) for each in (her.in_hindsight(rows, later), before, later))
    changed = (batch.observation[0, :, 2:] != old.observation[0, :, 2:]).any(1)
    assert changed.sum() == 51  # of 64, four fifths
    rewarded = 0
    for i in range(64):
        wanted = after.next_observation[0, i, :2] if i < 51 else torch.tensor(goal, dtype=torch.float32)
        np.testing.assert_array_equal(batch.observation[0, i], [*old.observation[0, i, :2], *wanted])
        np.testing.assert_array_equal(batch.next_observation[0, i], [*old.next_observation[0, i, :2], *wanted])
        reward = max(0.0, 1 - float(torch.dist(batch.next_observation[0, i, :2], wanted)) / 0.1)
        assert batch.reward[0, i, 0].item() == pytest.approx(reward, abs=1e-5)
        rewarded += i >= 51 and reward > 0
    assert rewarded > 0
    assert torch.equal(batch.action, old.action)
    assert torch.equal(batch.terminated, old.terminated)


@pytest.mark.parametrize(
    "words", [["env=redundant_arm"], ["env=point2d_goals", "algo.hindsight_goals=0"]], ids=" ".join
)
def test_minibatches_are_worth_what_the_problem_says(words: list[str]) -> None:
    """Where the outcome is no part of the observation; and without hindsight, where goals stay those of the areas."""
    her = built("algo.start_steps=500", "algo.batch_size=400", *words)
    her.train(450)
    env: Any = her.problem
    batch = Batch.of_rows(her.next_batch(), *her.dims)
    width = env.dims()[0]
    goal, reached = batch.observation[0, :, width:].numpy(), batch.next_observation[0, :, :width].numpy()
    assert torch.equal(batch.next_observation[0, :, width:], batch.observation[0, :, width:])
    at_area = (np.abs(goal[:, None] - env.centres) < 1e-6).all(-1).any(-1)
    assert at_area.sum() == (400 if "algo.hindsight_goals=0" in words else 80)
    reward = batch.reward[0, :, 0].numpy()
    np.testing.assert_allclose(reward, env.goal_reward(env.outcome(reached), goal), atol=1e-5)
    assert at_area.all() or (reward[~at_area] > 0).mean() > 0.3


@pytest.mark.slow
@pytest.mark.long
def test_learns_to_reach_what_sac_without_hindsight_never_meets() -> None:
    """Which ends where it was told to in one area of four at most, for it goes to some corner whatever it is told."""
    small = ["algo.hidden_dims=[64,64]", "algo.batch_size=128", "algo.start_steps=500", "seeds=2"]
    rates = [f"algo.{part}_learning_rate={rate}" for part, rate in (("actor", 1e-3), ("critic", 1e-3), ("alpha", 3e-3))]
    success = {}
    for goals in (0, 4):
        her = built(NEAR, *small, *rates, "algo.gamma=0.9", "algo.tau=0.02", f"algo.hindsight_goals={goals}")
        her.train(4500)
        success[goals] = her.evaluate()["eval/success"]
    assert (success[0] <= 0.25).all(), success
    assert (success[4] >= 0.75).all(), success


def test_a_run_reports_areas_and_its_exported_policy_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    small = ["algo.hidden_dims=[16]", "algo.start_steps=60", "algo.batch_size=16", "steps=200"]
    cfg = config.compose([*WORDS, NEAR, *small, "eval.every=100", "log.every=100"])
    assert run(cfg) == 0
    directory = RunDir(config.run_directory(cfg))
    score = directory.score()
    assert score is not None
    assert score.metric == "eval/best_reward"
    row = directory.rows()[-1]
    assert row["eval/episodes"] == 4
    assert {"eval/coverage", "eval/success", "eval/success_3", "train/successes"} <= row.keys()
    assert cli.main(["export", config.run_id(cfg)]) == 0
    monkeypatch.chdir(directory.path / "export")
    capsys.readouterr()
    played = runpy.run_path("example.py")
    assert played["observation"].shape == (4,)
    assert "return" in capsys.readouterr().out


def test_problems_without_areas_are_refused_with_those_that_fit() -> None:
    with pytest.raises(UsageError, match=r"(?s)algo=sac_her needs policy search, and env=hopper.*env=point2d_goals"):
        config.compose(["algo=sac_her", "env=hopper"])
