"""Searches: known optima found, hopeless trials stopped, nothing lost or doubled by kills."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from rlbench import cli, config
from rlbench.errors import UsageError
from rlbench.launch import search, start
from rlbench.launch.search import Search, Trial
from rlbench.launch.sweep import Planned, sweeps
from rlbench.tracking.rundir import RunDir
from tests.launch.hill.hill import height
from tests.launch.practice import Practice
from tests.processes import wait_for

HILL = Path(__file__).parent / "hill"
ROOT = Path(__file__).parents[2]
X, Y, WIDTH = "algo.x=interval(0,1)", "algo.y=tag(log,interval(1e-4,1))", "algo.width=interval(1,9)"
OPTIONS = ["--config-dir", str(HILL)]


pytestmark = pytest.mark.usefixtures("results")


def words(*more: str, trials: int = 3) -> list[str]:
    """The words of a search."""
    return ["algo=hill", "tracking=disabled", f"search.trials={trials}", *more]


def planned(*more: str, trials: int = 3) -> list[Planned]:
    """The trials of a search, none of which has begun."""
    return cli.cells(cli.request(["-m", *OPTIONS, *words(*more, trials=trials)], "", ""))


def searched(*more: str, trials: int = 3, code: int = 0) -> Search:
    """A search that was run."""
    asked = words(*more, trials=trials)
    assert cli.main(["-m", *OPTIONS, *asked]) == code
    return Search.of(planned(*more, trials=trials)[0])


def best_of(found: Search) -> tuple[Trial, float]:
    best = found.best()
    assert best is not None
    return best


# -- planning


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ([X], ["for a search to draw from", "search=tpe"]),
        (["search=tpe"], ["nothing to search", "interval"]),
        (["search=tpe", "algo.x=0.1,0.2"], ["nothing to search"]),
        (["search=tpe", "seed=range(4)"], ["seeds=4"]),
        (["search=tpe", "log.every=interval(1,5)"], ["log.every changes no result"]),
        (["search=tpe", "algo.y=interval(-1,1)"], ["algo.y=-1.0: expected number > 0"]),
        (["search=tpe", "algo.width=interval(1.5,3)"], ["algo.width=1.5: expected whole number"]),
        (["search=tpe", "algo.width=choice(1,x)"], ["algo.width=x: expected whole number"]),
        (["search=tpe", "algo.x=interval(1,0)"], ["the first number is to be below the second"]),
        (["search=tpe", "algo.x=tag(log,interval(0,1))"], ["numbers above 0"]),
        (["search=tpe", "algo.x=tag(linear,interval(0,1))"], ["the only tag is log"]),
        (["search=tpe", "algo.width=range(1,3)"], ["search.trials=3, and there are only 2 combinations"]),
        (["search=tpe", "algo.z=interval(0,1)"], ["no key 'algo.z'"]),
        (["search=tpe", X, "rerun=true"], ["search.seed=1"]),
        (["search=tpe", X, "search.metric=train/q"], ["neither good nor bad", "search.direction=maximize"]),
        (["search=tpee", X], ["did you mean search=tpe?"]),
        ([], ["search.trials belongs to a search", "asha, random, tpe"]),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_begins(
    asked: list[str], parts: list[str], results: Path
) -> None:
    with pytest.raises(UsageError) as error:
        planned(*asked)
    assert [part for part in parts if part not in str(error.value)] == []
    assert not results.exists()


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"search= needs Optuna: pip install 'rlbench\[search\]'"):
        planned("search=tpe", X)


def test_a_search_needs_m() -> None:
    with pytest.raises(UsageError, match="add -m and search=tpe"):
        config.expand([X, "search=tpe"], multirun=False)


def test_commas_are_searches_of_their_own() -> None:
    runs = planned("search=tpe", "algo.colour=red,blue", X, trials=4)
    assert len(runs) == 8
    assert len({run.directory.parent for run in runs}) == 2
    assert len({run.path for run in runs}) == 8


def test_more_trials_belong_to_the_same_search() -> None:
    def folder(*more: str, trials: int = 3) -> Path:
        return planned(*more, trials=trials)[0].directory.parent

    assert folder("search=tpe", X) == folder("search=tpe", X, "hardware=local", trials=9)
    others = [
        folder(X, *more)
        for more in (["search=tpe"], ["search=random"], ["search=tpe", "search.seed=1"], ["search=tpe", "algo.y=1"])
    ]
    assert len({*others, folder("search=tpe", "algo.x=interval(0,2)")}) == 5


def test_check_and_cfg_show_a_search_once(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["-m", *OPTIONS, *words("search=tpe", X, trials=30)]
    assert cli.main(["check", *asked]) == 0
    assert capsys.readouterr().out.count("30 trials") == 1
    assert cli.main([*asked, "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("trials: 30") == 1
    assert "trial:" not in shown


# -- drawing


def bare(kind: str, *space: config.Dimension, seed: int = 0, factor: int | None = None, grace: int = 1) -> Search:
    """A search without runs."""
    settings = {"sampler": kind, "seed": seed, "direction": "maximize", "metric": None}
    return Search(Path(), {**settings, "reduction_factor": factor, "grace": grace}, space, 10)


def told(of: Search, values: dict[str, Any], score: float | None) -> optuna.trial.FrozenTrial:
    state = optuna.trial.TrialState.RUNNING if score is None else optuna.trial.TrialState.COMPLETE
    return optuna.trial.create_trial(state=state, params=values, distributions=of.distributions(), value=score)


def test_numbers_are_short_and_within_their_bounds() -> None:
    space = (
        config.Dimension("real", 1 / 3, 2 / 3),
        config.Dimension("log", 1e-5, 1e-1, log=True),
        config.Dimension("whole", 2, 4),
        config.Dimension("step", 0.1, 0.4, step=0.1),
        config.Dimension("word", options=("[64,64]", "null")),
    )
    drawn = [next(bare("random", *space).proposals(number, [])) for number in range(200)]
    assert all(1 / 3 <= each["real"] <= 2 / 3 and len(str(each["real"])) <= 8 for each in drawn)
    assert {each["whole"] for each in drawn} == {2, 3, 4}
    assert {each["step"] for each in drawn} == {0.1, 0.2, 0.3, 0.4}
    assert {each["word"] for each in drawn} == {"[64,64]", "null"}
    decades = [sum(10**-k <= each["log"] < 10 ** (1 - k) for each in drawn) for k in (5, 4, 3, 2)]
    assert sum(decades) == 200
    assert min(decades) > 30  # 50 are expected of each, and 30 of 200 are 3.3 standard deviations fewer


@pytest.mark.parametrize(
    ("word", "second"),
    [
        ("algo.x=range(0.1,0.5,0.1)", 0.2),
        ("algo.x=range(0.98765432,0.99,0.0001)", 0.98775432),
        ("algo.x=range(100000.5,100009.5,1)", 100001.5),
    ],
)
def test_numbers_of_a_grid_stay_on_it(word: str, second: float) -> None:
    dimension = config.dimension(word)
    assert dimension is not None
    grid = list(search.points(dimension))
    assert grid[1] == second
    found = bare("random", dimension)
    drawn = [next(found.proposals(number, []))["algo.x"] for number in range(100)]
    assert set(drawn) <= set(grid)
    for value in grid:  # Optuna refuses what is not on the grid
        told(found, {"algo.x": value}, 1.0)


def test_the_search_seed_and_the_number_decide_a_draw() -> None:
    space = config.Dimension("x", 0.0, 1.0)
    same = [next(bare("random", space, seed=seed).proposals(n, [])) for seed, n in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert same[0] == same[1]
    assert len({each["x"] for each in same}) == 3


def test_what_is_being_tried_is_not_tried_beside_it() -> None:
    """With trials under way near the best, TPE draws elsewhere than with those trials unknown."""
    tpe = bare("tpe", config.Dimension("x", 0.0, 1.0))
    known = [
        told(tpe, {"x": x}, -abs(x - 0.3)) for x in (0.0, 0.05, 0.1, 0.2, 0.28, 0.32, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    under_way = [told(tpe, {"x": x}, None) for x in (0.29, 0.3, 0.31)]

    def near(history: Sequence[optuna.trial.FrozenTrial]) -> int:
        return sum(abs(next(tpe.proposals(number, history))["x"] - 0.3) < 0.03 for number in range(40))

    assert near([*known, *under_way]) < near(known) / 2


def test_every_combination_is_tried_once() -> None:
    for kind in ("random", "tpe"):
        few = bare(kind, config.Dimension("a", 1, 3), config.Dimension("b", options=("u", "v", "w")))
        history: list[optuna.trial.FrozenTrial] = []
        for number in range(9):
            tried = [trial.params for trial in history]
            values = next(each for each in few.proposals(number, history) if each not in tried)
            history.append(told(few, values, float(values["a"])))
        assert len({tuple(trial.params.values()) for trial in history}) == 9


# -- stopping early


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_rule_is_optunas(factor: int) -> None:
    """Trials one after another, with curves that cross: the same are stopped as by Optuna's successive halving."""
    ours, theirs = bare("random", factor=factor), optuna.create_study(direction="maximize")
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    rng, curves, stopped = random.Random(factor), list[dict[int, float]](), []
    for _ in range(60):
        frozen, level, curve = theirs.ask(), rng.random(), dict[int, float]()
        for evaluation in range(1, 30):
            curve[evaluation] = level + rng.gauss(0, 0.3) / evaluation
            frozen.report(curve[evaluation], evaluation)
            goes_on = not ours.is_rung(10 * evaluation) or search.is_ahead(
                curve[evaluation], [other[evaluation] for other in curves if evaluation in other], factor
            )
            assert goes_on is not pruner.prune(theirs, theirs.trials[-1])
            if not goes_on:
                stopped.append(evaluation)
                break
        curves.append(curve)
    assert len(set(stopped)) > 1
    assert 10 < len(stopped) < 60


