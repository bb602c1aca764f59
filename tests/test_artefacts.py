"""Stages: trained once, shared, resumed after a stop, never trained twice at once."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from rlbench.artefacts import Artefacts
from rlbench.errors import Interrupted
from rlbench.signals import Stop

EPOCHS = 6


class Descent:
    """Gradient descent on |x|^2 with noise from a stream of its own."""

    name = "descent"
    made = 0

    def __init__(self, kill_at: int | None = None) -> None:
        Descent.made += 1
        self.epoch = 0
        self.x = torch.ones(3)
        self.rng = torch.Generator().manual_seed(1)
        self.kill_at = kill_at

    @property
    def done(self) -> bool:
        return self.epoch == EPOCHS

    @property
    def progress(self) -> tuple[int, int]:
        return self.epoch, EPOCHS

    def train(self, n: int) -> None:
        for _ in range(n):
            self.x = 0.9 * self.x + 0.1 * torch.randn(3, generator=self.rng)
            self.epoch += 1
            if self.epoch == self.kill_at:
                os.kill(os.getpid(), signal.SIGTERM)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "x": self.x, "rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.x = state["epoch"], state["x"]
        self.rng.set_state(state["rng"])


@pytest.fixture(autouse=True)
def _count() -> None:
    Descent.made = 0


def test_trained_once_for_one_key(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    artefacts = Artefacts(tmp_path, report=lambda *words: told.append(words))
    first = artefacts.fit("descent", {"seed": 1, "rate": 0.1}, Descent)
    again = artefacts.fit("descent", {"rate": 0.1, "seed": 1}, Descent)
    assert Descent.made == 1
    assert torch.equal(first["x"], again["x"])
    assert told == [("descent", epoch, EPOCHS) for epoch in range(EPOCHS + 1)]
    artefacts.fit("descent", {"seed": 2, "rate": 0.1}, Descent)
    assert Descent.made == 2


def test_stopped_stage_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = Artefacts(tmp_path / "whole").fit("descent", {}, Descent)
    with Stop() as stop, pytest.raises(Interrupted) as stopped:
        Artefacts(tmp_path / "cut", stop=stop).fit("descent", {}, lambda: Descent(kill_at=4))
    assert stopped.value.exit_code == 143
    told: list[int] = []
    resumed = Artefacts(tmp_path / "cut", report=lambda _, done, __: told.append(done)).fit("descent", {}, Descent)
    assert told[0] == 4
    assert torch.equal(resumed["x"], whole["x"])
    assert torch.equal(resumed["rng"], whole["rng"])


def test_damaged_stage_is_trained_again(tmp_path: Path) -> None:
    said: list[str] = []
    artefacts = Artefacts(tmp_path, say=said.append)
    first = artefacts.fit("descent", {}, Descent)
    next(tmp_path.rglob("*.pt")).write_bytes(b"damage")
    assert torch.equal(artefacts.fit("descent", {}, Descent)["x"], first["x"])
    assert Descent.made == 2
    assert "damaged" in said[0]


def test_second_process_waits_for_the_first(tmp_path: Path) -> None:
    slow = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_artefacts import Descent
        from rlbench.artefacts import Artefacts
        class Slow(Descent):
            def train(self, n):
                print("training", flush=True)
                time.sleep(0.3)
                super().train(n)
        Artefacts(Path({str(tmp_path)!r})).fit("descent", {{}}, Slow)
    """)
    other = subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "training\n"
    said: list[str] = []
    begun = time.monotonic()
    Artefacts(tmp_path, say=said.append).fit("descent", {}, Descent)
    assert Descent.made == 0
    assert time.monotonic() - begun > 0.3
    assert "waiting" in said[0]
    assert other.wait() == 0
