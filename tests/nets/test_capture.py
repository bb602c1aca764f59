"""Updates as recorded: the losses of the eager ones, from the same random numbers, and nothing of their own."""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from rlbench import config
from rlbench.build import Capturable
from rlbench.build import build as composed
from rlbench.conformance import Subject
from rlbench.nets.capture import obstacle
from rlbench.paths import cache_root
from rlbench.task import ControlTask
from tests.algos import modelled
from tests.algos.corridor import CORRIDOR
from tests.algos.helpers import build, synthetic
from tests.algos.point import POINT
from tests.nets import seeing

pytestmark = [
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
    pytest.mark.slow,
]
MODES = [
    pytest.param("cpu", False, id="recorded"),
    pytest.param("cpu", True, id="compiled"),
    pytest.param("cuda", False, id="CUDA graph", marks=pytest.mark.gpu),
    pytest.param("cuda", True, id="compiled, CUDA graph", marks=pytest.mark.gpu),
]
in_each_mode = pytest.mark.parametrize(("device", "compiled"), MODES)
UPDATES = 100
CHANGES: dict[str, dict[str, Any]] = {
    "bc": {},
    "td3_bc": {},
    "iql": {},
    "cql": {"hidden_dims": [32, 32]},
    "sac_n": {"num_critics": 4},
    "edac": {"num_critics": 4},
    "rebrac": {"batch_size": 64},
}
CHANGES_ONLINE: dict[str, dict[str, Any]] = {
    "sac": {"target_every": 3},
    "td3": {},
    "dqn": {"target_every": 3, "train_every": 2, "epsilon_steps": 150},
}
WORLDS = {"dqn": CORRIDOR}
"""Where actions are choices."""
DATA = {"rebrac": 1}
"""With the data of seed 0 another such unit as below opens by rounding on a GPU: of 16 eager runs whose minibatches
hold the same rows in another order (`torch.randperm`, seeds 0 to 15), two end up 2e-3 away from the first."""
MODELLED: dict[str, list[str]] = {
    "mopo": [f"algo.{word}" for word in modelled.ROLLOUTS],
    "mobile": [f"algo.{word}" for word in modelled.ROLLOUTS],
    "cocoa": ["base=bc", *modelled.COCOA, "algo.base.hidden_dims=[32,32]", "algo.base.batch_size=64"],
}
PARTING = [
    "base=bc",
    *modelled.COCOA,
    "algo.embedding_dims=[64]",
    "algo.embedding_width=8",
    "algo.base.hidden_dims=[64,64]",
]
"""A run of COCOA with a rectified unit that is 1e-6 off zero at update 53: rounding alone opens it or closes it, and
Adam remembers. In single precision the compiled losses end up 7e-4 away from the eager ones, and so do those of two of
eight eager runs whose minibatches hold the same rows in another order (`torch.randperm`, seeds 0 to 7)."""


@pytest.fixture
def double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Data come in double precision; what is drawn, and parameters with it, too."""
    single = ControlTask.tensor
    monkeypatch.setattr(ControlTask, "tensor", lambda task, column: single(task, column).double())
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def some(names: Iterable[str], long: list[str]) -> list[Any]:
    """All of them, and of those that compile what others do too, that they take long."""
    return [pytest.param(name, marks=[pytest.mark.long] if name in long else []) for name in names]


def pair(made: Callable[[], Any], compiled: bool = True) -> tuple[Any, Any]:
    """An algorithm twice, eager and recorded."""
    eager, recorded = made(), made()
    recorded.capture(compiled=compiled)
    return eager, recorded


def offline(name: str, device: str = "cpu", data: int = 0) -> Callable[[], Any]:
    changes: dict[str, Any] = {"hidden_dims": [64, 64], "batch_size": 64} | CHANGES[name]
    return lambda: build(name, synthetic(seed=data), (3, 7), device=device, **changes)


def online(name: str, device: str) -> Callable[[], Any]:
    changes: dict[str, Any] = {"hidden_dims": [64, 64], "batch_size": 64, "start_steps": 100} | CHANGES_ONLINE[name]
    return lambda: build(name, WORLDS.get(name, POINT), (3, 7), device=device, **changes)


def model_based(name: str, cache: Path, device: str) -> Callable[[], Any]:
    cfg = modelled.composed(f"algo={name}", *modelled.TINY, *MODELLED[name])
    return lambda: modelled.build(cfg, cache, (3, 7), device=device)


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest difference, NaN where only one of two numbers is (the return before an episode has ended is)."""
    assert found.keys() == expected.keys()
    apart = [(found[name] - value).abs() / value.abs().clamp(min=1.0) for name, value in expected.items()]
    known = [
        torch.where(found[name].isnan() & value.isnan(), 0.0, each).max().cpu()
        for each, (name, value) in zip(apart, expected.items(), strict=True)
    ]
    return float(torch.stack(known).max())


