"""Any causal language model of `transformers`: full weights or LoRA adapters, one model a seed.

Dropout is off, in training too. Batches go through the S models one after another.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from rlbench.errors import RunError, UsageError
from rlbench.language.policy import Model, TextPolicy, TextScorer
from rlbench.language.text import Text
from rlbench.rng import SeedStreams

STD = 0.02  # of a score's first weights
RESERVED = 2  # positions of a classifier that RoBERTa does not use


def load(name: str, dtype: str, what: str) -> tuple[nn.Module, Any]:
    """A causal language model and its tokenizer.

    Args:
        name: a folder, or a name on the hub.
        dtype: of the weights.
        what: who asks, for messages.

    Raises:
        RunError: there is none of that name, here or there.
        UsageError: it has no end token.
    """
    from transformers import AutoModelForCausalLM

    model, tokenizer = pretrained(AutoModelForCausalLM, name, what, dtype=getattr(torch, dtype))
    if tokenizer.eos_token_id is None:
        hint = "set eos_token in its tokenizer_config.json"
        raise UsageError(f"{what}: the tokenizer of {name} has no end token\n{hint}")
    return model, tokenizer


def pretrained(kind: Any, name: str, what: str, **options: Any) -> tuple[Any, Any]:
    """A model and its tokenizer, from a folder, the cache of Hugging Face or its hub.

    Args:
        kind: the class of `transformers` that reads it.
        name: a folder, or a name on the hub.
        what: who asks, for messages.
        options: what else the class is given.

    Raises:
        RunError: there is none of that name, here or there.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = kind.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        hint = f"`hf download {name}` fetches a model of the hub; a folder is given as ./FOLDER"
        raise RunError(f"{what}: no model {name} ({reason})\n{hint}") from error
    return model.train(False), tokenizer


def positions(model: Any) -> float:
    """Most tokens that a model can read."""
    return getattr(model.config, "max_position_embeddings", math.inf)


def probabilities(name: str, label: str, device: torch.device, what: str) -> Callable[[Sequence[str]], list[float]]:
    """A classifier: from texts to the probabilities of a label; of a reward model's one output, the number itself.

    Of a text that is longer than it can read, it reads the end.

    Args:
        name: a folder, or a name on the hub.
        label: the label.
        device: where it computes.
        what: who asks, for messages.

    Raises:
        RunError: there is none of that name, here or there.
        UsageError: it has no such label, or cannot be given several texts.
    """
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = pretrained(AutoModelForSequenceClassification, name, what)
    labels = {str(label).lower(): place for place, label in model.config.id2label.items()}
    if label.lower() not in labels:
        hint = f"label={' or label='.join(model.config.id2label.values())} chooses one"
        raise UsageError(f"{what}: {name} has no label {label}\n{hint}")
    if tokenizer.pad_token_id is None:
        hint = "set pad_token in its tokenizer_config.json"
        raise UsageError(f"{what}: the tokenizer of {name} has no padding token\n{hint}")
    tokenizer.truncation_side = "left"  # the responses to a long prompt differ at its end
    model.to(device)
    place = labels[label.lower()]
    positions = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    longest = min(tokenizer.model_max_length, positions - RESERVED)

    @torch.no_grad()
    def given(texts: Sequence[str]) -> list[float]:
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        logits = model(**tokens.to(device)).logits.float()
        # The softmax of one number is 1, whatever the text.
        value = logits[:, 0] if logits.shape[-1] == 1 else logits.softmax(-1)[:, place]
        return [round(each, 6) for each in value.tolist()]

    return given


