"""Embedded data: recorded on first use from behaviour policies that rlbench trained itself and carries with it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from rlbench.data import store
from rlbench.data.behaviour import Behaviour
from rlbench.data.recorder import record
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError
from rlbench.types import Count

if TYPE_CHECKING:
    from rlbench.envs.control import Control

GENERATOR = 1
"""Raised when the same policies would make other data."""
CHECKED_EPISODES = 10
"""Fewer episodes of a policy say nothing reliable about its mean."""

NOTES = {
    "random": "uniformly random actions",
    "medium": "sampled actions of checkpoints near a third of the expert's score, in equal parts",
    "medium_replay": "sampled actions of the succession of snapshots up to the medium ones, in equal parts: "
    "an analogue of a replay buffer, whose policy changed with every step",
    "medium_expert": "half medium, half expert",
    "expert": "sampled actions of the best checkpoint",
    "mixed": "sampled actions of checkpoints of rising quality, in equal parts",
}


class Embedded:
    """A dataset of one quality, recorded in the environment itself.

    Args:
        env: the environment; there must be behaviour policies for it.
        level: random, medium, medium_replay, medium_expert, expert or mixed.
        size: rows. Episodes are whole; where the size falls into one, the last ends there with no flag.

    Raises:
        UsageError: nothing is embedded for this environment or level.
    """

    def __init__(self, env: Control, level: str, size: Count) -> None:
        self.env, self.level, self.size = env, level, size
        self.behaviour = Behaviour.of(env.name)
        self.id = f"rlbench/{env.name}/{level}"
        self.mix = self.behaviour.mix(level)
        if min(self.quotas(size)) == 0:
            least = next(n for n in count(size + 1) if min(self.quotas(n)) > 0)
            raise UsageError(
                f"dataset.size={size} has no row for some of the {len(self.mix)} policies of dataset={level}: "
                f"at least {least} is wanted"
            )

    def quotas(self, size: int) -> list[int]:
        """Rows of each policy."""
        ends = [round(size * share) for share in np.cumsum(list(self.mix.values()))]
        return np.diff([0, *ends]).tolist()

    def identity(self) -> dict[str, Any]:
        """What determines the content, but for the simulator's version."""
        return {
            "source": "embedded",
            "env": self.env.id,
            "level": self.level,
            "size": self.size,
            "policies": self.behaviour.hashes(self.level),
            "generator": GENERATOR,
        }

    def load(self, progress: store.Progress | None = None) -> Transitions:
        """The data, recorded unless the cache has them.

        Raises:
            RunError: a policy file is damaged, or the recording does not match the policies' measured returns.
        """
        versions = {package: version(package) for package in ("mujoco", "gymnasium", "numpy")}
        key = json.dumps([self.identity(), self.env.kwargs, versions], sort_keys=True)
        name = f"{self.env.name}-{self.level}-{self.size}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
        data = store.fetch(name, lambda: self.make(versions, progress))
        # Not the stored card's: one recording serves runs of every scale.
        scale = {"min": self.env.reference_min, "max": self.env.reference_max}
        return replace(data, card={**data.card, "reference": scale})

    def make(self, versions: dict[str, str], progress: store.Progress | None) -> Transitions:
        paths = [self.behaviour.path(name) for name in self.mix]
        quotas = self.quotas(self.size)
        wanted = list(zip(paths, quotas, strict=True))
        recorded = record(self.env, wanted, [GENERATOR], f"recording {self.id}", progress)
        table = join(recorded, np.cumsum(quotas).tolist())
        observation_dim, action_dim = self.env.dims()
        for name, rows in zip(self.mix, recorded, strict=True):
            self.check(name, Transitions(rows, observation_dim, action_dim))
        notes = NOTES | self.behaviour.manifest.get("notes", {})
        card = {
            "id": self.id,
            "level": self.level,
            "about": f"{notes[self.level]}; recorded by rlbench itself",
            "source": "rlbench",
            "licence": "MIT",
            "env": self.env.id,
            "versions": versions,
            "generator": GENERATOR,
            "policies": [
                {"name": name, "share": share, "sha256": self.behaviour.hashes(self.level)[name]}
                for name, share in self.mix.items()
            ],
            "training": self.behaviour.manifest["training"],
        }
        return Transitions(table, observation_dim, action_dim, card)

    def check(self, name: str, data: Transitions) -> None:
        """Hold a policy's recorded returns and lengths against what the manifest says of them.

        Raises:
            RunError: a mean is off by more than 4 standard errors: another simulator, or damaged weights.
        """
        n = int(data.finished.sum())
        if n < CHECKED_EPISODES:
            return
        found, wanted = data.statistics(), self.behaviour.measured(name)
        for what in ("return", "length"):
            mean, expected = found[what]["mean"], wanted[what]["mean"]
            spread = max(found[what]["std"], wanted[what]["std"])
            error = spread * math.sqrt(1 / n + 1 / wanted["episodes"])
            if abs(mean - expected) > 4 * error + 1e-3 * abs(expected):
                raise RunError(
                    f"{self.id}: policy {name} has a mean {what} of {mean:.1f} over {n} episodes here, and "
                    f"{expected:.1f} where it was made (4 standard errors are {4 * error:.1f}): "
                    "is this MuJoCo 3.2.3 to 3.4? Recordings of other versions differ"
                )


def join(parts: list[np.ndarray], ends: list[int]) -> np.ndarray:
    """Whole episodes of each part until the rows reach `ends[i]`; the last is cut at exactly `ends[-1]`.

    An episode that overshoots its part's end is repaid by the next part.
    """
    chosen, filled = [], 0
    for table, end in zip(parts, ends, strict=True):
        episode_ends = np.flatnonzero(table[:, -2:].any(axis=1)) + 1
        rows = episode_ends[np.searchsorted(episode_ends, end - filled)] if end > filled else 0
        chosen.append(table[:rows])
        filled += rows
    return np.concatenate(chosen)[: ends[-1]]
