"""MOORL from pictures: the same loop and SAC's losses, over DrQ-v2's networks and returns.

Chaudhary, Mondal and Behera (TMLR 2025) report results on V-D4RL; with what networks is not known to us. Here they are
those of Yarats et al., "Mastering Visual Continuous Control" (ICLR 2022): a convolutional encoder, pictures that are
shifted at random, and returns over n steps. The encoder is part of the critics' meta-parameters, and their loss alone
teaches it. Actor, entropy and temperature stay SAC's.
"""

from __future__ import annotations

from typing import Any

from rlbench.algos.hybrid.moorl import MOORL
from rlbench.algos.n_step import NStep
from rlbench.task import ControlTask


class MOORLPixels(NStep, MOORL):
    """Meta offline-online reinforcement learning from pictures; the unit of work is one environment step.

    Args:
        task: the problem.
        moorl: see `NStep` and `MOORL`, whose shift of rewards is one of single steps.
    """

    def __init__(self, task: ControlTask, **moorl: Any) -> None:
        super().__init__(task, reward_shift=0.0, entropy_in_target=True, **moorl)
