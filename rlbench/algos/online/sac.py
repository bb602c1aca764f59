"""SAC: soft actor-critic with a learned temperature.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (arXiv 1812.05905). One environment a seed, one update
a step after `start_steps` of uniformly random actions. The losses stand in `rlbench.algos.actor_critic`.
"""

from __future__ import annotations

from typing import Any

from rlbench.algos.interaction import SoftOnline
from rlbench.task import ControlTask


class SAC(SoftOnline):
    """Soft actor-critic, online; the unit of work is one environment step (and one update).

    Args:
        task: the problem.
        soft: see `SoftOnline`.
    """

    def __init__(self, task: ControlTask, **soft: Any) -> None:
        super().__init__(task, num_critics=2, **soft)
