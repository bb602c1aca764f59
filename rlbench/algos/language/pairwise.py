"""What algorithms share that learn a policy from comparisons alone, without samples and without a reward model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlbench.algos.language.by_examples import EVALUATED, ByExamples, Means
from rlbench.language.policy import TextPolicy
from rlbench.language.task import LanguageTask
from rlbench.language.text import Pairs, split
from rlbench.language.tuning import Tuner
from rlbench.types import Count, NonNegativeInt, Positive


class Pairwise(ByExamples):
    """Tunes the reference model by a loss of log-probabilities.

    Both responses of a comparison are one batch of the model. The implicit reward of a response is
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
    """

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
        self.policy: TextPolicy = task.reference.clone()
        self.beta: float = beta or task.env.beta
        self.micro_batch = micro_batch
        self.tuner = Tuner(self.policy, learning_rate, warmup_updates, max_grad_norm)
        super().__init__(task, len(task.pairs), batch_size, tuner=self.tuner)

    @abstractmethod
    def loss(self, logp: Tensor, reference: Tensor) -> Tensor:
        """Losses `[S, B]` from log-probabilities under the policy and under the reference.

        Args:
            logp: `[2, S, B]`, of the chosen and of the rejected responses.
            reference: the same under the reference.
        """

    def update(self, index: Tensor) -> dict[str, Tensor]:
        means = Means()
        norm = self.tuner.step(self.losses(index, means))
        return {**means.sums, "gradient_norm": norm}

    def losses(self, index: Tensor, means: Means) -> Iterator[Tensor]:
        for part, share in split(index, self.micro_batch):
            logp, reference = self.logps(self.task.pairs, part)
            loss = self.loss(logp, reference).mean(1)
            means.add(share, loss=loss, **self.told(logp, reference))
            yield share * loss

    def logps(self, pairs: Pairs, index: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of chosen and rejected responses, policy's and reference's: `[2, S, B]` each."""
        text = pairs.take(index)
        with torch.no_grad():
            reference = self.task.reference.logp(text)
        both = torch.stack([self.policy.logp(text), reference]).unflatten(2, (2, -1)).movedim(2, 1)
        return both[0], both[1]

    def told(self, logp: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """Metrics `[S]` of comparisons."""
        reward = self.beta * (logp - reference).detach()
        margin = reward[0] - reward[1]
        each = {
            "accuracy": (margin > 0).float(),
            "reward_chosen": reward[0],
            "reward_rejected": reward[1],
            "margin": margin,
            "logp_chosen": logp[0].detach(),
            "logp_rejected": logp[1].detach(),
        }
        return {name: value.mean(1) for name, value in each.items()}

    def save(self, place: int, folder: Path) -> None:
        """Write the policy of the seed in one place."""
        self.policy.save(place, folder)

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        judged = self.task.evaluate(self.policy)
        means = Means()
        every = torch.arange(len(self.task.held_out), device=self.task.device).expand(len(self.task.seeds), -1)
        for part, share in split(every, self.micro_batch or EVALUATED):
            logp, reference = self.logps(self.task.held_out, part)
            means.add(share, **self.told(logp, reference), loss=self.loss(logp, reference).mean(1))
        compared = {f"eval/{name}": value for name, value in means.sums.items()}
        return {**judged, **compared} if self.task.decides else {**compared, **judged}
