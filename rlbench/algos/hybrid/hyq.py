"""Hy-Q: fitted Q-iteration on the union of offline data and the learner's own, in equal shares.

Song, Zhou, Sekhari, Bagnell, Krishnamurthy and Sun, "Hybrid RL: Using Both Offline and Online Data Can Make RL
Efficient" (ICLR 2023). Each round acts greedily, adds what it met to the online data, and fits Q to

    y = r + gamma (1 - d) max_a' Q'(s', a')

over both sources, without pessimism and without bonus. The paper's actions are few; where they are continuous (our
design) an actor that climbs Q stands for the greedy action, and the rest is TD3's: clipped double Q where the paper's
code has double Q, Gaussian noise where it has epsilon-greedy, targets that follow, one update a step. So it is to
`algo=td3` what `algo=sacfd` is to `algo=sac`: unlike SACfD's, its policy is deterministic, and neither rewarded for
entropy nor backed up with it.
"""

from __future__ import annotations

from typing import ClassVar

from rlbench.algos.hybrid.learning import Mixed
from rlbench.algos.online.td3 import TD3


class HyQ(Mixed, TD3):
    """Hybrid Q-learning for continuous actions; the unit of work is one environment step (and one update)."""

    target_critic: ClassVar[str] = "target_critic"
