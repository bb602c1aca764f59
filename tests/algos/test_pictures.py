"""Algorithms that learn from pictures, update for update against plain torch.nn, and what every algorithm must keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench import config
from rlbench.build import build
from rlbench.conformance import CHECKS, Subject
from rlbench.data.detours import Detours
from rlbench.data.frames import Sight
from rlbench.rng import SeedStreams
from tests.algos.helpers import descend
from tests.nets import seeing
from tests.nets.seeing import STEPS, Plain

SHAPE = (9, 15, 15)
UPDATES = 6


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    return seeing.segments(tmp_path / "segments.npz")


def words(path: Path, algo: str) -> list[str]:
    return [f"algo={algo}", "env=pendulum_pixels", f"dataset=pref_segments:{path}", "dataset.mode=comparison"]


def learner(path: Path, algo: str, *more: str) -> Any:
    small = ["env.size=15", "algo.batch_size=4", "algo.hidden_dims=[16]", "algo.dropout=0", "steps=100", "seeds=2"]
    return build(config.compose([*words(path, algo), *small, "algo.learning_rate=0.001", "hardware=cpu", *more]))[0]


def pairs(like: Any, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What a seed is to learn from, one update after another: pictures `[2 B T, D]`, actions, labels `[B]`."""
    batches = like.minibatches
    batches.rng = SeedStreams((seed,), "minibatches")
    sight = Sight(SeedStreams((seed,), "shift"), (3, 15, 15), like.task.segments.frames)
    while True:
        drawn = batches.split(batches.next())
        # One shift a pair, for both of its segments and all of their steps.
        first, second = drawn.observation[0].chunk(2)
        seen = sight(torch.stack([first, second], 1)[None])[0]
        pictures = torch.cat([seen[:, 0], seen[:, 1]])
        yield pictures.flatten(0, 1), drawn.action[0].flatten(0, 1), drawn.label[0]


def same(params: Any, seed: int, plain: Plain, first: Plain, but: str = "nothing") -> None:
    """The parameters of a seed went where the reference's went, from where those began.

    Adam makes much of rounding where a gradient is nearly zero: single numbers differ, what all moved by does not.
    """
    found, began = Plain(params, seed, SHAPE).state_dict(), first.state_dict()
    for name, value in plain.state_dict().items():
        moved = (value - began[name]).norm()
        if name in found and not name.startswith(but):
            assert (found[name] - value).norm() <= 0.02 * moved + 1e-7, name


def test_cpl_matches_reference(segments: Path) -> None:
    more = ["algo.bc_steps=3", "algo.warmup_steps=0"]
    cpl = learner(segments, "cpl", *more)
    actors, first_actors = ([Plain(cpl.params["actor"], seed, SHAPE) for seed in range(2)] for _ in range(2))
    cpl.train(UPDATES)
    for seed, actor in enumerate(actors):
        batches = pairs(learner(segments, "cpl", *more), seed)
        optimizer = torch.optim.Adam(actor.parameters(), lr=0.001)
        for step in range(UPDATES):
            pictures, action, label = next(batches)
            log_prob = -(torch.tanh(actor(pictures)) - action).square().sum(-1)
            if step == 3:
                optimizer = torch.optim.Adam(actor.parameters(), lr=0.001)
            first, second = (0.1 * log_prob.view(-1, STEPS).sum(1)).chunk(2)
            contrast = label * F.softplus(0.5 * first - second) + (1 - label) * F.softplus(0.5 * second - first)
            descend(optimizer, -log_prob.mean() if step < 3 else contrast.mean())
        same(cpl.params["actor"], seed, actor, first_actors[seed])


def test_piql_matches_reference(segments: Path) -> None:
    """The encoder that the policy's loss teaches serves value and critics as it is; the reward has its own."""
    piql = learner(segments, "piql", "algo.reward_steps=4")
    names = ("actor", "value", "reward")
    nets: list[dict[str, Any]]
    began: list[dict[str, Any]]
    nets, began = ([{n: Plain(piql.params[n], seed, SHAPE) for n in names} for seed in range(2)] for _ in range(2))
    critics = [[Plain(piql.params["critic"], seed, SHAPE, m, 2) for m in range(2)] for seed in range(2)]
    assert not any(name.startswith("encoder") for name in (*piql.params["critic"], *piql.params["value"]))
    piql.train(UPDATES)
    for seed in range(2):
        actor, value, reward = (nets[seed][name] for name in names)
        reward.mlp[-1].bias.requires_grad_(False)  # no comparison tells it
        twins = critics[seed]
        for each in twins:
            each.trunk = twins[0].trunk
        targets = [Plain(learner(segments, "piql").params["critic"], seed, SHAPE, m, 2) for m in range(2)]
        batches = pairs(learner(segments, "piql"), seed)
        own = {name: torch.optim.Adam(nets[seed][name].parameters(), lr=0.001) for name in names}
        both = torch.optim.Adam({p: None for each in twins for p in each.parameters()}, lr=0.001)
        for step in range(UPDATES):
            pictures, action, label = next(batches)
            if step < 4:
                first, second = reward(pictures, action).view(-1, STEPS).sum(1).chunk(2)
                descend(own["reward"], F.binary_cross_entropy_with_logits(second - first, label))
            with torch.no_grad():
                earned = reward(pictures, action).view(-1, STEPS)[:, :-1].flatten()
                features = actor.encode(pictures).view(-1, STEPS, 32)
                z, following = features[:, :-1].flatten(0, 1), features[:, 1:].flatten(0, 1)
                acted = action.view(-1, STEPS, 1)[:, :-1].flatten(0, 1)
                q = torch.minimum(*(each.read(z, acted) for each in targets))
            error = q - value.read(z)
            descend(own["value"], (torch.where(error < 0, 0.3, 0.7) * error.square()).mean())
            with torch.no_grad():
                weight = torch.exp(3.0 * (q - value.read(z))).clamp(max=100)[:, 0]
                target = earned + 0.99 * value.read(following)[:, 0]
            own["actor"].param_groups[0]["lr"] = 0.0005 * (1 + np.cos(np.pi * step / 100))
            seen = pictures.view(-1, STEPS, pictures.shape[-1])[:, :-1].flatten(0, 1)
            descend(own["actor"], (weight * (torch.tanh(actor(seen)) - acted).square().sum(-1)).mean())
            descend(both, sum((each.read(z, acted)[:, 0] - target).square().mean() for each in twins))
            with torch.no_grad():
                for each, new in zip(targets, twins, strict=True):
                    for old, now in zip(each.parameters(), new.parameters(), strict=True):
                        old.lerp_(now, 0.005)
        for name in names:
            # A unit that is on in all steps has a bias of which both segments of a pair have as much.
            but = "mlp.0.bias" if name == "reward" else "nothing"
            same(piql.params[name], seed, nets[seed][name], began[seed][name], but)


