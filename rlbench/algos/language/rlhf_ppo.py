"""Reinforcement learning from human feedback: PPO on a reward model, held near the reference.

Ziegler et al. (arXiv 1909.08593), Ouyang et al. (NeurIPS 2022). Tokens are actions. Each sampled response earns

    r_t = -beta (log pi(y_t) - log pi_ref(y_t))   at every token,   plus the reward of the whole at the last one,

without discount. Advantages are generalised ones (lambda), moved to mean 0 and scaled to deviation 1; policy and values
have clipped losses (Schulman et al., arXiv 1707.06347). With a target, beta adapts to it:
beta <- beta (1 + B / horizon clip(KL / target - 1, -0.2, 0.2)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial, reduce
from typing import Any, Literal

import torch
from torch import Tensor

from rlbench.algos.language.by_examples import EVALUATED, ByExamples, Means, WithPolicy
from rlbench.algos.language.reward_bt import scored
from rlbench.errors import UsageError
from rlbench.language.policy import TextScorer
from rlbench.language.ranking import ranking_loss
from rlbench.language.task import LanguageTask, Score, normalised
from rlbench.language.text import Text, joined, split
from rlbench.language.tuning import Fit, Fitting, Tuner
from rlbench.types import Count, Fraction, NonNegativeInt, Positive

ADAPTATION = 0.2  # most that one minibatch says about beta


class RlhfPPO(ByExamples, WithPolicy):
    """PPO from a reward model.

    The unit of work is one sampled response.

    Args:
        task: the problem.
        reward: what is maximised, with mean 0 and deviation 1: learned, a reward model fitted to the comparisons first;
            ground_truth, the reward behind them, where it is known.
        beta: price of the divergence from the reference, at first; null: the problem's.
        target_kl: divergence that beta adapts to; null: beta stays.
        kl_horizon: samples in which it adapts.
        gae_lambda: of the advantages.
        clip: how far probability ratios, and values, move in the samples of one batch.
        epochs: passes over a batch of samples.
        minibatches: updates of one pass.
        batch_size: samples between two rounds of updates.
        micro_batch: of these, how many are computed at a time (less memory); null: a minibatch.
        learning_rate: step size of RMSprop.
        critic_learning_rate: the same for the values.
        warmup_updates: updates until they are reached.
        max_grad_norm: gradients are scaled down to this norm.
        reward_epochs: passes over the comparisons in which the reward model is fitted.
        reward_batch_size: comparisons in a minibatch of it.
        reward_learning_rate: its step size.

    Raises:
        UsageError: a batch has fewer samples than minibatches.
    """

    def __init__(
        self,
        task: LanguageTask,
        *,
        reward: Literal["learned", "ground_truth"],
        beta: Positive | None,
        target_kl: Positive | None,
        kl_horizon: Count,
        gae_lambda: Fraction,
        clip: Positive,
        epochs: Count,
        minibatches: Count,
        batch_size: Count,
        micro_batch: Count | None,
        learning_rate: Positive,
        critic_learning_rate: Positive,
        warmup_updates: NonNegativeInt,
        max_grad_norm: Positive,
        reward_epochs: Count,
        reward_batch_size: Count,
        reward_learning_rate: Positive,
    ) -> None:
        self.policy = task.fitted().clone(task.streams("policy"))
        self.critic: TextScorer = task.fitted().scorer(task.streams("critic head"))
        self.actor_tuner = Tuner(self.policy, learning_rate, warmup_updates, max_grad_norm)
        self.critic_tuner = Tuner(self.critic, critic_learning_rate, warmup_updates, max_grad_norm)
        self.target_kl, self.kl_horizon = target_kl, kl_horizon
        self.gae_lambda, self.clip = gae_lambda, clip
        self.epochs, self.minibatches, self.micro_batch = epochs, minibatches, micro_batch
        self.rng, self.order = task.streams("samples"), task.streams("order")
        self.price = Price(torch.full((len(task.seeds),), beta or task.env.beta, device=task.device))
        if reward == "ground_truth":
            self.score = task.true_reward()
        else:
            self.score = learned_reward(
                task,
                Fitting(
                    epochs=reward_epochs,
                    batch_size=reward_batch_size,
                    micro_batch=micro_batch,
                    learning_rate=reward_learning_rate,
                    warmup_updates=warmup_updates,
                    max_grad_norm=max_grad_norm,
                ),
            )
        super().__init__(
            task,
            len(task.comparisons),
            batch_size,
            actor=self.actor_tuner,
            critic=self.critic_tuner,
            rng=self.rng,
            order=self.order,
            price=self.price,
        )
        if minibatches > self.batches.batch_size:
            raise UsageError(f"algo.minibatches={minibatches}: a batch has {self.batches.batch_size} samples")

    def update(self, index: Tensor) -> dict[str, Tensor]:
        text, facts = self.sampled(index)
        metrics = {"reward": facts["reward"].mean(1), "kl": facts["kl"].mean(1), "beta": self.price.beta.clone()}
        losses = Means()
        for _ in range(self.epochs):
            order = self.order.permutation(index.shape[1])
            for places in order.tensor_split(self.minibatches, 1):
                share = 1 / (self.epochs * self.minibatches)
                self.actor_tuner.step(self.actor_losses(text, facts, places, losses, share))
                self.critic_tuner.step(self.critic_losses(text, facts, places, losses, share))
        if self.target_kl is not None:
            error = (metrics["kl"] / self.target_kl - 1).clamp(-ADAPTATION, ADAPTATION)
            self.price.beta = self.price.beta * (1 + error * index.shape[1] / self.kl_horizon)
        return {**metrics, **losses.sums}

    @torch.no_grad()
    def sampled(self, index: Tensor) -> tuple[Text, dict[str, Tensor]]:
        """Responses to the prompts in places `[S, B]`, and what the losses need to know of them: `[S, B, ...]` each."""
        places = [part for part, _ in split(index, self.micro_batch)]
        prompts = (self.task.asked.take(part) for part in places)
        text = reduce(joined, (self.policy.generate(each, 1.0, self.task.max_new, self.rng) for each in prompts))
        every = torch.arange(index.shape[1], device=index.device).expand(len(index), -1)
        parts = [self.measured(text.map(partial(taken, places=part))) for part, _ in split(every, self.micro_batch)]
        logp, reference, values, reward = (torch.cat(column, 1) for column in zip(*parts, strict=True))
        mask, ratio = text.response_mask, logp - reference
        earned = -self.price.beta[:, None, None] * ratio
        earned = earned.scatter_add(-1, mask.sum(-1, keepdim=True) - 1, reward[..., None])
        advantage = advantages(earned, values, self.gae_lambda) * mask
        facts = {"logp": logp, "values": values, "returns": advantage + values, "reward": reward, "kl": ratio.sum(-1)}
        return text, {**facts, "advantage": whitened(advantage, mask)}

    def measured(self, text: Text) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probabilities under policy and reference, values before each token, and the reward of the whole."""
        values = torch.where(text.response_mask, self.critic.values(text)[..., :-1], 0.0)
        return self.policy.token_logp(text), self.task.reference.token_logp(text), values, self.score(text)

    def actor_losses(
        self, text: Text, facts: dict[str, Tensor], places: Tensor, losses: Means, share: float
    ) -> Iterator[Tensor]:
        tokens = taken(text.response_mask, places).sum((1, 2))
        for part, _ in split(places, self.micro_batch):
            some = text.map(partial(taken, places=part))
            ratio = (self.policy.token_logp(some) - taken(facts["logp"], part)).exp()
            advantage = taken(facts["advantage"], part)
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
            loss = -(gain * some.response_mask).sum((1, 2)) / tokens
            losses.add(share, actor_loss=loss)
            yield loss

    def critic_losses(
        self, text: Text, facts: dict[str, Tensor], places: Tensor, losses: Means, share: float
    ) -> Iterator[Tensor]:
        tokens = taken(text.response_mask, places).sum((1, 2))
        for part, _ in split(places, self.micro_batch):
            some = text.map(partial(taken, places=part))
            values, before, returns = (
                self.critic.values(some)[..., :-1],
                taken(facts["values"], part),
                taken(facts["returns"], part),
            )
            near = before + (values - before).clamp(-self.clip, self.clip)
            error = torch.maximum((values - returns).square(), (near - returns).square())
            loss = 0.5 * (error * some.response_mask).sum((1, 2)) / tokens
            losses.add(share, critic_loss=loss)
            yield loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        return self.task.evaluate(self.policy)


