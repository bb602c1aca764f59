"""Batches of whole episodes: how many, the same whoever is sampled beside, and cut where PPO cuts them."""

import pytest
import torch

from rlbench import config
from rlbench.algos.policy_gradient.ppo import advantages
from rlbench.algos.policy_gradient.rollouts import Rollouts, joined
from rlbench.envs.control import Control
from rlbench.envs.simulators import END
from rlbench.envs.training import episode_seed
from rlbench.errors import UsageError
from tests.algos.helpers import build

CARTPOLE = Control("cartpole", "CartPole-v1")
SWIMMER = Control("swimmer", "Swimmer-v4")


def test_episodes_until_the_batch_is_full() -> None:
    algorithm = build("vanilla_pg", CARTPOLE, (0, 4, 9), hidden_dims=[8], batch_size=300, horizon=50)
    batches = algorithm.sampler.sample([0, 1, 2], algorithm.theta, [0, 0, 7], 300)
    for batch, seed, first in zip(batches, (0, 4, 9), (0, 0, 7), strict=True):
        lengths = batch.mask[0].sum(1)
        assert lengths.sum() >= 300
        assert lengths[:-1].sum() < 300
        assert batch.terminated[0].tolist() == (lengths < 50).float().tolist()
        env = CARTPOLE.make()
        for e in (0, len(lengths) - 1):  # played again, alone
            observation, _ = env.reset(seed=episode_seed(seed, first + e))
            for h in range(int(lengths[e])):
                torch.testing.assert_close(batch.observation[0, e, h], torch.tensor(observation), rtol=0, atol=0)
                observation, *_ = env.step(batch.action[0, e, h].numpy())
            torch.testing.assert_close(batch.final[0, e], torch.tensor(observation), rtol=0, atol=0)
    alone = algorithm.sampler.sample([2], algorithm.theta[2:], [7], 300)[0]
    for name in ("observation", "action", "reward", "mask", "final", "terminated"):
        torch.testing.assert_close(getattr(alone, name), getattr(batches[2], name), rtol=0, atol=0)
    assert alone.ends.isnan().all()  # a pole on a cart has no reward areas


def test_actions_follow_the_policy() -> None:
    """Frequencies of choices, and mean and spread of Gaussian actions, whose bounds only the environment sees."""
    algorithm = build("vanilla_pg", CARTPOLE, (0,), hidden_dims=[], batch_size=20000, horizon=50)
    algorithm.theta += torch.tensor([[0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]])  # leans on the angle
    (batch,) = algorithm.sampler.sample([0], algorithm.theta, [0], 20000)
    taken = batch.mask.bool()
    observation, action = batch.observation[taken][None], batch.action[taken]
    probability = algorithm.policy.distribution(algorithm.actor_params, observation)[0]
    z = (action - probability).sum(0) / (probability * (1 - probability)).sum(0).sqrt()
    assert (z.abs() < 4).all()
    assert set(action.sum(1).tolist()) == {1.0}
    algorithm = build("vanilla_pg", SWIMMER, (0,), hidden_dims=[4], std=0.7, batch_size=2000, horizon=500)
    (batch,) = algorithm.sampler.sample([0], algorithm.theta, [0], 2000)
    noise = batch.action - algorithm.policy.net(algorithm.actor_params, batch.observation.flatten(1, 2)).unflatten(
        1, batch.mask.shape[1:]
    )
    assert noise.std().item() == pytest.approx(0.7, rel=0.05)
    assert batch.action.abs().max() > 1.5
    assert algorithm.policy.taken(batch.action).abs().max() == 1.0


def test_a_cut_batch_has_exactly_its_size() -> None:
    ppo = build("ppo", CARTPOLE, (0, 3), hidden_dims=[8], batch_size=77, horizon=40, minibatch_size=16)
    whole = ppo.sampler.sample([0, 1], ppo.theta, [0, 0], 77)
    for batch in whole:
        cut = batch.cut(77)
        assert cut.steps.tolist() == [77.0]
        last, steps = batch.mask.shape[1] - 1, int(cut.mask[0, -1].sum())
        if steps < int(batch.mask[0, -1].sum()):
            torch.testing.assert_close(cut.final[0, last], batch.observation[0, last, steps])
            assert cut.terminated[0, last] == 0
        played = batch.reward.sum(2)[0, : last + (steps == int(batch.mask[0, -1].sum()))]
        assert cut.returns.item() == pytest.approx(played.mean().item())
    assert any(batch.cut(77).whole[0, -1] == 0 for batch in whole)
    metrics = ppo.train(76)
    assert metrics["train/iterations"].tolist() == [0, 0]
    assert ppo.train(1)["train/iterations"].tolist() == [1, 1]


def test_advantages_against_the_sum_of_td_errors() -> None:
    mask = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]])
    zeros = torch.zeros(1, 2, 3, 1)
    reward, terminated = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]]]), torch.tensor([[0.0, 1.0]])
    rollouts = Rollouts(
        zeros, zeros, reward, mask, zeros[:, :, 0], terminated, torch.full((1, 2, END), torch.nan), mask[..., 0]
    )
    value = torch.tensor([[[0.5, 0.6, 0.7], [0.8, 0.9, 9.0]]])
    found = advantages(rollouts, value, torch.tensor([[10.0, 20.0]]), 0.9, 0.8)
    d = [1 + 0.9 * 0.6 - 0.5, 2 + 0.9 * 0.7 - 0.6, 3 + 0.9 * 10 - 0.7, 4 + 0.9 * 0.9 - 0.8, 5 - 0.9]
    expected = [[d[0] + 0.72 * d[1] + 0.72**2 * d[2], d[1] + 0.72 * d[2], d[2]], [d[3] + 0.72 * d[4], d[4], 0.0]]
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_joined_batches_are_filled_up() -> None:
    algorithm = build("vanilla_pg", CARTPOLE, (0, 4), hidden_dims=[8], batch_size=60, horizon=50)
    batches = algorithm.sampler.sample([0, 1], algorithm.theta, [0, 0], 60)
    both = joined(batches, 0)
    for place, batch in enumerate(batches):
        _, episodes, steps = batch.mask.shape
        torch.testing.assert_close(both.reward[place, :episodes, :steps], batch.reward[0])
        assert both.steps[place] == batch.steps
        assert both.episodes[place] == batch.episodes
        assert both.returns[place].item() == pytest.approx(batch.returns.item())


@pytest.mark.parametrize(("words", "parts"), [
    (["algo=sac", "env=cartpole"],
     ["needs control or images or policy search, and env=cartpole is discrete control", "env=hopper",
      "env=point2d_goals"]),
    (["algo=npg_igt", "env=recovering_bandit"],
     ["needs control or discrete control or policy search", "env=acrobot", "env=swimmer"]),
])  # fmt: skip
def test_what_does_not_fit(words: list[str], parts: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        config.compose(words)
    assert [part for part in parts if part not in str(error.value)] == []
