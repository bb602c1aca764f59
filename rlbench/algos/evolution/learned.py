"""A behaviour space that is learned from what is seen, while the search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlbench.algos.evolution.agents import Agents
from rlbench.algos.evolution.autoencoder import Autoencoder
from rlbench.envs.drawing import PIXELS
from rlbench.task import Task

CRITERIA = ("novelty", "surprise")


class LearnedSpace:
    """An autoencoder for each seed, and when it is trained: after the first chunk of exploration, after two more, ...

    Args:
        task: the problem.
        features: width of the code of a view.
        learning_rate: of the autoencoder.
        batch_size: views in a minibatch.
        max_epochs: of one training; 0: it is never trained.
    """

    def __init__(self, task: Task, features: int, learning_rate: float, batch_size: int, max_epochs: int) -> None:
        self.task, self.max_epochs = task, max_epochs
        self.autoencoders = [Autoencoder(seed, features, learning_rate, batch_size, task.device) for seed in task.seeds]
        self.explored = [0 for _ in task.seeds]
        """Chunks of exploration since the last training."""
        self.trainings = [0 for _ in task.seeds]
        self.error = [float("nan") for _ in task.seeds]
        """Of the views that were held out of the last training."""

    def describe(self, place: int, agents: Agents) -> Agents:
        """The agents with the behaviour and the surprise that their views have now."""
        if not len(agents):
            return agents
        views = agents.views.reshape(-1, PIXELS, PIXELS, 3)
        codes, errors = self.autoencoders[place](views)
        agents.behaviour = codes.reshape(len(agents), -1)
        agents.surprise = errors.reshape(len(agents), -1).sum(1)
        return agents

    def chunk_explored(self, place: int) -> bool:
        """Count a chunk; whether it is time to train."""
        self.explored[place] += 1
        return self.explored[place] > self.trainings[place]

    def train(self, place: int, agents: Agents, tables: Sequence[Agents]) -> None:
        """Train on the views of some agents, then describe all that are kept anew: the old space is no more."""
        views = agents.distinct().views.reshape(-1, PIXELS, PIXELS, 3)
        self.error[place] = self.autoencoders[place].fit(views, self.max_epochs)
        self.explored[place], self.trainings[place] = 0, self.trainings[place] + 1
        for table in tables:
            self.describe(place, table)

    def order(self, rng: np.random.Generator, agents: Agents) -> np.ndarray:
        """The agents by a criterion that is drawn anew each time: novelty or surprise."""
        criterion = CRITERIA[rng.integers(len(CRITERIA))]
        return np.argsort(-getattr(agents, criterion), kind="stable")

    def measures(self, place: int) -> dict[str, float]:
        return {"train/reconstruction_error": self.error[place], "train/trainings": float(self.trainings[place])}

    def state_dict(self) -> dict[str, Any]:
        counts = {"explored": list(self.explored), "trainings": list(self.trainings), "error": list(self.error)}
        return {"autoencoders": [each.state_dict() for each in self.autoencoders], **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for autoencoder, saved in zip(self.autoencoders, state["autoencoders"], strict=True):
            autoencoder.load_state_dict(saved)
        self.explored, self.trainings, self.error = (list(state[key]) for key in ("explored", "trainings", "error"))