class Price:
    """The price of divergence of each seed."""

    def __init__(self, beta: Tensor) -> None:
        self.beta = beta

    def state_dict(self) -> dict[str, Any]:
        return {"beta": self.beta.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.beta = state["beta"].to(self.beta.device)


def taken(values: Tensor, places: Tensor) -> Tensor:
    """The rows `[S, b]` of values `[S, B, ...]`."""
    return values[torch.arange(len(places), device=places.device)[:, None], places]


def advantages(reward: Tensor, values: Tensor, gae_lambda: float) -> Tensor:
    """Generalised advantages without discount, `[S, B, T]`; nothing is earned after the last token."""
    following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], -1)
    errors = reward + following - values
    result, running = torch.empty_like(errors), torch.zeros_like(errors[..., 0])
    for t in range(errors.shape[-1] - 1, -1, -1):
        running = errors[..., t] + gae_lambda * running
        result[..., t] = running
    return result


def whitened(values: Tensor, mask: Tensor) -> Tensor:
    """Values `[S, B, T]` with mean 0 and deviation 1 where the mask is, for each seed; 0 elsewhere."""
    count = mask.sum((1, 2), keepdim=True)
    centred = (values - (values * mask).sum((1, 2), keepdim=True) / count) * mask
    return centred / (centred.square().sum((1, 2), keepdim=True) / count).sqrt().clamp(min=1e-8)


def learned_reward(task: LanguageTask, fitting: Fitting) -> Score:
    """A reward model fitted to the comparisons, moved to mean 0 and scaled to deviation 1 over their responses."""
    scorer = task.fitted().scorer(task.streams("reward head"))

    def losses(index: Tensor) -> Iterator[Tensor]:
        for part, share in split(index, fitting.micro_batch):
            yield share * ranking_loss(scored(scorer, task.comparisons, part)).mean(1)

    def fit() -> Fit:
        return Fit("reward model", scorer, len(task.comparisons), losses, task.streams("reward model"), fitting)

    key = {**task.key, "fitting reward": asdict(fitting)}
    scorer.load_state_dict(task.artefacts.fit("reward_model", key, fit)["tuner"]["model"])
    every = torch.arange(len(task.comparisons), device=task.device).expand(len(task.seeds), -1)
    parts = split(every, fitting.micro_batch or EVALUATED)
    return normalised(torch.no_grad()(scorer.score), (task.comparisons.take(part) for part, _ in parts))
