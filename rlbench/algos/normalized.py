"""Features with the dataset's mean and standard deviation taken out."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlbench.task import ControlTask, Features


class NormalizedFeatures(Features):
    """(x - mean) / (std + 1e-3), with the statistics of the dataset's observations (Fujimoto and Gu, 2021, section 5).

    Features that lay several observations side by side are shifted and scaled alike, so that their differences remain
    differences of states.

    Args:
        base: the features to normalise, a whole number of observations wide.
        observation: `[N, d]`, what mean and std are taken over.
        device: where features are computed.
    """

    is_identity = False

    def __init__(self, base: Features, observation: Any, device: torch.device | str = "cpu") -> None:
        self.base = base
        self.dim = base.dim
        copies = base.dim // observation.shape[1]
        if copies * observation.shape[1] != base.dim:
            raise ValueError(f"{base.dim} features are not a whole number of {observation.shape[1]}-wide observations")

        def vector(statistic: Any) -> Tensor:
            return torch.as_tensor(np.tile(statistic, copies), dtype=torch.float32, device=device)

        self.mean = vector(np.mean(observation, axis=0, dtype=np.float64))
        self.scale = vector(np.std(observation, axis=0, dtype=np.float64) + 1e-3)

    @property
    def shared(self) -> bool:
        return self.base.shared

    def __call__(self, observation: Tensor) -> Tensor:
        return (self.base(observation) - self.mean) / self.scale

    def of_seed(self, index: int) -> NormalizedFeatures:
        other = copy(self)
        other.base = self.base.of_seed(index)
        return other


def normalized(task: ControlTask, rows: Any = slice(None)) -> ControlTask:
    """The task with its features normalised by the observations in these rows of its dataset."""
    features = NormalizedFeatures(task.features, task.dataset.observation[rows], task.device)
    return task.with_features(features, task.networks)