def agree(eager: Any, compiled: Any, tolerance: float = 1e-4) -> None:
    """Every loss of 100 updates."""
    for _ in range(UPDATES // 10):
        metrics = eager.train(10)
        assert worst(compiled.train(10), metrics) < tolerance


@in_each_mode
@pytest.mark.parametrize("name", some(CHANGES, long=["bc", "sac_n", "edac"]))
def test_losses_are_the_eager_ones(name: str, device: str, compiled: bool) -> None:
    eager, recorded = pair(offline(name, device, DATA.get(name, 0)), compiled)
    agree(eager, recorded)
    assert recorded.step == UPDATES


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", some(["td3_bc", "cql", "rebrac", "sac", "mopo"], long=["sac", "mopo"]))
def test_losses_are_the_eager_ones_on_matrix_units(name: str, tmp_path: Path) -> None:
    """Those of whole stacks of layers, of single ones, from many rows and of one."""
    if name == "mopo":
        eager, recorded = pair(model_based(name, tmp_path, "cpu"))
    else:
        eager, recorded = pair(online(name, "cpu") if name == "sac" else offline(name, data=DATA.get(name, 0)))
    for algorithm in (eager, recorded) if name == "sac" else ():
        algorithm.train(100)  # random actions, no updates
    agree(eager, recorded)


@in_each_mode
def test_losses_in_bf16_are_the_eager_ones_up_to_its_rounding(device: str, compiled: bool) -> None:
    """Fused operations keep in float32 between them what eager ones round."""
    changes: dict[str, Any] = {"hidden_dims": [64, 64], "batch_size": 64, "precision": "bf16"}
    agree(*pair(lambda: build("cql", synthetic(), (3, 7), device=device, **changes), compiled), tolerance=0.02)


@in_each_mode
@pytest.mark.parametrize("name", some(CHANGES_ONLINE, long=["td3"]))
def test_losses_are_the_eager_ones_where_the_data_are_gathered_meanwhile(
    name: str, device: str, compiled: bool
) -> None:
    eager, recorded = pair(online(name, device), compiled)
    for algorithm in (eager, recorded):
        algorithm.train(100)  # random actions, no updates
    agree(eager, recorded)


@in_each_mode
@pytest.mark.parametrize("name", some(MODELLED, long=["mobile"]))
def test_losses_are_the_eager_ones_where_a_model_comes_first(
    name: str, device: str, compiled: bool, tmp_path: Path
) -> None:
    eager, recorded = pair(model_based(name, tmp_path, device), compiled)
    agree(eager, recorded)
    assert recorded.step == UPDATES


@in_each_mode
@pytest.mark.parametrize(
    "name", some(["moorl", "rlpd", "calql", "hyq", "piql", "cpl"], long=["moorl", "rlpd", "calql", "hyq", "piql"])
)
def test_losses_are_the_eager_ones_in_other_families(name: str, device: str, compiled: bool, tmp_path: Path) -> None:
    subject, words = Subject([f"algo={name}"], tmp_path), [f"hardware.device={device}"]
    with subject.built(*words) as (eager, _), subject.built(*words) as (recorded, _):
        assert isinstance(recorded, Capturable)
        recorded.capture(compiled=compiled)
        for algorithm in (eager, recorded):
            algorithm.train(50)  # past the steps without updates, or without interaction
        agree(eager, recorded)


@pytest.mark.usefixtures("double_precision")
@in_each_mode
@pytest.mark.long
@pytest.mark.parametrize("name", ["cpl", "piql", "sac", "moorl_pixels"])
def test_losses_are_the_eager_ones_from_pictures(name: str, device: str, compiled: bool, tmp_path: Path) -> None:
    """Of a data set, and met while the graph is used; in single precision CPL's losses part by rounding after 60."""
    small = ["env.size=15", "algo.batch_size=8", "algo.hidden_dims=[16]", "steps=200", "seeds=2"]
    segments = f"dataset=pref_segments:{seeing.segments(tmp_path / 'segments.npz')}"
    chosen = {
        "sac": ["env=pendulum_pixels", "algo.start_steps=20"],
        "moorl_pixels": ["dataset.rows=300", "algo.start_steps=20"],
    }.get(name, ["env=pendulum_pixels", segments, "dataset.mode=comparison"])
    cfg = config.compose([f"algo={name}", *chosen, *small, "hardware=cpu", f"hardware.device={device}"])
    eager, recorded = pair(lambda: composed(cfg)[0], compiled)
    for algorithm in (eager, recorded):
        algorithm.train(30)
    agree(eager, recorded, 1e-10)


@pytest.mark.usefixtures("double_precision")
@in_each_mode
@pytest.mark.parametrize("name", some(["cocoa", "rebrac"], long=["rebrac"]))
def test_what_parts_by_rounding_stays_together_where_rounding_is_small(
    name: str, device: str, compiled: bool, tmp_path: Path
) -> None:
    """The graph is right where single precision cannot tell: losses, parameters and Adam's moments."""
    cfg = modelled.composed("algo=cocoa", *modelled.TINY, *PARTING)
    cocoa = partial(modelled.build, cfg, tmp_path, (3, 7), device=device)
    eager, recorded = pair(cocoa if name == "cocoa" else offline(name, device), compiled)
    agree(eager, recorded, 1e-12)
    doubles = [(a, b) for a, b in zip(*map(leaves, (eager, recorded)), strict=True) if a.dtype == torch.float64]
    assert doubles
    for value, found in doubles:
        torch.testing.assert_close(found, value, rtol=0, atol=1e-12)


def leaves(algorithm: Any) -> list[torch.Tensor]:
    """The tensors of its state."""
    return [leaf for leaf in tree_leaves(algorithm.state_dict()) if isinstance(leaf, torch.Tensor)]


def test_machine_code_is_kept_in_the_cache_folder() -> None:
    _, compiled = pair(offline("bc"))
    compiled.train(1)
    assert any((cache_root() / "compiled").rglob("*.so"))


@in_each_mode
def test_resumes_to_the_bit(device: str, compiled: bool) -> None:
    def made() -> Any:
        return pair(offline("td3_bc", device), compiled)[1]

    whole, parts, resumed = made(), made(), made()
    expected = whole.train(13)
    parts.train(5)
    resumed.load_state_dict(deepcopy(parts.state_dict()))
    for other in (parts, resumed):
        assert worst(other.train(8), expected) == 0
        for group, params in whole.params.items():
            for key, value in params.items():
                torch.testing.assert_close(other.params[group][key], value, rtol=0, atol=0)


def test_schedules_reach_the_graph() -> None:
    """A rate that was fixed at the capture would leave the actor where a fixed rate takes it."""
    eager, compiled = pair(lambda: build("iql", synthetic(), (0,), steps=20, hidden_dims=[16], batch_size=32))
    eager.train(20)
    compiled.train(20)
    assert float(compiled.actor_optimizer.rate) == float(eager.actor_optimizer.rate) < 1e-5
    for key, value in eager.params["actor"].items():
        torch.testing.assert_close(compiled.params["actor"][key], value, rtol=0, atol=1e-5)
