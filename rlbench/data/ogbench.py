"""OGBench's data sets: where their files are, and what becomes of them (no torch, no numpy to ask).

Source: Park et al., 2025, OGBench: Benchmarking Offline Goal-Conditioned RL.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench import paths
from rlbench.data import sources
from rlbench.errors import RunError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from rlbench.data.layout import Reader
    from rlbench.data.store import Progress
    from rlbench.data.transitions import Transitions
    from rlbench.envs.control import Control

ADDRESS = "https://rail.eecs.berkeley.edu/datasets/ogbench/"
FOLDER = Path("~/.ogbench/data")
"""Where OGBench itself keeps its files."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*-v\d+")


def check_id(id: str) -> None:
    """Refuse what is no name of a data set with one task, the only ones with rewards.

    Raises:
        UsageError: it is not one.
    """
    if not NAME.fullmatch(id):
        raise UsageError(f"no data set ogbench/{id}\nit is a name such as ogbench/cube-single-play-singletask-v0")
    if not sources.SINGLE.search(id):
        single = sources.VERSION.sub(r"-singletask\g<0>", id)
        raise UsageError(f"ogbench/{id} has goals in place of rewards\nwith one task: dataset=ogbench/{single}")


def file_name(id: str) -> str:
    """The file is the same for all tasks: `cube-single-play-v0.npz`."""
    return re.sub(r"-singletask(-task\d)?", "", id) + ".npz"


def fetch(id: str, progress: Progress | None = None) -> Path:
    """The file of a data set, OGBench's own or ours, downloaded if there is none.

    Raises:
        UsageError: it is no name of a data set.
        RunError: it cannot be fetched.
    """
    from rlbench.data import download

    check_id(id)
    name = file_name(id)
    theirs = FOLDER.expanduser() / name
    if theirs.is_file():
        return theirs
    path = paths.cache_root() / "ogbench" / name
    return download.fetch([ADDRESS + name], path, progress=progress, hint=sources.substitute("ogbench", id))


class OGBench:
    """A data set of OGBench with one of its tasks: rewards are OGBench's own for the task, from the recorded states.

    Trajectories went on after success: its rows are terminated, and keep their true next observations. A trajectory's
    last state has no action of its own, and is only the next observation of the row before, which is truncated.

    Args:
        env: where policies learned from the data are judged.
        id: OGBench's name of the data set, e.g. `cube-single-play-singletask-v0`.
        clip_actions: clip actions that leave the environment's bounds; else refuse them.

    Raises:
        UsageError: it is no such name, or another environment's.
    """

    def __init__(self, env: Control, id: str, clip_actions: bool) -> None:
        check_id(id)
        self.env, self.id, self.clip_actions = env, id, clip_actions
        self.name = f"dataset=ogbench/{id}"
        natural = sources.environment("ogbench", id)
        if env.id != natural.partition("/")[2]:
            raise UsageError(f"{self.name} is not for env={env.name}\nchoose env={natural}")

    def identity(self) -> dict[str, Any]:
        """What determines the content."""
        from rlbench.data.layout import READER

        return {"source": "ogbench", "id": self.id, "clip_actions": self.clip_actions, "reader": READER}

    def load(self, progress: Progress | None = None) -> Transitions:
        """The data, downloaded and converted to a table unless the cache has it.

        Raises:
            UsageError: the file is damaged, or does not fit the environment.
            RunError: it cannot be fetched, or OGBench is not installed, whose rewards these are.
        """
        from rlbench.data import store

        return store.fetch(self.stored, lambda: self.make(progress))

    @property
    def stored(self) -> str:
        """Its name in the store."""
        key = hashlib.sha256(repr((self.identity(), self.env)).encode()).hexdigest()[:10]
        return f"ogbench-{self.id}-{key}"

    def fetch(self, progress: Progress | None = None) -> None:
        """See `sources.Downloaded`."""
        from rlbench.data import store

        if not store.has(self.stored):
            fetch(self.id, progress)

    def make(self, progress: Progress | None) -> Transitions:
        from rlbench.data.checksum import checksum
        from rlbench.data.layout import Options, Reader

        self.env.require()
        path = fetch(self.id, progress)
        if progress is not None:
            progress(f"reading {path.name}", 0, 1)
        options = Options(timeout_rows="keep", next_obs="stored", tail="keep", clip_actions=self.clip_actions)
        reader = Reader(f"{self.name} ({path})", self.env, options)
        arrays = self.arrays(path, reader)
        try:
            sha256 = checksum(path)
        except OSError as error:
            raise RunError(f"{self.name}: {path}: {error.strerror}") from error
        card = {
            "id": f"ogbench/{self.id}",
            "level": sources.quality(sources.level("ogbench", self.id)),
            "about": "OGBench's, with the rewards of one task",
            "env": self.env.id,
            "source": ADDRESS + path.name,
            "licence": "MIT",
            "file": {"sha256": sha256, "rows": len(arrays["observations"])},
            "reference": {"min": None, "max": None},
        }
        data = reader.transitions(arrays, card)
        if progress is not None:
            progress(f"reading {path.name}", 1, 1)
        return data

    def arrays(self, path: Path, reader: Reader) -> dict[str, np.ndarray]:
        """The arrays by D4RL's names."""
        from ogbench.relabel_utils import relabel_dataset
        from ogbench.utils import load_dataset

        from rlbench.data.layout import flat
        from rlbench.data.npz import BROKEN

        try:
            found = load_dataset(path, add_info=True)
        except KeyError as error:
            raise reader.bad(f"it has no {error.args[0].split()[0]}") from error
        except BROKEN as error:
            raise reader.bad("it cannot be read as npz (cut short while copied, or altered?)") from error
        simulator = self.env.make()
        try:
            relabel_dataset(self.env.id, simulator, found)
        except (KeyError, IndexError, ValueError) as error:
            raise reader.bad(f"its states are not those of {self.env.id} ({error})") from error
        finally:
            simulator.close()
        return {
            "observations": flat(found["observations"]),
            "actions": found["actions"],
            "rewards": found["rewards"].astype("float32"),
            "terminals": 1 - found["masks"],
            "timeouts": found["terminals"],
            "next_observations": flat(found["next_observations"]),
        }