def with_adapters(models: Sequence[Any], rank: int, rng: SeedStreams) -> list[nn.Module]:
    """Models, one a seed, with LoRA adapters on their linear layers, which alone are trained (Hu et al., ICLR 2022).

    An adapter adds 2 B A; B is 0 at first, A `[rank, in]` drawn from the seed's stream, uniform in +-1 / sqrt(in).
    """
    from peft import LoraConfig, get_peft_model

    settings: dict[str, Any] = {"r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0, "target_modules": "all-linear"}
    made: list[nn.Module] = [get_peft_model(model, LoraConfig(**settings)).train(False) for model in models]
    firsts = [[value for name, value in each.named_parameters() if "lora_A" in name] for each in made]
    for layer in zip(*firsts, strict=True):
        # peft draws from the same distribution, but from a generator that all share and that no seed sets.
        uniform = (2 * rng.uniform(*layer[0].shape) - 1) / math.sqrt(layer[0].shape[1])
        for value, first in zip(layer, uniform, strict=True):
            value.data.copy_(first)
    return made


def adapted(model: nn.Module) -> bool:
    """Whether a model has adapters."""
    return hasattr(model, "merge_and_unload")


def plain(model: Any) -> Any:
    """The model of `transformers` in it."""
    return model.get_base_model() if adapted(model) else model


def merged(model: Any) -> Any:
    """A copy without adapters: what they do is added to the weights."""
    same = copy.deepcopy(model)
    return same.merge_and_unload() if adapted(same) else same


class Listed(Model):
    """One module a seed.

    Args:
        modules: S of them.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)

    def trained(self, module: nn.Module) -> dict[str, Tensor]:
        return {name: value for name, value in module.named_parameters() if value.requires_grad}

    def parameters(self) -> list[Tensor]:
        return [value for module in self.modules for value in self.trained(module).values()]

    def clip(self, most: float) -> Tensor:
        norms = [nn.utils.clip_grad_norm_(self.trained(each).values(), most) for each in self.modules]
        return torch.stack(norms).float()

    def remade(self, modules: Sequence[nn.Module]) -> Self:
        """The same kind of model made of other modules."""
        same = copy.copy(self)
        same.modules = list(modules)
        return same

    def clone(self, rng: SeedStreams) -> Self:
        copies = [copy.deepcopy(module) for module in self.modules]
        for each in copies:
            each.requires_grad_(True)
        return self.remade(copies)

    def clone_frozen(self) -> Self:
        return self.remade([copy.deepcopy(module).requires_grad_(False) for module in self.modules])

    def state_dict(self) -> dict[str, Any]:
        """What is trained; everything, of a frozen model."""
        parts = [self.trained(module) or dict(module.named_parameters()) for module in self.modules]
        return {"seeds": [{name: value.detach().clone() for name, value in part.items()} for part in parts]}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for module, saved in zip(self.modules, state["seeds"], strict=True):
            values = dict(module.named_parameters())
            if not saved.keys() <= values.keys():
                raise ValueError(f"parameter names differ: {sorted(saved.keys() - values.keys())[:3]}")
            for name, value in saved.items():
                values[name].copy_(value)


def inputs(module: nn.Module, text: Text, place: int, last: int = 0) -> dict[str, Any]:
    """What a model of `transformers` is given of the texts of one seed.

    Args:
        module: the model.
        text: the texts.
        place: the seed's.
        last: after how many of the last tokens logits are wanted, 0: all; a model may compute the others, too.
    """
    # The logits of a long prompt would take more memory than all the rest: each is as long as the vocabulary.
    known = {"position_ids": text.positions[place], "logits_to_keep": last}
    taken = inspect.signature(module.forward).parameters
    given = {"input_ids": text.tokens[place], "attention_mask": text.mask[place].long()}
    return {**given, **{name: value for name, value in known.items() if name in taken}}


class HFPolicy(Listed, TextPolicy):
    """Causal language models.

    Args:
        modules: one a seed.
        tokenizer: theirs.
        lora_rank: copies to be trained get adapters of this rank, and are otherwise as they were; None: no adapters.
        frozen_dtype: of the weights of copies that stay as they are; None: these models'.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        tokenizer: Any,
        lora_rank: int | None = None,
        frozen_dtype: str | None = None,
    ) -> None:
        super().__init__(modules)
        self.tokenizer, self.lora_rank = tokenizer, lora_rank
        self.frozen_dtype = getattr(torch, frozen_dtype) if frozen_dtype else None

    @property
    def end(self) -> int:
        return int(self.tokenizer.eos_token_id)

    def clone(self, rng: SeedStreams) -> Self:
        if self.lora_rank is None:
            return super().clone(rng)
        return self.remade(with_adapters([merged(module) for module in self.modules], self.lora_rank, rng))

    def clone_frozen(self) -> Self:
        return self.remade([merged(module).requires_grad_(False).to(self.frozen_dtype) for module in self.modules])

    def logits(self, text: Text) -> Tensor:
        n = text.response.shape[-1] + 1  # those of the last token tell what would follow on the response
        return torch.stack(
            [model(**inputs(plain(model), text, s, n)).logits[:, -n:-1] for s, model in enumerate(self.modules)]
        )

    def continuation(self, prompts: Text) -> Callable[[Tensor], Tensor]:
        from transformers import DynamicCache

        empty = prompts.prompt[..., :0]
        text = prompts.with_responses(empty, empty.bool())
        caches = [DynamicCache(config=plain(model).config) for model in self.modules]
        begun = False

        def following(last: Tensor) -> Tensor:
            nonlocal text, begun
            if begun:
                text = text.with_responses(
                    torch.cat([text.response, last], -1),
                    torch.cat([text.response_mask, torch.ones_like(last).bool()], -1),
                )
            logits = []
            for s, (model, cache) in enumerate(zip(self.modules, caches, strict=True)):
                given = inputs(plain(model), text, s, 1)
                if begun:
                    new = given.keys() & {"input_ids", "position_ids"}
                    given.update({name: given[name][:, -1:] for name in new})
                taken = inspect.signature(plain(model).forward).parameters
                place = "cache" if "cache" in taken else "past_key_values"  # as older versions call it
                logits.append(model(**given, **{place: cache}, use_cache=True).logits[:, -1])
            begun = True
            return torch.stack(logits)

        return following

    def scorer(self, rng: SeedStreams) -> HFScorer:
        width = plain(self.modules[0]).config.hidden_size
        heads = STD * rng.normal(width)
        trunks = [merged(model).base_model.requires_grad_(True) for model in self.modules]
        if self.lora_rank is not None:
            trunks = with_adapters(trunks, self.lora_rank, rng)
        return HFScorer([Scored(*both) for both in zip(trunks, heads, strict=True)])

    def save(self, place: int, folder: Path) -> None:
        """One seed's model as `transformers` reads it; adapters are added to the weights."""
        merged(self.modules[place]).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


class Scored(nn.Module):
    """A language model with a number in place of the distribution.

    Args:
        trunk: the language model without its last layer.
        head: first weights, `[width]`.
    """

    def __init__(self, trunk: nn.Module, head: Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Parameter(head.to(next(trunk.parameters())))

    def forward(self, **given: Tensor) -> Tensor:
        """After every token, `[B, L]`."""
        return self.trunk(**given).last_hidden_state @ self.head


class HFScorer(Listed, TextScorer):
    """Language models with a number in place of the distribution."""

    def values(self, text: Text) -> Tensor:
        P = text.prompt.shape[-1]
        return torch.stack(
            [each(**inputs(plain(each.trunk), text, s))[:, P - 1 :].float() for s, each in enumerate(self.modules)]
        )
