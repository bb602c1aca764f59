"""Algorithms that act step by step, on the problems of the searches: what they report is what they lived through."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rlbench import cli, config
from rlbench.algos.policy_gradient.ppo import PPO
from rlbench.conformance import CHECKS, Subject
from rlbench.data.sampling import Batch
from rlbench.envs.point2d_goals import STEPS
from rlbench.envs.record import Findings
from rlbench.run import run
from rlbench.tracking.rundir import RunDir

WORDS = ["env=point2d_goals_final", "env.radius=0.6"]


def again(algorithm: Any, actions: list[np.ndarray]) -> Findings:
    """What a search would have found in episodes of these actions, `[STEPS, 2]` each."""
    record = Findings(algorithm.task.env, 1)
    for episode in actions:
        assert episode.shape == (STEPS, 2)
        steps = iter(episode.astype(np.float64))
        played = algorithm.task.env.play(lambda _, steps=steps: next(steps)[None], 1, 0)
        record.add(0, played.reward, np.column_stack([played.area, played.outcome]))
    return record


def agrees(metrics: dict[str, Any], place: int, record: Findings) -> None:
    for name, value in record.metrics().items():
        assert float(metrics[name][place]) == pytest.approx(value[0], abs=1e-6), name


def test_sac_reports_every_episode_that_has_ended(tmp_path: Path) -> None:
    long = "steps=400", "algo.buffer_size=400", "algo.start_steps=340"
    with Subject(["algo=sac", *WORDS], tmp_path).built("seeds=2", *long) as (sac, _):
        sac.train(20)
        assert (sac.evaluate()["eval/episodes"] == 0).all()
        sac.train(7 * STEPS - 10)
        metrics = sac.evaluate()
    assert metrics["eval/episodes"].tolist() == [7, 7]
    assert metrics["eval/areas"][1] >= 1
    rows = sac.buffer.rows[1, : 7 * STEPS]  # type: ignore[attr-defined]
    actions = Batch.of_rows(rows, 2, 2).action.numpy()
    agrees(metrics, 1, again(sac, list(actions.reshape(7, STEPS, 2))))


def test_ppo_reports_whole_episodes_of_what_it_has_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of 120 steps ends with 20 of its third episode, which is none; batches played ahead do not count yet."""
    actions: list[np.ndarray] = []
    improve = PPO.improve

    def watched(self: PPO, places: list[int], batches: Any) -> Any:
        for action, steps in zip(batches[0].action[places.index(1)], batches[0].mask[places.index(1)], strict=True):
            if steps.sum() == STEPS:
                actions.append(action.clamp(-1, 1).numpy())
        return improve(self, places, batches)

    monkeypatch.setattr(PPO, "improve", watched)
    with Subject(["algo=ppo", *WORDS], tmp_path).built("seeds=2", "algo.batch_size=120", "algo.std=2") as (ppo, _):
        ppo.train(20 * 120 + 60)
        metrics = ppo.evaluate()
    assert metrics["eval/episodes"].tolist() == [40, 40]
    assert metrics["eval/areas"][1] >= 1
    agrees(metrics, 1, again(ppo, actions))


def test_the_policy_itself_is_judged_by_one_episode(tmp_path: Path) -> None:
    with Subject(["algo=td3", *WORDS], tmp_path).built("seeds=2") as (td3, task):
        for parameter in td3.params["actor"].values():  # type: ignore[attr-defined]
            parameter[0] = 0.0  # it stays in the middle
        metrics = td3.evaluate()

        def act(pose: np.ndarray) -> np.ndarray:
            features = torch.tensor(pose, dtype=torch.float32).expand(2, 1, 2)
            action: np.ndarray = td3.action(td3.actor_params, features)[1].numpy()  # type: ignore[attr-defined]
            return action

        assert metrics["eval/policy_reward"][0] == 0
        assert metrics["eval/policy_reward"][1] == pytest.approx(task.env.play(act, 1, 0).reward[0], abs=1e-4)
        assert task.episodes["eval/policy_reward"].shape == (2, 1)


def test_a_run_is_judged_as_a_search_and_its_exported_policy_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    cfg = config.compose(["algo=ppo", *WORDS, "algo.batch_size=200", "steps=400", "eval.every=200", "log.every=200",
                          "tracking=disabled"])  # fmt: skip
    assert run(cfg) == 0
    directory = RunDir(config.run_directory(cfg))
    score = directory.score()
    assert score is not None
    assert (score.metric, score.step) == ("eval/best_reward", 400)
    row = directory.rows()[-1]
    assert row["eval/episodes"] == 8
    id = config.run_id(cfg)
    assert cli.main(["export", id]) == 0
    env = config.instantiate(cfg.env)
    played = gymnasium.make(env.id, **env.kwargs)
    policy = torch.jit.load(str(directory.path / "export" / "policy-seed0.pt"))
    (observation, _), total, over = played.reset(), 0.0, False
    while not over:
        action = policy(torch.as_tensor(observation)[None])[0].numpy()
        observation, reward, over, _, _ = played.step(action)
        total += float(reward)
    assert total == pytest.approx(row["eval/policy_reward"], abs=1e-4)
    capsys.readouterr()
    assert cli.main(["data", "make", f"policy={id}", "steps=50", "--to", str(tmp_path / "data.hdf5")]) == 2
    assert "is learned without data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["algo=sac", *WORDS],
        ["algo=ppo", *WORDS],
        pytest.param(["algo=td3", "env=redundant_arm"], marks=pytest.mark.slow),
        pytest.param(["algo=harpg", *WORDS], marks=pytest.mark.slow),
        pytest.param(["algo=sac", "env=ant_obstacles", "env.steps=30"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_run_that_was_cut_goes_on_to_the_same_bits(words: list[str], tmp_path: Path) -> None:
    CHECKS["resumes"](Subject(words, tmp_path))
