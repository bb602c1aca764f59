"""Behaviour policies: who acts in recorded data. In numpy, so that recording needs no torch.

The policies of an environment lie in `behaviour/<env>/<name>.npz`; `manifest.json` beside them says how they were
trained, what each one returns, and which make which level of data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rlbench.errors import RunError, UsageError

FOLDER = Path(__file__).with_name("behaviour")
LEVELS = ("random", "medium", "medium_replay", "medium_expert", "expert", "mixed")
RANDOM = "random"


class Policy(Protocol):
    """Acts on one observation `[d]`; returns float32 `[a]`."""

    def __call__(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...


class UniformPolicy:
    """Uniform actions between `low` and `high`, `[a]` each."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.low, self.high = low, high

    def __call__(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(self.low, self.high).astype(np.float32)


class TanhGaussianPolicy:
    """tanh of a Gaussian whose mean and log-std a ReLU network gives: what `rlbench.algos.online.sac` trains.

    Args:
        arrays: `w0, b0, w1, b1, ...` (`[in, out]`, `[out]` or `[1, out]`), and `log_std_min`, `log_std_max`.
        sampled: act with sampled actions, else with the mode.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], sampled: bool = True) -> None:
        depth = sum(name.startswith("w") for name in arrays)
        self.layers = [
            (arrays[f"w{i}"].astype(np.float32), arrays[f"b{i}"].astype(np.float32).reshape(-1)) for i in range(depth)
        ]
        self.bounds = float(arrays["log_std_min"]), float(arrays["log_std_max"])
        self.sampled = sampled

    def distribution(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-std before the tanh, `[..., a]` each."""
        x = observation
        for weight, bias in self.layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = self.layers[-1]
        mean, log_std = np.split(x @ weight + bias, 2, axis=-1)
        return mean, np.clip(log_std, *self.bounds)

    def __call__(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, log_std = self.distribution(observation)
        if self.sampled:
            mean = mean + np.exp(log_std) * rng.standard_normal(mean.shape, dtype=np.float32)
        return np.tanh(mean)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a policy file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def file_hash(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Behaviour:
    """The behaviour policies of one environment.

    Args:
        folder: where they lie.
        manifest: what `manifest.json` says.
    """

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def of(cls, env: str, folder: Path = FOLDER) -> Behaviour:
        """The policies shipped for `env`.

        Raises:
            UsageError: there are none.
        """
        path = folder / env / "manifest.json"
        if not path.exists():
            known = ", ".join(environments(folder)) or "none"
            raise UsageError(
                f"there are no embedded data for env={env} (there are for: {known}): "
                f"take dataset=file:PATH, or train behaviour policies with `rlbench data make-behaviour env={env}`"
            )
        return cls(path.parent, json.loads(path.read_text()))

    def measured(self, name: str) -> dict[str, Any]:
        """What the manifest says of one policy: step, sha256, and `return` and `length` with mean, std and episodes."""
        entry: dict[str, Any] = self.manifest["policies"][name]
        return entry

    @property
    def levels(self) -> list[str]:
        """The levels that there are."""
        own = {RANDOM, *self.manifest["levels"]}
        return [level for level in LEVELS if level in own or (level == "medium_expert" and {"medium", "expert"} <= own)]

    def mix(self, level: str) -> dict[str, float]:
        """The policies of a level, in order, with their shares of the rows.

        Raises:
            UsageError: there is no such level.
        """
        if level == RANDOM:
            return {RANDOM: 1.0}
        if level == "medium_expert" and level in self.levels:
            medium, expert = self.mix("medium"), self.mix("expert")
            return {name: 0.5 * (medium.get(name, 0.0) + expert.get(name, 0.0)) for name in {**medium, **expert}}
        names = self.manifest["levels"].get(level)
        if not names:
            raise UsageError(
                f"there is no dataset={level} for env={self.folder.name}; there are: {', '.join(self.levels)}"
            )
        return dict(names) if isinstance(names, dict) else {name: 1 / len(names) for name in names}

    def hashes(self, level: str) -> dict[str, str | None]:
        """sha256 of each policy file of a level; None for random actions."""
        return {name: None if name == RANDOM else self.measured(name)["sha256"] for name in self.mix(level)}

    def path(self, name: str) -> Path | None:
        """A policy's file, held against its checksum; None for random actions.

        Raises:
            RunError: it is missing or differs.
        """
        if name == RANDOM:
            return None
        path = self.folder / f"{name}.npz"
        if not path.exists() or file_hash(path) != self.measured(name)["sha256"]:
            raise RunError(f"the behaviour policy {path} is missing or damaged: install rlbench again")
        return path


def environments(folder: Path = FOLDER) -> list[str]:
    """Names of the environments that have behaviour policies."""
    return sorted(path.parent.name for path in folder.glob("*/manifest.json"))