def test_rungs() -> None:
    assert [step for step in range(1, 500) if bare("random", factor=3, grace=2).is_rung(step)] == [20, 60, 180]
    assert not any(bare("random").is_rung(step) for step in range(100))


# -- running


def test_a_trial_is_the_run_that_its_values_make(capsys: pytest.CaptureFixture[str]) -> None:
    found = searched("search=random", X, Y, "algo.colour=choice(red,blue)", "seeds=2", "steps=4")
    trials = list(found.trials())
    assert [each.number for each in trials] == [0, 1, 2]
    for each in trials:
        typed = ["algo=hill", "tracking=disabled", "seeds=2", "steps=4", *each.words.split()]
        assert each.run.directory == config.run_directory(config.compose(typed, [HILL]))
        assert found.place(each.number).resolve() == each.run.directory
        assert RunDir(each.run.directory).status()["state"] == "finished"
        assert "search" not in yaml.safe_load(RunDir(each.run.directory).config())
        score = height(each.values["algo.x"], each.values["algo.y"], 5)
        assert search.final(found.scores(each)) == pytest.approx(score, abs=1e-12)
    best, _ = best_of(found)
    assert best == max(trials, key=lambda each: search.final(found.scores(each)))
    lines = "\n".join(
        search.shown(planned("search=random", X, Y, "algo.colour=choice(red,blue)", "seeds=2", "steps=4"))
    )
    assert f"in trial {best.number}: {best.words}" in lines
    capsys.readouterr()
    assert cli.main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["runs"]
    assert {run["path"] for run in listed} == {str(each.run.directory) for each in trials}
    assert cli.main([*OPTIONS, "algo=hill", "tracking=disabled", "seeds=2", "steps=4", *best.words.split()]) == 0
    assert "finished already" in capsys.readouterr().out


