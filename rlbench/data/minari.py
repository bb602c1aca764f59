"""Minari's data sets: a folder `name-vK` each, with `data/metadata.json` and `data/main_data.hdf5`.

They are read with h5py; the minari package is asked for only to download them. Nothing in them is run: an environment's
specification names code, of which the packages that it may be of are known here, and only ids that they have registered
are looked up.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.data import sources
from rlbench.data.provenance import choices_of, judge, one_line, told, which
from rlbench.errors import RunError, UsageError
from rlbench.spelling import closest

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from rlbench.data.layout import Reader
    from rlbench.data.store import Progress
    from rlbench.data.transitions import Transitions
    from rlbench.envs.control import Control

READER = 1
"""Raised when the same folder would be read into another table."""
METADATA, CONTENT, NAMESPACE = "metadata.json", "main_data.hdf5", "namespace_metadata.json"
PACKAGES = {"gymnasium": None, "gymnasium_robotics": "robotics", "minigrid": "minigrid"}
"""Packages whose environments a data set may name, and the extra that each comes with."""
LONGEST_EPISODE = 10_000
"""Steps; higher limits are those of a recording that was never to be cut."""
BROKEN = (OSError, RuntimeError, ValueError, TypeError, KeyError)
"""What h5py raises where a file is cut short or altered."""


# -- where data sets are -----------------------------------------------------------------------------------------------


def root() -> Path:
    """Where Minari keeps data sets: `MINARI_DATASETS_PATH`, else `~/.minari/datasets`."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or "~/.minari/datasets").expanduser().absolute()


def check_id(id: str) -> None:
    """Raise `UsageError` for what cannot be a data set's name (and for a path that leads elsewhere)."""
    if not re.fullmatch(r"(?:[\w-]+/)*[\w-]+-v\d+", id):
        raise UsageError(f"no data set minari/{id}\nan id ends with its version, e.g. minari/mujoco/hopper/medium-v0")


def local() -> list[str]:
    """Ids of the data sets that are on this machine."""
    found = (path.parent.parent.relative_to(root()) for path in root().glob(f"**/data/{METADATA}"))
    return sorted(str(id) for id in found if not str(id).startswith("."))


def fetch(id: str, progress: Progress | None = None) -> Path:
    """The folder of a data set, downloaded with the minari package if there is none.

    Raises:
        UsageError: that is no id, or its folder is there in part.
        RunError: it cannot be fetched.
    """
    check_id(id)
    place = root() / id
    if Folder(place / "data").complete:
        return place
    if place.is_dir() and any(place.iterdir()):  # what is downloaded could not be moved there
        lacks = " and ".join(f"data/{name}" for name in (METADATA, CONTENT) if not (place / "data" / name).is_file())
        raise UsageError(
            f"minari/{id}: {place} has no {lacks} (copied in part?)\ncomplete it, or remove it: it is downloaded then"
        )
    remote, address = remote_of(id)
    near = closest(id, local())
    here = f"\non this machine: {' or '.join(f'dataset=minari/{each}' for each in near)}" if near else ""
    instead = f"put its folder at {place}{sources.substitute('minari', id)}{here}"
    needed = ("minari", *(("huggingface_hub",) if remote == "hf" else ()))
    if any(find_spec(package) is None for package in needed):
        raise RunError(
            f"minari/{id} is not on this machine; to download it: pip install 'rlbench[minari]'\nor {instead}"
        )
    from rlbench.data import download

    for reason in download.unreachable([address]).values():
        raise RunError(f"cannot fetch minari/{id} ({address}: {reason})\n{instead}")
    if progress is not None:
        progress(f"downloading minari/{id}", 0, 1)
    failure = downloaded(id, place)
    if failure:
        raise RunError(f"cannot fetch minari/{id} ({address}: {failure})\n{instead}")
    if progress is not None:
        progress(f"downloading minari/{id}", 1, 1)
    return place


