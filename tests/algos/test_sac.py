"""SAC: against a torch.nn reference that plays its own episodes; the best policy; its log-probabilities."""

import math
from typing import Any

import pytest
import torch

from rlbench.envs.control import Control
from rlbench.errors import UsageError
from rlbench.nets.policy import TanhGaussian
from tests.algos.acting import Episodes
from tests.algos.helpers import Columns, build, descend, exact_and_independent
from tests.algos.point import POINT
from tests.algos.soft import PlainSAC


@pytest.mark.parametrize(("alpha", "target_every", "entropy"), [(1.0, 1, True), (0.1, 3, True), (1.0, 1, False)])
def test_matches_reference(alpha: float, target_every: int, entropy: bool) -> None:
    small: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16, "start_steps": 20}
    small |= {"initial_alpha": alpha, "target_every": target_every, "entropy_in_target": entropy}
    sac = build("sac", POINT, (0, 5), **small)
    plains = [PlainSAC(sac, None, k, seed, 16) for k, seed in enumerate((0, 5))]
    metrics = sac.train(60)
    for k, (plain, seed) in enumerate(zip(plains, (0, 5), strict=True)):
        plain.log_alpha.data.fill_(math.log(alpha))
        plain.optimise(3e-4, 3e-4, 3e-4)
        episodes = Episodes(seed)
        for step in range(60):
            if step < 20:
                episodes.act(2 * episodes.exploration.uniform(1, 1)[0, 0] - 1)
                continue
            with torch.no_grad():
                episodes.act(plain.squash(episodes.state[None], episodes.exploration.normal(1, 1)[0])[0][0])
            batch = Columns(*episodes.minibatch(16))
            y = plain.target(batch, entropy)
            pairs = torch.cat([batch.observation, batch.action], 1)
            loss = torch.stack([((c(pairs) - y) ** 2).mean() for c in plain.critics]).sum()
            critic_loss = descend(plain.critic_optimizer, loss)
            actor_loss = plain.update_actor(batch)
            if (step - 19) % target_every == 0:
                plain.follow()
        assert metrics["train/critic_loss"][k].item() == pytest.approx(critic_loss, rel=1e-4)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(actor_loss, rel=1e-4)
        plain.check(sac.params)


def test_tanh_gaussian_against_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(2, 500, 6, generator=generator)
    noise = torch.randn(2, 500, 3, generator=generator)
    policy = TanhGaussian(-5.0, 0.5)
    action, log_prob = policy.sample(output, noise)
    mean, log_std = output.double().chunk(2, -1)
    normal = torch.distributions.Normal(mean, log_std.clamp(-5.0, 0.5).exp())
    squashed = torch.distributions.TransformedDistribution(normal, torch.distributions.TanhTransform(cache_size=1))
    u = mean + normal.stddev * noise
    torch.testing.assert_close(action.double(), torch.tanh(u), rtol=0, atol=1e-6)
    expected = squashed.log_prob(squashed.transforms[0](u)).sum(-1, keepdim=True)
    # the 1e-6 under the logarithm counts where the tanh is flat
    inside = (action.abs() < 0.99).all(-1, keepdim=True)
    assert inside.float().mean() > 0.7
    torch.testing.assert_close(log_prob[inside].double(), expected[inside], rtol=0, atol=5e-4)
    torch.testing.assert_close(policy.mode(output).double(), torch.tanh(mean), rtol=0, atol=1e-6)


def test_density_integrates_to_one() -> None:
    """E over the policy of 1 / pi(a) is the volume of the actions that it can reach: 2 for one dimension."""
    noise = torch.randn(1, 200000, 1, generator=torch.Generator().manual_seed(1))
    output = torch.tensor([0.2, 0.1]).expand(1, 200000, 2)
    _, log_prob = TanhGaussian(-5.0, 2.0).sample(output, noise)
    assert torch.exp(-log_prob).mean().item() == pytest.approx(2.0, rel=0.02)


def test_learns_the_best_policy() -> None:
    """Each of three seeds loses less than a tenth of what doing nothing loses."""
    rates: dict[str, Any] = dict.fromkeys(("actor_learning_rate", "critic_learning_rate", "alpha_learning_rate"), 1e-3)
    small: dict[str, Any] = {"hidden_dims": [32, 32], "batch_size": 64, "start_steps": 200, "tau": 0.02}
    sac = build("sac", POINT, (0, 1, 2), steps=2000, **small, **rates)
    sac.train(2000)
    best = sac.task.evaluate(lambda state: (-2 * state).clamp(-1, 1))["eval/return"]
    idle = sac.task.evaluate(torch.zeros_like)["eval/return"]
    reached = sac.evaluate()["eval/return"]
    assert (best - idle > 1.0).all()
    assert (best - reached < 0.1 * (best - idle)).all(), (best, reached)


def test_exact_and_independent() -> None:
    exact_and_independent("sac", POINT, (23, 18), hidden_dims=[16], batch_size=8, start_steps=15, target_every=3)


@pytest.mark.parametrize(("id", "most"), [("InvertedPendulum-v5", "3"), ("Humanoid-v4", "0.4")])
def test_actions_bounded_otherwise_than_a_policys_are_refused(id: str, most: str) -> None:
    """Forces up to 3 no policy would reach; beyond 0.4, they would cost more and do no more."""
    with pytest.raises(UsageError, match=rf"env=x: its actions lie in \[-{most}, {most}\], .* \[-1, 1\]"):
        build("sac", Control("x", id), steps=6000)


def test_a_run_of_random_steps_alone_is_refused() -> None:
    with pytest.raises(UsageError, match=r"algo.start_steps=50: all 50 steps would be random"):
        build("td3", POINT, steps=50, start_steps=50)
