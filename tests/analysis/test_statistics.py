"""Statistics against hand-computed values, exact enumerations, scipy and, where it is installed, rliable."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rlbench.analysis import statistics as st
from rlbench.analysis.statistics import Scores

TWO = [np.array([1.0, 2.0, 3.0, 10.0]), np.array([0.0, 4.0, 4.0, 8.0])]
SMALL = [np.array([1.0, 2.0, 6.0]), np.array([0.0, 5.0, 9.0])]
TARGET = 5.0


def drawn(tasks: int, seeds: int, key: int) -> list[np.ndarray]:
    rng = np.random.default_rng(key)
    return [rng.normal(10 * task, 5, seeds) for task in range(tasks)]


def test_point_estimates_by_hand() -> None:
    assert st.mean(TWO) == 4.0  # of 4 and 4
    assert st.median([np.array([1.0, 3.0]), np.array([0.0]), np.array([5.0, 10.0])]) == 2.0
    assert st.iqm(TWO) == 13 / 4  # of 0 1 [2 3 4 4] 8 10
    assert st.iqm([np.array([7.0, 1.0, 100.0])]) == 36.0  # three quarters of a score are none: nothing is cut
    assert st.optimality_gap(TWO, TARGET) == 5 - (11 + 13) / 8
    assert st.improvement([np.array([1.0, 2.0])], [np.array([1.0, 0.0])]) == 3.5 / 4
    assert st.improvement(TWO, TWO) == 0.5
    thresholds = np.array([-1.0, 1.0, 4.0, 9.0])
    assert st.profile(TWO, thresholds).tolist() == [1.0, 0.75, 0.25, 0.125]


def test_tasks_weigh_the_same_however_many_seeds_they_have() -> None:
    ragged = [np.array([1.0, 1.0, 1.0, 1.0]), np.array([3.0])]
    assert st.mean(ragged) == 2.0
    assert st.optimality_gap(ragged, 2.0) == 0.5
    assert st.profile(ragged, np.array([2.0])).tolist() == [0.5]
    assert st.improvement(ragged, [np.array([2.0]), np.array([2.0])]) == 0.5


def test_axes_before_the_seeds_are_carried_along() -> None:
    curves = [np.stack([task, 2 * task]) for task in TWO]
    for statistic in (st.mean, st.median, st.iqm):
        assert statistic(curves).tolist() == [statistic(TWO), 2 * statistic(TWO)]


@pytest.mark.parametrize("seeds", [1, 3, 4, 5, 10, 23])
def test_iqm_is_scipys_trimmed_mean(seeds: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    scores = drawn(3, seeds, seeds)
    assert st.iqm(scores) == pytest.approx(stats.trim_mean(np.concatenate(scores), 0.25), rel=1e-12)


@pytest.mark.parametrize("statistic", [st.mean, st.median, st.iqm])
def test_interval_against_all_resamples(statistic: Callable[..., Any]) -> None:
    """Two tasks of three seeds have 27 * 27 resamples: the bootstrap estimates the percentiles over all of them."""
    each = [[np.array(draw) for draw in itertools.product(task, repeat=3)] for task in SMALL]
    exact = np.sort([float(statistic([a, b])) for a, b in itertools.product(*each)])
    found = st.interval(statistic, SMALL, resamples=40_000, seed=3)
    assert found.value == statistic(SMALL)
    # The distribution has steps: an end may lie wherever the share is within Monte-Carlo error (5 sigma) of 2.5 %.
    error = 5 * math.sqrt(0.025 * 0.975 / 40_000)
    for end, share in ((found.low, 0.025), (found.high, 0.975)):
        low, high = np.quantile(exact, [share - error, share + error], method="inverted_cdf")
        assert low - 1e-9 <= end <= high + 1e-9


def test_intervals_honour_the_seed_and_narrow_with_the_seeds() -> None:
    scores = drawn(2, 8, 0)
    assert st.interval(st.iqm, scores, seed=5) == st.interval(st.iqm, scores, seed=5)
    assert st.interval(st.iqm, scores, seed=5) != st.interval(st.iqm, scores, seed=6)
    few, many = (st.interval(st.mean, drawn(1, n, 1)) for n in (10, 1000))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(10, rel=0.4)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 400 intervals over 30 seeds, 95 % hold the mean, give or take the bootstrap's known 2 % and 4 sigma."""
    covered = 0
    for key in range(400):
        found = st.interval(st.mean, [np.random.default_rng(key).normal(1.0, 1.0, 30)], resamples=400, seed=key)
        covered += found.low <= 1.0 <= found.high
    assert 0.93 - 4 * math.sqrt(0.05 * 0.95 / 400) < covered / 400 < 0.95 + 4 * math.sqrt(0.05 * 0.95 / 400)