def remote_of(id: str) -> tuple[str, str]:
    """Kind (hf, gcp) and address of where a data set is downloaded from, as the minari package chooses it.

    Raises:
        UsageError: `MINARI_REMOTE` is of neither kind.
    """
    remote, _, owner = os.environ.get("MINARI_REMOTE", "hf://farama-minari").partition("://")
    if remote == "hf":
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        repository, _, path = id.partition("/")
        return remote, f"{hub}/datasets/{owner}/{repository}" + (f"/tree/main/{path}" if path else "")
    if remote == "gcp":
        return remote, f"https://storage.googleapis.com/{owner}/{id}"
    raise UsageError(f"MINARI_REMOTE={os.environ['MINARI_REMOTE']}: it begins with hf:// or gcp://")


def downloaded(id: str, place: Path) -> str | None:
    """Download a data set; what failed, or None.

    The package works in a process of its own and in a hidden folder, from which what is whole is moved to its place; a
    transfer that broke off goes on there.
    """
    from filelock import FileLock

    staging = root() / ".rlbench-partial"
    code = "import minari, sys; minari.download_dataset(sys.argv[1], force_download=len(sys.argv) > 2)"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        with FileLock(staging / f"{id.replace('/', '-')}.lock"):
            if Folder(place / "data").complete:
                return None
            arrived = staging / id
            done = subprocess.run(
                [sys.executable, "-c", code, id, *(["resume"] if arrived.exists() else [])],
                env={**os.environ, "MINARI_DATASETS_PATH": str(staging)},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                return " ".join((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1].split())
            if not Folder(arrived / "data").complete:
                return "what arrived is no data set in HDF5"
            place.parent.mkdir(parents=True, exist_ok=True)
            arrived.rename(place)
            name_parents(place)
    except OSError as error:
        raise RunError(f"cannot write {root()}: {error.strerror or error}") from error
    return None


def name_parents(place: Path) -> None:
    """Make namespaces of the folders between Minari's root and a data set, as its package wants them."""
    for folder in place.relative_to(root()).parents:
        note = root() / folder / NAMESPACE
        if str(folder) != "." and not note.exists():
            note.write_text("{}")


# -- what is in them ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """A data set on disk.

    Args:
        data: the folder with metadata.json and main_data.hdf5.
    """

    data: Path

    @classmethod
    def at(cls, path: Path) -> Folder | None:
        """The data set that a folder is, or whose `data` it is; None where it is none."""
        for data in (path / "data", path):
            if (data / METADATA).is_file() or (data / CONTENT).is_file():
                return cls(data)
        return None

    @property
    def complete(self) -> bool:
        return (self.data / METADATA).is_file() and (self.data / CONTENT).is_file()

    def checksum(self) -> str:
        """sha256 in hex of all that is read of it.

        Raises:
            OSError: a file is missing, or cannot be read.
        """
        from rlbench.data.checksum import checksum

        both = "".join(checksum(self.data / name) for name in (METADATA, CONTENT) if (self.data / name).exists())
        return hashlib.sha256(both.encode()).hexdigest()

    def read(self, reader: Reader, progress: Progress | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The arrays by D4RL's names, with true next observations, and what is known of them, for the card.

        An episode that ends without a flag, though others follow, was cut there: it is truncated.

        Raises:
            UsageError: it is damaged, or holds other things than vectors.
        """
        import h5py
        import numpy as np

        metadata = self.metadata(reader)
        spaces = [parsed(metadata.get(f"{what}_space")) for what in ("observation", "action")]
        count = metadata["total_episodes"]
        episodes: list[dict[str, np.ndarray]] = []
        seeds: list[int] = []
        cut = 0
        try:
            with h5py.File(self.data / CONTENT, "r") as file:
                stored = sum(name.startswith("episode_") for name in file)
                if stored != count:
                    raise reader.bad(f"{METADATA} tells of {count} episodes, {CONTENT} has {stored}: copied in part?")
                for i in range(count):
                    episode = read_episode(file, i, reader, *spaces)
                    if not len(episode["rewards"]):
                        continue
                    widths = {name: array.shape[1:] for name, array in episode.items()}
                    if episodes and widths != {name: array.shape[1:] for name, array in episodes[0].items()}:
                        raise reader.bad(f"episode {i} has other widths than the first")
                    if episodes and not (episodes[-1]["terminals"][-1] or episodes[-1]["timeouts"][-1]):
                        episodes[-1]["timeouts"][-1] = True
                        cut += 1
                    episodes.append(episode)
                    seed = file[f"episode_{i}"].attrs.get("seed")
                    seeds += [int(seed)] if isinstance(seed, np.integer) else []
                    if progress is not None and (i % 100 == 0 or i + 1 == count):
                        progress(f"reading {self.name}", i + 1, count)
        except MemoryError as error:
            raise reader.bad(f"{CONTENT} tells of more than fits into memory ({error})") from error
        except BROKEN as error:
            raise reader.bad(f"{CONTENT} cannot be read as HDF5 (cut short while copied, or altered?)") from error
        if not episodes:
            raise reader.bad("it is empty")
        facts = self.facts(metadata, reader.env)
        if aside := sorted(left_aside(spaces[0])):
            facts["about"] += f"; {', '.join(aside)} left aside"
        if cut:
            facts["about"] += f"; {cut} episodes ended without a flag: cut there"
        if seeds:
            facts["seeds"] = {"first": seeds[0], "last": seeds[-1], "episodes": len(seeds)}
        return {name: np.concatenate([episode[name] for episode in episodes]) for name in episodes[0]}, facts

    @property
    def name(self) -> str:
        return self.data.parent.name

    def metadata(self, reader: Reader) -> dict[str, Any]:
        """metadata.json, as far as reading depends on it checked."""
        try:
            metadata = json.loads((self.data / METADATA).read_text())
        except FileNotFoundError as error:
            raise reader.bad(f"it has no {METADATA} beside its {CONTENT}: copied in part?") from error
        except (OSError, ValueError, RecursionError) as error:
            raise reader.bad(f"{METADATA} cannot be read as JSON: {one_line(str(error))}") from error
        if not isinstance(metadata, dict) or type(metadata.get("total_episodes")) is not int:
            raise reader.bad(f"{METADATA} does not tell how many episodes there are")
        kind = metadata.get("data_format", "hdf5")
        if kind != "hdf5":
            raise reader.bad(f"it is stored as {one_line(str(kind))}, and only hdf5 is read: save it anew with minari")
        for what, others in (("observation", "Box or Dict"), ("action", "Box, Discrete or Dict")):
            space = parsed(metadata.get(f"{what}_space"))
            if isinstance(space, dict) and space.get("type") not in others.replace(",", "").split():
                raise reader.bad(f"its {what}s are {one_line(str(space.get('type')))}: {others} is wanted")
        return metadata

    def environment(self, reader: Reader) -> dict[str, Any]:
        """The environment in which the data set says that policies be judged: fields of a `Control`.

        Raises:
            UsageError: it says nothing, or what is not taken from a file.
        """
        metadata = self.metadata(reader)
        spec = parsed(metadata.get("eval_env_spec")) or parsed(metadata.get("env_spec"))
        id = spec.get("id") if isinstance(spec, dict) else None
        if not isinstance(id, str) or not re.fullmatch(r"[\w./-]+", id):
            raise reader.bad("it does not tell an environment: choose one, env=NAME")
        package = str(spec.get("entry_point")).partition(".")[0]
        if package not in PACKAGES:
            known = ", ".join(PACKAGES)
            raise reader.bad(f"its environment {id} is none of {known}, from which one is taken: choose one, env=NAME")
        given = spec.get("kwargs")
        kwargs = (
            {name: value for name, value in given.items() if name != "render_mode"} if isinstance(given, dict) else {}
        )
        odd = [name for name, value in kwargs.items() if not harmless(value)]
        if odd:
            raise reader.bad(f"its environment {id} has a setting that is not taken from a file: {one_line(odd[0])}")
        limit = spec.get("max_episode_steps")
        if isinstance(limit, int) and 0 < limit <= LONGEST_EPISODE:
            kwargs["max_episode_steps"] = limit
        similar = next(iter(choices_of(id).values()), {})
        extra = PACKAGES[package]
        return {
            "id": id,
            "kwargs": kwargs,
            "requires": package if extra else None,
            "install": f"rlbench[{extra}]" if extra else None,
            **{name: similar.get(name) for name in ("reference_min", "reference_max", "termination")},
        }

    def facts(self, metadata: dict[str, Any], env: Control) -> dict[str, Any]:
        """What metadata.json tells, for the card; what is not plain text or numbers there is left out."""
        author = metadata.get("author")
        required = metadata.get("requirements")
        lines = required if isinstance(required, list) else []
        matches = [re.fullmatch(r"([\w.-]+)==([\w.+-]+)", str(line)) for line in lines]
        facts = told(
            {
                "about": metadata.get("description"),
                "author": ", ".join(str(each) for each in author) if isinstance(author, list) else author,
                "algorithm": metadata.get("algorithm_name"),
                "code": metadata.get("code_permalink"),
                "licence": metadata.get("license") or metadata.get("licence"),
                **recorded_in(metadata),
                "versions": {match[1].lower(): match[2] for match in matches if match}
                | {"minari": metadata.get("minari_version")},
                "reference": {"min": metadata.get("ref_min_score"), "max": metadata.get("ref_max_score")},
            }
        )
        return {"about": "a Minari data set", "reference": {"min": env.reference_min, "max": env.reference_max}} | facts


def read_episode(
    file: h5py.File, i: int, reader: Reader, observation_space: Any, action_space: Any
) -> dict[str, np.ndarray]:
    """The arrays of an episode, a row a step."""
    import numpy as np

    from rlbench.data.layout import flat, numbers, one_hot

    names = {"actions": "actions", "rewards": "rewards", "terminals": "terminations", "timeouts": "truncations"}
    found = {name: numbers(file, f"episode_{i}/{stored}") for name, stored in names.items()}
    found["actions"] = joined(file, f"episode_{i}/actions", action_space)
    arrays = {name: array for name, array in found.items() if array is not None}
    observations = joined(file, f"episode_{i}/observations", observation_space)
    if observations is None or len(arrays) < len(names):
        lacks = [*(["observations"] if observations is None else []), *(names[k] for k in names if k not in arrays)]
        raise reader.bad(f"episode {i} has no {', '.join(lacks)} that are arrays of numbers")
    steps = len(arrays["rewards"])
    if len(observations) != steps + 1 or any(len(array) != steps for array in arrays.values()):
        lengths = ", ".join(f"{len(array)} {names[name]}" for name, array in arrays.items())
        raise reader.bad(f"episode {i} has {len(observations)} observations, {lengths}: wanted one observation more")
    numbered = {name: array.reshape(steps) if array.size == steps else array for name, array in arrays.items()}
    numbered["actions"] = flat(arrays["actions"])
    if isinstance(action_space, dict) and action_space.get("type") == "Discrete":
        try:
            numbered["actions"] = one_hot(arrays["actions"] - action_space.get("start", 0), action_space["n"])
        except (ValueError, TypeError, KeyError) as error:
            raise reader.bad(f"episode {i}: {error}") from error
    for name in ("terminals", "timeouts"):
        if not np.isin(numbered[name], (0, 1)).all():
            raise reader.bad(f"episode {i}: {names[name]} holds values other than 0 and 1")
    return {"observations": observations[:-1], "next_observations": observations[1:], **numbered}


def joined(file: h5py.File, name: str, space: Any) -> np.ndarray | None:
    """Vectors `[n, d]`; the boxes of a Dict joined in the order of their names, as gymnasium flattens them."""
    import h5py
    import numpy as np

    from rlbench.data.layout import flat, numbers

    node = file.get(name)
    if not isinstance(node, h5py.Group):
        part = numbers(file, name)
        return None if part is None else flat(part)
    subspaces = subspaces_of(space)
    keys = [key for key in sorted(node) if not subspaces or is_vector(subspaces.get(key))]
    parts = [joined(file, f"{name}/{key}", subspaces.get(key)) for key in keys]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts) or len({len(part) for part in known}) > 1:
        return None
    return np.concatenate(known, axis=1)


