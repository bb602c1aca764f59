"""PPO: one iteration against torch.nn and torch.optim, and learning."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlbench.algos.policy_gradient.rollouts import joined
from rlbench.envs.control import Control
from rlbench.rng import SeedStreams
from tests.algos.helpers import build, same

CARTPOLE = Control("cartpole", "CartPole-v1")
SWIMMER = Control("swimmer", "Swimmer-v4")


def network(params: dict[str, Tensor], place: int, prefix: str = "") -> nn.Sequential:
    """A tanh stack of one seed as a torch.nn network."""
    layers: list[nn.Module] = []
    count = sum(name.startswith(prefix) and name.endswith(".weight") for name in params)
    for i in range(count):
        weight, bias = params[f"{prefix}{i}.weight"][place], params[f"{prefix}{i}.bias"][place]
        layer = nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(weight.T)
            layer.bias.copy_(bias[0])
        layers += [layer, nn.Tanh()] if i < count - 1 else [layer]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("env", [CARTPOLE, SWIMMER], ids=["choice", "box"])
def test_an_iteration_matches_a_reference(env: Control) -> None:
    settings: dict[str, Any] = {"hidden_dims": [8, 6], "batch_size": 70, "minibatch_size": 16, "horizon": 30}
    ppo = build("ppo", env, (0, 5), epochs=3, learning_rate=1e-2, **settings)
    before = {name: value.clone() for name, value in ppo.actor_params.items()}
    critics = {name: value.clone() for name, value in ppo.learned.items()}
    batches = [batch.cut(70) for batch in ppo.sampler.sample([0, 1], ppo.theta, [0, 0], 70)]
    assert joined(batches, 0).steps.tolist() == [70, 70]
    assert ppo.train(70)["train/iterations"].tolist() == [1, 1]
    for place, (seed, batch) in enumerate(zip((0, 5), batches, strict=True)):
        actor, critic = network(before, place), network(critics, place, "value.")
        log_std = before["log_std"][place, 0].clone().requires_grad_() if "log_std" in before else None
        columns: list[list[Tensor]] = [[], [], [], []]
        for e in range(batch.mask.shape[1]):
            n = int(batch.mask[0, e].sum())
            s, a, r = batch.observation[0, e, :n], batch.action[0, e, :n], batch.reward[0, e, :n]
            with torch.no_grad():
                v = torch.cat([critic(s)[:, 0], critic(batch.final[:1, e])[:, 0] * (1 - batch.terminated[0, e])])
            advantage = torch.zeros(n + 1)
            for h in reversed(range(n)):
                advantage[h] = r[h] + 0.99 * v[h + 1] - v[h] + 0.99 * 0.95 * advantage[h + 1]
            for column, value in zip(columns, (s, a, advantage[:n], advantage[:n] + v[:n]), strict=True):
                column.append(value)
        s, a, advantage, target = (torch.cat(column) for column in columns)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)

        def log_prob(s: Tensor, a: Tensor, actor: nn.Sequential = actor, log_std: Tensor | None = log_std) -> Tensor:
            if log_std is None:
                return torch.distributions.Categorical(logits=actor(s)).log_prob(a.argmax(1))
            return torch.distributions.Normal(actor(s), log_std.exp()).log_prob(a).sum(1)

        old = log_prob(s, a).detach()
        learned = [*actor.parameters(), *critic.parameters(), *([] if log_std is None else [log_std])]
        optimizer = torch.optim.Adam(learned, 1e-2)
        stream = SeedStreams((seed,), "minibatches 0")
        for _ in range(3):
            for index in stream.permutation(70)[0].split(16):
                ratio = (log_prob(s[index], a[index]) - old[index]).exp()
                gain = torch.min(ratio * advantage[index], ratio.clamp(0.8, 1.2) * advantage[index]).mean()
                loss = (critic(s[index])[:, 0] - target[index]).square().mean() - gain
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        same(actor, ppo.actor_params, place, atol=2e-4)
        if log_std is not None:
            torch.testing.assert_close(ppo.actor_params["log_std"][place, 0], log_std.detach(), rtol=0, atol=2e-4)
