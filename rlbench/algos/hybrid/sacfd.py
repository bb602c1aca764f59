"""SACfD: soft actor-critic with demonstrations, every minibatch part offline data, part replay.

The plainest use of data in an online run, a baseline without a paper of its own; after Vecerik et al., "Leveraging
Demonstrations for Deep Reinforcement Learning on Robotics Problems with Sparse Rewards" (arXiv 1707.08817), without the
prioritised replay and with a fixed share of the dataset as in RLPD.
"""

from __future__ import annotations

from rlbench.algos.hybrid.learning import Mixed
from rlbench.algos.online.sac import SAC


class SACfD(Mixed, SAC):
    """SAC on minibatches of both sources; the unit of work is one environment step (and one update)."""
