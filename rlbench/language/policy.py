"""What algorithms know of a language model, whichever library holds it: log-probabilities, samples, scores.

Everything has a leading seed axis: S independent models. Two backends: `rlbench.language.tiny` (a small transformer of
our own) and `rlbench.language.hf` (any causal language model of `transformers`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from rlbench.language.text import Text
from rlbench.rng import SeedStreams


class Model(ABC):
    """S models that can be trained."""

    @abstractmethod
    def parameters(self) -> list[Tensor]:
        """What an optimiser is to change."""

    @abstractmethod
    def clip(self, most: float) -> Tensor:
        """Scale each seed's gradients down to norm `most`; returns the norms they had, `[S]`."""

    @abstractmethod
    def clone(self, rng: SeedStreams) -> Self:
        """A copy to be trained, that shares nothing with this one; what is new in it (adapters) is drawn from `rng`."""

    @abstractmethod
    def clone_frozen(self) -> Self:
        """A copy that stays as it is."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TextPolicy(Model):
    """Distributions over responses to prompts."""

    @property
    @abstractmethod
    def end(self) -> int | None:
        """The token that ends a response, None where all have one length."""

    @abstractmethod
    def logits(self, text: Text) -> Tensor:
        """Before each token of the response, log-probabilities of all tokens up to a constant: `[S, B, T, V]`."""

    @abstractmethod
    def scorer(self, rng: SeedStreams) -> TextScorer:
        """A model that begins as this one and gives numbers, at first all near 0."""

    @abstractmethod
    def continuation(self, prompts: Text) -> Callable[[Tensor], Tensor]:
        """Logits of the next token, one token at a time.

        The function is given the last tokens `[S, B, 1]` (at first, any) and returns logits `[S, B, V]`.
        """

    @abstractmethod
    def save(self, place: int, folder: Path) -> None:
        """Write the model of the seed in one place for others to use."""

    def token_logp(self, text: Text) -> Tensor:
        """Log-probability of every token of the response, 0 in the filling: `[S, B, T]`, float32."""
        return chosen(self.logits(text).float(), text)

    def logp(self, text: Text) -> Tensor:
        """Log-probability of the response, the SUM over its tokens: `[S, B]`."""
        return self.token_logp(text).sum(-1)

    @torch.no_grad()
    def generate(self, prompts: Text, temperature: float, max_new: int, rng: SeedStreams) -> Text:
        """Sampled responses of at most `max_new` tokens; the most probable tokens where `temperature` is 0."""
        following = self.continuation(prompts)
        last = torch.zeros_like(prompts.prompt[..., 0])
        going = torch.ones_like(last, dtype=torch.bool)
        # All at once: how many numbers a seed draws must not depend on when the others' responses end.
        uniform = rng.uniform(max_new, last.shape[1])
        tokens, mask = [], []
        for t in range(max_new):
            logits = following(last[..., None]).float()
            if temperature > 0:
                last = drawn((logits / temperature).softmax(-1), uniform[:, t])
            else:
                last = logits.argmax(-1)
            tokens.append(torch.where(going, last, 0))
            mask.append(going)
            if self.end is not None:
                going = going & (last != self.end)
                if not going.any():
                    break
        return prompts.with_responses(torch.stack(tokens, -1), torch.stack(mask, -1))


class TextScorer(Model):
    """Numbers for prompts with responses: a critic's values, a reward model's scores."""

    @abstractmethod
    def values(self, text: Text) -> Tensor:
        """After the prompt, and after each token of the response: `[S, B, T + 1]`."""

    def score(self, text: Text) -> Tensor:
        """After the whole response: `[S, B]`."""
        last = text.response_mask.sum(-1, keepdim=True)
        return self.values(text).gather(-1, last).squeeze(-1)


def chosen(logits: Tensor, text: Text) -> Tensor:
    """Log-probabilities of the tokens that stand there, `[S, B, T]`, from logits `[S, B, T, V]`."""
    picked = logits.gather(-1, text.response[..., None]).squeeze(-1) - logits.logsumexp(-1)
    return torch.where(text.response_mask, picked, 0.0)


def drawn(probability: Tensor, uniform: Tensor) -> Tensor:
    """One draw from each distribution `[..., V]`, by inversion of uniform numbers `[...]`."""
    cumulative = probability.double().cumsum(-1)
    point = uniform.double()[..., None] * cumulative[..., -1:]
    # The sum may round below the point; the last token that can be drawn is then it.
    last = probability.shape[-1] - 1 - (probability > 0).flip(-1).long().argmax(-1)
    return torch.minimum((cumulative <= point).sum(-1), last)
