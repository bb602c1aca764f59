"""Data for others to read: D4RL's HDF5, and Minari's folders, written with its own package."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data import layout, minari
from rlbench.data.file import FileDataset
from rlbench.data.store import Progress
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError

if TYPE_CHECKING:
    import h5py

    from rlbench.envs.control import Control

FORMATS = ("d4rl", "minari")


def form_of(to: Path, chosen: str | None) -> str:
    """d4rl or minari: as chosen, else as the name says.

    Raises:
        UsageError: the name says nothing, or is none of the chosen form.
    """
    folder = re.fullmatch(r"[\w-]+-v\d+", to.name) is not None
    form = chosen or ("minari" if folder else "d4rl" if to.suffix in (".hdf5", ".h5") else None)
    if form is None:
        raise UsageError(f"--to {to}: FILE.hdf5 is D4RL's form, FOLDER-v0 Minari's\nor say which: --format d4rl|minari")
    if form == "minari" and not folder:
        raise UsageError(f"--to {to}: a Minari folder's name ends with a version, e.g. {to.stem or 'mine'}-v0")
    return form


def refuse_taken(to: Path) -> None:
    """Raise `UsageError` where there is something already."""
    if to.exists():
        raise UsageError(f"{to}: it exists\nname another place with --to, or remove it")


def write(
    data: Transitions, env: Control, to: Path, form: str, progress: Progress | None = None, frames: Sequence[Path] = ()
) -> None:
    """Write data, and read them back.

    Args:
        data: what to write.
        env: the data's environment.
        to: the file or folder, which must not be there yet.
        form: d4rl or minari.
        frames: files with pictures of the data, which go beside it (see `to_d4rl`).

    Raises:
        UsageError: the place is taken, or the form cannot hold the data.
        RunError: it cannot be written, or what was written reads otherwise.
    """
    refuse_taken(to)
    if data.frames is not None:
        raise UsageError("pictures are not exported: the file that they were read from holds the states too")
    if frames and form != "d4rl":
        raise UsageError(f"--to {to}: pictures go into D4RL's form, FILE.hdf5")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        if form == "d4rl":
            to_d4rl(data, to, frames)
        else:
            to_minari(data, to, env, progress)
    except OSError as error:
        raise RunError(f"cannot write {to}: {error.strerror or error}") from error
    found = FileDataset(env, str(to), "keep", "stored", "keep", clip_actions=False).read(progress)
    if found.hash() != data.hash():
        raise RunError(f"{to} was written, and reads otherwise: do not rely on it")


def to_d4rl(data: Transitions, path: Path, frames: Sequence[Path] = ()) -> None:
    """One HDF5 file in D4RL's layout, and in it what is known of the data; a last episode that is not finished has no
    flag.

    Args:
        data: what to write.
        path: the file.
        frames: npy files, uint8 `[m, C, H, W]`, which together hold what was seen: of each episode one frame more than
            it has rows.

    Raises:
        OSError: it cannot be written.
    """
    import h5py

    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    columns = {
        "observations": data.observation,
        "actions": data.action,
        "rewards": data.reward,
        "next_observations": data.next_observation,
        "terminals": data.terminated.astype(bool),
        "timeouts": data.truncated.astype(bool),
    }
    try:
        with h5py.File(partial, "w") as file:
            file[layout.CARD] = json.dumps(data.card)
            for name, column in columns.items():
                file.create_dataset(name, data=column, compression="gzip", chunks=True)
            if frames:
                own = np.arange(len(data)) + data.episode
                file["frame"] = np.stack([own, own + 1], 1)
                add_frames(file, frames)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def add_frames(file: h5py.File, paths: Sequence[Path]) -> None:
    """Put frames into a file, one npy file after another: all together may be more than memory holds."""
    parts = [np.load(path, mmap_mode="r") for path in paths]
    shape = parts[0].shape[1:]
    stored = file.create_dataset(
        "frames", (sum(map(len, parts)), *shape), np.uint8, compression="gzip", compression_opts=1, chunks=(1, *shape)
    )
    first = 0
    for part in parts:
        stored[first : first + len(part)] = part
        first += len(part)


def to_minari(data: Transitions, path: Path, env: Control, progress: Progress | None = None) -> None:
    """A Minari data set. Its id is the folder's name, with the namespaces before it where it lies below Minari's root
    (`MINARI_DATASETS_PATH`, `~/.minari/datasets`); infos and seeds are not there to be written.

    Raises:
        UsageError: an episode's next observations are not the rows that follow: the layout holds each but once.
        RunError: the minari package is missing.
        OSError: it cannot be written.
    """
    if find_spec("minari") is None:
        raise RunError("Minari's folders are written with its package: pip install 'rlbench[minari]'")
    import gymnasium
    from minari import create_dataset_from_buffers
    from minari.data_collector import EpisodeBuffer

    goes_on = ~data.table[:-1, -2:].any(axis=1)
    following, next_rows = data.next_observation[:-1].view(np.uint32), data.observation[1:].view(np.uint32)
    torn = goes_on & (following != next_rows).any(axis=1)
    if torn.any():
        row = int(torn.argmax())
        raise UsageError(
            f"the next observation of row {row} is not the row that follows, which Minari's layout cannot tell: "
            "--format d4rl can"
        )

    def buffers() -> Iterator[EpisodeBuffer]:
        ends = data.episode_ends
        for i, (start, end) in enumerate(zip(data.episode_starts, ends, strict=True)):
            if progress is not None and (i % 100 == 0 or i + 1 == len(ends)):
                progress(f"writing {path.name}", i + 1, len(ends))
            rows = slice(start, end)
            yield EpisodeBuffer(
                observations=np.concatenate([data.observation[rows], data.next_observation[end - 1 : end]]),
                actions=np.ascontiguousarray(data.action[rows]),
                rewards=np.ascontiguousarray(data.reward[rows]),
                terminations=data.terminated[rows].astype(bool),
                truncations=data.truncated[rows].astype(bool),
                infos={},
            )

    simulator = recorded_in(data, env)
    box = gymnasium.spaces.Box
    low, high = env.action_bounds()
    below = path.absolute().is_relative_to(minari.root())
    id = str(path.absolute().relative_to(minari.root())) if below else path.name
    minari.check_id(id)
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with datasets_path(staging), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of descriptions that are not known
            create_dataset_from_buffers(
                id,
                buffers(),
                env=simulator,
                eval_env=simulator,
                observation_space=box(-np.inf, np.inf, (data.observation_dim,), np.float32),
                action_space=box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32),
                **descriptions(data.card, env),
            )
        (staging / id).rename(path)
        if below:
            minari.name_parents(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if simulator is not None:
            simulator.close()


def recorded_in(data: Transitions, env: Control) -> Any:
    """The environment that the data were recorded in, if it is known; a name out of a file is only looked up, never
    imported."""
    import gymnasium

    recorded = data.card.get("env", env.id)
    if recorded == env.id:
        return env.make()
    return dataclasses.replace(env, id=recorded, kwargs={}).make() if recorded in gymnasium.registry else None


def descriptions(card: dict[str, Any], env: Control) -> dict[str, Any]:
    """What Minari's metadata say of the data, as far as the card knows."""
    reference = card.get("reference") or {"min": env.reference_min, "max": env.reference_max}
    known = {
        "description": card.get("about"),
        "author": card.get("author", "rlbench" if str(card.get("id")).startswith("rlbench/") else None),
        "algorithm_name": card.get("algorithm"),
        "code_permalink": card.get("code"),
        "requirements": [f"{name}=={version}" for name, version in card.get("versions", {}).items()],
        "ref_min_score": reference["min"],
        "ref_max_score": reference["max"],
    }
    return {name: value for name, value in known.items() if value is not None}


@contextmanager
def datasets_path(path: Path) -> Iterator[None]:
    """Make the minari package keep its data sets elsewhere."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    try:
        yield
    finally:
        del os.environ["MINARI_DATASETS_PATH"]
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before