def test_the_same_search_again_does_nothing_and_a_longer_one_goes_on(results: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in results.glob("runs/*/*/*/metrics.jsonl")}

    searched("search=tpe", X)
    first = files()
    searched("search=tpe", X)
    assert files() == first
    assert len(list(searched("search=tpe", X, trials=5).trials())) == 5
    assert len(files()) == 5
    assert first.items() <= files().items()


def test_the_mean_over_seeds_counts_in_the_direction_asked_for() -> None:
    """Or else in the one that the algorithm declares for the metric."""
    found = searched("search=random", "algo.x=choice(0,0.3)", "algo.tilt=-1", "seeds=3", "seed=1", "steps=2", trials=2)
    best, score = best_of(found)
    assert best.values == {"algo.x": "0.3"}
    assert score == pytest.approx(1 - (1 + 2 + 3) / 3)
    for direction, top in (("auto", "0.3"), ("minimize", "0.3"), ("maximize", "0")):
        found = searched("search=random", "algo.x=choice(0,0.3)", "steps=2", "search.metric=eval/depth",
                         f"search.direction={direction}", trials=2)  # fmt: skip
        best, score = best_of(found)
        assert best.values == {"algo.x": top}
        assert score == -height(float(top), 0.01, 5)
    assert RunDir(best.run.directory).metric_directions() == {"eval/depth": "lower"}


