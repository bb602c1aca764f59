"""Statistics over seeds and tasks, with intervals: pure functions of arrays.

Scores are a sequence of arrays, one a task, whose last axis holds the seeds of that task; tasks may differ in how many
they have. Axes before the last are carried along: steps of a curve, resamples of a bootstrap.

Sources: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021 (their
library rliable computes the same numbers: tests/analysis/test_statistics.py); Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993; Jackson et al., "A Clean Slate for Offline Reinforcement Learning", 2025, for the bandit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, count
from statistics import NormalDist

import numpy as np

Scores = Sequence[np.ndarray]
CONFIDENCE = 0.95
RESAMPLES = 2000
PERMUTATIONS = 10_000
RESOLUTION = 100  # permutations for each of several tests: the least p-value is 0.01 after Holm's method
RARE = 10  # shuffles as extreme as what was found after which a p-value is known well enough
FLAT = 1e-6  # added to the variance of scores within [-1, 1]: where there is none, the bare difference is left
SIGNIFICANT = 0.05
POWER = 0.8  # share of cases in which a difference is found
AT_ONCE = 4_000_000  # numbers held at once


# -- point estimates ---------------------------------------------------------------------------------------------------


def mean(scores: Scores) -> np.ndarray:
    """Mean over tasks of the means over seeds."""
    return task_means(scores).mean(-1)


def median(scores: Scores) -> np.ndarray:
    """Median over tasks of the means over seeds; of one task, its mean."""
    return np.median(task_means(scores), axis=-1)


def iqm(scores: Scores) -> np.ndarray:
    """Interquartile mean: the mean of the middle half of all scores of all tasks, a quarter cut off at either end.

    The cut is a whole number of scores, rounded down. A task with more seeds weighs more.
    """
    pooled = np.concatenate([np.asarray(each, float) for each in scores], axis=-1)
    count = pooled.shape[-1]
    cut = count // 4
    if cut:
        pooled = np.partition(pooled, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return pooled.mean(-1)


def optimality_gap(scores: Scores, target: float) -> np.ndarray:
    """How far scores fall short of a target on average; what lies above it makes up for nothing.

    Of costs, negate both.
    """
    return target - mean([np.minimum(each, target) for each in scores])


def task_means(scores: Scores) -> np.ndarray:
    """Means over seeds, `[..., tasks]`."""
    return np.stack([np.asarray(each, float).mean(-1) for each in scores], axis=-1)


def improvement(x: Scores, y: Scores) -> float:
    """Probability of improvement: mean over tasks of P(X > Y) + P(X = Y) / 2, for a seed of each drawn at random.

    It is Mann and Whitney's U over the number of pairs. It says how often, not by how much.
    """
    return float(np.mean([wins(a, b).mean() for a, b in zip(x, y, strict=True)]))


def wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`[len(x), len(y)]`: 1 where x is higher, 1/2 where both are equal."""
    a, b = np.asarray(x, float)[:, None], np.asarray(y, float)
    return (a > b) + 0.5 * (a == b)


def profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Performance profile `[thresholds]`: mean over tasks of the share of seeds that score above each threshold."""
    return np.mean([(np.asarray(each)[:, None] > thresholds).mean(0) for each in scores], axis=0)


# -- intervals ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A point estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def interval(
    statistic: Callable[..., np.ndarray], *samples: Scores, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """A statistic with its 95 % interval: percentiles of a bootstrap that draws seeds within each task.

    Args:
        statistic: a function of scores, or of the scores of several arms, which are drawn independently.
        samples: the scores of each arm.
        resamples: how many.
        seed: of the random numbers; equal seeds give equal intervals.
    """
    low, high = band(statistic, *samples, resamples=resamples, seed=seed)
    return Interval(float(statistic(*samples)), float(low), float(high))


def band(
    statistic: Callable[..., np.ndarray], *samples: Scores, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of `interval` for scores with axes before the seeds (a curve's steps), which are drawn together."""
    rng = np.random.default_rng(seed)
    size = sum(np.asarray(each).size for scores in samples for each in scores)
    found = [
        np.asarray(statistic(*([drawn(each, count, rng) for each in scores] for scores in samples)))
        for count in portions(resamples, size)
    ]
    return ends(np.concatenate(found))