def test_bootstrap_in_portions_is_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [np.random.default_rng(0).normal(size=(3, 6))]
    whole = st.band(st.mean, scores, resamples=50_000, seed=1)
    monkeypatch.setattr(st, "AT_ONCE", 1000)
    parts = st.band(st.mean, scores, resamples=50_000, seed=2)
    for one, other in zip(whole, parts, strict=True):
        assert one.shape == (3,)
        np.testing.assert_allclose(one, other, atol=0.02)


def test_band_of_a_curve_draws_whole_curves() -> None:
    """Seeds are drawn, not single scores: a curve that is the same at two steps has the same band at both."""
    values = np.random.default_rng(0).normal(size=9)
    low, high = st.band(st.iqm, [np.stack([values, values])], seed=4)
    assert low[0] == low[1] < high[0] == high[1]


def test_improvement_interval_is_that_of_drawn_seeds() -> None:
    x, y = drawn(3, 6, 1), [each - 3 for each in drawn(3, 5, 2)]

    def statistic(a: Scores, b: Scores) -> np.ndarray:
        tasks = [
            (p[..., :, None] > q[..., None, :]).mean((-2, -1)) for p, q in zip(a, b, strict=True)
        ]  # there are no ties
        return np.mean(tasks, axis=0)

    fast = st.improvement_interval(x, y, resamples=40_000, seed=1)
    slow = st.interval(statistic, x, y, resamples=40_000, seed=2)
    assert fast.value == pytest.approx(slow.value)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.015)


def test_profile_band() -> None:
    scores, thresholds = drawn(2, 7, 0), np.array([-5.0, 5.0, 15.0])
    low, high = st.profile_band(scores, thresholds, resamples=40_000, seed=1)

    def shares(found: Scores) -> np.ndarray:
        return np.mean([(each[..., None] > thresholds).mean(-2) for each in found], axis=0)

    expected = st.band(shares, scores, resamples=40_000, seed=2)
    np.testing.assert_allclose([low, high], expected, atol=1 / 14 + 1e-9)  # neighbouring steps of the distribution
    middle = st.profile(scores, thresholds)
    assert ((low <= middle) & (middle <= high)).all()


