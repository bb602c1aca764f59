"""V-D4RL's files: pictures of the DeepMind Control Suite, in both of the layouts that are handed out.

Lu et al., "Challenges and Opportunities in Offline Reinforcement Learning from Visual Observations" (TMLR 2023). A
folder holds either shards, `*.hdf5`, of many episodes each, with pictures `observation` [T, 3, H, W] (84px); or one
`*.npz` an episode, with pictures `image` [T, H, W, 3] (64px). In both, T counts frames, one more than an episode has
transitions: what stands beside a frame is the action that led to it, and the reward for that; beside the first frame of
an episode stands nothing of meaning.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from rlbench import paths
from rlbench.data import npz, sources, store
from rlbench.data.checksum import checksum
from rlbench.data.frames import MOST, numbers
from rlbench.data.layout import Options, Reader, own
from rlbench.data.transitions import Transitions
from rlbench.envs.pictured import Pictured
from rlbench.errors import RunError, UsageError

if TYPE_CHECKING:
    from rlbench.envs.control import Control

READER = 1
"""Raised when the same files would be read into another table."""
SHARD = ("observation", "action", "reward", "discount", "step_type")
EPISODE = ("image", "action", "reward", "discount")
ENDS = ("is_first", "is_last")
FIRST, MIDDLE, LAST = range(3)
"""What a shard's `step_type` says of a frame."""
AT_ONCE = 1024
"""Frames that are read at once."""


