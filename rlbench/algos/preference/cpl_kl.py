"""CPL-KL: CPL whose scores are relative to the cloned policy, as if its distance from that were priced.

Hejna et al. (ICLR 2024), appendix: log pi(a|s) becomes log pi(a|s) - log pi_ref(a|s), where pi_ref is the policy at
the end of behaviour cloning. For segments of one step and lambda = 1 it is DPO (Rafailov et al., NeurIPS 2023) with
beta = alpha.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlbench.algos.preference.cpl import CPL
from rlbench.algos.preference.learner import Pairs
from rlbench.nets.optim import assign, clone


class CPLKL(CPL):
    """Contrastive preference learning relative to the cloned policy; arguments as CPL's."""

    def make_policy(self, *settings: Any) -> None:
        super().make_policy(*settings)
        self.params["reference"] = clone(self.params["actor"])

    def begin_after(self) -> None:
        super().begin_after()
        assign(self.params["reference"], self.params["actor"])

    @torch.no_grad()
    def reference(self, pairs: Pairs) -> Tensor:
        """Log-probabilities of every step under the cloned policy, without dropout, `[S, N, T]`."""
        output = self.actor(self.params["reference"], pairs.observation.flatten(1, 2))
        return self.head.log_prob(output, pairs.action.flatten(1, 2)).view(pairs.action.shape[:-1])

    def relative(self, log_prob: Tensor, pairs: Pairs) -> Tensor:
        return log_prob - self.reference(pairs)