def drawn(scores: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` resamples of one task's seeds, along a new first axis."""
    seeds = np.shape(scores)[-1]
    return np.moveaxis(np.asarray(scores, float)[..., rng.integers(seeds, size=(count, seeds))], -2, 0)


def portions(total: int, size: int) -> Iterator[int]:
    """`total` in parts, such that each part times `size` fits into memory."""
    part = max(1, AT_ONCE // size)
    for begin in range(0, total, part):
        yield min(part, total - begin)


def ends(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The percentiles between which `CONFIDENCE` of the resamples (first axis) lie."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return low, high


def improvement_interval(x: Scores, y: Scores, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """`improvement` with its interval; resamples are counts of seeds, for which it is a product of matrices."""
    total = np.zeros(resamples)
    for task, (a, b) in enumerate(zip(x, y, strict=True)):
        ours, theirs = (weights(len(each), resamples, seed, 2 * task + side) for side, each in enumerate((a, b)))
        total += ((ours @ wins(a, b)) * theirs).sum(1)
    low, high = ends(total / len(x))
    return Interval(improvement(x, y), float(low), float(high))


def profile_band(
    scores: Scores, thresholds: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of `profile` at each threshold."""
    shares = [
        weights(len(each), resamples, seed, task) @ (np.asarray(each)[:, None] > thresholds).astype(float)
        for task, each in enumerate(scores)
    ]
    return ends(np.mean(shares, axis=0))


@lru_cache(maxsize=256)
def weights(seeds: int, resamples: int, seed: int, stream: int) -> np.ndarray:
    """`[resamples, seeds]`: the share that each seed has of a resample; streams are independent of each other."""
    chosen = np.random.default_rng([seed, stream]).integers(seeds, size=(resamples, seeds))
    chosen += seeds * np.arange(resamples)[:, None]
    return np.bincount(chosen.ravel(), minlength=seeds * resamples).reshape(resamples, seeds) / seeds


# -- is it enough to tell? ---------------------------------------------------------------------------------------------


def difference(x: Scores, y: Scores) -> np.ndarray:
    """By how much the first mean is higher."""
    return mean(x) - mean(y)


def permutation_test(x: Scores, y: Scores, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p-value of `difference`, from shuffles of the arms' labels within each task.

    The difference is divided by its standard error (the root of the sum over tasks and arms of the variances of the
    means), which every shuffle has of its own. So the test errs as often as it says for any number of seeds where the
    arms differ in nothing, and for many seeds also where the means are equal and the spreads are not; the bare
    difference would tell 16 seeds from 4 that spread five times as far in a third of cases. With three seeds a side on
    one task it cannot fall below 0.1. Where there are no more arrangements than `permutations`, all are looked at.

    See Janssen, "Studentized Permutation Tests for Non-i.i.d. Hypotheses", 1997; Chung and Romano, "Exact and
    Asymptotically Robust Permutation Tests", 2013. Of ranks, it is Zimmerman and Zumbo's test (1993).
    """
    return permutation_tests([(x, y)], permutations, seed)[0]


def permutation_tests(
    samples: Sequence[tuple[Scores, Scores]], permutations: int = PERMUTATIONS, seed: int = 0
) -> list[float]:
    """p-values of `permutation_test` for several pairs of arms that Holm's method raises together.

    The more pairs, the smaller a p-value has to be: those that may be get more permutations.
    """
    most = max(permutations, RESOLUTION * len(samples))
    extreme, seen = np.zeros((2, len(samples)))
    going = list(range(len(samples)))
    for turn in range(math.ceil(most / permutations)):
        for place in going:
            statistic = studentised(*samples[place], permutations, most, seed, turn)
            found = statistic[0]  # equal ones differ by rounding
            extreme[place] += np.count_nonzero(statistic >= found - 1e-5 * found - 1e-9) - 1
            seen[place] += len(statistic) - 1
        going = [place for place in going if extreme[place] < RARE and arrangements(*samples[place]) > most]
    return ((1 + extreme) / (1 + seen)).tolist()


def studentised(x: Scores, y: Scores, permutations: int, most: int, seed: int, turn: int) -> np.ndarray:
    """Size of the difference over its standard error: as found, then after each of so many shuffles.

    Where there are at most `most` arrangements, each stands once in place of the shuffles. One seed has no spread:
    where a side has one, both are taken to spread alike.
    """
    centred = [np.concatenate(each) - np.mean(np.concatenate(each)) for each in zip(x, y, strict=True)]
    scale = max(float(np.abs(each).max()) for each in centred) or 1.0
    every = arrangements(x, y) <= most
    gap = variance = np.zeros(1)
    for task, (a, b, pooled) in enumerate(zip(x, y, centred, strict=True)):
        m, n = len(a), len(b)
        labels = all_labels(m, n) if every else shuffles(m, n, permutations, seed, task, turn)
        scores = pooled / scale
        total = labels @ scores
        squares = labels @ scores**2
        spread = squares - total**2 / m, scores @ scores - squares - total**2 / n  # sums of squared deviations
        if min(m, n) > 1:
            error = spread[0] / (m * (m - 1)) + spread[1] / (n * (n - 1))
        else:
            error = (spread[0] + spread[1]) / max(m + n - 2, 1) * (1 / m + 1 / n)
        combined = np.add.outer if every else np.add  # arrangements of one task with all of another
        gap = combined(gap, total / m + total / n).ravel()
        variance = combined(variance, error).ravel()
    return np.abs(gap) / np.sqrt(np.maximum(variance, 0) + FLAT)


def arrangements(x: Scores, y: Scores) -> int:
    """In how many ways the labels can lie."""
    return math.prod(math.comb(len(a) + len(b), len(a)) for a, b in zip(x, y, strict=True))


@lru_cache(maxsize=32)
def all_labels(first: int, second: int) -> np.ndarray:
    """`[arrangements, first + second]`: as `shuffles`, with every arrangement once."""
    chosen = np.array(list(combinations(range(first + second), first)))
    labels = np.zeros((len(chosen), first + second))
    np.put_along_axis(labels, chosen, 1.0, axis=1)
    return labels


@lru_cache(maxsize=32)
def shuffles(first: int, second: int, permutations: int, seed: int, *stream: int) -> np.ndarray:
    """`[1 + permutations, first + second]`: 1 where a seed is labelled as the first arm's, 0 as the second's.

    The first row has the labels as they are.
    """
    labels = np.repeat([1.0, 0.0], [first, second])  # doubles, as what they are multiplied with
    rng = np.random.default_rng([seed, *stream])
    shuffled = rng.permuted(np.broadcast_to(labels, (permutations, first + second)), axis=1)
    return np.concatenate([labels[None], shuffled])


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests, raised such that all of them together err at the stated rate (Holm, 1979)."""
    order = np.argsort(values)
    raised = np.asarray(values, float)[order] * np.arange(len(values), 0, -1)
    result = np.empty(len(values))
    result[order] = np.minimum(1, np.maximum.accumulate(raised))
    return [float(each) for each in result]


def least_p(x: Scores, y: Scores) -> float:
    """Below this no scores of so many seeds bring `permutation_test`: only so many arrangements are there.

    Where both sides have equally many seeds, an arrangement and its mirror image count alike.
    """
    mirrored = all(len(a) == len(b) for a, b in zip(x, y, strict=True))
    return (2 if mirrored else 1) / arrangements(x, y)


def least_seeds(tasks: int, tests: int = 1) -> int:
    """Seeds a task and side below which no scores are told apart, with so many tests raised by Holm's method."""
    return next(n for n in count(1) if 2 * tests / math.comb(2 * n, n) ** tasks < SIGNIFICANT)


def seeds_needed(x: Scores, y: Scores, tests: int = 1) -> float:
    """Seeds a task and side with which a difference as large as the one found would be told in 4 of 5 cases.

    By the normal approximation with Guenther's correction for few (1981), from the variances found; NaN where a side
    has one seed, infinite for no difference. Of several tests, it is for one that Holm's method raises the most.
    """
    if min(len(each) for each in (*x, *y)) < 2:
        return np.nan
    limit = NormalDist().inv_cdf(1 - SIGNIFICANT / (2 * tests))  # standard errors
    spread = sum(np.var(a, ddof=1) + np.var(b, ddof=1) for a, b in zip(x, y, strict=True)) / len(x) ** 2
    found = float(difference(x, y))
    return (
        float((limit + NormalDist().inv_cdf(POWER)) ** 2 * spread / found**2 + limit**2 / 4 / len(x))
        if found
        else np.inf
    )


# -- choosing among trained policies -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BanditTrials:
    """What comes of choosing among policies by evaluating them online.

    Attributes:
        pulls: episodes spent, `[max_pulls]`.
        value: mean over trials of the true score of the policy that is best by what was seen so far.
        low, high: ends of its 95 % bootstrap interval over trials.
    """

    pulls: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bandit(
    episodes: np.ndarray,
    policies: int | None = None,
    max_pulls: int = 200,
    trials: int = 1000,
    alpha: float = 2.0,
    resamples: int = 1000,
    seed: int = 0,
) -> BanditTrials:
    """unifloral's protocol: an upper-confidence-bound bandit over trained policies, by the number of evaluations spent.

    A trial draws some of the policies, then evaluates them one episode at a time: next comes the policy with the
    highest mean + sqrt(alpha ln t / n), n its own episodes and t all episodes so far and this one, those without an
    episode first, ties at random. After each episode, the policy with the highest mean of those tried is what one would
    deploy; its score is the mean over all its episodes on record. Episodes are drawn from these with replacement.

    Args:
        episodes: scores `[policies, episodes]`, 100-based as theirs: `alpha` is in their units.
        policies: how many a trial draws; all where there are no more.
        max_pulls: episodes of a trial.
        trials: how many.
        alpha: width of the confidence bound.
        resamples: of the interval.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    total, record = episodes.shape
    drawn_policies = min(policies or total, total)
    arms = np.argsort(rng.random((trials, total)), axis=1)[:, :drawn_policies]
    truth = episodes.mean(1)[arms]
    counts, sums = np.zeros((2, trials, drawn_policies))
    every = np.arange(trials)
    found = np.empty((trials, max_pulls))
    for pull in range(max_pulls):
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = np.where(counts > 0, sums / counts + np.sqrt(alpha * np.log(pull + 1) / counts), np.inf)
        ties = bound == bound.max(1, keepdims=True)
        choice = np.where(ties, rng.random(bound.shape), -1).argmax(1)
        sums[every, choice] += episodes[arms[every, choice], rng.integers(record, size=trials)]
        counts[every, choice] += 1
        best = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf).argmax(1)
        found[:, pull] = truth[every, best]
    low, high = band(lambda scores: scores[0].mean(-1), [found.T], resamples=resamples, seed=seed)
    return BanditTrials(np.arange(1, max_pulls + 1), found.mean(0), low, high)
