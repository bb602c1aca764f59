"""Elites: of all agents whose episodes ended in one cell of the outcome plane, the one with the highest reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from rlbench.algos.evolution.agents import Agents
from rlbench.algos.evolution.search import Search, State, csv


@dataclass
class Illuminating(State):
    """A search that keeps elites.

    Attributes:
        elites: one for each cell that was reached, in the order of the cells.
    """

    elites: Agents


E = TypeVar("E", bound=Illuminating)


class Illumination(Search[E], Generic[E]):
    """What MAP-Elites and CMA-ME share. The cells are those that coverage is measured with."""

    def common(self, place: int, rng: np.random.Generator) -> dict[str, Any]:
        return {**super().common(place, rng), "elites": self.nobody}

    def cells(self, agents: Agents) -> np.ndarray:
        """The cell of each agent, `[N]`."""
        return self.env.cells(agents.outcome) if len(agents) else np.zeros(0, dtype=np.int64)

    def add(self, s: E, tried: Agents) -> tuple[np.ndarray, np.ndarray]:
        """Let agents take the cells that are empty or whose elites they exceed.

        Returns:
            Whether each cell was empty, and how far each agent exceeds the elite that was there (0: the reward of an
            empty cell), `[N]` each.
        """
        rewards = np.full(len(s.visits), np.nan)
        rewards[self.cells(s.elites)] = s.elites.reward
        before = rewards[self.cells(tried)]
        everyone = Agents.joined(s.elites, tried)
        cells = self.cells(everyone)
        order = np.lexsort((-everyone.reward, cells))  # stable: of equals the first stays
        s.elites = everyone[order[np.unique(cells[order], return_index=True)[1]]]
        return np.isnan(before), tried.reward - np.nan_to_num(before)

    def drawn(self, s: E, count: int) -> Agents:
        """Elites, drawn uniformly."""
        return s.elites[s.rng.integers(len(s.elites), size=count)]

    def measures(self, s: E) -> dict[str, float]:
        return {**super().measures(s), "train/elites": float(len(s.elites))}

    def files(self, place: int) -> dict[str, str]:
        """What `rlbench export` writes: all elites too."""
        return {**super().files(place), "elites.csv": csv(self.searches[place].elites, self.behaviours)}