def test_sac_teaches_the_encoder_with_its_critics() -> None:
    """The actor's step moves no encoder; the critics' moves the only one there is, and the policy acts through it."""
    small = ["env.size=15", "algo.batch_size=4", "algo.hidden_dims=[16]", "algo.start_steps=10", "steps=100", "seeds=2"]
    sac: Any = build(config.compose(["algo=sac", "env=pendulum_pixels", *small, "hardware=cpu"]))[0]
    sac.train(20)
    assert not any(name.startswith("encoder") for name in sac.params["actor"])
    encoder = {name: value.clone() for name, value in sac.params["critic"].items() if name.startswith("encoder")}
    rows = sac.next_batch()
    numbers = rows[..., :3]
    pictures = sac.sight(numbers)
    batch = type("Batch", (), {"observation": pictures})
    sac.update_actor(batch)
    for name, value in encoder.items():
        assert torch.equal(sac.params["critic"][name], value)
    sac.update_rows(rows)
    assert any((sac.params["critic"][name] != value).any() for name, value in encoder.items())
    actor = Plain(sac.actor_params, 1, SHAPE)
    expected = torch.tanh(actor(pictures[1]).chunk(2, -1)[0])
    torch.testing.assert_close(sac.action(sac.actor_params, pictures)[1], expected, rtol=1e-4, atol=1e-5)


FAST = {("cpl", "resumes"), ("cpl", "export"), ("sac", "resumes")}
SLOW = {("cpl", "seeds"), ("piql", "resumes"), ("moorl_pixels", "resumes"), ("moorl_pixels", "seeds")}
CONFORM = [
    pytest.param(algo, check, marks=marks, id=f"{algo}-{check}")
    for algo in ("cpl", "cpl_kl", "pref_sft", "piql", "sac", "moorl_pixels")
    for check in ("resumes", "seeds", "export")
    for rare in [[] if (algo, check) in SLOW else [pytest.mark.long]]
    for marks in [[] if (algo, check) in FAST else [pytest.mark.slow, *rare]]
]


@pytest.mark.parametrize(("algo", "check"), CONFORM)
def test_conforms(algo: str, check: str, segments: Path, tmp_path: Path) -> None:
    online = {"sac": ["env=pointmaze2d_sparse_pixels"], "moorl_pixels": ["dataset.rows=300"]}
    chosen = [f"algo={algo}", *online[algo]] if algo in online else words(segments, algo)
    subject = Subject(chosen, tmp_path)
    subject.overrides.append("algo.batch_size=8")
    if algo == "piql":  # the authors' for images; Adam moves by as much where a gradient is mere rounding
        subject.overrides.append("algo.learning_rate=1e-4")
    CHECKS[check](subject)


def test_moorl_sees_data_and_what_it_met() -> None:
    """Rows of either source become pictures of its own frames; the encoder moves with the critics' meta-parameters."""
    small = ["env.size=15", "algo.batch_size=8", "algo.hidden_dims=[16]", "algo.start_steps=10", "dataset.rows=300"]
    moorl: Any = build(config.compose(["algo=moorl_pixels", *small, "steps=60", "seeds=2", "hardware=cpu"]))[0]
    data, env = moorl.task.dataset, moorl.task.env
    simulator = env.make()
    plain = Detours(env.plain, rows=300, detours=0.1, noise=0.3, seed=0).load()
    for row in (0, 1, 57, 99, 150, 299):
        simulator.reset(seed=0)
        simulator.unwrapped.state = plain.observation[row : row + 1].astype(np.float64)
        newest = data.frames[int(data.observation[row, -1])].astype(int)
        assert np.abs(newest - simulator.frame()).max() <= 1
    assert len(data.frames) == 300 + len(data.episode_ends)
    moorl.train(30)
    assert moorl.offline.next()[..., :3].min() >= 0
    assert moorl.buffer.sample(8, moorl.minibatches)[..., :3].max() < 0
    start = {name: value.clone() for name, value in moorl.params["critic"].items()}
    with moorl.meta.adaptation(0.25):
        moorl.learn_rows(moorl.next_batch())
        inner = {name: value.clone() for name, value in moorl.params["critic"].items()}
    name = "encoder.0.weight"
    assert (inner[name] != start[name]).any()
    torch.testing.assert_close(moorl.params["critic"][name], start[name].lerp(inner[name], 0.25), rtol=0, atol=1e-7)
    found = moorl.evaluate()
    assert np.isfinite(np.array([np.asarray(found[each]) for each in ("eval/q_data", "eval/q_policy")])).all()
