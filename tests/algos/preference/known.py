"""Solved problems with their comparisons, and algorithms on them without the command line."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from rlbench import config
from rlbench.algos.preference.contrast import contrastive_loss
from rlbench.build import build
from rlbench.data.segments import Segments
from rlbench.envs.maxent_tab import MaxEntTab


def composed(*words: str) -> DictConfig:
    """A run of `algo=cpl` unless the words choose another; a problem it is on is small enough to be made anew."""
    chosen = [] if any(word.startswith("algo=") for word in words) else ["algo=cpl"]
    return config.compose([*chosen, "tracking=disabled", *words])


def problem(*words: str) -> tuple[Any, Segments]:
    """A solved problem and its comparisons."""
    cfg = composed(*words)
    env = config.instantiate(cfg.env)
    return env, config.instantiate(cfg.dataset, env=env).load()


def algorithm(*words: str) -> Any:
    return build(composed(*words))[0]


def visits(env: MaxEntTab, data: Segments) -> Tensor:
    """Discounted visits of every state and choice, float64 `[N, S A]`: scores are linear in the table of log pi."""
    discounts = env.discounts(data.action.shape[1])
    counts = np.einsum("nts,nta,t->nsa", data.observation, data.action, discounts)
    return torch.from_numpy(counts).flatten(1)


def fitted(env: MaxEntTab, data: Segments) -> np.ndarray:
    """The tabular softmax policy that minimises the contrastive loss of all comparisons, `[S, A]`, by L-BFGS."""
    table = torch.zeros(env.dims(), dtype=torch.float64, requires_grad=True)
    counts, label = visits(env, data), torch.from_numpy(data.label).double()[None]
    optimizer = torch.optim.LBFGS(
        [table], max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        score = env.alpha * counts @ table.log_softmax(1).flatten()
        loss = contrastive_loss(score[None], label).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return table.detach().softmax(1).numpy()
