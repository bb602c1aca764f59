"""Probabilistic ensembles: the loss and its optimisation against plain torch, early stopping, what they learn."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlbench.algos.offline.dynamics import Dynamics
from rlbench.data.transitions import Transitions
from rlbench.envs.terminations import TERMINATIONS
from rlbench.errors import UsageError
from rlbench.nets.ensemble import EnsembleFit, EnsembleTraining, Model
from rlbench.rng import SeedStreams
from rlbench.task import ControlTask
from tests.algos.modelled import columns, composed, linear_model, make_task, r_squared

TRAINING = EnsembleTraining(
    hidden_dims=[16, 16],
    members=3,
    elites=2,
    learning_rate=1e-3,
    weight_decay=[1e-2, 2e-2, 3e-2],
    batch_size=32,
    holdout_fraction=0.2,
    holdout_rows=50,
    patience=3,
    max_epochs=None,
)


def regression(rows: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=generator)
    return x, torch.stack([x[:, 0] * x[:, 1], torch.sin(2 * x[:, 2])], 1)


def fit(seeds: tuple[int, ...], epochs: int | None = None) -> EnsembleFit:
    stage = EnsembleFit("model", *regression(), seeds, TRAINING)
    while not stage.done and stage.epoch != epochs:
        stage.train(1)
    return stage


def test_training_follows_a_reference_of_plain_torch() -> None:
    stage = EnsembleFit("model", *regression(), (0, 1), TRAINING)
    start = {name: value.clone() for name, value in stage.params.items()}
    batches = torch.randn(3, 2, 3, 32, 5)
    for batch in batches:
        stage._update(batch)
    for seed in range(2):
        members = []
        for m in range(3 * seed, 3 * seed + 3):
            layers: list[nn.Module] = []
            for i in range(3):
                layer = nn.Linear(*start[f"{i}.weight"][m].shape)
                layer.weight.data = start[f"{i}.weight"][m].T.clone()
                layer.bias.data = start[f"{i}.bias"][m, 0].clone()
                layers += [layer, nn.SiLU()] if i < 2 else [layer]
            members.append(nn.Sequential(*layers))
        high, low = torch.full((2,), 0.5, requires_grad=True), torch.full((2,), -10.0, requires_grad=True)
        optimizer = torch.optim.Adam([*(p for m in members for p in m.parameters()), high, low], lr=1e-3)
        for batch in batches:
            loss = 0.01 * high.sum() - 0.01 * low.sum()
            for member, rows in zip(members, batch[seed], strict=True):
                x, y = (rows[:, :3] - stage.mean[seed]) / stage.std[seed], rows[:, 3:]
                mean, log_var = member(x).chunk(2, dim=1)
                log_var = high - F.softplus(high - log_var)
                log_var = low + F.softplus(log_var - low)
                loss = loss + ((mean - y) ** 2 * torch.exp(-log_var)).mean() + log_var.mean()
                linears = [layer for layer in member if isinstance(layer, nn.Linear)]
                for decay, layer in zip(TRAINING.weight_decay, linears, strict=True):
                    loss = loss + decay / 2 * (layer.weight**2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for m, member in enumerate(members):
            for i, layer in enumerate(layer for layer in member if isinstance(layer, nn.Linear)):
                ours = stage.params[f"{i}.weight"][3 * seed + m].T
                torch.testing.assert_close(ours, layer.weight.detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(stage.params["log_var_max"][seed].flatten(), high.detach(), atol=1e-6, rtol=0)
        torch.testing.assert_close(stage.params["log_var_min"][seed].flatten(), low.detach(), atol=1e-5, rtol=0)


def test_bootstrap_and_holdout_rows_are_apart() -> None:
    x, y = regression()
    stage = EnsembleFit("model", torch.cat([torch.arange(len(x))[:, None], x], 1), y, (0, 1), TRAINING)
    for seed in range(2):
        held = set(stage.holdout[seed, :, 0].int().tolist())
        assert len(held) == 50
        samples = [stage.bootstrap[seed, m].tolist() for m in range(3)]
        assert not held & set(samples[0]) | (held & set(samples[1]))
        assert samples[0] != samples[1]
        assert 0.55 < len(set(samples[0])) / 250 < 0.72  # a bootstrap sample holds 63 % of the rows
    assert stage.bootstrap[0].tolist() != stage.bootstrap[1].tolist()


def test_a_seed_does_not_depend_on_the_seeds_beside_it() -> None:
    both, second = fit((0, 1)), fit((1,))
    assert int(both.epoch) >= second.epoch > TRAINING.patience
    torch.testing.assert_close(both.errors[1:], second.errors, rtol=1e-3, atol=1e-5)
    assert both.state_dict()["elites"][1].tolist() == second.state_dict()["elites"][0].tolist()
    for name, value in second.best.items():
        torch.testing.assert_close(both.best[name][-len(value) :], value, rtol=1e-2, atol=1e-3)


def test_a_seed_that_has_stopped_stays_as_it_is() -> None:
    stage = fit((0, 1), epochs=4)
    stage.stale[0] = TRAINING.patience
    before = {name: value.clone() for name, value in stage.best.items()}
    errors = stage.errors.clone()
    stage.train(3)
    assert torch.equal(stage.errors[0], errors[0])
    assert (stage.errors[1] < errors[1]).any()
    for name, value in before.items():
        per_seed = len(value) // 2
        assert torch.equal(stage.best[name][:per_seed], value[:per_seed])


def test_the_stored_members_are_the_best_on_the_holdout_rows() -> None:
    stage = fit((0,))
    assert stage.stale.tolist() == [TRAINING.patience]
    rows = stage.holdout[:, None].expand(-1, 3, -1, -1)
    mean, _ = stage.net.predict(stage.best, stage._inputs(rows))
    torch.testing.assert_close((mean - rows[..., 3:]).square().mean((2, 3)), stage.errors)
    order = stage.errors[0].argsort().tolist()
    assert stage.state_dict()["elites"].tolist() == [order[:2]]


def test_training_goes_on_from_a_saved_state_to_the_bit() -> None:
    whole, halves = fit((0, 1), epochs=4), fit((0, 1), epochs=2)
    resumed = fit((0, 1), epochs=0)
    resumed.load_state_dict(deepcopy(halves.state_dict()))
    resumed.train(2)
    for name, value in whole.state_dict()["params"].items():
        assert torch.equal(resumed.state_dict()["params"][name], value)
    assert torch.equal(whole.errors, resumed.errors)


def test_first_weights_have_the_standard_deviation_of_the_papers() -> None:
    stage = EnsembleFit("model", *regression(), tuple(range(20)), TRAINING)
    assert stage.params["1.weight"].std().item() == pytest.approx(1 / (2 * math.sqrt(16)), rel=0.02)
    assert not stage.params["1.bias"].any()


def test_steps_of_a_model_written_by_hand() -> None:
    mean = torch.tensor([[1.0, 0.0, 5.0], [100.0, 100.0, 100.0], [3.0, 2.0, 7.0]])
    model = linear_model(mean, torch.full((3, 3), 1e-6), inputs=3, elites=[0, 2])
    s, a = torch.tensor([[[10.0, 20.0]]]), torch.zeros(1, 1, 1)
    torch.testing.assert_close(model.step(s, a), torch.tensor([[[12.0, 21.0, 6.0]]]))
    many = model.sample(s.expand(1, 4000, 2), a.expand(1, 4000, 1), SeedStreams((0,), "x"))[0]
    first = (many - torch.tensor([11.0, 20.0, 5.0])).abs().amax(1) < 1e-3
    second = (many - torch.tensor([13.0, 22.0, 7.0])).abs().amax(1) < 1e-3
    assert (first | second).all()
    assert 0.46 < first.float().mean() < 0.54


def test_the_noise_of_a_step_has_the_member_s_standard_deviation() -> None:
    model = linear_model(torch.zeros(1, 2), torch.tensor([[0.5, 3.0]]), inputs=2, elites=[0])
    many = model.sample(torch.zeros(1, 20000, 1), torch.zeros(1, 20000, 1), SeedStreams((0,), "x"))[0]
    torch.testing.assert_close(many.std(0), torch.tensor([0.5, 3.0]), rtol=0.03, atol=0)


def test_a_model_of_one_seed_alone() -> None:
    model = Model(fit((0, 1), epochs=2).state_dict(), 2)
    s, a = torch.randn(2, 5, 2), torch.randn(2, 5, 1)
    both = model.step(s, a)
    for k in range(2):
        torch.testing.assert_close(model.of_seed(k).step(s[k : k + 1], a[k : k + 1]), both[k : k + 1])


def test_one_set_of_models_can_serve_all_seeds(tmp_path: Path) -> None:
    words = ["algo=mopo", "algo.dynamics.per_seed=false", "algo.dynamics.max_epochs=1"]
    small = ["algo.dynamics.hidden_dims=[8]", "algo.dynamics.weight_decay=[0,0]", "algo.dynamics.members=5"]
    cfg = composed(*words, *small)
    one = dynamics(cfg, make_task(cfg, tmp_path, (3,))).forward()
    shared = dynamics(cfg, make_task(cfg, tmp_path, (3, 4))).forward()
    assert len(list((tmp_path / "forward_model").iterdir())) == 1
    s, a = torch.randn(1, 6, 2), torch.randn(1, 6, 2)
    torch.testing.assert_close(shared.step(s.expand(2, -1, -1), a.expand(2, -1, -1)), one.step(s, a).expand(2, -1, -1))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("algo.dynamics.weight_decay=[0]", "has 1 values for 4 hidden layers"),
        ("algo.dynamics.elites=8", "among dynamics.members=7"),
        ("algo.dynamics.holdout_fraction=0", "holds out 0 of the dataset's 600 rows"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(word: str, said: str, tmp_path: Path) -> None:
    cfg = composed("algo=mopo", word)
    with pytest.raises(UsageError, match=said):
        dynamics(cfg, make_task(cfg, tmp_path, (0,)))


@pytest.mark.parametrize(
    ("rule", "state", "ended"),
    [
        ("hopper", [1.2, 0.1, 99.0], False),
        ("hopper", [0.7, 0.0, 0.0], True),
        ("hopper", [0.71, 0.2, 0.0], True),
        ("hopper", [1.2, -0.2, 0.0], True),
        ("hopper", [1.2, 0.0, -100.0], True),
        ("hopper", [150.0, 0.0, 0.0], False),  # the height has no upper bound
        ("hopper", [1.2, 0.0, math.nan], True),
        ("hopper", [math.inf, 0.0, 0.0], True),
        ("walker2d", [1.0, 0.9, 99.0], False),
        ("walker2d", [0.8, 0.0, 0.0], True),
        ("walker2d", [2.0, 0.0, 0.0], True),
        ("walker2d", [1.0, -1.0, 0.0], True),
        ("walker2d", [1.0, 0.0, 100.0], True),
        ("halfcheetah", [-99.0, 99.0, 0.0], False),
        ("halfcheetah", [0.0, -100.0, 0.0], True),
        ("halfcheetah", [0.0, math.nan, 0.0], True),
        ("never", [1e9, 0.0, 0.0], False),
    ],
)
def test_terminations(rule: str, state: list[float], ended: bool) -> None:
    assert TERMINATIONS[rule](torch.tensor([[state]])).tolist() == [[ended]]


def linear_system(rows: int = 20000) -> tuple[Transitions, Tensor, Tensor]:
    """s' = A s + B a + 0.01 noise in three dimensions, A invertible."""
    rng = np.random.default_rng(0)
    a = np.array([[0.95, 0.1, 0.0], [-0.1, 0.9, 0.05], [0.0, 0.1, 1.05]])
    b = np.array([[0.2, 0.0], [0.0, 0.3], [0.1, -0.2]])
    s, u = rng.normal(size=(rows, 3)), rng.uniform(-1, 1, (rows, 2))
    following = s @ a.T + u @ b.T + 0.01 * rng.normal(size=(rows, 3))
    data = Transitions.of_columns(s, u, s.sum(1), following, np.zeros(rows), np.ones(rows))
    return data, torch.tensor(a, dtype=torch.float32), torch.tensor(b, dtype=torch.float32)