def splits(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every arrangement of the labels."""
    pooled = np.concatenate([x, y])
    every = [list(chosen) for chosen in itertools.combinations(range(len(pooled)), len(x))]
    return [(pooled[chosen], np.delete(pooled, chosen)) for chosen in every]


def error(x: np.ndarray) -> float:
    """Variance of a mean."""
    return float(np.var(x, ddof=1)) / len(x)


def welch(*tasks: tuple[np.ndarray, np.ndarray]) -> float:
    gap = sum(a.mean() - b.mean() for a, b in tasks)
    return float(abs(gap) / math.sqrt(sum(error(a) + error(b) for a, b in tasks)))


def exact_p(x: np.ndarray, y: np.ndarray) -> float:
    found = welch((x, y))
    return float(np.mean([welch(split) >= found * (1 - 1e-6) for split in splits(x, y)]))


@pytest.mark.parametrize("sizes", [(3, 3), (4, 4), (5, 3), (6, 6)])
def test_permutation_test_against_all_permutations(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(sizes))
    x, y = rng.normal(1, 1, sizes[0]), rng.normal(0, 1, sizes[1])
    assert st.permutation_test([x], [y]) == pytest.approx(exact_p(x, y), abs=0.02)
    # Complete separation is as far as labels go: 2 of all arrangements, or 1 where the sides differ in size.
    apart = st.permutation_test([x + 100], [y])
    assert apart == pytest.approx(exact_p(x + 100, y), abs=0.012)
    assert exact_p(x + 100, y) <= 2 / math.comb(sum(sizes), sizes[0])
    assert st.least_p([x], [y]) == pytest.approx((2 if sizes[0] == sizes[1] else 1) / math.comb(sum(sizes), sizes[0]))


def test_few_arrangements_are_all_looked_at() -> None:
    """On one task and on two, and shuffled where there are more: 7 and 7 seeds have 3,432."""
    rng = np.random.default_rng(1)
    (a, b), (c, d), (e, f) = [(rng.normal(1, 1, m), rng.normal(0, 3, n)) for m, n in ((4, 5), (3, 2), (7, 7))]
    assert st.permutation_test([a], [b]) == pytest.approx(exact_p(a, b), rel=1e-12)
    found = welch((a, b), (c, d))
    pairs = itertools.product(splits(a, b), splits(c, d))
    expected = np.mean([welch(*each) >= found * (1 - 1e-6) for each in pairs])
    assert st.permutation_test([a, c], [b, d]) == pytest.approx(expected, rel=1e-12)
    assert st.permutation_test([e], [f], seed=1) == st.permutation_test([e], [f], seed=2)
    some = st.permutation_test([e], [f], permutations=3000, seed=1)
    assert some != st.permutation_test([e], [f], permutations=3000, seed=2)
    assert some == pytest.approx(exact_p(e, f), abs=4 * math.sqrt(0.25 / 3000))


@pytest.mark.parametrize(
    ("sizes", "spreads", "tasks", "most"),
    [((16, 4), (1, 5), 1, 0.13), ((10, 4), (1, 3), 1, 0.13), ((8, 8), (1, 5), 1, 0.1), ((16, 4), (1, 5), 3, 0.09)],
)
def test_equal_means_of_unequal_spread_are_seldom_told_apart(
    sizes: tuple[int, int], spreads: tuple[int, int], tasks: int, most: float
) -> None:
    """600 times. Of the bare difference, 35 %, 20 %, 7 % and 32 % are told, of its ranks 13 % and more."""
    rng = np.random.default_rng(0)
    told = 0
    for key in range(600):
        x, y = ([rng.normal(0, sd, n) for _ in range(tasks)] for sd, n in zip(spreads, sizes, strict=True))
        told += st.permutation_test(x, y, permutations=400, seed=key % 8) < 0.05
    assert told / 600 < most


def test_seeds_that_do_not_spread_are_told_by_their_means() -> None:
    apart = [np.full(4, 7.0)], [np.full(4, 7.5)]
    assert st.permutation_test(*apart) == 2 / 70
    assert st.permutation_test([np.full(4, 7.0)], [np.array([7.0, 7.0, 7.0, 8.0])]) == 1.0


def test_one_seed_a_task_is_told_by_the_sign_of_its_differences() -> None:
    """Where no side has a spread, the test is that of signs: 2 of the 2 ** 8 that there are."""
    x = [np.array([10.0 * task + 1 + 0.1 * task]) for task in range(8)]
    y = [np.array([10.0 * task]) for task in range(8)]
    assert st.permutation_test(x, y) == 2 / 256
    assert st.permutation_test(x[:1], y[:1]) == 1.0
    assert st.permutation_test([np.array([9.0])], [np.arange(5.0)]) == 1 / 6


def test_many_tests_get_as_many_permutations_as_they_take() -> None:
    """With 10,000 each, the least that 561 tests come to is 561 / 10,001; all that are far apart are told all the same.

    Those that are not get no more than before.
    """
    rng = np.random.default_rng(0)
    family = [([rng.normal(0, 1, 12)], [rng.normal(9 * (k % 2), 1, 12)]) for k in range(561)]
    raised = st.holm(st.permutation_tests(family))
    assert all(p < 0.02 for p in raised[1::2])
    assert min(raised[::2]) > 0.05
    near = family[::2][:20]
    assert st.permutation_tests(near) == [st.permutation_test(*each) for each in near]


def test_no_scores_of_fewer_seeds_are_told_apart() -> None:
    for tests, tasks in itertools.product((1, 6, 7, 528), (1, 2, 3)):
        seeds = st.least_seeds(tasks, tests)
        for n, enough in ((seeds, True), (seeds - 1, False)):
            x = [np.arange(n) + 100.0] * tasks
            y = [np.arange(float(n))] * tasks
            assert (tests * st.least_p(x, y) < 0.05) == enough
    assert [st.least_seeds(tasks) for tasks in (1, 2, 3)] == [4, 3, 2]


def test_permutation_test_seldom_finds_what_is_not_there() -> None:
    """Two tasks of three seeds a side, 1,000 times: at most 5 % false finds, where a bootstrap's intervals err more."""
    rng = np.random.default_rng(0)
    wrong, outside = 0, 0
    for key in range(1000):
        x, y = ([rng.normal(0, 1, 3), rng.normal(9, 5, 3)] for _ in range(2))
        wrong += st.permutation_test(x, y, permutations=400, seed=key) < 0.05
        found = st.interval(st.difference, x, y, resamples=400, seed=key)
        outside += not found.low <= 0 <= found.high
    assert wrong / 1000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert outside / 1000 > 0.1


def test_equal_arms_are_not_told_apart() -> None:
    assert st.permutation_test(TWO, TWO) == 1.0
    assert st.permutation_test([np.zeros(5)], [np.zeros(5)]) == 1.0


def test_holm_by_hand() -> None:
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.holm([0.5, 0.9]) == [1.0, 1.0]
    assert st.holm([]) == []


def test_seeds_needed() -> None:
    x, y = [np.array([1.0, 2.0, 3.0])], [np.array([0.0, 1.0, 2.0])]
    alone = (1.959964 + 0.841621) ** 2 * 2 + 1.959964**2 / 4
    assert st.seeds_needed(x, y) == pytest.approx(alone)
    assert st.seeds_needed(x * 4, y * 4) == pytest.approx(alone / 4)  # of a task: four halve the error
    among = (2.807034 + 0.841621) ** 2 * 2 + 2.807034**2 / 4  # 0.05 / 20 on either side
    assert st.seeds_needed(x, y, tests=10) == pytest.approx(among)
    assert st.seeds_needed(x, x) == math.inf
    assert math.isnan(st.seeds_needed([np.array([1.0])], y))


def test_seeds_needed_give_the_power_promised() -> None:
    rng = np.random.default_rng(0)
    seeds = round(st.seeds_needed([np.array([0.0, 2.0]) / math.sqrt(2) + 1], [np.array([0.0, 2.0]) / math.sqrt(2)]))
    assert seeds == 17
    told = sum(
        st.permutation_test([rng.normal(1, 1, seeds)], [rng.normal(0, 1, seeds)], permutations=400, seed=key) < 0.05
        for key in range(300)
    )
    assert told / 300 == pytest.approx(0.8, abs=0.07)  # 3 sigma


# -- the bandit --------------------------------------------------------------------------------------------------------


def one_trial(episodes: np.ndarray, policies: int, pulls: int, rng: np.random.Generator) -> list[float]:
    """The protocol as one would tell it."""
    arms = rng.choice(len(episodes), policies, replace=False)
    seen: dict[int, list[float]] = {arm: [] for arm in arms}
    values = []
    for pull in range(pulls):
        fresh = [arm for arm in arms if not seen[arm]]
        if fresh:
            arm = rng.choice(fresh)
        else:
            arm = max(arms, key=lambda a: np.mean(seen[a]) + math.sqrt(2 * math.log(pull + 1) / len(seen[a])))
        seen[arm].append(rng.choice(episodes[arm]))
        best = max((a for a in arms if seen[a]), key=lambda a: np.mean(seen[a]))
        values.append(episodes[best].mean())
    return values


def test_bandit_is_the_protocol() -> None:
    episodes = np.random.default_rng(0).normal(np.linspace(-20, 40, 6)[:, None], 25, (6, 30))
    found = st.bandit(episodes, policies=4, max_pulls=25, trials=4000, seed=1)
    rng = np.random.default_rng(2)
    told = np.array([one_trial(episodes, 4, 25, rng) for _ in range(800)])
    error = told.std(0) * math.sqrt(1 / 800 + 1 / 4000)
    assert (np.abs(found.value - told.mean(0)) < 4.5 * error).all()
    assert found.pulls.tolist() == list(range(1, 26))
    assert ((found.low < found.value) & (found.value < found.high)).all()
    np.testing.assert_allclose(found.high - found.low, 2 * 1.96 * told.std(0) / math.sqrt(4000), rtol=0.2)


def test_bandit_of_policies_without_noise() -> None:
    """Each is tried once, then the best is known."""
    episodes = np.repeat([[10.0], [50.0], [30.0]], 4, axis=1)
    found = st.bandit(episodes, max_pulls=6, trials=3000)
    assert found.value[0] == pytest.approx(30, abs=2)
    assert found.value[2:].tolist() == [50.0] * 4


# -- rliable -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tasks", "seeds"), [(1, 4), (3, 5), (12, 10), (4, 50)])
def test_point_estimates_are_rliables(tasks: int, seeds: int) -> None:
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed")
    x, y = drawn(tasks, seeds, 1), drawn(tasks, seeds, 2)
    a, b = np.stack(x, axis=1), np.stack(y, axis=1)
    for ours, theirs in (
        (st.mean(x), metrics.aggregate_mean(a)),
        (st.median(x), metrics.aggregate_median(a)),
        (st.iqm(x), metrics.aggregate_iqm(a)),
        (st.optimality_gap(x, 15.0), metrics.aggregate_optimality_gap(a, gamma=15.0)),
        (st.improvement(x, y), metrics.probability_of_improvement(a, b)),
    ):
        assert ours == pytest.approx(theirs, abs=1e-9, rel=1e-9)


def test_ties_are_rliables() -> None:
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed")
    rng = np.random.default_rng(0)
    x, y = ([rng.integers(0, 4, 9).astype(float) for _ in range(3)] for _ in range(2))
    theirs = metrics.probability_of_improvement(np.stack(x, axis=1), np.stack(y, axis=1))
    assert st.improvement(x, y) == pytest.approx(theirs, abs=1e-9)


def test_intervals_are_rliables() -> None:
    """4,000 resamples theirs, 20,000 ours: the ends differ by at most 5 sigma of a percentile's Monte-Carlo error."""
    library = pytest.importorskip("rliable.library", reason="rliable is not installed")
    metrics = pytest.importorskip("rliable.metrics")
    x, y = drawn(4, 10, 1), drawn(4, 10, 2)
    a, b = np.stack(x, axis=1), np.stack(y, axis=1)

    def theirs(scores: Any, function: Callable[..., Any]) -> np.ndarray:
        state = np.random.RandomState(0)
        return library.get_interval_estimates({"x": scores}, function, reps=4000, random_state=state)[1]["x"][:, 0]

    for ours, pair in (
        (st.interval(st.mean, x, resamples=20_000), theirs(a, lambda s: np.array([metrics.aggregate_mean(s)]))),
        (st.interval(st.median, x, resamples=20_000), theirs(a, lambda s: np.array([metrics.aggregate_median(s)]))),
        (st.interval(st.iqm, x, resamples=20_000), theirs(a, lambda s: np.array([metrics.aggregate_iqm(s)]))),
        (
            st.interval(lambda s: st.optimality_gap(s, 20.0), x, resamples=20_000),
            theirs(a, lambda s: np.array([metrics.aggregate_optimality_gap(s, gamma=20.0)])),
        ),
        (
            st.improvement_interval(x, y, resamples=20_000),
            theirs((a, b), lambda s, t: np.array([metrics.probability_of_improvement(s, t)])),
        ),
    ):
        width = pair[1] - pair[0]
        assert (ours.low, ours.high) == pytest.approx(tuple(pair), abs=0.06 * width)


def test_profiles_are_rliables() -> None:
    library = pytest.importorskip("rliable.library", reason="rliable is not installed")
    x, thresholds = drawn(3, 10, 1), np.linspace(-10, 35, 10)
    shares, bands = library.create_performance_profile({"x": np.stack(x, axis=1)}, thresholds, reps=5000)
    np.testing.assert_allclose(st.profile(x, thresholds), shares["x"], atol=1e-9)
    np.testing.assert_allclose(st.profile_band(x, thresholds, 5000), bands["x"], atol=1 / 30 + 1e-9)