class VD4RL:
    """The transitions of one folder of V-D4RL's, its files in the order of their names.

    Episodes end at a time limit, truncated, where the last discount is not 0.

    Args:
        env: pictures of the size that the files have.
        path: the folder, e.g. `vd4rl_data/main/walker_walk/medium/84px`.

    Raises:
        UsageError: there is no such folder, or it holds no such files; or the environment shows no pictures.
    """

    def __init__(self, env: Control, path: str) -> None:
        self.path = Path(path).expanduser()
        self.name = f"dataset=vd4rl:{path}"
        if not isinstance(env, Pictured):
            raise UsageError(f"{self.name}: it holds pictures, env={env.name} shows none: env=dmc_walker_walk_pixels")
        self.env = env
        self.shards = sorted(self.path.glob("*.hdf5"))
        self.files = self.shards or sorted(self.path.glob("*.npz"))
        if not self.files:
            what = "holds neither *.hdf5 nor *.npz" if self.path.is_dir() else "is no folder"
            raise UsageError(f"{self.name}: {self.path.absolute()} {what}: one of V-D4RL's does, e.g. TASK/LEVEL/84px")

    def identity(self) -> dict[str, Any]:
        """The files' content, and their order."""
        return {"source": "vd4rl", "sha256": self.sha256(), "reader": READER}

    def sha256(self) -> str:
        """The checksum of all files."""
        try:
            return hashlib.sha256("".join(map(checksum, self.files)).encode()).hexdigest()
        except OSError as error:
            raise RunError(f"{self.name}: {error}") from error

    def load(self, progress: store.Progress | None = None) -> Transitions:
        """The data, converted to a table unless the cache has it.

        Raises:
            UsageError: a file is damaged, or does not fit the environment.
            RunError: a file cannot be read, or the cache not be written.
        """
        key = hashlib.sha256(repr((self.identity(), self.env, self.env.installed)).encode()).hexdigest()[:10]
        return store.fetch(f"vd4rl-{self.env.name}-{key}", lambda: self.read(progress))

    def read(self, progress: store.Progress | None = None) -> Transitions:
        """The data, from the files. Their frames never are in memory together: they go to the disk as they come."""
        parts: list[dict[str, np.ndarray]] = []
        count = 0
        try:
            # The store copies it to its place. Unlike a map of a file yet to be filled, it tells where a disk is full.
            with tempfile.TemporaryFile(dir=paths.cache_root() / "data") as file:
                for done, path in enumerate(self.files):
                    if progress is not None:
                        progress(f"reading {self.path}", done, len(self.files))
                    parts.append(self.rows(path, file, count))
                    count += int(parts[-1].pop("frames")[0])
                if count > MOST:
                    raise UsageError(f"{self.name}: it has {count:,} frames, of which there may be {MOST:,}")
                file.flush()
                frames = np.memmap(file, np.uint8, "r", shape=(count, *self.env.frame_shape))
        except OSError as error:
            raise RunError(f"{self.name}: {error.strerror or error}") from error
        if progress is not None:
            progress(f"reading {self.path}", len(self.files), len(self.files))
        level = sources.level("vd4rl", str(self.path))
        card = {
            "id": f"vd4rl:{self.path.name}",
            "level": sources.quality(level),
            "about": "pictures of V-D4RL's",
            "source": str(self.path.absolute()),
            "licence": "MIT",
            "file": {"sha256": self.sha256(), "rows": count},
            "reference": {"min": self.env.reference_min, "max": self.env.reference_max},
        }
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Transitions.of_columns(**columns, card=card, frames=frames)

    def rows(self, path: Path, to: IO[bytes], before: int) -> dict[str, np.ndarray]:
        """The columns of a file's transitions; and `frames`, how many it has, which are appended to another file.

        Args:
            path: the file.
            to: where its frames go.
            before: how many frames are there already.
        """
        reader = Reader(f"{self.name}: {path.name}", self.env, Options("keep", "stored", "keep", False))
        found = self.shard(path, reader, to) if self.shards else self.episode(path, reader, to)
        for name, array in found.items():
            if array.dtype.kind not in "fiub":
                raise reader.bad(f"{name} is not an array of numbers")
            if array.shape[1:] == (1,) and name != "action":
                found[name] = array = array[:, 0]
            if array.ndim != 1 + (name == "action") or len(array) != len(found["step_type"]):
                raise reader.bad(f"{name} has shape {list(array.shape)}: wanted one for each frame")
            if not np.isfinite(array).all():
                raise reader.bad(f"{name} holds a NaN or an infinity")
        kind, count = found["step_type"], len(found["step_type"])
        first, last = np.flatnonzero(kind == FIRST), np.flatnonzero(kind == LAST)
        # Of an episode that is cut, the next one's first frame would be taken for what follows.
        whole = len(first) and len(first) == len(last) and first[0] == 0 and last[-1] == count - 1
        if (
            not whole
            or (last[:-1] + 1 != first[1:]).any()
            or (first == last).any()
            or not np.isin(kind, range(3)).all()
        ):
            raise reader.bad("its episodes are not whole, from a first frame to a last (cut short while copied?)")
        if (found["discount"][kind == MIDDLE] == 0).any():
            raise reader.bad("a discount is 0 before the end of an episode")
        after = np.flatnonzero(kind != FIRST)
        begin = np.repeat(first, last - first)
        if self.env.installed:
            reader.check_env(self.env.frames, found["action"][after])
        ended = (kind[after] == LAST) & (found["discount"][after] == 0)
        seen, following = (numbers(before + each, before + begin, self.env.frames) for each in (after - 1, after))
        return {
            "observation": seen,
            "action": found["action"][after],
            "reward": found["reward"][after],
            "next_observation": following,
            "terminated": ended,
            "truncated": (kind[after] == LAST) & ~ended,
            "frames": np.array([count]),
        }

    def shard(self, path: Path, reader: Reader, to: IO[bytes]) -> dict[str, np.ndarray]:
        """What stands beside the frames of a shard, by its names; the frames are appended to another file."""
        import h5py

        try:
            with h5py.File(path, "r") as file:
                nodes = {name: own(file, name) for name in SHARD}
                if missing := [name for name, node in nodes.items() if node is None]:
                    raise reader.bad(f"it has no {', '.join(missing)} (V-D4RL's shards have {', '.join(SHARD)})")
                pictures: Any = nodes.pop("observation")
                self.check_frames(pictures.dtype, pictures.shape, reader)
                found = {name: np.asarray(node) for name, node in nodes.items()}
                if found["step_type"].shape != (len(pictures),):
                    raise reader.bad(f"it has {len(pictures)} frames, and step_type {list(found['step_type'].shape)}")
                for block in range(0, len(pictures), AT_ONCE):
                    self.append(to, pictures[block : block + AT_ONCE])
        except OSError as error:
            raise reader.bad("it cannot be read as HDF5 (cut short while copied, or another format?)") from error
        return found

    def episode(self, path: Path, reader: Reader, to: IO[bytes]) -> dict[str, np.ndarray]:
        """The same of an episode: which frames are the first and the last follows."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                if missing := [name for name in EPISODE if name not in archive.files]:
                    raise reader.bad(f"it has no {', '.join(missing)} (V-D4RL's episodes have {', '.join(EPISODE)})")
                found = {name: npz.numbers(archive, name, reader) for name in EPISODE}
                ends = {name: npz.numbers(archive, name, reader) for name in ENDS if name in archive.files}
        except npz.BROKEN as error:
            raise reader.bad("it cannot be read as npz (cut short while copied, or altered?)") from error
        pictures = found.pop("image")
        pictures = pictures.transpose(0, 3, 1, 2) if pictures.ndim == 4 else pictures
        self.check_frames(pictures.dtype, pictures.shape, reader)
        for name, array in ends.items():
            if array.size != len(pictures):
                raise reader.bad(f"{name} has shape {list(array.shape)}: wanted one for each frame")
        found["step_type"] = np.full(len(pictures), MIDDLE)
        found["step_type"][:1] = FIRST
        if len(ends) < len(ENDS) or (ends["is_first"].flat[:1].all() and ends["is_last"].flat[-1:].all()):
            found["step_type"][-1:] = LAST
        self.append(to, pictures)
        return found

    def append(self, to: IO[bytes], frames: np.ndarray) -> None:
        try:
            to.write(np.ascontiguousarray(frames).data)
        except OSError as error:
            raise RunError(f"{self.name}: cannot write {paths.cache_root()}: {error.strerror or error}") from error

    def check_frames(self, dtype: np.dtype, shape: tuple[int, ...], reader: Reader) -> None:
        """Refuse frames that are not the environment's."""
        if dtype != np.uint8 or shape[1:] != self.env.frame_shape:
            raise reader.bad(
                f"its frames are {dtype} {list(shape[1:])}, those of env={self.env.name} "
                f"uint8 {list(self.env.frame_shape)}: env.size= says how large they are"
            )
