"""Two million transitions, as many as D4RL's hopper-medium-expert has: what they cost, in seconds of a core, and
how often they lie in memory. Prints what this folder's README says."""

import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rlbench import config

ROWS, EPISODE = 1_999_400, 1_000


def write(path: Path) -> None:
    """Random numbers in the shapes of hopper's data; D4RL's own files are compressed and have more arrays."""
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((ROWS + 1, 11), dtype=np.float32)
    with h5py.File(path, "w") as file:
        file["observations"], file["next_observations"] = observations[:-1], observations[1:]
        file["actions"] = rng.uniform(-1, 1, (ROWS, 3)).astype(np.float32)
        file["rewards"] = rng.standard_normal(ROWS, dtype=np.float32)
        file["terminals"] = np.zeros(ROWS, dtype=bool)
        file["timeouts"] = np.arange(ROWS) % EPISODE == EPISODE - 1


def opened(words: list[str]) -> tuple[Any, float]:
    """The data, and the CPU seconds until they were there."""
    cfg = config.compose(words)
    began = time.process_time()
    data = config.instantiate(cfg.dataset, env=config.instantiate(cfg.env)).load()
    return data, time.process_time() - began


def large_tensors(least: int) -> int:
    """Bytes of the tensors that have at least so many, each memory counted once."""
    import torch

    storages = (each.untyped_storage() for each in gc.get_objects() if issubclass(type(each), torch.Tensor))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages if storage.nbytes() >= least}.values())


def main(folder: Path) -> None:
    write(folder / "large.hdf5")
    words = [f"dataset=file:{folder / 'large.hdf5'}", "env=hopper", "hardware=cpu"]
    data, seconds = opened(["algo=bc", *words])
    print(f"{len(data):,} rows, a table of {data.table.nbytes / 2**20:.0f} MiB")
    print(f"read from HDF5 and stored: {seconds:.2f} s")
    print(f"opened from the cache: {min(opened(['algo=bc', *words])[1] for _ in range(5)):.3f} s")
    from rlbench.build import build

    for algo in ("bc", "td3_bc", "iql", "cql"):
        for seeds in (1, 8):
            cfg = config.compose([f"algo={algo}", f"seeds={seeds}", *words])
            began = time.process_time()
            algorithm, _ = build(cfg)
            algorithm.train(1)
            seconds = time.process_time() - began
            gc.collect()
            copies = large_tensors(data.table.nbytes // 2) / data.table.nbytes
            print(f"algo={algo} seeds={seeds}: first update after {seconds:.1f} s, {copies:.2f} tables in tensors")
            del algorithm


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
