"""A small causal transformer, S of them side by side: parameters `[S, ...]`, one batched product for all seeds.

Pre-norm layers, learned positions, GELU (Radford et al., 2019), without dropout. It reads every token and writes the
first `outputs` of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from rlbench.language.policy import Model, TextPolicy, TextScorer
from rlbench.language.text import Text
from rlbench.nets.optim import Params, assign, clipped, clone
from rlbench.rng import SeedStreams

Past = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer at all tokens so far, `[S * B, heads, L, width / heads]`."""
STD = 0.02  # of first weights; those that add to the residual stream have it divided by sqrt(2 layers)


@dataclass(frozen=True)
class Shape:
    """The size of a transformer.

    Attributes:
        layers: how many.
        width: of the residual stream.
        heads: of attention; they divide the width.
        vocabulary: tokens that can be read.
        outputs: the first so many of them can be written.
        length: most tokens of prompt and response together.
        end: the token that ends a response.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    outputs: int
    length: int
    end: int | None = None


class Trunk(Model):
    """The transformer up to its last hidden layer, and what all models made of it share.

    Args:
        shape: its size.
        params: parameters.
        frozen: whether they stay as they are.
    """

    def __init__(self, shape: Shape, params: Params, frozen: bool = False) -> None:
        self.shape = shape
        self.params: Params = {name: value.requires_grad_(not frozen) for name, value in params.items()}

    def parameters(self) -> list[Tensor]:
        return list(self.params.values())

    def clip(self, most: float) -> Tensor:
        grads = [value.grad for value in self.params.values() if value.grad is not None]
        scaled, norm = clipped(grads, most)
        for grad, value in zip(grads, scaled, strict=True):
            grad.copy_(value)
        return norm

    def detached(self) -> Params:
        return clone({name: value.detach() for name, value in self.params.items()})

    def clone(self, rng: SeedStreams) -> Self:
        return type(self)(self.shape, self.detached())

    def clone_frozen(self) -> Self:
        return type(self)(self.shape, self.detached(), frozen=True)

    def state_dict(self) -> dict[str, Any]:
        return self.detached()

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        assign(self.params, state)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """`[S, N, in]` to `[S, N, out]`."""
        return torch.baddbmm(self.params[f"{name}.bias"], x, self.params[f"{name}.weight"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        scale, shift = self.params[f"{name}.weight"], self.params[f"{name}.bias"]
        return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), scale)

    def hidden(self, text: Text) -> Tensor:
        """The last hidden layer at every token, `[S, B, L, width]`; what follows a token does not change it."""
        mask, L = text.mask, text.mask.shape[-1]
        if bool(mask.all()):
            return self.read(text.tokens, text.positions, None)[0]
        causal = torch.ones(L, L, dtype=torch.bool, device=mask.device).tril()
        own = torch.eye(L, dtype=torch.bool, device=mask.device)  # so that every row is a distribution
        return self.read(text.tokens, text.positions, (causal & mask[..., None, :]) | own)[0]

    def read(
        self, tokens: Tensor, positions: Tensor, seen: Tensor | None, past: Past | None = None
    ) -> tuple[Tensor, Past]:
        """The last hidden layer at n further tokens, `[S, B, n, width]`, and what later ones need to remember.

        Args:
            tokens, positions: `[S, B, n]`.
            seen: which of all tokens each of these attends to, bool `[S, B, n, L]`; None: all up to itself, of which
                there are n, or all where n = 1.
            past: what was remembered of those before.
        """
        S, B, n = tokens.shape
        x = (looked_up(self.params["tokens"], tokens) + looked_up(self.params["positions"], positions)).flatten(1, 2)
        mask = None if seen is None else seen.flatten(0, 1)[:, None]
        present = []
        for i in range(self.shape.layers):
            query, key, value = (
                each.reshape(S * B, n, self.shape.heads, -1).transpose(1, 2)
                for each in self.linear(self.norm(x, f"{i}.attention_norm"), f"{i}.attention").chunk(3, -1)
            )
            if past is not None:
                key, value = torch.cat([past[i][0], key], 2), torch.cat([past[i][1], value], 2)
            present.append((key, value))
            attended = F.scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None and n > 1)
            x = x + self.linear(attended.transpose(1, 2).reshape(S, B * n, -1), f"{i}.attended")
            x = x + self.linear(F.gelu(self.linear(self.norm(x, f"{i}.mlp_norm"), f"{i}.up")), f"{i}.down")
        return self.norm(x, "norm").unflatten(1, (B, n)), present

    def tree(self, prompts: Tensor, depth: int) -> Iterator[Tensor]:
        """The last hidden layer after all responses of 0, 1, ..., `depth` tokens, each computed once.

        Args:
            prompts: `[S, B, P]`, without filling.
            depth: tokens of the longest.

        Yields:
            `[S, B, V^t, width]` for t = 0, 1, ...: responses in lexicographic order.
        """
        S, B, P = prompts.shape
        V = self.shape.outputs
        hidden, past = self.read(prompts, torch.arange(P, device=prompts.device).expand(S, B, -1), None)
        yield hidden[..., -1:, :]
        every = torch.arange(V, device=prompts.device)
        for t in range(depth):
            past = [(key.repeat_interleave(V, 0), value.repeat_interleave(V, 0)) for key, value in past]
            tokens = every.repeat(B * V**t).expand(S, -1)[..., None]
            hidden, past = self.read(tokens, torch.full_like(tokens, P + t), None, past)
            yield hidden.reshape(S, B, V ** (t + 1), -1)


def looked_up(table: Tensor, index: Tensor) -> Tensor:
    """Rows of each seed's table, `[S, N, W]` and `[S, ...]` to `[S, ..., W]`."""
    seed = torch.arange(len(table), device=index.device).view(-1, *[1] * (index.dim() - 1))
    # Not table[seed, index]: on several threads its gradient adds up in any order, and no run would be as another.
    return F.embedding(index + seed * table.shape[1], table.flatten(0, 1))


