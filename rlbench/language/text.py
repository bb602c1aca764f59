"""Prompts with responses as tensors, and collections of them that minibatches are taken from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.rng import SeedStreams


@dataclass(frozen=True)
class Text:
    """B prompts a seed, each with a response: prompts end, and responses begin, at the same place.

    Attributes:
        prompt: tokens, filled up on the left, `[S, B, P]`.
        prompt_mask: where they are tokens, bool `[S, B, P]`.
        response: tokens, filled up on the right, `[S, B, T]`; the end token is one of them.
        response_mask: where they are tokens, bool `[S, B, T]`.
    """

    prompt: Tensor
    prompt_mask: Tensor
    response: Tensor
    response_mask: Tensor

    @property
    def tokens(self) -> Tensor:
        """Prompt and response, `[S, B, P + T]`."""
        return torch.cat([self.prompt, self.response], -1)

    @property
    def mask(self) -> Tensor:
        """Where they are tokens, `[S, B, P + T]`."""
        return torch.cat([self.prompt_mask, self.response_mask], -1)

    @property
    def positions(self) -> Tensor:
        """Each token's place, counted from the first that is none of the filling, `[S, B, P + T]`."""
        return (self.mask.long().cumsum(-1) - 1).clamp(min=0)

    def with_responses(self, response: Tensor, mask: Tensor) -> Text:
        """The same prompts, answered otherwise."""
        return replace(self, response=response, response_mask=mask)

    def map(self, change: Any) -> Text:
        """The same change made to every tensor."""
        return Text(*(change(each) for each in (self.prompt, self.prompt_mask, self.response, self.response_mask)))


def joined(a: Text, b: Text) -> Text:
    """One batch of both, filled up to common lengths."""
    P = max(a.prompt.shape[-1], b.prompt.shape[-1])
    T = max(a.response.shape[-1], b.response.shape[-1])

    def filled(text: Text) -> Text:
        left, right = P - text.prompt.shape[-1], T - text.response.shape[-1]
        prompt, prompt_mask = (F.pad(each, (left, 0)) for each in (text.prompt, text.prompt_mask))
        response, response_mask = (F.pad(each, (0, right)) for each in (text.response, text.response_mask))
        return Text(prompt, prompt_mask, response, response_mask)

    a, b = filled(a), filled(b)
    return Text(
        torch.cat([a.prompt, b.prompt], 1),
        torch.cat([a.prompt_mask, b.prompt_mask], 1),
        torch.cat([a.response, b.response], 1),
        torch.cat([a.response_mask, b.response_mask], 1),
    )


class Texts(Protocol):
    """Prompts with responses, `len` for each seed."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Text:
        """Those in the places `[S, B]`."""
        ...


@dataclass(frozen=True)
class Stacked:
    """Texts of one length, `N` of each seed's own, all in memory."""

    text: Text

    def __len__(self) -> int:
        return self.text.prompt.shape[1]

    def take(self, index: Tensor) -> Text:
        seed = torch.arange(len(index), device=index.device)[:, None]
        return self.text.map(lambda each: each[seed, index])


@dataclass(frozen=True)
class Ragged:
    """Texts of any lengths, the same for every seed.

    Attributes:
        prompts, responses: token ids of each.
        device: where batches go.
    """

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]
    device: torch.device

    def __len__(self) -> int:
        return len(self.responses)

    def first(self, most: int) -> Ragged:
        """The first of all."""
        return Ragged(self.prompts[:most], self.responses[:most], self.device)

    def take(self, index: Tensor) -> Text:
        chosen = index.flatten().tolist()
        prompt, prompt_mask = padded([self.prompts[i] for i in chosen], left=True)
        response, response_mask = padded([self.responses[i] for i in chosen], left=False)
        text = Text(prompt, prompt_mask, response, response_mask)
        return text.map(lambda each: each.unflatten(0, tuple(index.shape)).to(self.device))


def padded(rows: Sequence[Sequence[int]], left: bool) -> tuple[Tensor, Tensor]:
    """Rows filled up to the longest, and where they are not filling: int64 and bool `[B, longest]`."""
    longest = max((len(row) for row in rows), default=0)
    tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        where = slice(longest - len(row), longest) if left else slice(0, len(row))
        tokens[place, where] = torch.tensor(row, dtype=torch.int64)
        mask[place, where] = True
    return tokens, mask


@dataclass(frozen=True)
class Comparisons:
    """Responses in order of preference: the i-th of each of `ranked` answer one prompt, the best first.

    Pairs are K = 2: the i-th of `ranked[0]` was preferred to the i-th of `ranked[1]`.
    """

    ranked: tuple[Texts, ...]

    @property
    def arity(self) -> int:
        """K, how many responses are compared at a time."""
        return len(self.ranked)

    @property
    def chosen(self) -> Texts:
        """The preferred responses."""
        return self.ranked[0]

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, index: Tensor) -> Text:
        """All in one batch, first all that are best: `[S, K B]`."""
        return reduce(joined, (texts.take(index) for texts in self.ranked))

    def apart(self, value: Tensor) -> Tensor:
        """Values `[S, K B]` of such a batch as `[K, S, B]`."""
        return value.unflatten(1, (self.arity, -1)).movedim(1, 0)


class Epochs:
    """Places in a collection, shuffled anew for every pass; a minibatch may reach into the next pass.

    Args:
        count: size of the collection.
        batch_size: B.
        rng: one stream a seed.
    """

    def __init__(self, count: int, batch_size: int, rng: SeedStreams) -> None:
        self.count, self.batch_size, self.rng = count, batch_size, rng
        self.order = torch.zeros(len(rng), 0, dtype=torch.int64, device=rng.device)

    def next(self) -> Tensor:
        """The next places, `[S, B]`."""
        while self.order.shape[1] < self.batch_size:
            self.order = torch.cat([self.order, self.rng.permutation(self.count)], 1)
        batch, self.order = self.order[:, : self.batch_size], self.order[:, self.batch_size :]
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.state_dict(), "order": self.order.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.load_state_dict(state["rng"])
        self.order = state["order"].to(self.rng.device)


def split(index: Tensor, size: int | None) -> Iterator[tuple[Tensor, float]]:
    """Places `[S, B]` in parts of at most `size`, each with its share of the whole."""
    for part in index.split(size or index.shape[1], dim=1):
        yield part, part.shape[1] / index.shape[1]
