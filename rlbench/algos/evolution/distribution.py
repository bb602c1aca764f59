"""CMA-ES as the package `cmaes` has it, so that it can be saved and taken up again."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from rlbench.errors import RunError


def package() -> Any:
    """The package.

    Raises:
        RunError: it is not installed.
    """
    try:
        import cmaes  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise RunError("this algorithm needs the package cmaes: pip install 'rlbench[evolution]'") from error
    return cmaes


class Distribution:
    """A normal distribution over genomes that follows what is better (Hansen, 2016).

    Args:
        mean: where it begins, `[genes]`.
        sigma: standard deviation of each gene at first.
        population: genomes of a generation, at least 2.
        limit: genes stay in [-limit, limit].
        seed: of its random numbers.
    """

    def __init__(self, mean: np.ndarray, sigma: float, population: int, limit: float, seed: int) -> None:
        bounds = np.tile([-limit, limit], (len(mean), 1))
        self.cma: Any = package().CMA(mean.copy(), sigma, bounds=bounds, population_size=population, seed=seed)
        self.cma._funhist_values[:] = 0.0  # not set before it is written, and a state is to be the same every time

    def ask(self) -> np.ndarray:
        """A generation of genomes, `[population, genes]`."""
        return np.stack([self.cma.ask() for _ in range(self.cma.population_size)])

    def tell(self, genomes: np.ndarray, scores: np.ndarray) -> None:
        """Follow the genomes of the last generation with the highest scores, `[population]`."""
        self.cma.tell([(genome, -float(score)) for genome, score in zip(genomes, scores, strict=True)])

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return bool(self.cma.should_stop())

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for name, value in vars(self.cma).items():
            if isinstance(value, np.random.RandomState):
                _, key, *rest = value.get_state()
                state[name] = [torch.from_numpy(np.asarray(key, dtype=np.int64)), *rest]
            elif isinstance(value, np.ndarray):
                state[name] = torch.from_numpy(value.copy())
            else:
                state[name] = value.item() if isinstance(value, np.generic) else value
        return state

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Self:
        """What `state_dict` was made of."""
        result = cls(np.zeros(state["_n_dim"]), 1.0, state["_popsize"], 1.0, 0)  # all of it is replaced
        for name, value in state.items():
            if isinstance(value, list):
                key, *rest = value
                result.cma._rng.set_state(("MT19937", key.numpy().astype(np.uint32), *rest))
            else:
                setattr(result.cma, name, value.numpy().copy() if isinstance(value, torch.Tensor) else value)
        return result