def parsed(text: Any) -> Any:
    """JSON within JSON: an object, or None where there is none."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return None


def subspaces_of(space: Any) -> dict[str, Any]:
    """The spaces in a Dict; none where it is none, or is not told."""
    found = space.get("subspaces") if isinstance(space, dict) and space.get("type") == "Dict" else None
    return found if isinstance(found, dict) else {}


def is_vector(space: Any) -> bool:
    """Whether a space is a box, or holds one."""
    if isinstance(space, dict) and space.get("type") == "Box":
        return True
    return any(is_vector(each) for each in subspaces_of(space).values())


def left_aside(space: Any) -> list[str]:
    """What is no vector in a Dict."""
    subspaces = subspaces_of(space)
    inner = (name for each in subspaces.values() for name in left_aside(each))
    return [*(one_line(name) for name, each in subspaces.items() if not is_vector(each)), *inner]


def harmless(value: Any) -> bool:
    """Whether a setting out of a file is a number or a plain word, or made of such: no path, no address."""
    if isinstance(value, list | tuple):
        return all(map(harmless, value))
    if isinstance(value, dict):
        return all(map(harmless, [*value, *value.values()]))
    if isinstance(value, str):
        return re.fullmatch(r"[\w -]{0,80}", value) is not None
    return value is None or isinstance(value, bool | int | float)


def recorded_in(metadata: dict[str, Any]) -> dict[str, Any]:
    """The environment that the data were recorded in, for the card: gymnasium's id, and which of its tasks."""
    spec = parsed(metadata.get("env_spec"))
    if not isinstance(spec, dict):
        return {}
    kwargs = spec.get("kwargs")
    return {"env": spec.get("id"), "which": which(kwargs) if isinstance(kwargs, dict) else {}}


