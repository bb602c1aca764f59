"""The task of an enumerated language (`rlbench.envs.lm_enum`): everything drawn, fitted, and judged exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlbench.data.enum_pairs import EnumComparisons
from rlbench.envs.problem import common
from rlbench.errors import UsageError
from rlbench.language import exact
from rlbench.language.policy import TextPolicy, TextScorer
from rlbench.language.ranking import ranking_drawn
from rlbench.language.task import LanguageTask, Score
from rlbench.language.text import Comparisons, Stacked, Text
from rlbench.language.tiny import Shape, TinyPolicy, TinyScorer
from rlbench.language.tuning import Fit, Fitting, likelihood_losses
from rlbench.rng import SeedStreams

if TYPE_CHECKING:
    from rlbench.envs.lm_enum import LmEnum
    from rlbench.task import Task

STREAM = 1000  # what is added to a run's seed for the streams that its language is drawn from
MAX_GRAD_NORM = 10.0


class Language:
    """The source language and the rewards of S seeds.

    Args:
        env: its size.
        task: the seeds.
    """

    def __init__(self, env: LmEnum, task: Task) -> None:
        self.C, self.V, self.T = env.C, env.V, env.T
        self.device = task.device
        rng = SeedStreams([STREAM + seed for seed in task.seeds], "language", task.device)
        start, bigram = rng.normal(env.C, env.V).double(), rng.normal(env.C, env.V, env.V).double()
        token, following = rng.normal(env.C, env.V).double(), rng.normal(env.V, env.V).double()
        y = self.leaves()
        each = torch.arange(env.C, device=task.device)[:, None]
        self.source = start.log_softmax(-1)[:, each, y[:, 0]]
        """Log-probabilities of the source language, `[S, C, Y]`."""
        self.raw_reward = token[:, each, y[:, 0]]
        """The reward before it is standardised, `[S, C, Y]`."""
        for before, after in zip(y.T[:-1], y.T[1:], strict=True):
            self.source = self.source + bigram.log_softmax(-1)[:, each, before, after]
            self.raw_reward = self.raw_reward + token[:, each, after] + following[:, None, before, after]

    def leaves(self) -> Tensor:
        """All responses, in lexicographic order: `[Y, T]`."""
        tokens = torch.arange(self.V, device=self.device)
        return torch.cartesian_prod(*[tokens] * self.T).reshape(-1, self.T)

    def index(self, text: Text) -> tuple[Tensor, Tensor]:
        """Which prompt and which response: places in the tables, `[S, B]` each."""
        powers = self.V ** torch.arange(self.T - 1, -1, -1, device=self.device)
        return text.prompt[..., 0] - self.V, (text.response * powers).sum(-1)

    def text(self, prompt: Tensor, response: Tensor) -> Text:
        """The texts in places `[S, B]` of the tables: prompts are the tokens V, V + 1, ..."""
        tokens = self.leaves()[response]
        prompts = prompt[..., None] + self.V
        return Text(prompts, torch.ones_like(prompts).bool(), tokens, torch.ones_like(tokens).bool())

    def prompts(self, seeds: int) -> Tensor:
        """Every prompt, `[S, C, 1]`."""
        return (torch.arange(self.C, device=self.device) + self.V).expand(seeds, -1)[..., None]

    def table(self, model: TinyPolicy | TinyScorer) -> Tensor:
        """Log-probabilities, or scores, of all responses to all prompts: `[S, C, Y]`, float64."""
        with torch.no_grad():
            prompts = self.prompts(len(self.source)).split(1, 1)
            return torch.cat([model.table(prompt, self.T) for prompt in prompts], 1)

    def draw(self, logp: Tensor, prompt: Tensor, uniform: Tensor) -> Tensor:
        """Responses to prompts, both as places in the tables `[S, B]`, by inversion of uniform numbers `[S, B]`."""
        cumulative = logp.exp().cumsum(-1)
        response = torch.empty_like(prompt)
        for s, c in torch.cartesian_prod(torch.arange(len(logp)), torch.arange(self.C)).tolist():
            here = prompt[s] == c
            point = uniform[s, here].double() * cumulative[s, c, -1]
            response[s, here] = torch.searchsorted(cumulative[s, c], point, right=True).clamp(max=logp.shape[-1] - 1)
        return response

    def demonstrations(self, count: int, rng: SeedStreams) -> Stacked:
        """Samples of the source language for uniformly drawn prompts."""
        prompt = rng.integers(self.C, count)
        return Stacked(self.text(prompt, self.draw(self.source, prompt, rng.uniform(count))))

    def comparisons(self, logp: Tensor, reward: Tensor, count: int, K: int, rng: SeedStreams) -> Comparisons:
        """K different samples of a policy for a drawn prompt; their order is drawn by Plackett and Luce's model.

        Args:
            logp: the policy's log-probabilities, `[S, C, Y]`.
            reward: the utilities, `[S, C, Y]`.
            count: comparisons a seed.
            K: responses of each.
            rng: one stream a seed.

        Raises:
            UsageError: most samples have a response twice.
        """
        prompt = rng.integers(self.C, 2 * count)
        response = torch.stack([self.draw(logp, prompt, rng.uniform(2 * count)) for _ in range(K)], -1)
        repeated = (response.sort(-1).values.diff(dim=-1) == 0).any(-1)
        if bool(((~repeated).sum(1) < count).any()):
            hint = "raise env.T or env.V, or let fewer be compared"
            raise UsageError(f"env=lm_enum: the reference hardly ever gives {K} different responses\n{hint}")
        seed = torch.arange(len(prompt), device=prompt.device)[:, None, None]
        uniform = torch.stack([rng.uniform(2 * count) for _ in range(K - 1)], -1)
        order = ranking_drawn(reward[seed, prompt[..., None], response], uniform)
        kept = repeated.long().argsort(dim=-1, stable=True)[:, :count]  # the first without ties
        prompt, ranked = prompt.gather(1, kept), response.gather(-1, order)[seed[..., 0], kept]
        return Comparisons(tuple(Stacked(self.text(prompt, each)) for each in ranked.unbind(-1)))


@dataclass(frozen=True)
class EnumTask(LanguageTask):
    """An enumerated language: reward, divergence and objective are finite sums.

    Attributes:
        language: the source, and the listing of all responses.
        logp_reference: log-probabilities under the reference, `[S, C, Y]`.
        reward: the true reward, standardised, `[S, C, Y]`.
    """

    language: Language
    logp_reference: Tensor
    reward: Tensor

    @property
    def decides(self) -> bool:
        return True

    def true_reward(self) -> Score:
        def score(text: Text) -> Tensor:
            prompt, response = self.language.index(text)
            seed = torch.arange(len(prompt), device=prompt.device)[:, None]
            return self.reward[seed, prompt, response].float()

        return score

    def table(self, score: Score | TextScorer) -> Tensor:
        """A score of all responses to all prompts, `[S, C, Y]`."""
        if isinstance(score, TextScorer):
            assert isinstance(score, TinyScorer)
            return self.language.table(score)
        S, C, Y = self.reward.shape
        every = torch.arange(Y, device=self.device).expand(S, -1)
        return torch.stack([score(self.language.text(torch.full_like(every, c), every)).double() for c in range(C)], 1)

    def evaluate(self, policy: TextPolicy) -> dict[str, Any]:
        assert isinstance(policy, TinyPolicy)
        return self.judged(self.language.table(policy))

    def evaluate_best(self, score: Score | TextScorer, n: int) -> dict[str, Any]:
        with torch.no_grad():
            return self.judged(exact.best_of(self.logp_reference, self.table(score), n))

    def judged(self, logp: Tensor) -> dict[str, Tensor]:
        """What is known of a policy `[S, C, Y]`, exactly.

        The objective is E[reward] - beta KL; the gap is from the reference's, 0, to the best there is.
        """
        beta = self.env.beta
        reward, kl = exact.expected(logp, self.reward), exact.divergence(logp, self.logp_reference)
        most = exact.frontier(self.logp_reference, self.reward, kl)
        best = exact.optimum(self.logp_reference, self.reward, beta)
        return {
            "eval/gap_closure": (reward - beta * kl) / best,
            "eval/objective": reward - beta * kl,
            "eval/reward": reward,
            "eval/kl": kl,
            "eval/frontier_reward": most,
        }


def make(env: LmEnum, task: Task) -> EnumTask:
    """Draw the language, fit the reference, draw comparisons."""
    recipe: EnumComparisons = task.data
    language = Language(env, task)
    demonstrations = language.demonstrations(recipe.sft_size, task.streams("demonstrations"))
    shape = Shape(env.layers, env.width, env.heads, env.V + env.C, env.V, 1 + env.T)
    base = TinyPolicy.new(shape, task.streams("model"))
    fitting = Fitting(
        env.sft_epochs, env.sft_batch_size, None, env.sft_learning_rate, env.sft_warmup_updates, MAX_GRAD_NORM
    )
    key = {
        "language": [env.C, env.V, env.T],
        "shape": asdict(shape),
        "demonstrations": recipe.sft_size,
        "fitting": asdict(fitting),
        "seeds": list(task.seeds),
    }

    def fit() -> Fit:
        model = base.clone(task.streams("base"))
        losses = likelihood_losses(model, demonstrations, None)
        return Fit("reference model", model, len(demonstrations), losses, task.streams("reference"), fitting)

    reference = base.clone_frozen()
    reference.load_state_dict(task.artefacts.fit("reference_model", key, fit)["tuner"]["model"])
    logp = language.table(reference)
    reward = standardised(language.raw_reward, logp)
    comparisons = language.comparisons(logp, reward, recipe.count, recipe.arity, task.streams("pairs"))
    return EnumTask(
        **common(task),
        base=lambda: base.clone(task.streams("base")),
        fitted=lambda: reference,
        reference=reference,
        demonstrations=demonstrations,
        comparisons=comparisons,
        asked=comparisons.chosen,
        held_out=language.comparisons(logp, reward, recipe.held_out, recipe.arity, task.streams("held out")),
        max_new=env.T,
        key={**key, **recipe.compared},
        language=language,
        logp_reference=logp,
        reward=reward,
    )


def standardised(raw: Tensor, reference: Tensor) -> Tensor:
    """Rewards `[S, C, Y]` with mean 0 for each prompt and standard deviation 1 over all, under the reference."""
    centred = raw - (reference.exp() * raw).sum(-1, keepdim=True)
    return centred / exact.expected(reference, centred.square()).sqrt()[:, None, None]
