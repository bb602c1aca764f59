"""COCOA: where anchors come from, that they are frozen functions of a state, and that any base algorithm takes them."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlbench import config
from rlbench.algos.offline.anchors import Imagination, SeekerFit, computed_bits, seeker_network
from rlbench.algos.offline.cocoa import COCOA
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from rlbench.nets.ensemble import Model
from rlbench.nets.optim import Params
from rlbench.policies import policy, torchscript
from rlbench.rng import SeedStreams
from rlbench.verbs.export import onnx
from tests.algos.helpers import synthetic
from tests.algos.modelled import COCOA as SMALL
from tests.algos.modelled import ROLLOUTS, TINY, build, columns, composed, make_task, r_squared

MODES = ["rollout", "closest_delta", "random", "noise", "none"]
DIRECTIONS = ["dataset", "gaussian", "opposed", "cvae"]
OPTIONS: dict[str, Any] = {"length": 5, "scale": 0.8, "noise": 0.1, "direction": "dataset", "behaviour": None}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stages that the tests of this module share."""
    return tmp_path_factory.mktemp("artefacts")


def cocoa(cache: Path, base: str, *words: str, seeds: tuple[int, ...] = (0, 1), data: Transitions | None = None) -> Any:
    model_based = [f"algo.base.{word}" for word in ROLLOUTS] if base in ("mopo", "mobile") else []
    return build(composed("algo=cocoa", f"base={base}", *TINY, *SMALL, *model_based, *words), cache, seeds, data=data)


class TrueInverse(Model):
    """The exact reverse of `disc2d`: s = s' - 0.1 a."""

    def __init__(self) -> None:
        pass

    def sample(self, x: Tensor, action: Tensor, rng: SeedStreams) -> Tensor:
        return x - 0.1 * action


def imagined(model: Model, rows: int, stage: type[Imagination] = Imagination, **options: Any) -> Imagination:
    """Finished trajectories from next states uniform in the disc."""
    data = config.instantiate(composed("algo=bc", rows=rows).dataset, env=None).load()
    made = stage(model, torch.tensor(data.next_observation), torch.tensor(data.action), (0,), **{**OPTIONS, **options})
    while not made.done:
        made.train(1)
    return made


def sought(pairs: Tensor) -> Callable[[Tensor], Tensor]:
    """The seeker that published settings learn from pairs, as a function of states `[n, 2]`."""
    stage = SeekerFit(pairs, 2, (0,), hidden_dims=[100, 100], learning_rate=1e-3, batch_size=256, epochs=50)
    while not stage.done:
        stage.train(1)
    params: Params = stage.state_dict()["params"]
    return lambda s: torch.tanh(stage.net(params, s[None]))[0].detach()


def ring(radius: float) -> Tensor:
    angle = torch.linspace(0, 2 * torch.pi, 65)[:64]
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def cosines(seeker: Callable[[Tensor], Tensor], radius: float) -> float:
    """Mean cosine of the sought action with the direction to the centre."""
    states = ring(radius)
    return float(torch.cosine_similarity(seeker(states), -states).mean())


def norms(seeker: Callable[[Tensor], Tensor], radius: float) -> float:
    return float(seeker(ring(radius)).norm(dim=1).mean())


def leads_back(seeker: Callable[[Tensor], Tensor]) -> bool:
    """To the centre outside of the data, hardly anywhere inside, and the more strongly the further out."""
    outside = min(cosines(seeker, radius) for radius in (1.1, 1.2, 1.3, 1.4))
    # The best seeker's norms, measured with the exact inverse: those of the trajectories that come so far out.
    grows = abs(norms(seeker, 1.1) - 0.59) < 0.1 and abs(norms(seeker, 1.3) - 0.86) < 0.1
    return outside > 0.97 and norms(seeker, 0.3) < 0.1 and grows


