"""MOORL: it is SAC where it must be, to the bit; and elsewhere what a torch.nn reference does, seed by seed."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from rlbench import config
from rlbench.build import build as composed
from rlbench.rng import SeedStreams
from tests.algos.acting import Episodes
from tests.algos.helpers import Columns, build, descend, exact_and_independent, minibatches
from tests.algos.point import POINT, recorded
from tests.algos.soft import PlainSAC

DATA = recorded()
SMALL: dict[str, Any] = {"hidden_dims": [32, 16], "batch_size": 16, "start_steps": 20}


def test_is_sac_to_the_bit() -> None:
    """One inner step, the whole meta-step, no offline batch: 500 steps of SAC, through parameters and optimisers."""
    sac = build("sac", POINT, (3, 7), **SMALL)
    whole: dict[str, Any] = {"inner_steps": 1, "meta_step": 1.0, "offline_probability": 0.0}
    moorl = build("moorl", DATA, (3, 7), env=POINT, **whole, **SMALL)
    sac.train(500)
    moorl.train(500)
    assert sac.params.keys() == moorl.params.keys()
    for group, params in sac.params.items():
        for name, value in params.items():
            assert torch.equal(moorl.params[group][name], value), f"{group} {name}"
    for name in ("actor_optimizer", "critic_optimizer", "alpha_optimizer"):
        for mine, theirs in zip(getattr(moorl, name).state, getattr(sac, name).state, strict=True):
            assert torch.equal(mine, theirs), name
    assert torch.equal(moorl.buffer.rows, sac.buffer.rows)


class PlainMOORL(PlainSAC):
    """Seed number k of MOORL, with parameters that are moved by hand."""

    def __init__(self, algorithm: Any, k: int, seed: int, batch_size: int) -> None:
        super().__init__(algorithm, None, k, seed, batch_size)
        self.draws = minibatches(DATA, seed, batch_size, purpose="offline minibatches")
        self.selection = SeedStreams((seed,), "selection")
        self.episodes = Episodes(seed)
        self.updates = 0
        self.optimise(3e-4, 3e-4, 3e-4)

    def networks(self) -> list[nn.Module]:
        return [self.actor, *self.critics]

    def iterate(
        self, steps: int, meta_step: float, resample: bool, reset: bool, follow: str, every: int
    ) -> tuple[bool, float]:
        """One meta-iteration; returns whether it was offline, and the last loss of the actor."""
        offline = bool(self.selection.uniform(1, 1) < 0.5) or len(self.episodes.rows) < self.size
        if reset:
            log_alpha = self.alpha_optimizer
            self.optimise(3e-4, 3e-4, 3e-4)
            self.alpha_optimizer = log_alpha
        start = [deepcopy(network.state_dict()) for network in self.networks()]
        for update in range(steps):
            if update == 0 or resample:
                sources = next(self.draws), Columns(*self.episodes.minibatch(self.size))
            batch = sources[0 if offline else 1]
            y = self.target(batch, entropy=True)
            pairs = torch.cat([batch.observation, batch.action], 1)
            descend(self.critic_optimizer, torch.stack([((c(pairs) - y) ** 2).mean() for c in self.critics]).sum())
            loss = self.update_actor(batch)
            self.updates += 1
            if follow == "inner" and self.updates % every == 0:
                self.follow()
        with torch.no_grad():
            for network, before in zip(self.networks(), start, strict=True):
                for name, w in network.named_parameters():
                    w.copy_(before[name] + meta_step * (w - before[name]))
            if follow == "meta":
                kept = (1 - 0.005) ** (steps / every)
                for target, critic in zip(self.targets, self.critics, strict=True):
                    for old, new in zip(target.parameters(), critic.parameters(), strict=True):
                        old.copy_(kept * old + (1 - kept) * new)
        return offline, loss


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"target_follow": "meta", "inner_resample": False, "target_every": 2},
        {"inner_optimizer": "reset", "env_steps_per_iteration": 2, "meta_step_decay": "linear", "target_every": 2},
    ],
    ids=str,
)
def test_matches_reference(variant: dict[str, Any]) -> None:
    """Two seeds that choose their sources apart; the meta-policy acts, and the first iterations lack replay."""
    moorl = build("moorl", DATA, (0, 5), 1000, POINT, inner_steps=3, **{**SMALL, "start_steps": 10}, **variant)
    plains = [PlainMOORL(moorl, k, seed, 16) for k, seed in enumerate((0, 5))]
    metrics = moorl.train(70)
    every = variant.get("env_steps_per_iteration", 3)
    chosen = []
    for k, plain in enumerate(plains):
        for step in range(1, 71):
            episodes = plain.episodes
            if step <= 10:
                episodes.act(2 * episodes.exploration.uniform(1, 1)[0, 0] - 1)
                continue
            with torch.no_grad():
                episodes.act(plain.squash(episodes.state[None], episodes.exploration.normal(1, 1)[0])[0][0])
            if (step - 10) % every == 0:
                rate = 0.5 * (1 - step / 1000) if "meta_step_decay" in variant else 0.5
                offline, loss = plain.iterate(
                    3,
                    rate,
                    variant.get("inner_resample", True),
                    "inner_optimizer" in variant,
                    variant.get("target_follow", "inner"),
                    variant.get("target_every", 1),
                )
                chosen.append(offline)
        assert metrics["train/actor_loss"][k].item() == pytest.approx(loss, rel=1e-4)
        assert metrics["train/from_data"][k].item() == chosen[-1]
        plain.check(moorl.params)
    half = len(chosen) // 2
    assert chosen[:half] != chosen[half:]
    assert 0.2 < sum(chosen) / len(chosen) < 0.8


def test_exact_and_independent() -> None:
    exact_and_independent("moorl", DATA, (23, 19), env=POINT, hidden_dims=[16], batch_size=8, start_steps=15)


def test_reward_shift() -> None:
    shifted, plain = (build("moorl", DATA, env=POINT, reward_shift=shift, **SMALL) for shift in (-1.0, 0.0))
    for algorithm, reward in ((shifted, 0.5), (plain, -0.5)):
        probe = algorithm.probe._replace(reward=torch.full_like(algorithm.probe.reward, reward))
        algorithm.learn_rows(
            torch.cat([probe.observation, probe.action, probe.reward, probe.next_observation, probe.terminated], -1)
        )
    for name, value in shifted.params["critic"].items():
        assert torch.equal(plain.params["critic"][name], value)


@pytest.mark.slow
def test_a_pendulum_is_swung_up() -> None:
    """With the data of a middling policy, past -250 after 12,000 steps; measured -171 on three seeds."""
    (words,) = config.expand(["experiment=moorl_pendulum", "algo=moorl"], multirun=True)
    algorithm: Any = composed(config.compose([*words, "seeds=1", "tracking=disabled"]))[0]
    algorithm.train(12_000)
    assert algorithm.evaluate()["eval/return"].item() > -250
