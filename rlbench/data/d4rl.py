"""D4RL's data sets: their manifest, where their files are, and what becomes of them (no torch, no numpy to ask).

Source: Fu et al., 2020, D4RL: Datasets for Deep Data-Driven Reinforcement Learning.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlbench import paths
from rlbench.data import sources
from rlbench.errors import RunError, UsageError
from rlbench.spelling import closest

if TYPE_CHECKING:
    from rlbench.data.store import Progress
    from rlbench.data.transitions import Transitions
    from rlbench.envs.control import Control

MIRRORS = (
    "https://rail.eecs.berkeley.edu/datasets/offline_rl/",
    "http://rail.eecs.berkeley.edu/datasets/offline_rl/",
)
MINIGRID_ACTIONS = 7


@dataclass(frozen=True)
class Entry:
    """What is known of a data set before its file is there.

    Args:
        id: D4RL's name of it, e.g. `hopper-medium-v2`.
        url: address of the file, below a mirror.
        bytes: its size, if known.
        sha256: its checksum, if known.
        ref_min: return that scores 0, if D4RL names one.
        ref_max: return that scores 100, likewise.
        steps: after how many steps episodes were cut, for files without timeouts; None: their flags mark every end.
    """

    id: str
    url: str
    bytes: int | None
    sha256: str | None
    ref_min: float | None
    ref_max: float | None
    steps: int | None

    @classmethod
    def of_row(cls, row: list[str]) -> Entry:
        """From the cells of a line of the manifest; empty ones are None."""
        id, url, size, sha256, low, high, steps = row
        return cls(
            id=id,
            url=url,
            bytes=int(size) if size else None,
            sha256=sha256 or None,
            ref_min=float(low) if low else None,
            ref_max=float(high) if high else None,
            steps=int(steps) if steps else None,
        )

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def env(self) -> str:
        """The word after `env=`."""
        return sources.environment("d4rl", self.id)

    @property
    def level(self) -> str:
        """What the data are, in our spelling: `medium_replay`."""
        return sources.quality(sources.level("d4rl", self.id))


@cache
def manifest() -> dict[str, Entry]:
    """All data sets by id."""
    lines = Path(__file__).with_name("d4rl.tsv").read_text().splitlines()
    _, *rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return {row[0]: Entry.of_row(row) for row in rows}


def entry(id: str) -> Entry:
    """The data set of that name.

    Raises:
        UsageError: there is none.
    """
    known = manifest()
    if id not in known:
        near = closest(id, known)
        words = " or ".join(f"dataset=d4rl/{each}" for each in near)
        environments = ", ".join(dict.fromkeys(each.partition("-")[0] for each in known))
        hint = f"did you mean {words}?" if near else f"there are data of {environments}, e.g. d4rl/hopper-medium-v2"
        raise UsageError(f"no data set d4rl/{id}\n{hint}")
    return known[id]


def find(entry: Entry) -> Path | None:
    """The file of a data set where D4RL keeps it (`D4RL_DATASET_DIR`, `~/.d4rl/datasets`), or in our own cache.

    Raises:
        UsageError: a file of that name is another one.
    """
    named = os.environ.get("D4RL_DATASET_DIR")
    folders = [Path(named)] if named else []
    for folder in (*folders, Path("~/.d4rl/datasets"), paths.cache_root() / "d4rl"):
        path = folder.expanduser() / entry.file
        if path.is_file():
            size = path.stat().st_size
            if entry.bytes not in (None, size):
                raise UsageError(f"{path} has {size:,} bytes of {entry.bytes:,}: remove it, or complete it")
            return path
    return None


def is_here(entry: Entry) -> bool:
    """Whether the whole file of a data set is on this machine."""
    try:
        return find(entry) is not None
    except UsageError:
        return False


def fetch(id: str, progress: Progress | None = None) -> Path:
    """The file of a data set, downloaded if there is none, and checked where its checksum is known.

    Raises:
        UsageError: there is no such data set, or a file of its name is another one.
        RunError: it cannot be fetched, or not be read.
    """
    from rlbench.data import download

    wanted = entry(id)
    found = find(wanted)
    if found is not None:
        if wanted.sha256:
            checked(wanted, found)
        return found
    urls = [mirror + wanted.url for mirror in MIRRORS]
    path = paths.cache_root() / "d4rl" / wanted.file
    hint = sources.substitute("d4rl", id)
    return download.fetch(urls, path, size=wanted.bytes, sha256=wanted.sha256, progress=progress, hint=hint)


def checked(entry: Entry, path: Path) -> str:
    """sha256 in hex of the file of a data set.

    Raises:
        UsageError: it is not the one that is known.
        RunError: the file cannot be read.
    """
    from rlbench.data.checksum import checksum

    try:
        sha256 = checksum(path)
    except OSError as error:
        raise RunError(f"dataset=d4rl/{entry.id}: {error}") from error
    if entry.sha256 not in (None, sha256):
        raise UsageError(f"dataset=d4rl/{entry.id}: {path} was altered (sha256 {sha256[:12]}…): remove it")
    return sha256


class D4RL:
    """A data set of D4RL, from its HDF5 file. `rlbench.data.layout` says how rows become transitions.

    Antmaze's recordings went on after the goal was reached: the rewarded rows are terminated, and keep their true next
    observations. Minigrid's images become vectors and its choices among seven actions one-hot vectors.

    Args:
        env: where policies learned from the data are judged.
        id: D4RL's name of the data set, e.g. `hopper-medium-v2`.
        timeout_rows: keep or drop the last row of an episode that was cut.
        next_obs: take stored next observations, or the observations of the rows that follow.
        tail: keep or drop an unfinished last episode.
        clip_actions: clip actions that leave the environment's bounds, as a simulator's motors do; else refuse them.

    Raises:
        UsageError: there is no such data set, or it is another environment's.
    """

    def __init__(
        self,
        env: Control,
        id: str,
        timeout_rows: Literal["keep", "drop"],
        next_obs: Literal["stored", "shifted"],
        tail: Literal["keep", "drop"],
        clip_actions: bool,
    ) -> None:
        from rlbench.data.layout import Options

        self.env, self.entry = env, entry(id)
        self.options = Options(timeout_rows, next_obs, tail, clip_actions)
        self.name = f"dataset=d4rl/{id}"
        if env.name != self.entry.env and any(env.name == each.env for each in manifest().values()):
            raise UsageError(f"{self.name} is not for env={env.name}\nchoose env={self.entry.env}")

    def identity(self) -> dict[str, Any]:
        """What determines the content."""
        from rlbench.data.layout import READER

        content = self.entry.sha256 or self.entry.url
        return {"source": "d4rl", "id": self.entry.id, "file": content, **asdict(self.options), "reader": READER}

    def load(self, progress: Progress | None = None) -> Transitions:
        """The data, downloaded and converted to a table unless the cache has it.

        Raises:
            UsageError: the file is damaged, or does not fit the environment.
            RunError: it cannot be fetched.
        """
        from rlbench.data import store

        return store.fetch(self.stored, lambda: self.make(progress))

    @property
    def stored(self) -> str:
        """Its name in the store."""
        key = hashlib.sha256(repr((self.identity(), self.env, self.env.installed)).encode()).hexdigest()[:10]
        return f"d4rl-{self.entry.id}-{self.env.name}-{key}"

    def fetch(self, progress: Progress | None = None) -> None:
        """See `sources.Downloaded`."""
        from rlbench.data import store

        if not store.has(self.stored):
            fetch(self.entry.id, progress)

    def make(self, progress: Progress | None) -> Transitions:
        from rlbench.data.layout import Reader, flat, one_hot

        path = fetch(self.entry.id, progress)
        if progress is not None:
            progress(f"reading {path.name}", 0, 1)
        sha256 = checked(self.entry, path)
        goes_on = self.entry.env.startswith("antmaze")
        reader = Reader(f"{self.name} ({path})", self.env, self.options, self.entry.steps, goes_on)
        arrays = reader.hdf5(path)
        simulated = not self.entry.env.startswith("minigrid")
        if not simulated and {"observations", "actions"} <= arrays.keys():
            arrays["observations"] = flat(arrays["observations"])
            try:
                arrays["actions"] = one_hot(arrays["actions"], MINIGRID_ACTIONS)
            except ValueError as error:
                raise reader.bad(str(error)) from error
        card = {
            "id": f"d4rl/{self.entry.id}",
            "level": self.entry.level,
            "about": "D4RL's, recorded with mujoco-py" if simulated else "D4RL's",
            "versions": {"mujoco": "2"} if simulated else {},
            "env": self.env.id,
            "source": MIRRORS[0] + self.entry.url,
            "licence": "CC BY 4.0",
            "file": {"sha256": sha256, "rows": len(arrays.get("observations", ()))},
            "reference": {"min": self.entry.ref_min, "max": self.entry.ref_max},
        }
        data = reader.transitions(arrays, card)
        if progress is not None:
            progress(f"reading {path.name}", 1, 1)
        return data