class Swapped(TrueInverse):
    """Wrong: s and s' exchanged."""

    def sample(self, x: Tensor, action: Tensor, rng: SeedStreams) -> Tensor:
        return x + 0.1 * action


class Redrawn(Imagination):
    """Wrong: a new direction in every step."""

    def train(self, n: int) -> None:
        x = self.following[None]
        for _ in range(self.length):
            u = self.action[self.rng.integers(len(self.action), x.shape[1])]
            a = (self.scale * u + self.noise * self.rng.normal(*u.shape[1:])).clamp(-1, 1)
            x = self.model.sample(x, a, self.rng)
            self.pairs.append(torch.cat([x, a], -1))
        self.rows = x.shape[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_exact_inverse_teaches_to_walk_back_and_wrong_variants_do_not() -> None:
    assert leads_back(sought(imagined(TrueInverse(), 20000).state_dict()["pairs"]))
    assert not leads_back(sought(imagined(Swapped(), 20000).state_dict()["pairs"]))
    assert not leads_back(sought(imagined(TrueInverse(), 20000, Redrawn).state_dict()["pairs"]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_learned_models_teach_to_walk_back(tmp_path: Path) -> None:
    algorithm = build(composed("algo=cocoa", "base=bc", "algo.dynamics.max_epochs=15", rows=20000), tmp_path)
    features = algorithm.task.features.base

    def seeker(states: Tensor) -> Tensor:
        return torch.tanh(features.seeker(features.params, states[None]))[0]

    assert leads_back(seeker)
    for radius in (1.2, 1.3, 1.4):  # the anchor is nearer to the data than the state
        anchors = features(ring(radius)[None])[0, :, 2:]
        assert (anchors.norm(dim=1) < radius).all()


def test_trajectories_keep_their_direction_and_lead_back() -> None:
    stage = imagined(TrueInverse(), 500, noise=0.0)
    made = stage.state_dict()["pairs"]
    assert made.shape == (1, 2500, 4)
    steps = made.unflatten(1, (5, 500))[0]
    states, actions = steps.split(2, dim=-1)
    assert torch.equal(actions, actions[:1].expand(5, -1, -1))  # one u a trajectory, its own
    assert len(actions[0].unique(dim=0)) > 250
    ahead = torch.cat([stage.following[None], states[:-1]])
    torch.testing.assert_close(states + 0.1 * actions, ahead)  # acting a_j at x_{j+1} leads to x_j, and at last to data


def test_a_direction_is_never_the_transition_s_own() -> None:
    data = torch.arange(10.0)[:, None]
    stage = Imagination(TrueInverse(), data, data, (0,), **{**OPTIONS, "scale": 1.0, "noise": 0.0})
    drawn = torch.stack([stage.directions(data[None, 2:7], data[2:7], 2) for _ in range(200)])[..., 0]
    assert not (drawn == data[2:7, 0]).any()
    assert all(len(drawn[..., k].unique()) == 9 for k in range(5))


def test_directions_of_the_variants() -> None:
    rng = np.random.default_rng(0)
    actions = torch.tensor(rng.uniform(-1, 1, (300, 2)), dtype=torch.float32)
    stage = Imagination(TrueInverse(), actions, actions, (0,), **{**OPTIONS, "direction": "gaussian"})
    lengths = stage.directions(actions[None], actions, 0).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.5))
    stage = Imagination(TrueInverse(), actions, actions, (0,), **{**OPTIONS, "direction": "opposed"})
    opposed = stage.directions(actions[None], actions, 0)[0]
    for own, other in zip(actions[:20], opposed, strict=False):
        assert torch.equal(other, actions[torch.cosine_similarity(own[None], actions).argmin()])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_direction_trains(cache: Path, direction: str) -> None:
    algorithm = cocoa(cache, "iql", f"algo.direction={direction}")
    assert all(bool(value.isfinite().all()) for value in algorithm.train(2).values())


def test_published_size_of_the_seeker_on_hopper() -> None:
    params = seeker_network(11, [100, 100], 3).init(SeedStreams((0,), "x"))
    assert sum(value.numel() for value in params.values()) == 12003


def test_stages_go_on_from_a_saved_state_to_the_bit() -> None:
    rows = torch.rand(9000, 2, generator=torch.Generator().manual_seed(0))
    stages: list[Callable[[], Any]] = [
        lambda: Imagination(TrueInverse(), rows, rows, (0, 1), **OPTIONS),
        lambda: SeekerFit(
            torch.rand(2, 900, 4, generator=torch.Generator().manual_seed(0)),
            2,
            (0, 1),
            hidden_dims=[8],
            learning_rate=1e-3,
            batch_size=64,
            epochs=3,
        ),
    ]
    for make in stages:
        whole, half, resumed = make(), make(), make()
        whole.train(3)
        half.train(1)
        resumed.load_state_dict(deepcopy(half.state_dict()))
        resumed.train(2)
        assert whole.done
        assert resumed.done
        key = "pairs" if isinstance(whole, Imagination) else "params"
        a, b = whole.state_dict()[key], resumed.state_dict()[key]
        assert torch.equal(a, b) if key == "pairs" else all(torch.equal(a[name], b[name]) for name in a)


def test_the_seeker_stops_when_its_loss_has_settled() -> None:
    pairs = torch.zeros(2, 320, 4)
    pairs[0, :, 2:] = torch.rand(320, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1  # nothing to learn
    pairs[1] = torch.rand(320, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    pairs[1, :, 2:] = pairs[1, :, :2]  # a long way to go
    stage = SeekerFit(pairs, 2, (0, 1), hidden_dims=[8], learning_rate=1e-3, batch_size=32, epochs=50)
    while bool(stage.active.all()):
        stage.train(1)
    assert stage.active.tolist() == [False, True]
    frozen = {name: value[0].clone() for name, value in stage.result.items()}
    stage.train(2)
    assert all(torch.equal(stage.result[name][0], value) for name, value in frozen.items())
    assert any(not torch.equal(stage.result[name][0], value[0]) for name, value in stage.params.items())


@pytest.mark.parametrize("mode", MODES)
def test_anchors_are_frozen_functions_of_the_state(cache: Path, mode: str) -> None:
    features = cocoa(cache, "iql", f"algo.anchor_mode={mode}").task.features
    states = torch.randn(2, 40, 2, requires_grad=True)
    made = features(states)
    assert made.shape == (2, 40, features.dim)
    assert torch.equal(made[..., :2], states)
    assert not made.requires_grad
    torch.testing.assert_close(features(states), made, rtol=0, atol=0)
    # each state's anchor is its own, whatever stands beside it
    torch.testing.assert_close(features(states[:, 5:9]), made[:, 5:9], rtol=1e-5, atol=1e-5)
    for k in range(2):
        alone = features.of_seed(k)(states[k : k + 1])
        torch.testing.assert_close(alone, made[k : k + 1], rtol=1e-5, atol=1e-5)
    difference = made[..., :2] - made[..., 2:]
    assert bool((difference == 0).all()) == (mode == "none")


@pytest.mark.parametrize("mode", MODES)
def test_an_exported_policy_takes_any_number_of_observations(cache: Path, mode: str) -> None:
    algorithm = cocoa(cache, "bc", f"algo.anchor_mode={mode}")
    exported = torchscript(policy(algorithm, 1), algorithm.task)
    for rows in (1, 600):  # fewer than it was made with, and more than go through a model at once
        observation = torch.randn(rows, 2)
        features = algorithm.task.features(observation.expand(2, -1, -1))
        expected = algorithm.action(algorithm.actor_params, features)[1]
        torch.testing.assert_close(exported(observation), expected, rtol=0, atol=1e-5)


def test_computed_bits_are_those_in_memory() -> None:
    bits = torch.randint(2**32, (30_000,), generator=torch.Generator().manual_seed(0))
    bits[:1000] &= 0x807FFFFF  # zeros, and what is too small for an exponent
    bits[:4] = torch.tensor([0, 0x80000000, 1, 0x7F7FFFFF])
    bits = bits[(bits >> 23 & 0xFF) < 0xFF]  # infinities and NaNs
    floats = torch.from_numpy(bits.numpy().astype(np.uint32).view(np.float32))
    flushed = bool(torch.tensor([1e-40]) * 1 == 0)
    torch.set_flush_denormal(False)  # as where an exported policy plays
    found = computed_bits(floats)
    torch.set_flush_denormal(flushed)
    assert torch.equal(found, bits)


def test_what_onnx_cannot_express_is_refused(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    algorithm = cocoa(cache, "bc", "algo.anchor_mode=noise")
    with pytest.raises(UsageError, match="leave --format onnx out"):
        onnx(policy(algorithm, 0), algorithm.task, tmp_path / "policy.onnx")


def test_anchors_of_the_ablations(cache: Path) -> None:
    states = torch.randn(2, 200, 2)
    task = cocoa(cache, "iql", "algo.anchor_mode=random").task
    known = torch.tensor(task.dataset.observation)
    anchors = task.features(states)[..., 2:]
    exactly = "donot_use_mm_for_euclid_dist"
    assert torch.cdist(anchors.flatten(0, 1), known, compute_mode=exactly).amin(1).max() == 0
    assert len(anchors.flatten(0, 1).unique(dim=0)) > 150
    noisy = cocoa(cache, "iql", "algo.anchor_mode=noise", "algo.anchor_noise=0.5").task.features(states)
    noise = (noisy[..., 2:] - states) / (0.5 * known.std(0))
    assert noise.abs().max() <= 1.001
    assert noise.mean((0, 1)).abs().max() < 0.15
    torch.testing.assert_close(noise.flatten(0, 1).std(0), torch.full((2,), 3**-0.5), rtol=0.1, atol=0)
    closest = cocoa(cache, "iql", "algo.anchor_mode=closest_delta").task.features
    s = states[0, :3]

    def off(state: Tensor, candidates: Tensor) -> Tensor:
        """How far each candidate and the difference that fits best come from the state."""
        return torch.stack([(state - c - closest.differences).norm(dim=1).min() for c in candidates])

    found = closest(s[None])[0, :, 2:]
    assert torch.cdist(found, closest.candidates, compute_mode=exactly).amin(1).max() == 0
    for state, anchor in zip(s, found, strict=True):  # of two that are as close either may be taken
        torch.testing.assert_close(off(state, anchor[None])[0], off(state, closest.candidates).min())
    alone = cocoa(cache, "iql", "algo.anchor_mode=closest_delta", seeds=(7,)).task.features
    assert torch.equal(alone.candidates, closest.candidates)  # whichever seeds it is trained with


def test_without_a_horizon_the_difference_is_zero(cache: Path) -> None:
    algorithm = cocoa(cache, "iql", "algo.horizon=0")
    rows = algorithm.base.minibatches.rows
    assert torch.equal(rows[:, :2], rows[:, 2:4])


def test_more_model_steps_lead_further(cache: Path) -> None:
    states = torch.randn(1, 5, 2)
    one, three = (cocoa(cache, "iql", f"algo.horizon={h}", seeds=(0,)).task.features for h in (1, 3))
    twice = one(one(states)[..., 2:])[..., 2:]
    torch.testing.assert_close(three(states)[..., 2:], one(twice)[..., 2:])


def test_seeker_and_model_are_not_trained_by_the_base_algorithm(cache: Path) -> None:
    algorithm = cocoa(cache, "mopo")
    features = algorithm.task.features
    frozen = {**features.params, **features.model.params}
    before = {name: value.clone() for name, value in frozen.items()}
    algorithm.train(5)
    assert all(torch.equal(before[name], value) and value.grad is None for name, value in frozen.items())
    ours = {value.data_ptr() for params in algorithm.base.params.values() for value in params.values()}
    assert not ours & {value.data_ptr() for value in frozen.values()}


def test_bases_share_the_stages(tmp_path: Path) -> None:
    for base in ("iql", "mopo", "mobile"):
        cocoa(tmp_path, base)
    assert {kind.name: len(list(kind.iterdir())) for kind in tmp_path.iterdir()} == {
        "forward_model": 1,
        "reverse_model": 1,
        "imagination": 1,
        "anchor_seeker": 1,
    }


def test_what_other_settings_left_in_the_cache_teaches_nothing(tmp_path: Path) -> None:
    """Trajectories of the direction `cvae` depend on how the behaviour model was trained."""

    def seeker(cache: Path, epochs: int) -> Params:
        features = cocoa(cache, "iql", "algo.direction=cvae", f"algo.seeker_epochs={epochs}").task.features
        return {name: value.clone() for name, value in features.params.items()}

    alone = seeker(tmp_path / "fresh", 4)
    seeker(tmp_path / "used", 1)
    after = seeker(tmp_path / "used", 4)
    assert all(torch.equal(alone[name], after[name]) for name in alone)


def test_one_set_of_stages_for_all_seeds(cache: Path) -> None:
    shared = cocoa(cache, "mopo", "algo.dynamics.per_seed=false", seeds=(0, 5)).task.features
    states = torch.randn(1, 5, 2).expand(2, -1, -1)
    made = shared(states)
    assert torch.equal(made[0], made[1])
    own = cocoa(cache, "mopo", "algo.dynamics.per_seed=false", seeds=(0,)).task.features
    torch.testing.assert_close(own(states[:1]), made[:1])


def test_a_normalising_base_sees_differences_of_states(cache: Path) -> None:
    algorithm = cocoa(cache, "td3_bc")
    features, data = algorithm.task.features, algorithm.task.dataset
    raw = features.base(torch.randn(2, 7, 2))
    scale = torch.tensor(data.observation.std(0, dtype=np.float64) + 1e-3, dtype=torch.float32)
    made = features(raw[..., :2])
    difference = (raw[..., :2] - raw[..., 2:]) / scale
    torch.testing.assert_close(made[..., :2] - made[..., 2:], difference, rtol=1e-4, atol=1e-5)


def test_a_dataset_s_anchors_are_those_of_its_states(cache: Path) -> None:
    algorithm = cocoa(cache, "iql")
    rows, task = algorithm.base.minibatches.rows.view(2, -1, 4 + 2 + 1 + 4 + 1), algorithm.task
    states = torch.tensor(task.dataset.observation[:50]).expand(2, -1, -1)
    following = torch.tensor(task.dataset.next_observation[:50]).expand(2, -1, -1)
    torch.testing.assert_close(rows[:, :50, :4], task.features(states))
    torch.testing.assert_close(rows[:, :50, 7:11], task.features(following))


def test_imagined_states_have_their_own_anchors(cache: Path) -> None:
    algorithm = cocoa(cache, "mopo")
    algorithm.train(1)
    rows = algorithm.base.rollouts.sample(30)
    for first in (0, 4 + 2 + 1):
        features = rows[..., first : first + 4]
        torch.testing.assert_close(algorithm.task.features(features[..., :2]), features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("base", ["iql", "cql", "mopo", "mobile", "td3_bc", "bc", "rebrac", "edac", "sac_n"])
def test_every_base_trains_evaluates_and_resumes_to_the_bit(cache: Path, base: str) -> None:
    words = ["algo.base.hidden_dims=[8, 8]", *(["algo.base.num_critics=3"] if base in ("edac", "sac_n") else [])]
    episodes = synthetic(observation_dim=2) if base == "rebrac" else None  # it needs transitions that follow each other
    whole, parts, resumed = (cocoa(cache, base, *words, data=episodes) for _ in range(3))
    metrics = whole.train(6)
    parts.train(5)
    resumed.load_state_dict(deepcopy(parts.state_dict()))
    for other in (parts, resumed):
        again = other.train(1)
        assert all(torch.equal(again[key], value) for key, value in metrics.items())
    result = whole.evaluate()
    assert result["eval/return"].shape == (2,)
    assert (result["eval/length"] == 50).all()
    assert whole.step == 6


def test_a_seed_does_not_depend_on_the_seeds_beside_it(tmp_path: Path) -> None:
    both, alone = cocoa(tmp_path, "iql", seeds=(3, 7)), cocoa(tmp_path, "iql", seeds=(7,))
    both.train(10)
    alone.train(10)
    assert isinstance(both, COCOA)
    for name, value in alone.actor_params.items():
        torch.testing.assert_close(both.actor_params[name][-len(value) :], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_from_outside_of_the_data_to_the_centre(tmp_path: Path) -> None:
    """Item 5 of the plan on `disc2d`: IQL with and without anchors comes from radius 1.3 to within 0.2."""
    common = ["env=disc2d", "dataset=disc"]
    runs = {
        "iql": build(config.compose([*common, "algo=iql", "algo.hidden_dims=[100, 100]"]), tmp_path, (0, 1), 10000),
        "cocoa": build(
            config.compose([*common, "algo=cocoa", "base=iql", "algo.dynamics.max_epochs=15"]), tmp_path, (0, 1), 10000
        ),
    }
    starts = ring(1.3)
    fewest = next(t for t in range(1, 51) if ((starts.abs() - 0.1 * t).clamp(min=0).norm(dim=1) < 0.2).all())
    for name, algorithm in runs.items():
        algorithm.train(10000)
        states = starts.expand(2, -1, -1).clone()
        steps = torch.full(states.shape[:2], 51)
        for t in range(1, 51):
            actions = algorithm.action(algorithm.actor_params, algorithm.task.features(states)).detach()
            states = states + 0.1 * actions.clamp(-1, 1)
            arrived = states.norm(dim=-1) < 0.2
            steps = torch.where(arrived & (steps == 51), t, steps)
        assert (steps <= 50).all(), name
        assert fewest <= steps.max()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_models_and_anchors_on_hopper(tmp_path: Path) -> None:
    """Item 4 of the plan: models explain holdout rows, and anchors lie nearer to the data than what they stand for."""
    words = ["algo=cocoa", "base=bc", "env=hopper", "dataset=medium", "algo.dynamics.max_epochs=15"]
    cfg = config.compose([*words, "dataset.size=100000"])
    task = make_task(cfg, tmp_path, (0,))
    algorithm = config.instantiate(cfg.algo, task=task)
    features = algorithm.task.features.base
    data = task.dataset
    # A recording twice as long goes on where each of the three policies stopped: rows that the models have not seen.
    longer = config.compose([*words, "dataset.size=200000"])
    fresh = config.instantiate(longer.dataset, env=config.instantiate(longer.env)).load()
    unseen = np.r_[50000:55000, 120000:125000, 190000:195000]
    s, a, following = columns(fresh, unseen)
    reverse = config.part(cfg.algo.dynamics)(task).reverse()
    assert r_squared(s[0], following[0]) < 0.8  # standing still explains so much of the worst coordinate
    assert r_squared(features.model.step(s, a)[0, :, :11], following[0]) > 0.95
    assert r_squared(reverse.step(following, a)[0, :, :11], s[0]) > 0.95
    known = torch.tensor(data.observation)
    std = known.std(0)
    some = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))[:500]]
    moved = some + 0.2 * std * torch.randn(some.shape, generator=torch.Generator().manual_seed(1))
    anchors = features(moved[None])[0, :, 11:]
    near = [torch.cdist(x / std, known / std).amin(1).mean() for x in (anchors, moved)]
    assert near[0] < near[1], near