class Minari:
    """A data set of Minari's, from where its package keeps it, or downloaded with it.

    Observations that are a Dict of vectors are joined in the order of their names. Scores are on the scale that the
    data set itself tells, where it does.

    Args:
        env: where policies learned from the data are judged.
        id: Minari's name of the data set, e.g. `mujoco/hopper/medium-v0`.
        clip_actions: clip actions that leave the environment's bounds, as a simulator's motors do; else refuse them.

    Raises:
        UsageError: that is no id.
    """

    def __init__(self, env: Control, id: str, clip_actions: bool) -> None:
        check_id(id)
        self.env, self.id, self.clip_actions = env, id, clip_actions

    def identity(self) -> dict[str, Any]:
        """What determines the content: an id has its version in it."""
        return {"source": "minari", "id": self.id, "clip_actions": self.clip_actions, "reader": READER}

    def load(self, progress: Progress | None = None) -> Transitions:
        """The data, downloaded and converted to a table unless they are there.

        Raises:
            UsageError: the data are damaged, or do not fit the environment.
            RunError: they cannot be fetched.
        """
        from rlbench.data import store

        folder = Folder(fetch(self.id, progress) / "data")
        try:
            sha256 = folder.checksum()
        except OSError as error:
            raise RunError(f"dataset=minari/{self.id}: {error}") from error
        key = hashlib.sha256(repr((self.identity(), sha256, self.env, self.env.installed)).encode()).hexdigest()[:10]
        name = f"minari-{self.id.replace('/', '-')}-{self.env.name}-{key}"
        return store.fetch(name, lambda: self.make(folder, sha256, progress))

    def fetch(self, progress: Progress | None = None) -> None:
        """See `sources.Downloaded`."""
        fetch(self.id, progress)

    def make(self, folder: Folder, sha256: str, progress: Progress | None) -> Transitions:
        from rlbench.data.layout import Options, Reader

        reader = Reader(f"dataset=minari/{self.id}", self.env, Options("keep", "stored", "keep", self.clip_actions))
        card: dict[str, Any] = {"id": f"minari/{self.id}"}
        if self.env.id == self.id:
            card["judge"] = folder.environment(reader)
            reader = replace(reader, env=judge(self.env, card))
            reader.env.require()
        arrays, facts = folder.read(reader, progress)
        card |= {
            "level": re.sub(r"-v\d+$", "", self.id.rpartition("/")[2]),
            "source": str(folder.data.parent),
            "file": {"sha256": sha256, "rows": len(arrays["rewards"])},
            **facts,
        }
        return reader.transitions(arrays, card)
