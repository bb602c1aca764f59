"""Random search: every genome is a new one. What nothing but luck finds."""

from __future__ import annotations

from rlbench.algos.evolution.search import Search, State
from rlbench.task import Task
from rlbench.types import Count


class RandomSearch(Search[State]):
    """Standard normal genomes.

    Args:
        task: the problem.
        batch: episodes that are played at once.
    """

    def __init__(self, task: Task, *, batch: Count) -> None:
        self.batch = batch
        super().__init__(task)

    def generation(self, s: State) -> None:
        self.evaluated(s, self.first_genomes(s, self.batch))