@pytest.mark.parametrize("evaluations", [1, 4])
def test_a_metric_that_there_is_not(evaluations: int, capsys: pytest.CaptureFixture[str]) -> None:
    searched("search=random", X, "search.metric=eval/retrun", "steps=4", f"eval.every={4 // evaluations}",
             trials=1, code=1)  # fmt: skip
    said = capsys.readouterr().err
    assert "search.metric=eval/retrun: an evaluation has eval/depth, eval/return, train/loss\n" in said
    assert "did you mean search.metric=eval/return?" in said


@pytest.mark.parametrize("hardware", [[], ["hardware=local", "hardware.workers=1"]])
def test_a_metric_that_there_is_not_ends_the_search(hardware: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = searched("search=random", X, "search.metric=eval/retrun", "steps=2", *hardware, trials=4, code=1)
    assert [trial.state for trial in found.trials()] == ["failed"]
    assert "of 4 runs, 3 new, 1 failed\n" in capsys.readouterr().err


def test_of_two_searches_the_one_without_its_metric_ends() -> None:
    asked = "search=random", X, "steps=2"
    metrics = "eval/retrun", "eval/depth"
    assert cli.main(["-m", *OPTIONS, *words(*asked), f"search.metric={','.join(metrics)}"]) == 1
    found = [Search.of(planned(*asked, f"search.metric={metric}")[0]) for metric in metrics]
    assert [len(list(each.trials())) for each in found] == [1, 3]


def test_a_trial_that_fails_counts_as_one_of_the_worst() -> None:
    found = searched("search=tpe", "algo.falls=choice(99,3)", "steps=4", trials=2, code=1)
    state = {each.values["algo.falls"]: found.told(each) for each in found.trials()}
    assert state["99"].state == optuna.trial.TrialState.COMPLETE
    assert state["3"].state == optuna.trial.TrialState.PRUNED
    assert state["3"].last_step == 2


def test_a_damaged_run_stops_no_other() -> None:
    found = searched("search=tpe", X, "steps=2")
    first = next(found.trials())
    (first.run.directory / "metrics.jsonl").write_text('{"eval/return": \n')
    again = searched("search=tpe", X, "steps=2", trials=5)
    assert again.told(first).state == optuna.trial.TrialState.PRUNED
    assert best_of(again)[0].number != first.number
    assert len(list(again.trials())) == 5


def test_yaml_that_was_edited_is_noticed(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    (conf / "algo").mkdir(parents=True)
    for name in ("algo/hill.yaml", "plugins.yaml"):
        (conf / name).write_text((HILL / name).read_text())
    asked = ["-m", "--config-dir", str(conf), *words("search=tpe", X)]
    runs = cli.cells(cli.request(asked, "", ""))
    assert search.work(runs[0]) == 0
    (conf / "algo/hill.yaml").write_text((HILL / "algo/hill.yaml").read_text().replace("green", "red"))
    config.composed.cache_clear()  # another process would not know what was there before
    with pytest.raises(UsageError, match="the YAML files say something else"):
        search.work(runs[1])
    assert search.work(runs[0]) == 0  # what has begun is as it was


def steps(of: Search) -> int:
    return sum(each.run.status()["step"] for each in of.trials())


def test_the_hopeless_are_stopped_and_the_best_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    whole = searched("search=random", X, Y, "algo.colour=red", trials=16)
    halved = searched("search=asha", X, Y, trials=16)
    assert [each.values for each in halved.trials()] == [each.values for each in whole.trials()]
    (best, score), (best_of_all, highest) = best_of(halved), best_of(whole)
    assert (best.values, score) == (best_of_all.values, highest)
    assert steps(halved) < steps(whole) / 2
    states = {each.number: each.state for each in halved.trials()}
    assert set(states.values()) == {"finished", "pruned"}
    ended = {each.number: each.run.status()["step"] for each in halved.trials()}
    assert {ended[number] for number, state in states.items() if state == "pruned"} <= {1, 4}
    # Stopped early is over for the search, and not for who asks for the run itself.
    stopped = next(each for each in halved.trials() if each.state == "pruned")
    searched("search=asha", X, Y, trials=16)
    assert stopped.state == "pruned"
    capsys.readouterr()
    assert cli.main(["resume", stopped.run.directory.name]) == 0
    assert "16 of 16 steps" in capsys.readouterr().out
    assert stopped.state == "finished"
    assert [row["step"] for row in RunDir(stopped.run.directory).rows()] == list(range(1, 17))


@pytest.mark.slow
def test_tpe_is_better_than_chance() -> None:
    """The same number of trials, several seeds: what is left to the top is less, for each of them."""
    for seed in range(3):
        left = {}
        for kind in ("random", "tpe"):
            found = searched(f"search={kind}", f"search.seed={seed}", X, Y, "steps=1", trials=25)
            left[kind] = 1 - best_of(found)[1]
        assert left["tpe"] < left["random"] / 2


def test_verbs_know_trials(capsys: pytest.CaptureFixture[str]) -> None:
    found = searched("search=asha", X, Y, "hardware=local", trials=6)
    capsys.readouterr()

    def said(*words: str) -> str:
        assert cli.main(list(words)) == 0
        return capsys.readouterr().out

    first = next(found.trials())
    (sweep,) = sweeps()
    listed = json.loads(said("status", "--json"))["runs"]
    assert [run["sweep"] for run in listed] == [sweep.name] * 6  # each once, not as a run of no sweep beside it
    shown = said("sweep", "show", sweep.name)
    best, score = best_of(found)
    assert f"best: {score:.6g} in trial {best.number}: {best.words}" in shown
    assert f"trial={first.number} {first.words}" in shown
    assert first.run.directory.name in shown
    by_run, by_trial = said("logs", first.run.directory.name), said("logs", found.place(0).name)
    assert f"trial 0: {first.words}" in by_run
    assert by_run == by_trial


# -- kills


def command(*more: str, trials: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rlbench", "-m", *OPTIONS, *words(*more, trials=trials)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def begun(asked: Sequence[str], trials: int) -> Callable[[int], bool]:
    folder = planned(*asked, trials=trials)[0].directory.parent
    return lambda number: len(list(folder.glob("*.json"))) >= number


@pytest.mark.parametrize("hardware", ["cpu", pytest.param("local", marks=pytest.mark.slow)])
def test_a_search_that_is_killed_goes_on(results: Path, hardware: str) -> None:
    """kill -9 at two moments; then each trial was run once, to its end, with the values that it began with."""
    asked = ["search=tpe", X, Y, "algo.seconds=0.02", "checkpoint.every_seconds=0.05", f"hardware={hardware}"]
    is_begun, seen = begun(asked, 8), dict[int, Any]()
    for strike, number in enumerate((1, 5)):
        process = command(*asked, trials=8)
        wait_for(lambda number=number: is_begun(number))  # type: ignore[misc]
        time.sleep(0.1 * strike)
        process.kill()
        process.communicate()
        for each in Search.of(planned(*asked, trials=8)[0]).trials():
            assert seen.setdefault(each.number, each) == each
    found = searched(*asked, trials=8)
    trials = list(found.trials())
    assert [each.number for each in trials] == list(range(8))
    assert all(seen[number] == trials[number] for number in seen)
    runs = list(results.glob("runs/hill/*/*/status.json"))
    assert len(runs) == 8
    for each in trials:
        assert each.state == "finished"
        assert [row["step"] for row in RunDir(each.run.directory).rows()] == list(range(1, 17))


def begin(asked: list[str], number: int) -> str:
    """What a job does first, in a process of its own."""
    run = planned(*asked, trials=12)[number]
    return Search.of(run).begun(run).run.path


def test_trials_that_begin_at_once_are_different_and_ask_once() -> None:
    asked = ["search=random", "algo.width=range(1,13)"]
    twice = list(itertools.chain.from_iterable((number, number) for number in range(12)))
    with ProcessPoolExecutor(6) as pool:
        paths = list(pool.map(begin, [asked] * 24, twice))
    assert [paths[2 * k] for k in range(12)] == [paths[2 * k + 1] for k in range(12)]
    assert len(set(paths)) == 12


@pytest.mark.slurm
@pytest.mark.timeout(900)
def test_jobs_of_a_cluster_draw_for_themselves(cluster: Practice, results: Path) -> None:
    """Nobody stays to tell them; jobs are killed, cancelled and requeued in the middle."""
    asked = [
        "search=asha", "search.sampler=tpe", X, Y, "algo.seconds=0.3", "checkpoint.every_seconds=0.5",
        "hardware=slurm_cpu", "hardware.slurm.memory_gb=0.2", "hardware.slurm.notice=5", "hardware.slurm.at_once=4",
    ]  # fmt: skip
    assert cli.main(["-m", *OPTIONS, *words(*asked, trials=12)]) == 0
    (sweep,) = sweeps()
    found = Search.of(sweep.runs()[0])

    def at_work() -> list[Trial]:
        return [each for each in found.trials() if each.state == "running"]

    wait_for(lambda: len(at_work()) >= 3, 180)
    drawn = {each.number: each for each in found.trials()}
    jobs = start.place("slurm").jobs(sweep)
    killed, cancelled, again = (sweep.runs()[each.number] for each in at_work()[:3])
    os.kill(killed.status()["pid"], signal.SIGKILL)
    cluster.run("scancel", jobs[cancelled.path].id)
    cluster.run("scontrol", "requeue", jobs[again.path].id)
    wait_for(lambda: not cluster.jobs(), 300)
    assert cli.main(["resume", sweep.name]) == 0
    wait_for(lambda: not cluster.jobs(), 300)

    trials = list(found.trials())
    assert [each.number for each in trials] == list(range(12))
    assert all(trials[number] == each for number, each in drawn.items())
    assert len(list(results.glob("runs/hill/*/*/status.json"))) == 12
    for each in trials:
        reached = each.run.status()["step"]
        assert each.state == ("finished" if reached == 16 else "pruned")
        assert [row["step"] for row in RunDir(each.run.directory).rows()] == list(range(1, reached + 1))
    assert {each.state for each in trials} == {"finished", "pruned"}
