"""Updates as recorded operations: those of an eager update, to the bit, and no others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlbench.conformance import same
from rlbench.nets.capture import CapturedUpdate
from rlbench.nets.optim import Adam, Params, gradients
from rlbench.nets.tape import Playback, Tape
from rlbench.rng import SeedStreams
from tests.algos.helpers import build, synthetic

SEEDS = (3, 7)
ROWS = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))


class Fit:
    """Something that learns: a linear map, with noise on its input."""

    def __init__(self, more: Callable[[Tensor], Tensor | float] = lambda _: 0.0) -> None:
        self.params: Params = {"weight": torch.ones(2, 5, 3)}
        self.optimizer = Adam(self.params, 0.1)
        self.noise = SeedStreams(SEEDS, "noise")
        self.more = more
        self.complaints: list[str] = []
        self.captured = CapturedUpdate(
            self.update, lambda: None, self.optimizer.state, compiled=False, after=2, say=self.complaints.append
        )

    def update(self, rows: Tensor) -> dict[str, Tensor]:
        noisy = rows + 0.1 * self.noise.normal(8, 5)

        def loss(params: Params) -> tuple[Tensor, dict[str, Tensor]]:
            value = torch.bmm(noisy, params["weight"]).square().mean((1, 2)) + self.more(rows)
            return value * (1 + value.detach()), {"train/loss": value}

        grads, metrics = gradients(loss, self.params)
        self.optimizer.step(grads)
        return metrics


def batches(count: int) -> list[Tensor]:
    return [ROWS * (1 + i) for i in range(count)]


def test_does_what_the_update_does() -> None:
    eager, recorded = Fit(), Fit()
    for rows in batches(6):
        same(recorded.captured(rows), eager.update(rows), "metrics")
        same(recorded.params, eager.params, "parameters")
    assert recorded.complaints == []
    (playback,) = recorded.captured.recorded.values()
    assert isinstance(playback, Playback)


def test_goes_on_where_it_is_put_back() -> None:
    """What is held is the memory of the parameters, not their values."""
    eager, recorded = Fit(), Fit()
    for fit in (eager, recorded):
        for rows in batches(4):
            fit.captured(rows) if fit is recorded else fit.update(rows)
        for value in fit.optimizer.state:
            value.fill_(0.5)
    for rows in batches(2):
        same(recorded.captured(rows), eager.update(rows), "metrics")


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (lambda rows: 1.0 if rows.sum() > 0 else 2.0, "Does an `if` or `.item()` look at what they compute?"),
        (lambda rows: float(rows.numpy().sum()), "does something else with another"),
    ],
    ids=["a branch", "NumPy"],
)
def test_what_cannot_be_recorded_stays_as_it_is(more: Callable[[Tensor], Tensor | float], complaint: str) -> None:
    eager, recorded = Fit(more), Fit(more)
    for rows in batches(6):
        same(recorded.captured(rows), eager.update(rows), "metrics")
        same(recorded.optimizer.state, eager.optimizer.state, "states")
    assert len(recorded.complaints) == 1
    assert complaint in recorded.complaints[0]


def test_random_numbers_of_another_kind_are_not_recorded() -> None:
    fit = Fit(lambda _: torch.rand(()))
    for rows in batches(4):
        fit.captured(rows)
    assert len(fit.complaints) == 1
    assert not any(isinstance(update, Playback) for update in fit.captured.recorded.values())


def test_views_of_what_stays_are_no_operations() -> None:
    """Slices of rows and of parameters, and what is only renamed."""
    held = torch.ones(4, 6)

    def update(rows: Tensor) -> dict[str, Tensor]:
        first, second = rows.split([2, 3], dim=-1)
        return {"train/sum": (first @ held[::2, :].mT[:2] + second[..., :2].detach()).sum(-1)}

    playback = Playback(Tape(update, ROWS))
    same(playback(ROWS + 1), update(ROWS + 1), "metrics")
    held.fill_(3.0)
    same(playback(ROWS), update(ROWS), "metrics")
    names = [str(node.target) for node in playback.operations.graph.nodes if node.op == "call_function"]
    assert not [name for name in names if "split" in name or "slice" in name or "getitem" in name or "detach" in name]


def test_a_view_of_what_is_computed_is_done_each_time() -> None:
    def update(rows: Tensor) -> dict[str, Tensor]:
        return {"train/sum": (2 * rows)[:, 0].sum(-1)}

    playback = Playback(Tape(update, ROWS))
    for rows in batches(3):
        same(playback(rows), update(rows), "metrics")


def test_a_run_in_the_middle_of_which_they_are_recorded_is_the_same_run() -> None:
    def made() -> Any:
        return build("td3_bc", synthetic(), SEEDS, hidden_dims=[16, 16], batch_size=32)

    eager, recorded = made(), made()
    recorded.capture(compiled=False, after=7)
    same(recorded.train(20), eager.train(20), "metrics")
    same(recorded.state_dict(), eager.state_dict(), "states")
    assert len(recorded.captured.recorded) == 2
