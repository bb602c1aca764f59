"""Large tables of rows in memory once a machine: all processes that train on the same rows map the same file."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from rlbench.files import write_atomically
from rlbench.paths import cache_root

SUFFIXES = {torch.float32: "f32", torch.uint8: "u8"}
LARGE = 1 << 25  # bytes below which a table is not worth a file
UNUSED = 7 * 86400.0  # seconds after which a file that nobody opens makes room for others


def resident(rows: Tensor) -> Tensor:
    """The same rows, in memory that is shared with every process that asks for the same.

    They lie in the cache, in a file that is named by their content. Minibatches are gathered from it as fast as from
    memory of one's own. Small tables, those on another device, and those for which there is no room on the disk stay as
    they are.

    Args:
        rows: `[N, D]`, float32 or uint8. What is written into the result stays with the process.
    """
    if rows.device.type != "cpu" or rows.nbytes < LARGE:
        return rows
    rows = rows.contiguous()
    content = rows.numpy().data.cast("B")
    path = cache_root() / "rows" / f"{hashlib.blake2b(content, digest_size=16).hexdigest()}.{SUFFIXES[rows.dtype]}"
    try:
        if (found := mapped(path, rows)) is not None:
            path.touch()
            return found
        path.parent.mkdir(parents=True, exist_ok=True)
        forget(path.parent)
        write_atomically(path, content)
        found = mapped(path, rows)
    except (OSError, RuntimeError):  # a full disk, a cache of another user's: each process then has its own
        return rows
    return rows if found is None else found


def mapped(path: Path, rows: Tensor) -> Tensor | None:
    """The rows as a file has them; None where there is none, or a damaged one."""
    if not path.exists() or path.stat().st_size != rows.nbytes:
        return None
    found = torch.from_file(str(path), shared=False, size=math.prod(rows.shape), dtype=rows.dtype).view(rows.shape)
    bits = torch.int32 if rows.dtype == torch.float32 else rows.dtype
    return found if torch.equal(found.view(bits), rows.view(bits)) else None


def forget(folder: Path) -> None:
    """Remove what nobody has opened for long; who still maps it keeps it."""
    for path in (found for suffix in SUFFIXES.values() for found in folder.glob(f"*.{suffix}")):
        if time.time() - path.stat().st_mtime > UNUSED:
            path.unlink(missing_ok=True)
