"""The task of a problem in words (`rlbench.envs.text`): tokens, the reference, and judging by samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from rlbench.data.preferences import Entry, Preferences
from rlbench.data.prompts import source
from rlbench.envs.problem import common
from rlbench.errors import UsageError
from rlbench.language.judge import Judge, Verdict
from rlbench.language.policy import TextPolicy, TextScorer
from rlbench.language.reward import Reward
from rlbench.language.task import LanguageTask, Score, normalised
from rlbench.language.text import Comparisons, Ragged
from rlbench.language.text import Text as Tokens
from rlbench.language.tiny import Shape, TinyPolicy
from rlbench.language.tuning import Fit, Fitting, likelihood_losses

if TYPE_CHECKING:
    from rlbench.envs.text import Text, TinyText, Written
    from rlbench.task import Task

MAX_GRAD_NORM = 10.0
SAMPLED = 16  # responses that are sampled at a time
NORMALISED = 1024  # comparisons over whose responses the true reward gets mean 0 and deviation 1
BYTES = 256


@dataclass(frozen=True)
class Backend:
    """A model's tokens.

    Attributes:
        end: the token that ends a response.
        encode, decode: from texts to tokens, without any that are special, and back.
        key: what determines the model, as JSON would hold it.
    """

    end: int
    encode: Callable[[Sequence[str]], list[list[int]]]
    decode: Callable[[Sequence[int]], str]
    key: dict[str, Any]


def tiny_backend(env: TinyText, task: Task) -> tuple[TextPolicy, Backend]:
    """A small transformer that reads and writes bytes."""
    shape = Shape(env.layers, env.width, env.heads, BYTES + 1, BYTES + 1, env.max_length + env.max_new, BYTES)
    return TinyPolicy.new(shape, task.streams("model")), Backend(
        end=BYTES,
        encode=lambda texts: [list(text.encode()) for text in texts],
        decode=lambda tokens: bytes(tokens).decode(errors="replace"),
        key={"model": "tiny", "shape": asdict(shape)},
    )


def hf_backend(env: Text, task: Task) -> tuple[TextPolicy, Backend]:
    """A language model of `transformers`.

    Raises:
        RunError: there is none of that name.
        UsageError: texts may be longer than it knows positions.
    """
    from rlbench.language import hf

    model, tokenizer = hf.load(env.model, env.dtype, f"env={env.name}")
    longest, positions = max(env.max_length, env.max_prompt_length + env.max_new), hf.positions(model)
    if longest > positions:
        raise UsageError(
            f"env={env.name}: {env.model} knows {positions} positions, and texts may have {longest} tokens\n"
            f"lower env.max_length={env.max_length}, or env.max_prompt_length={env.max_prompt_length} or "
            f"env.max_new={env.max_new}: a prompt with a sampled response counts, too"
        )
    model.to(task.device)
    models = [model, *(hf.merged(model) for _ in task.seeds[1:])]
    policy = hf.HFPolicy(models, tokenizer, env.lora_rank, env.reference_dtype)
    return policy, Backend(
        end=policy.end,
        encode=lambda texts: tokenizer(list(texts), add_special_tokens=False)["input_ids"],
        decode=lambda tokens: tokenizer.decode(list(tokens), skip_special_tokens=True),
        key={
            "model": env.model,
            "files": files(env.model),
            "dtype": {"weights": env.dtype, "updates": "float32"},
            "adapters": env.lora_rank,
        },
    )


def files(model: str) -> list[Any]:
    """The files of a model's folder, their sizes and times of change; nothing, of a name on the hub."""
    found = sorted(path for path in Path(model).expanduser().glob("*") if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in found]


def cut(prompt: list[int], longest: int, env: Written, keep: str, ending: Sequence[int] = ()) -> tuple[list[int], int]:
    """A prompt that fits, and how many tokens a response to it may have.

    Args:
        prompt: its tokens.
        longest: tokens of the longest of its responses, the end token included.
        env: the limits.
        keep: which part of the prompt stays, its `start` or its `end`.
        ending: more tokens, which stay behind it whatever is cut.
    """
    if len(prompt) + len(ending) + longest <= env.max_length:
        return [*prompt, *ending], longest
    room = max(0, env.max_prompt_length - len(ending))
    prompt = prompt[max(0, len(prompt) - room) :] if keep == "end" else prompt[:room]
    prompt = [*prompt, *ending]
    fits = len(prompt) + longest <= env.max_length
    return prompt, longest if fits else env.max_length - env.max_prompt_length


