"""What algorithms share that learn a policy from comparisons alone, without samples and without a reward model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rlbench.algos.language.by_examples import ByLosses, Means, WithPolicy
from rlbench.errors import UsageError
from rlbench.language.ranking import every_two
from rlbench.language.task import LanguageTask
from rlbench.language.text import Comparisons, split
from rlbench.language.tuning import Tuner
from rlbench.types import Count, NonNegativeInt, Positive


class FromComparisons(ByLosses, WithPolicy):
    """Tunes the reference model by a loss of log-probabilities.

    All responses of comparisons are one batch of the model. The implicit reward of a response is
    r(x, y) = beta log(pi(y | x) / pi_ref(y | x)).

    Args:
        task: the problem.
        beta: how strongly the policy is tied to the reference; scale of the implicit reward;
            null: the problem's price of divergence.
        batch_size: comparisons in a minibatch.
        micro_batch: of these, how many are computed at a time (less memory); null: all.
        learning_rate: step size of RMSprop.
        warmup_updates: updates until it is reached.
        max_grad_norm: gradients are scaled down to this norm.

    Raises:
        UsageError: the comparisons are of more responses than the loss knows.
    """

    pairs_only: str
    """What knows comparisons of two responses only; "" where there is nothing."""

    def __init__(
        self,
        task: LanguageTask,
        *,
        beta: Positive | None,
        batch_size: Count,
        micro_batch: Count | None,
        learning_rate: Positive,
        warmup_updates: NonNegativeInt,
        max_grad_norm: Positive,
    ) -> None:
        if self.pairs_only and (K := task.comparisons.arity) > 2:
            hint = "algo=dpo algo.label_smoothing=0 learns from rankings"
            raise UsageError(f"{self.pairs_only} is made for pairs, and these are rankings of {K} responses\n{hint}")
        self.policy = task.fitted().clone(task.streams("policy"))
        self.beta: float = beta or task.env.beta
        tuner = Tuner(self.policy, learning_rate, warmup_updates, max_grad_norm)
        super().__init__(task, len(task.comparisons), batch_size, micro_batch, tuner)

    @abstractmethod
    def loss(self, logp: Tensor, reference: Tensor) -> Tensor:
        """Losses `[S, B]` from log-probabilities under the policy and under the reference.

        Args:
            logp: `[K, S, B]`, of responses in order of preference; of two, the chosen and the rejected.
            reference: the same under the reference.
        """

    def losses(self, index: Tensor, means: Means) -> Iterator[Tensor]:
        for part, share in split(index, self.micro_batch):
            logp, reference = self.logps(self.task.comparisons, part)
            loss = self.loss(logp, reference).mean(1)
            means.add(share, loss=loss, **self.told(logp, reference))
            yield share * loss

    def logps(self, comparisons: Comparisons, index: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of responses, the best first, policy's and reference's: `[K, S, B]` each."""
        text = comparisons.take(index)
        with torch.no_grad():
            reference = self.task.reference.logp(text)
        return comparisons.apart(self.policy.logp(text)), comparisons.apart(reference)

    def told(self, logp: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """Metrics `[S]` of comparisons: every two of the responses count as a chosen and a rejected one."""
        chosen, rejected = every_two(self.beta * (logp - reference).detach())
        logp_chosen, logp_rejected = every_two(logp.detach())
        each = {
            "accuracy": (chosen > rejected).float(),
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "margin": chosen - rejected,
            "logp_chosen": logp_chosen,
            "logp_rejected": logp_rejected,
        }
        return {name: value.mean((0, 2)) for name, value in each.items()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        judged = self.task.evaluate(self.policy)
        means = Means()
        for part, share in self.held_out():
            logp, reference = self.logps(self.task.held_out, part)
            means.add(share, **self.told(logp, reference), loss=self.loss(logp, reference).mean(1))
        compared = {f"eval/{name}": value for name, value in means.sums.items()}
        return {**judged, **compared} if self.task.decides else {**compared, **judged}
