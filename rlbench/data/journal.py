"""A recording under way: rows of the canonical table, added to a file episode by episode.

The file is a line that says what it is, a line of JSON, and rows of little-endian float32: whatever instant its writer
dies at, all episodes but the one being played are there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data.provenance import told
from rlbench.data.transitions import Transitions
from rlbench.errors import UsageError
from rlbench.files import take

if TYPE_CHECKING:
    from rlbench.data.layout import Reader

MAGIC = b"rlbench recording 1\n"


class Journal:
    """Writes such a file, or goes on with one.

    Args:
        path: the file.
        observation_dim: d.
        action_dim: a.
        facts: what else the file shall tell: env, versions.

    Raises:
        UsageError: there is one of other data, or another process writes it.
    """

    def __init__(self, path: Path, observation_dim: int, action_dim: int, facts: dict[str, Any]) -> None:
        self.path = path
        self.row = 4 * (2 * observation_dim + action_dim + 3)
        header = {"observation_dim": observation_dim, "action_dim": action_dim, **facts}
        start = MAGIC + json.dumps(header).encode() + b"\n"
        self.file = path.open("ab+", buffering=0)
        try:
            take(self.file, f"{path}: another process is recording into it")
        except UsageError:
            self.file.close()
            raise
        self.file.seek(0)
        content = self.file.read(len(start))
        if not start.startswith(content):
            self.file.close()
            raise UsageError(f"{path} holds a recording of something else: read it (file:{path}), or remove it")
        if len(content) < len(start):
            self.file.truncate(0)
            self.write(start)
        else:
            self.mend(len(start))

    def mend(self, start: int) -> None:
        """Make whole rows, and a whole episode, of what a writer left that was killed."""
        size = self.file.seek(0, 2)
        self.file.truncate(start + (size - start) // self.row * self.row)
        if self.file.seek(0, 2) > start:
            self.file.seek(-8, 2)
            ends = np.frombuffer(self.file.read(8), dtype="<f4").copy()
            if not ends.any():
                self.file.truncate(self.file.seek(0, 2) - 4)
                self.write(np.ones(1, dtype="<f4").tobytes())

    def add(self, table: np.ndarray) -> None:
        """An episode, `[n, 2 d + a + 3]` (see `Transitions`)."""
        self.write(np.ascontiguousarray(table, dtype="<f4").tobytes())

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self.file.write(rest) or 0 :]

    def close(self) -> None:
        self.file.close()


def load(path: Path) -> Transitions:
    """The rows of a file; its card holds what else it tells.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.readline(len(MAGIC)) != MAGIC:
            raise ValueError("its first line is another")
        header = json.loads(file.readline(1 << 16))
        d, a = (header.pop(name) for name in ("observation_dim", "action_dim"))
        if not (type(d) is type(a) is int and d > 0 and a > 0):
            raise ValueError(f"widths {d} and {a}")
        numbers = np.frombuffer(file.read(), dtype=np.uint8)
    width = 2 * d + a + 3
    rows = len(numbers) // (4 * width)
    table = numbers[: 4 * width * rows].view("<f4").reshape(rows, width)
    return Transitions(table.astype(np.float32, copy=False), d, a, header)


def read(path: Path, reader: Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays by D4RL's names, and what else is known of them.

    Raises:
        UsageError: it is damaged.
    """
    try:
        data = load(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise reader.bad(f"the recording is damaged: {' '.join(str(error).split())}") from error
    arrays = {
        "observations": data.observation,
        "actions": data.action.copy(),  # clipped in place
        "rewards": data.reward,
        "next_observations": data.next_observation,
        "terminals": data.terminated,
        "timeouts": data.truncated,
    }
    return arrays, told(data.card)
