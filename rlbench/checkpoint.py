"""Checkpoints that survive kills, full disks and damage, and run no code when read."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rlbench.errors import RunError
from rlbench.files import write_atomically

NAME = re.compile(r"step-(\d+)-([0-9a-f]{64})\.pt")


class Checkpoints:
    """The newest `keep` states in a folder, each a plain `torch.load`-able file `step-<step>-<sha256>.pt`.

    Args:
        folder: made when the first state is saved.
        keep: how many states stay.
        say: told, in a sentence, when a damaged file is passed over.
    """

    def __init__(self, folder: Path, keep: int, say: Callable[[str], None] = print) -> None:
        self.folder = folder
        self.keep = keep
        self.say = say
        self.proven = False

    def files(self) -> list[Path]:
        """The checkpoints, newest first."""
        found = [(int(m[1]), path) for path in self.folder.glob("*.pt") if (m := NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def save(self, state: dict[str, Any], step: int) -> None:
        """Add a state of tensors, numbers, strings, lists, dicts and None; the oldest beyond `keep` go.

        Raises:
            OSError: it could not be written; the earlier checkpoints are untouched.
            RunError: it holds something that could not be read back safely.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        if not self.proven:
            self._prove(buffer)
        data = buffer.getbuffer()
        path = self.folder / f"step-{step:012d}-{hashlib.sha256(data).hexdigest()}.pt"
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*.tmp"):  # of a save that was killed
            leftover.unlink()
        write_atomically(path, data)
        older = [file for file in self.files() if file != path]
        for file in older[self.keep - 1 :]:
            file.unlink()

    def _prove(self, buffer: io.BytesIO) -> None:
        """Read the first state back: better now than when it is needed."""
        try:
            torch.load(io.BytesIO(buffer.getbuffer()), map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"the state cannot be read back without running code ({reason}). "
                "state_dict() may hold tensors, numbers, strings, lists, dicts and None, nothing else."
            ) from error
        self.proven = True

    def load(
        self, device: torch.device | str = "cpu", fits: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any] | None:
        """The newest state that is undamaged and `fits`, its tensors on `device`; None when there is none."""
        for path in self.files():
            data = path.read_bytes()
            match = NAME.fullmatch(path.name)
            assert match is not None
            if hashlib.sha256(data).hexdigest() != match[2]:
                self.say(f"checkpoint {path} is damaged (its checksum differs): going back to the one before")
                continue
            state = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
            if fits(state):
                return state
            self.say(f"checkpoint {path} does not fit the records beside it: going back to the one before")
        return None
