"""SACfD and RLPD against torch.nn references that draw half of each minibatch from either source."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlbench.errors import UsageError
from rlbench.rng import SeedStreams
from tests.algos.acting import Episodes
from tests.algos.helpers import Columns, build, descend, exact_and_independent, minibatches
from tests.algos.hybrid.halves import halves
from tests.algos.point import POINT, recorded
from tests.algos.soft import PlainSAC

DATA = recorded()
SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16, "start_steps": 20}


@pytest.mark.parametrize("seed", [0, 5])
def test_sacfd_matches_reference(seed: int) -> None:
    sacfd = build("sacfd", DATA, (seed,), env=POINT, **SMALL)
    plain = PlainSAC(sacfd, None, 0, seed, 16)
    plain.optimise(3e-4, 3e-4, 3e-4)
    draws = minibatches(DATA, seed, 8, purpose="offline minibatches")
    metrics = sacfd.train(60)
    episodes = Episodes(seed)
    for step in range(60):
        if step < 20:
            episodes.act(2 * episodes.exploration.uniform(1, 1)[0, 0] - 1)
            continue
        with torch.no_grad():
            episodes.act(plain.squash(episodes.state[None], episodes.exploration.normal(1, 1)[0])[0][0])
        batch = halves(episodes, draws)
        y = plain.target(batch, entropy=True)
        pairs = torch.cat([batch.observation, batch.action], 1)
        loss = descend(plain.critic_optimizer, torch.stack([((c(pairs) - y) ** 2).mean() for c in plain.critics]).sum())
        plain.update_actor(batch)
        plain.follow()
    assert metrics["train/critic_loss"].item() == pytest.approx(loss, rel=1e-4)
    plain.check(sacfd.params)


def normalised(network: nn.Sequential) -> nn.Sequential:
    """The same layers, with LayerNorm before each ReLU."""
    layers: list[nn.Module] = []
    for layer in network:
        layers += [nn.LayerNorm(layers[-1].out_features), layer] if isinstance(layer, nn.ReLU) else [layer]
    return nn.Sequential(*layers)


class PlainRLPD(PlainSAC):
    """Five critics with LayerNorm, two of which make a target; the actor follows their mean."""

    def __init__(self, algorithm: Any, seed: int) -> None:
        super().__init__(algorithm, None, 0, seed, 16)
        self.critics, self.targets = ([normalised(c) for c in group] for group in (self.critics, self.targets))
        self.subset = SeedStreams((seed,), "subset of critics")
        self.optimise(3e-4, 3e-4, 3e-4)

    def values(self, networks: list[nn.Sequential], state: Tensor, action: Tensor) -> Tensor:
        return torch.stack([network(torch.cat([state, action], 1)) for network in networks])

    def target(self, batch: Columns, entropy: bool) -> Tensor:
        with torch.no_grad():
            action, log_prob = self.sample(batch.next_observation)
            chosen = self.subset.uniform(5)[0].argsort()[:2]
            value = self.values([self.targets[int(m)] for m in chosen], batch.next_observation, action).amin(0)
            value = value - entropy * self.log_alpha.exp() * log_prob
            return batch.reward + 0.99 * (1 - batch.terminated) * value

    def update_actor(self, batch: Columns) -> float:
        action, log_prob = self.sample(batch.observation)
        q = self.values(self.critics, batch.observation, action).mean(0)
        loss = descend(self.actor_optimizer, (self.log_alpha.exp().detach() * log_prob - q).mean())
        descend(self.alpha_optimizer, -(self.log_alpha * (log_prob.detach() - self.dim / 2)).mean())
        return loss


@pytest.mark.parametrize(("entropy", "target_every"), [(True, 1), (False, 2)])
def test_rlpd_matches_reference(entropy: bool, target_every: int) -> None:
    rates: dict[str, Any] = {"num_critics": 5, "updates_per_step": 3, "entropy_in_target": entropy}
    rates["target_every"] = target_every
    rlpd = build("rlpd", DATA, (5,), env=POINT, **rates, **SMALL)
    plain = PlainRLPD(rlpd, 5)
    draws = minibatches(DATA, 5, 8, purpose="offline minibatches")
    metrics = rlpd.train(40)
    episodes = Episodes(5)
    for step in range(40):
        if step < 20:
            episodes.act(2 * episodes.exploration.uniform(1, 1)[0, 0] - 1)
            continue
        with torch.no_grad():
            episodes.act(plain.squash(episodes.state[None], episodes.exploration.normal(1, 1)[0])[0][0])
        for update in range(3):
            batch = halves(episodes, draws)
            y = plain.target(batch, entropy)
            error = (plain.values(plain.critics, batch.observation, batch.action) - y) ** 2
            descend(plain.critic_optimizer, error.mean((1, 2)).sum())
            if (3 * (step - 20) + update + 1) % target_every == 0:
                plain.follow()
            if update == 2:
                loss = plain.update_actor(batch)
    assert metrics["train/actor_loss"].item() == pytest.approx(loss, rel=1e-4)
    plain.check(rlpd.params)


def test_exact_and_independent() -> None:
    small: dict[str, Any] = {"hidden_dims": [16], "batch_size": 8, "start_steps": 15}
    exact_and_independent("sacfd", DATA, (23, 18), env=POINT, **small)
    exact_and_independent("rlpd", DATA, (23, 18), env=POINT, num_critics=3, updates_per_step=2, **small)


def test_refuses_what_is_not_hybrid() -> None:
    for fraction in (0.0, 0.01, 1.0):
        with pytest.raises(UsageError, match="each source needs one"):
            build("sacfd", DATA, env=POINT, offline_fraction=fraction, **SMALL)
    with pytest.raises(UsageError, match=r"algo\.target_critics=3 of algo\.num_critics=2"):
        build("rlpd", DATA, env=POINT, num_critics=2, target_critics=3, **SMALL)
