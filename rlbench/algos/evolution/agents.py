"""Agents: policies that were tried, and what is known of them, as columns of one table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch


@dataclass
class Agents:
    """N agents, a row each in every column.

    Attributes:
        id: the number of the evaluation that it was tried in.
        parent: the id of the agent that it is a mutation of, -1 where there is none.
        ancestor: the id of the agent that the emitter began from which tried it, -1 where none did.
        genome: `[N, genes]`.
        reward: of its episode.
        area: the number of the reward area that it was earned in, -1 for none.
        outcome: where its episode ended, the ground truth: `[N, 2]`.
        views: images of its episode, uint8 `[N, m, h, w, 3]`; m = 0 where nobody looks at them.
        behaviour: its descriptor, `[N, k]`.
        surprise: how badly its views are reconstructed; 0 where the behaviour is not learned.
        novelty: mean distance to its nearest neighbours when it was last measured.
        followed: whether an emitter has been made of it.
    """

    id: np.ndarray
    parent: np.ndarray
    ancestor: np.ndarray
    genome: np.ndarray
    reward: np.ndarray
    area: np.ndarray
    outcome: np.ndarray
    views: np.ndarray
    behaviour: np.ndarray
    surprise: np.ndarray
    novelty: np.ndarray
    followed: np.ndarray

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        """Some of them, copied, whether by number or by mask."""
        return type(self)(**{each.name: getattr(self, each.name)[rows].copy() for each in fields(self)})

    @classmethod
    def joined(cls, *tables: Self) -> Self:
        """All of some tables, one after another; what is empty may have columns of any width."""
        parts = [table for table in tables if len(table)] or tables[:1]
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})

    def distinct(self) -> Self:
        """Each agent once, by id."""
        return self[np.unique(self.id, return_index=True)[1]]


def nobody(genes: int) -> Agents:
    """No agents."""
    return Agents(
        **{name: np.zeros(0, dtype=np.int64) for name in ("id", "parent", "ancestor", "area")},
        **{name: np.zeros(0) for name in ("reward", "surprise", "novelty")},
        **{name: np.zeros((0, 0)) for name in ("outcome", "behaviour")},
        genome=np.zeros((0, genes)),
        views=np.zeros((0, 0, 0, 0, 3), dtype=np.uint8),
        followed=np.zeros(0, dtype=bool),
    )


def novelty(agents: Agents, reference: Agents, neighbours: int) -> np.ndarray:
    """Mean distance of each agent to its nearest others in the reference, by behaviour: `[N]`; 0 where there are none.

    An agent is not its own neighbour, and nobody is a neighbour twice, however often the reference holds it.
    """
    others = reference.distinct()
    if not len(others):
        return np.zeros(len(agents))
    distance = apart(agents, others)
    k = min(neighbours, len(others))
    nearest = np.partition(distance, k - 1, axis=1)[:, :k]
    there = np.isfinite(nearest)
    return np.where(there, nearest, 0.0).sum(1) / np.maximum(there.sum(1), 1)


def local_competition(agents: Agents, reference: Agents, neighbours: int) -> np.ndarray:
    """How many of its nearest others in the reference, by behaviour, each agent earns more than: int64 `[N]`.

    Neighbours are those of `novelty`; of several that are equally near, the oldest.
    """
    others = reference.distinct()
    distance = apart(agents, others)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    there = np.isfinite(np.take_along_axis(distance, nearest, axis=1))
    return (there & (others.reward[nearest] < agents.reward[:, None])).sum(1)


def apart(agents: Agents, others: Agents) -> np.ndarray:
    """Distances of behaviours, `[N, M]`; infinite from an agent to itself."""
    distance = distances(agents.behaviour, others.behaviour)
    distance[agents.id[:, None] == others.id] = np.inf
    return distance


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances `[N, M]` of points `[N, k]` and `[M, k]`; of equal points exactly 0."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode=exact).numpy()


def fronts(scores: np.ndarray) -> np.ndarray:
    """The number of each row's Pareto front, the higher the better in every column: `[N, c]` to int64 `[N]`.

    Front 0 is dominated by nobody, front 1 by none but front 0, and so on.
    """
    one, other = scores[:, None], scores[None]
    dominates = np.all(one >= other, axis=-1) & np.any(one > other, axis=-1)
    front, left, number = np.full(len(scores), -1), np.ones(len(scores), dtype=bool), 0
    while left.any():
        best = left & ~dominates[left].any(0)
        front[best], number = number, number + 1
        left &= ~best
    return front


def crowding(scores: np.ndarray) -> np.ndarray:
    """Crowding distance within one front (Deb et al., 2002): `[N, c]` to `[N]`, infinite at the ends."""
    result = np.zeros(len(scores))
    for column in scores.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        gap = np.full(len(column), np.inf)
        if len(column) > 2:
            gap[1:-1] = (column[order[2:]] - column[order[:-2]]) / (span or 1.0)
        result[order] += gap
    return result


def tradeoff(scores: np.ndarray) -> np.ndarray:
    """The rows by their Pareto fronts, within each the least crowded first: `[N, c]` to int64 `[N]`."""
    front, room = fronts(scores), np.zeros(len(scores))
    for number in np.unique(front):
        room[front == number] = crowding(scores[front == number])
    return np.lexsort((-room, front))