class TinyPolicy(Trunk, TextPolicy):
    """The transformer as a distribution over responses."""

    @property
    def end(self) -> int | None:
        return self.shape.end

    @classmethod
    def new(cls, shape: Shape, rng: SeedStreams) -> TinyPolicy:
        """First parameters, each seed's drawn from its own stream."""
        W, residual = shape.width, STD / math.sqrt(2 * shape.layers)
        params: Params = {
            "tokens": STD * rng.normal(shape.vocabulary, W),
            "positions": STD * rng.normal(shape.length, W),
        }

        def linear(name: str, fan_in: int, fan_out: int, std: float) -> None:
            params[f"{name}.weight"] = std * rng.normal(fan_in, fan_out)
            params[f"{name}.bias"] = torch.zeros(len(rng), 1, fan_out, device=rng.device)

        def norm(name: str) -> None:
            params[f"{name}.weight"] = torch.ones(len(rng), 1, W, device=rng.device)
            params[f"{name}.bias"] = torch.zeros(len(rng), 1, W, device=rng.device)

        for i in range(shape.layers):
            norm(f"{i}.attention_norm")
            linear(f"{i}.attention", W, 3 * W, STD)
            linear(f"{i}.attended", W, W, residual)
            norm(f"{i}.mlp_norm")
            linear(f"{i}.up", W, 4 * W, STD)
            linear(f"{i}.down", 4 * W, W, residual)
        norm("norm")
        linear("head", W, shape.outputs, STD)
        return cls(shape, params)

    def logits(self, text: Text) -> Tensor:
        # The last token is written, and nothing is written after it: it need not be read.
        read = text.with_responses(text.response[..., :-1], text.response_mask[..., :-1])
        before = self.hidden(read)[..., text.prompt.shape[-1] - 1 :, :]
        S, B, T, _ = before.shape
        return self.linear(before.reshape(S, B * T, -1), "head").unflatten(1, (B, T))

    def continuation(self, prompts: Text) -> Callable[[Tensor], Tensor]:
        mask, past = prompts.prompt_mask, None
        P = mask.shape[-1]
        empty = prompts.prompt[..., :0]
        positions = prompts.with_responses(empty, empty.bool()).positions

        def following(last: Tensor) -> Tensor:
            nonlocal mask, past, positions
            if past is None:
                causal = torch.ones(P, P, dtype=torch.bool, device=mask.device).tril()
                own = torch.eye(P, dtype=torch.bool, device=mask.device)
                hidden, past = self.read(prompts.prompt, positions, (causal & mask[..., None, :]) | own)
            else:
                mask = torch.cat([mask, torch.ones_like(mask[..., :1])], -1)
                positions = positions[..., -1:] + 1
                hidden, past = self.read(last, positions, mask[..., None, :], past)
            return self.linear(hidden[..., -1, :], "head")

        return following

    def table(self, prompts: Tensor, length: int) -> Tensor:
        """Log-probabilities of all responses of one length, in lexicographic order: `[S, B, V^length]`, float64."""
        total = torch.zeros(*prompts.shape[:2], 1, dtype=torch.float64, device=prompts.device)
        for hidden in self.tree(prompts, length - 1):
            S, B, N, _ = hidden.shape
            logits = self.linear(hidden.reshape(S, B * N, -1), "head").unflatten(1, (B, N))
            total = (total[..., None] + logits.double().log_softmax(-1)).flatten(2)
        return total

    def save(self, place: int, folder: Path) -> None:
        """The size and the parameters, as `torch.load` reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        params = {name: value[place].clone() for name, value in self.detached().items()}
        torch.save({"shape": asdict(self.shape), "params": params}, folder / "model.pt")

    def scorer(self, rng: SeedStreams) -> TinyScorer:
        params = self.detached()
        params["head.weight"] = STD * rng.normal(self.shape.width, 1)
        params["head.bias"] = torch.zeros(len(rng), 1, 1, device=rng.device)
        return TinyScorer(self.shape, params)


class TinyScorer(Trunk, TextScorer):
    """The transformer with one number in place of the distribution."""

    def values(self, text: Text) -> Tensor:
        hidden = self.hidden(text)[..., text.prompt.shape[-1] - 1 :, :]
        S, B, T, _ = hidden.shape
        return self.linear(hidden.reshape(S, B * T, -1), "head").reshape(S, B, T)

    def table(self, prompts: Tensor, length: int) -> Tensor:
        """Scores of all responses of one length, in lexicographic order: `[S, B, V^length]`, float64."""
        *_, hidden = self.tree(prompts, length)
        S, B, N, _ = hidden.shape
        return self.linear(hidden.reshape(S, B * N, -1), "head").reshape(S, B, N).double()
