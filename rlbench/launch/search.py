"""A search for good values: trials, each of them a run, with values drawn by what became of the trials before.

A search has a folder, `<results>/searches/<algorithm>/<environment>-<dataset>/<id>/`, and in it, for every trial that
has begun, `<id>-<number>.json` (its values, and the run that they make) and, by the same name, a link to the run's
directory. That is all: what became of a trial stands in its run's directory, so no kill leaves anything half told.
The one module that knows Optuna: it draws the values, from a study that is built anew each time.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from rlbench import config
from rlbench.config import Dimension
from rlbench.errors import RunError, UsageError
from rlbench.files import write_atomically
from rlbench.launch.sweep import Planned
from rlbench.metrics import Ways, headline, way
from rlbench.spelling import closest
from rlbench.tracking.rundir import RunDir

if TYPE_CHECKING:
    import optuna

DRAWS = 10  # by a sampler, until it is given up that finds only what was tried before
DIGITS = 6  # of a number drawn between two others: nobody wants to type more
Values = dict[str, Any]
Metrics = dict[str, list[float]]


class NoMetricError(UsageError):
    """No trial of a search will have the metric that it goes by."""


# -- planning ----------------------------------------------------------------------------------------------------------


def trials(words: Sequence[str], content: dict[str, Any], config_dirs: Sequence[str]) -> list[Planned]:
    """The trials of a search. What each of them tries is not known before it begins.

    Args:
        words: what was asked for.
        content: its configuration, with the first of all values.
        config_dirs: the user's own folders of choices.

    Raises:
        UsageError: there is nothing to search, or some of the values cannot be run.
    """
    require()
    search, space = content["search"], [found for word in words if (found := config.dimension(word))]
    if not space:
        raise UsageError(
            "nothing to search\nsay what a key may be: algo.gamma='interval(0.9,1)', choice(A,B), range(A,B)"
        )
    if content["rerun"]:
        raise UsageError("a search goes on, it does not start anew: rerun=true\nsearch.seed=1 draws other values")
    if search["metric"] and search["direction"] == "auto":
        sign_of(search["metric"], {})
    space = [settled(dimension, words, content, config_dirs) for dimension in space]
    there = combinations(space)
    if search["trials"] > there:
        raise UsageError(
            f"search.trials={search['trials']}, and there are only {there} combinations to try\n"
            "without search= all of them are run"
        )
    first = config.run_directory(content)
    # Not how many trials there are: more of them go on where the others ended.
    facts = [first.name, {**search, "trials": None}, [asdict(dimension) for dimension in space]]
    id = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path("searches", *first.parts[-3:-1], id)
    dirs = [str(Path(each).expanduser().absolute()) for each in config_dirs]
    return [
        Planned(
            [*words, f"trial={number}"],
            {**content, "trial": {"number": number, "space": [asdict(each) for each in space], "dirs": dirs}},
            str(folder / f"{id}-{number:04}"),
        )
        for number in range(search["trials"])
    ]


def sign_of(metric: str, declared: Ways) -> int:
    """1 where high values of a metric are good, -1 where low ones are; the arguments are those of `metrics.way`.

    Raises:
        UsageError: neither are.
    """
    if (better := way(metric, declared)) == "neither":
        raise UsageError(f"search.metric={metric} is neither good nor bad\nsay search.direction=maximize, or minimize")
    return 1 if better == "higher" else -1


def require() -> None:
    """Refuse to search without Optuna.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UsageError("search= needs Optuna: pip install 'rlbench[search]'") from error