@dataclass(frozen=True)
class Tokenised:
    """The comparisons of some prompts, as tokens.

    Attributes:
        ranked: the compared responses, of every comparison the best first.
        asked: the prompt of every comparison, cut to what leaves room for a sampled response.
        demonstrations: the responses to be imitated, where there are any.
        prompts: the prompts, as words and as tokens, with a preferred response of each in words.
    """

    ranked: tuple[Ragged, ...]
    asked: Ragged
    demonstrations: Ragged
    prompts: list[tuple[str, list[int], str]]


def tokenised(entries: Sequence[Entry], data: Preferences, backend: Backend, env: Written, task: Task) -> Tokenised:
    """Prompts and responses apart, each response with the end token behind it, all cut to what fits.

    Raises:
        UsageError: a text has the end token in it.
    """
    prompts, targets, target_prompts, asked, compared, ranked = [], [], [], [], [], []
    encoded = backend.encode([entry.prompt.removesuffix(entry.ending) for entry in entries])
    endings = backend.encode([entry.ending for entry in entries])
    for entry, prompt, ending in zip(entries, encoded, endings, strict=True):
        *responses, target = backend.encode([*entry.responses, entry.sft_target])
        if any(backend.end in tokens for tokens in (prompt, ending, *responses, target)):
            start = " ".join(entry.prompt.split())[:60]
            raise UsageError(
                f"dataset={data.card['id']}: the end token of the model stands in a text (prompt: {start})"
            )
        responses = [[*tokens, backend.end] for tokens in responses]
        target = [*target, backend.end]
        short, _ = cut(prompt, env.max_new, env, data.keep, ending)
        for places in entry.comparisons:
            fitting, room = cut(prompt, max(len(responses[place]) for place in places), env, data.keep, ending)
            compared.append(fitting)
            ranked.append([responses[place][:room] for place in places])
            asked.append(short)
        if entry.sft_target:
            fitting, room = cut(prompt, len(target), env, data.keep, ending)
            target_prompts.append(fitting)
            targets.append(target[:room])
        if entry.comparisons:
            prompts.append((entry.prompt, short, entry.responses[entry.comparisons[0][0]]))
    return Tokenised(
        tuple(Ragged(compared, responses, task.device) for responses in zip(*ranked, strict=True)),
        Ragged(asked, [[]] * len(asked), task.device),
        Ragged(target_prompts, targets, task.device),
        prompts,
    )