def dynamics(cfg: object, task: ControlTask) -> Dynamics:
    settings = {k: v for k, v in cfg.algo.dynamics.items() if k != "_target_"}  # type: ignore[attr-defined]
    return Dynamics(task, **settings)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("system", ["disc2d", "linear"])
def test_models_are_accurate_and_inverse_to_each_other(system: str, tmp_path: Path) -> None:
    cfg = composed("algo=mopo", "algo.dynamics.max_epochs=30", rows=20000)
    if system == "linear":
        data, a, b = linear_system()
        task = make_task(cfg, tmp_path, (0,), data=data)
    else:
        task, a, b = make_task(cfg, tmp_path, (0,)), torch.eye(2), 0.1 * torch.eye(2)
    models = dynamics(cfg, task)
    forward, reverse = models.forward(), models.reverse()
    # Rows of another draw than the models': the whole table of a linear system, noise included, made anew.
    s, u, following = columns(task.dataset, slice(0, 4000))
    predicted = forward.step(s, u)[..., : s.shape[-1]]
    backward = reverse.step(following, u)
    assert r_squared((predicted - s)[0], (following - s)[0]) > 0.99
    assert r_squared((backward - following)[0], (s - following)[0]) > 0.99
    exact = (following - u @ b.T) @ torch.linalg.inv(a).T
    assert (backward - exact).norm() / exact.norm() < 0.05
    again = forward.step(backward, u)[..., : s.shape[-1]]
    assert (again - following).square().mean().sqrt() < 0.02