def settled(
    dimension: Dimension, words: Sequence[str], content: dict[str, Any], config_dirs: Sequence[str]
) -> Dimension:
    """The dimension, with whole numbers where the key takes no others.

    Raises:
        UsageError: some of its values cannot be run, or do not matter.
    """
    if dimension.key in ("seed", "seeds"):
        raise UsageError(
            f"{dimension.key} is nothing to search\nseeds=4 trains four seeds in every trial: their mean counts"
        )
    first, *others = dimension.ends
    for end in others:
        chosen = [end if config.key_of(word) == dimension.key else config.ends(word)[0] for word in words]
        other = config.plain(config.compose(chosen, config_dirs))
        if config.run_directory(other) == config.run_directory(content):
            raise UsageError(f"{dimension.key} changes no result: {first} and {end} are the same run")
    if dimension.low is None or dimension.high is None or not isinstance(at(content, dimension.key), int):
        return dimension
    return replace(dimension, low=int(dimension.low), high=int(dimension.high))


def at(content: dict[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    for part in key.split("."):
        content = content[part]
    return content


def combinations(space: Sequence[Dimension]) -> float:
    """How many values there are in all, infinity where numbers are not counted."""

    def size(dimension: Dimension) -> float:
        if dimension.low is None or dimension.high is None:
            return len(dimension.options)
        step = dimension.step or (1 if isinstance(dimension.low, int) else 0)
        return round((dimension.high - dimension.low) / step) + 1 if step else math.inf

    return math.prod(map(size, space))


# -- at work -----------------------------------------------------------------------------------------------------------


def work(planned: Planned, wait: bool = False) -> int:
    """Run a trial, with values that are drawn when the first of its lives begins; the exit code.

    Args:
        planned: the trial.
        wait: for another process that runs it, which may be an earlier life; otherwise that is an error.

    Raises:
        NoMetricError: its evaluations lack the metric, as those of all other trials would.
        UsageError: what the search was planned with is not what its words mean now.
        RunError: the run failed.
    """
    from omegaconf import OmegaConf

    from rlbench.run import run

    if planned.finished():
        print("This trial is over already.")
        return 0
    search = Search.of(planned)
    trial = search.begun(planned)
    print(f"trial {trial.number}: {trial.words}", flush=True)
    cfg = config.checked_anew(OmegaConf.create(trial.run.config), search.file(trial.number))
    return run(cfg, trial.run.words, trial.run.directory, goes_on=search.judge(trial), wait=wait)


@dataclass(frozen=True)
class Trial:
    """A trial that has begun.

    Attributes:
        number: its place in the search.
        values: what was drawn, by key.
        run: the run that it makes.
    """

    number: int
    values: Values
    run: Planned

    @property
    def words(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.values.items())

    @property
    def state(self) -> str:
        """What its run's directory says; a run that has none yet is about to begin."""
        return str(self.run.status().get("state", "building"))


class Search:
    """A search as its trials find it.

    Args:
        folder: its folder.
        settings: the keys of `rlbench.settings.Search`.
        space: what is searched.
        every: steps between two evaluations.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], space: Sequence[Dimension], every: int) -> None:
        self.folder = folder
        self.settings = settings
        self.space = space
        self.every = every

    @classmethod
    def of(cls, planned: Planned) -> Search:
        """The search that a planned trial belongs to."""
        space = [Dimension(**{**each, "options": tuple(each["options"])}) for each in planned.config["trial"]["space"]]
        return cls(planned.directory.parent, planned.config["search"], space, planned.config["eval"]["every"])

    def place(self, number: int) -> Path:
        """The link to a trial's run."""
        return self.folder / f"{self.folder.name}-{number:04}"

    def file(self, number: int) -> Path:
        return self.place(number).with_suffix(".json")

    def trials(self) -> Iterator[Trial]:
        """Those that have begun."""
        for path in sorted(self.folder.glob("*.json")):
            entry = json.loads(path.read_bytes())
            yield Trial(entry["number"], entry["values"], Planned(**entry["run"]))

    def begun(self, planned: Planned) -> Trial:
        """The trial, as its first life drew it, or drawn now."""
        number = planned.config["trial"]["number"]
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            before = list(self.trials())
            trial = next((each for each in before if each.number == number), None)
            if trial is None:
                trial = self.drawn(planned, number, before)
                write_atomically(self.file(number), json.dumps(asdict(trial), indent=1) + "\n")
            if not self.place(number).is_symlink():
                self.place(number).symlink_to(Path("../../../..", trial.run.path))
        return trial

    def drawn(self, planned: Planned, number: int, before: Sequence[Trial]) -> Trial:
        """A trial of what was not tried before."""
        history = [self.told(trial) for trial in before]
        tried = [trial.values for trial in before]
        values = next((each for each in self.proposals(number, history) if each not in tried), None)
        if values is None:
            raise RunError(f"there is nothing left to try: {len(tried)} trials had it all")
        return Trial(number, values, self.run(planned, values))

    def proposals(self, number: int, history: Sequence[optuna.trial.FrozenTrial]) -> Iterator[Values]:
        """Values for a trial: of the sampler, then of chance, then one combination after the other."""
        import optuna

        samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
        for kind in (samplers[self.settings["sampler"]], optuna.samplers.RandomSampler):
            for attempt in range(DRAWS):
                text = f"{self.settings['seed']} {number} {kind.__name__} {attempt}"
                seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
                yield self.values(kind(seed=seed), history)
        for combination in product(*map(points, self.space)):
            yield dict(zip((dimension.key for dimension in self.space), combination, strict=True))

    def values(self, sampler: optuna.samplers.BaseSampler, history: Sequence[optuna.trial.FrozenTrial]) -> Values:
        """What a sampler draws after these trials."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=sampler, direction="maximize" if self.sign() > 0 else "minimize")
        study.add_trials(history)
        drawn = study.ask(self.distributions()).params
        return {dimension.key: rounded(drawn[dimension.key], dimension) for dimension in self.space}

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The space in Optuna's terms."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        def distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
            # The end of a grid that was summed up is off it by rounding, and Optuna would leave it out.
            low, high = rounded(dimension.low, dimension), rounded(dimension.high, dimension)
            if low is None or high is None:
                return CategoricalDistribution(dimension.options)
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=dimension.log, step=int(dimension.step or 1))
            return FloatDistribution(low, high, log=dimension.log, step=dimension.step)

        return {dimension.key: distribution(dimension) for dimension in self.space}

    def run(self, planned: Planned, values: Values) -> Planned:
        """The run of these values: the same that a person would get who types them."""
        others = [word for word in planned.words if config.key_of(word).partition(".")[0] not in ("search", "trial")]
        dirs = planned.config["trial"]["dirs"]
        first = config.compose([config.ends(word)[0] for word in others], dirs)
        if config.run_id(first) != config.run_id(planned.config):
            raise UsageError(
                "the YAML files say something else than when this search was planned\n"
                "put them back, or start another: search.seed=1"
            )
        words = [f"{key}={values[key]}" if (key := config.key_of(word)) in values else word for word in others]
        content = config.plain(config.compose(words, dirs))
        return Planned.of(words, {**content, "hardware": planned.config["hardware"]})

    # -- what became of trials

    def told(self, trial: Trial) -> optuna.trial.FrozenTrial:
        """A trial in Optuna's terms. One that failed is among the worst, like one that was stopped early."""
        import optuna
        from optuna.trial import TrialState

        scores = self.scores(trial)
        state = TrialState.PRUNED if trial.state in ("finished", "pruned", "failed") else TrialState.RUNNING
        if trial.state == "finished" and scores:
            state = TrialState.COMPLETE
        return optuna.trial.create_trial(
            state=state,
            params=trial.values,
            distributions=self.distributions(),
            intermediate_values=scores,
            value=final(scores) if state == TrialState.COMPLETE else None,
        )

    def sign(self) -> int:
        """1 where high scores are good, -1 where low ones are; before there is one, it makes no difference."""
        if self.settings["direction"] != "auto":
            return 1 if self.settings["direction"] == "maximize" else -1
        for trial in self.trials():
            if (score := trial.run.status().get("score")) is not None:
                metric = self.settings["metric"] or score["metric"]
                return sign_of(metric, RunDir(trial.run.directory).metric_directions())
        return 1

    def scores(self, trial: Trial) -> dict[int, float]:
        """What a trial is judged by, by the step of the evaluation: the mean over its seeds."""
        score = trial.run.status().get("score")
        metric = self.settings["metric"] or (score and score["metric"])
        try:
            curve = RunDir(trial.run.directory).curve(metric) if metric else {}
        except RunError:  # a damaged file is no reason to stop the other trials
            return {}
        return {step: fmean(seeds.values()) for step, seeds in curve.items()}

    def judge(self, trial: Trial) -> Callable[[int, Metrics], bool]:
        """What is asked after every evaluation of a trial: whether it goes on."""
        factor = self.settings["reduction_factor"]

        def goes_on(step: int, metrics: Metrics) -> bool:
            metric = self.settings["metric"] or headline(metrics)
            if metric not in metrics:
                near = closest(str(metric), metrics)
                hint = f"\ndid you mean search.metric={near[0]}?" if near else ""
                raise NoMetricError(f"search.metric={metric}: an evaluation has {', '.join(sorted(metrics))}{hint}")
            if not self.is_rung(step):
                return True
            others = [each for each in self.trials() if each.number != trial.number]
            reached = [scores[step] for each in others if step in (scores := self.scores(each))]
            sign = self.sign()
            return is_ahead(sign * fmean(metrics[metric]), [sign * score for score in reached], factor)

        return goes_on

    def is_rung(self, step: int) -> bool:
        """Whether trials are compared at the evaluation after so many steps."""
        factor, evaluations = self.settings["reduction_factor"], step // self.every
        if factor is None or step % self.every or evaluations % self.settings["grace"]:
            return False
        rung = evaluations // self.settings["grace"]
        while rung % factor == 0:
            rung //= factor
        return rung == 1

    def best(self) -> tuple[Trial, float] | None:
        """The finished trial that came to the highest score, or the lowest, and the score."""
        sign = self.sign()
        finished = [(trial, self.scores(trial)) for trial in self.trials() if trial.state == "finished"]
        scored = [(trial, final(scores)) for trial, scores in finished if scores]
        return max(scored, key=lambda each: sign * each[1], default=None)


def final(scores: dict[int, float]) -> float:
    """The score at the last evaluation."""
    return scores[max(scores)]


def is_ahead(score: float, others: Sequence[float], factor: int) -> bool:
    """Whether a score is among the best 1 / factor of all of them; the best of fewer always is."""
    better = sum(other > score for other in others)
    return better < max(1, (len(others) + 1) // factor)


def points(dimension: Dimension) -> Iterable[Any]:
    """Every value of a dimension; the ends, where they are not counted."""
    low, high = dimension.low, dimension.high
    if low is None or high is None:
        return dimension.options
    step = dimension.step or (1 if isinstance(low, int) else high - low)
    return [rounded(low + i * step, dimension) for i in range(round((high - low) / step) + 1)]


def rounded(value: Any, dimension: Dimension) -> Any:
    """A drawn number as a person would write it: short and within its bounds, or the one on its grid."""
    low, high, step = dimension.low, dimension.high, dimension.step
    if not isinstance(value, float) or low is None or high is None:
        return value
    if step is None:
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)
    return float(f"{low + round((value - low) / step) * step:.{sys.float_info.dig}g}")


def shown(runs: Sequence[Planned]) -> Iterator[str]:
    """Lines on the searches that these runs belong to: how far each is, and the best that it has found."""
    planned = {run.directory.parent: run for run in runs if "trial" in run.config}
    for run in planned.values():
        search = Search.of(run)
        number = Counter(trial.state for trial in search.trials())
        states = ", ".join(f"{count} {state}" for state, count in number.items()) or "none has begun"
        what = ", ".join(dimension.key for dimension in search.space)
        yield f"search of {what}: {search.settings['trials']} trials, {states}"
        if found := search.best():
            trial, score = found
            dirs = [f"--config-dir {each}" for each in run.config["trial"]["dirs"]]
            yield f"  best: {score:,.6g} in trial {trial.number}: {trial.words}"
            yield f"  rlbench {' '.join([*dirs, *trial.run.words])}"
