"""Stages that several runs can share (learned models, anchor seekers): trained once, cached, never lost."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout

from rlbench import __version__
from rlbench.checkpoint import Checkpoints
from rlbench.errors import Interrupted
from rlbench.files import write_atomically
from rlbench.signals import Stop

SAVE_EVERY = 30.0  # seconds of training that a kill may cost
SAVE_SHARE = 0.02  # largest share of the time that saving may take

Report = Callable[[str, int, int], None]


class Stage(Protocol):
    """Something that is trained epoch by epoch until it is done."""

    name: str

    @property
    def done(self) -> bool: ...

    @property
    def progress(self) -> tuple[int, int]:
        """Epochs done, and the most there can be."""
        ...

    def train(self, n: int) -> Any:
        """Train n epochs."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Artefacts:
    """A folder of finished and unfinished stages, `<root>/<kind>/<hash of what determines it>/`.

    Args:
        root: the folder.
        device: where the states that `fit` returns lie.
        stop: asked between epochs whether to leave.
        report: told `(name, epochs done, most epochs)` after every epoch.
        say: told, in a sentence, what a person would want to know.
    """

    def __init__(
        self,
        root: Path,
        device: torch.device | str = "cpu",
        stop: Stop | None = None,
        report: Report = lambda *_: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.root = root
        self.device = device
        self.stop = stop or Stop()
        self.report = report
        self.say = say

    def fit(self, kind: str, key: dict[str, Any], make: Callable[[], Stage]) -> dict[str, Any]:
        """The state of a finished stage: from the cache, or trained now (going on where a kill left it).

        Args:
            kind: what it is, e.g. `forward_model`: a folder's name.
            key: all that determines the result (dataset fingerprint, settings, seeds), as JSON would hold it.
            make: builds the untrained stage; called only when there is something to train.

        Raises:
            Interrupted: a signal asked to stop; what was trained is saved.
        """
        text = json.dumps({"rlbench": __version__, "kind": kind, **key}, sort_keys=True, indent=1)
        folder = self.root / kind / hashlib.sha256(text.encode()).hexdigest()[:16]
        saved = Checkpoints(folder, keep=1, say=self.say)
        if (state := self._finished(saved)) is not None:
            return state
        folder.mkdir(parents=True, exist_ok=True)
        with self._alone(folder, kind):
            if (state := self._finished(saved)) is not None:  # trained by the process that was waited for
                return state
            write_atomically(folder / "key.json", text)
            with self.stop.held():
                self._train(make(), saved)
        state = self._finished(saved)
        assert state is not None
        return state

    def _finished(self, saved: Checkpoints) -> dict[str, Any] | None:
        found = saved.load(self.device)
        return found["state"] if found is not None and found["done"] else None

    @contextmanager
    def _alone(self, folder: Path, kind: str) -> Iterator[None]:
        """No other process trains the same stage; one that does is waited for."""
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.say(f"another process trains the same {kind}: waiting for it ({folder})")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _train(self, stage: Stage, saved: Checkpoints) -> None:
        partial = saved.load(self.device)
        if partial is not None:
            stage.load_state_dict(partial["state"])
        last, pause = time.monotonic(), SAVE_EVERY
        while not stage.done:
            self.report(stage.name, *stage.progress)
            stage.train(1)
            begun = time.monotonic()
            if self.stop.signum is not None or begun - last > pause:
                saved.save({"done": False, "state": stage.state_dict()}, stage.progress[0])
                last = time.monotonic()
                pause = max(SAVE_EVERY, (last - begun) / SAVE_SHARE)
            if self.stop.signum is not None:
                raise Interrupted(self.stop.signum)
        self.report(stage.name, *stage.progress)
        saved.save({"done": True, "state": stage.state_dict()}, stage.progress[0])