@dataclass(frozen=True)
class TextTask(LanguageTask):
    """A problem in words: policies are judged by samples for held-out prompts.

    Attributes:
        backend: the model's tokens.
        prompts: held-out prompts, as `Tokenised` has them.
        shifted: prompts of another kind, likewise; the same is told of answers to them.
        judge: decides between a sample and the preferred response; None: nobody does.
        reward: grades samples; None: nobody does.
    """

    backend: Backend
    prompts: list[tuple[str, list[int], str]]
    shifted: list[tuple[str, list[int], str]]
    judge: Judge | None
    reward: Reward | None

    @property
    def decides(self) -> bool:
        return self.judge is not None or self.reward is not None

    def true_reward(self) -> Score:
        if self.reward is None:
            hint = "algo.reward=learned, or name who knows it in the environment's file, as reward:"
            raise UsageError(f"env={self.env.name}: nobody knows the reward behind the comparisons\n{hint}")
        rng = self.streams("normalisation")
        some = rng.permutation(len(self.comparisons))[:, :NORMALISED]
        return normalised(self.graded, [self.comparisons.take(part) for part in some.split(SAMPLED, 1)])

    def graded(self, text: Tokens) -> Tensor:
        """The reward of responses, `[S, B]`."""
        assert self.reward is not None
        grades = [list(self.reward.rewards(prompts, responses)) for prompts, responses in self.words(text)]
        if {len(each) for each in grades} != {text.prompt.shape[1]}:
            who = type(self.reward).__name__
            raise UsageError(f"env.reward: {who}.rewards gives not as many numbers as there are responses")
        return torch.tensor(grades, dtype=torch.float32, device=self.device)

    def words(self, text: Tokens) -> Iterator[tuple[list[str], list[str]]]:
        """Of each seed the prompts, as far as they are read, and the responses."""

        def ids(tokens: Tensor, mask: Tensor) -> list[list[int]]:
            kept = mask & (tokens != self.backend.end)
            return [row[there].tolist() for row, there in zip(tokens.cpu(), kept.cpu(), strict=True)]

        for s in range(len(self.seeds)):
            before, after = ids(text.prompt[s], text.prompt_mask[s]), ids(text.response[s], text.response_mask[s])
            prompts = [self.backend.decode(tokens) for tokens in before]
            # Decoded behind its prompt: alone, a response would lose its first blank with many a tokenizer.
            both = [self.backend.decode([*tokens, *rest]) for tokens, rest in zip(before, after, strict=True)]
            yield prompts, [whole[len(prompt) :] for prompt, whole in zip(prompts, both, strict=True)]

    def evaluate(self, policy: TextPolicy) -> dict[str, Any]:
        return self.judged(
            lambda prompts, rng: policy.generate(prompts, self.env.temperature, self.max_new, rng), policy
        )

    def evaluate_best(self, score: Score | TextScorer, n: int) -> dict[str, Any]:
        scored = score.score if isinstance(score, TextScorer) else score

        def best(prompts: Tokens, rng: Any) -> Tokens:
            B = prompts.prompt.shape[1]
            many = prompts.map(lambda each: each.repeat_interleave(n, 1))
            text = self.reference.generate(many, self.env.temperature, self.max_new, rng)
            first = scored(text).unflatten(1, (B, n)).argmax(2)
            place = torch.arange(B, device=self.device) * n + first
            seed = torch.arange(len(place), device=self.device)[:, None]
            return text.map(lambda each: each[seed, place])

        return self.judged(best, None, max(1, SAMPLED // n))

    @torch.no_grad()
    def judged(
        self, answer: Callable[[Tokens, Any], Tokens], policy: TextPolicy | None, at_once: int = SAMPLED
    ) -> dict[str, Tensor]:
        """Metrics of answers to the held-out prompts: `eval/win_rate` against the data's, ties apart, where judged.

        `eval/reward` is their mean reward, where somebody grades them; `eval/kl` a sequence's divergence from
        the reference, estimated by the answers where they are plain samples. Of answers to prompts of another kind all
        of it again, as `eval/shifted_win_rate` and so on.
        """
        metrics = {}
        for kind, prompts in (("", self.prompts), ("shifted_", self.shifted)):
            found = self.told_of(prompts[: self.eval_episodes], kind, answer, policy, at_once)
            metrics.update({f"eval/{kind}{name}": value for name, value in found.items()})
        return metrics

    def told_of(
        self,
        prompts: Sequence[tuple[str, list[int], str]],
        kind: str,
        answer: Callable[[Tokens, Any], Tokens],
        policy: TextPolicy | None,
        at_once: int,
    ) -> dict[str, Tensor]:
        """The same of answers to these prompts; the kind separates random streams."""
        rng, lots = self.streams(f"{kind}evaluation"), self.streams(f"{kind}lots")
        totals: dict[str, Tensor] = {}

        def add(name: str, value: Tensor) -> None:
            totals[name] = totals.get(name, torch.zeros(len(self.seeds), device=self.device)) + value / len(prompts)

        for start in range(0, len(prompts), at_once):
            part = prompts[start : start + at_once]
            places = torch.arange(len(part), device=self.device).expand(len(self.seeds), -1)
            asked = Ragged([tokens for _, tokens, _ in part], [[]] * len(part), self.device).take(places)
            text = answer(asked, rng)
            if self.judge is not None:
                for verdict, share in zip(("win", "tie"), self.verdicts(text, part, lots), strict=True):
                    add(f"{verdict}_rate", share)
            if self.reward is not None:
                add("reward", self.graded(text).sum(1))
            if policy is not None and self.env.temperature == 1:
                add("kl", (policy.logp(text) - self.reference.logp(text)).sum(1))
            add("tokens", text.response_mask.sum((1, 2)))
        return totals

    def verdicts(self, text: Tokens, part: Sequence[tuple[str, list[int], str]], lots: Any) -> tuple[Tensor, Tensor]:
        """How many answers win, and how many tie, against the preferred response of the data: `[S]` each.

        Raises:
            UsageError: the judge says something else.
        """
        assert self.judge is not None
        wins, ties = torch.zeros(2, len(self.seeds), device=self.device)
        swapped = (lots.uniform(len(part)) < 0.5).tolist()
        for s, (_, responses) in enumerate(self.words(text)):
            for (prompt, _, known), ours, swap in zip(part, responses, swapped[s], strict=True):
                verdict = self.judge.prefers(prompt, *((known, ours) if swap else (ours, known)))
                if verdict not in get_args(Verdict):
                    who, words = type(self.judge).__name__, ", ".join(get_args(Verdict))
                    raise UsageError(f"env.judge: {who}.prefers says {verdict!r}\nwanted is one of {words}")
                wins[s] += verdict == ("second" if swap else "first")
                ties[s] += verdict == "tie"
        return wins, ties


def other_prompts(env: Written, task: Task, backend: Backend, keep: str) -> list[tuple[str, list[int], str]]:
    """The prompts of `env.shifted`, as `Tokenised` has prompts: as many as policies are judged by.

    Raises:
        UsageError: they cannot be read, or there is nothing that a judge could compare an answer with.
    """
    if env.shifted is None:
        return []
    found = list(islice(source(env.shifted), task.eval_episodes))
    if not found:
        raise UsageError(f"env.shifted={env.shifted}: there is no prompt in it")
    if env.judge is not None and not all(prompt.response for prompt in found):
        raise UsageError(f"env.shifted={env.shifted}: the judge needs a response on every row, to compare answers with")
    texts, endings = (backend.encode([getattr(each, part) for each in found]) for part in ("text", "ending"))
    return [
        (prompt.words, cut(tokens, env.max_new, env, "start" if ending else keep, ending)[0], prompt.response)
        for prompt, tokens, ending in zip(found, texts, endings, strict=True)
    ]


def make(env: Written, task: Task) -> TextTask:
    """Read the comparisons in tokens, and fit the reference."""
    data: Preferences = task.data
    model, backend = env.backend(task)
    train, test = (tokenised(entries, data, backend, env, task) for entries in (data.train, data.test))
    fitting = Fitting(
        env.sft_epochs,
        env.sft_batch_size,
        env.sft_micro_batch,
        env.sft_learning_rate,
        env.sft_warmup_updates,
        MAX_GRAD_NORM,
    )
    key = {
        "data": data.fingerprint,
        "cut": [env.max_length, env.max_prompt_length, data.keep],
        "model": backend.key,
        "fitting": asdict(fitting),
        "seeds": list(task.seeds),
    }

    def fitted(model: TextPolicy) -> TextPolicy:
        if env.sft_epochs == 0:
            return model

        def fit() -> Fit:
            begun = model.clone(task.streams("base"))
            losses = likelihood_losses(begun, train.demonstrations, env.sft_micro_batch)
            count = len(train.demonstrations)
            return Fit("reference model", begun, count, losses, task.streams("reference"), fitting)

        same = model.clone(task.streams("base"))
        same.load_state_dict(task.artefacts.fit("reference_model", key, fit)["tuner"]["model"])
        return same

    reference = fitted(model).clone_frozen()
    return TextTask(
        **common(task),
        base=lambda: env.backend(task)[0].clone(task.streams("base")),
        # A reference in another precision has lost what is trained: the model is read again then.
        fitted=(lambda: reference) if env.one_precision else (lambda: fitted(env.backend(task)[0])),
        reference=reference,
        demonstrations=train.demonstrations,
        comparisons=Comparisons(train.ranked),
        asked=train.asked,
        held_out=Comparisons(tuple(responses.first(env.held_out) for responses in test.ranked)),
        max_new=env.max_new,
        key=key,
        backend=backend,
        prompts=test.prompts,
        shifted=other_prompts(env, task, backend, data.keep),
        judge=None if env.judge is None else env.judge(task),
        reward=None if env.reward is None else env.reward(task),
    )
