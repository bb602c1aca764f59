"""Searches through the one entry point: run, exported, evaluated, refused, and on a problem of one's own."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from rlbench import cli, config
from rlbench.errors import RunError, UsageError
from rlbench.run import run
from rlbench.tracking.rundir import RunDir
from tests.algos.evolution.searches import problem, search

WORDS = ["steps=400", "eval.every=200", "log.every=200", "seeds=2", "tracking=disabled"]
PAGE = Path(__file__).parents[3] / "docs" / "systems" / "stax.md"


def test_a_run_is_judged_exported_and_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    cfg = config.compose(["algo=serene", "env.radius=0.5", *WORDS])
    assert run(cfg) == 0
    directory = RunDir(config.run_directory(cfg))
    score = directory.score()
    assert score is not None
    assert (score.metric, score.step) == ("eval/best_reward", 400)
    rows = directory.rows()
    assert {"eval/coverage", "eval/areas", "train/rewarded", "train/emitters"} <= rows[-1].keys()
    assert cli.main(["export", config.run_id(cfg)]) == 0
    tables = {path.name for path in (directory.path / "export").iterdir()}
    assert tables == {f"{name}-seed{seed}.csv" for name in ("best", "archive", "rewarded") for seed in (0, 1)}
    capsys.readouterr()
    assert cli.main(["eval", config.run_id(cfg)]) == 0
    shown = capsys.readouterr().out
    assert "eval/best_reward: " in shown
    assert "episodes a seed" not in shown  # what was found in training is judged


def test_the_pages_own_problem_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, text in re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    mine = tmp_path / "mine"
    subjects: list[tuple[str, list[str]]] = [
        ("serene", []),
        ("stax", ["algo.max_epochs=0", "algo.population=10"]),
        ("ppo", ["algo.batch_size=100"]),
        ("sac_her", ["algo.start_steps=200", "algo.hidden_dims=[16]", "algo.batch_size=16"]),
    ]
    for algo, words in subjects:
        cfg = config.compose([f"algo={algo}", "env=corridor", *WORDS, *words], [mine])
        assert run(cfg) == 0
        rows = RunDir(config.run_directory(cfg)).rows()
        assert rows[-1]["eval/areas"] >= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["algo=stax", "env=hopper"], "point2d_goals"),
        (["algo=iql", "env=point2d_goals"], "hopper"),
        (["algo=sac", "env=chain3"], "point2d_goals"),
        (["algo=serene", "dataset=medium"], "dataset=none"),
        (["algo=ns", "env.reward=final_one"], "transit"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        config.compose(words)


@pytest.mark.parametrize(("name", "changes"), [("cma_es", {}), ("serene", {"emitter": "cma_es"})])
def test_without_the_package_one_line_says_what_to_install(
    name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing: Any = None
    monkeypatch.setitem(sys.modules, "cmaes", missing)
    with pytest.raises(RunError, match=r"pip install 'rlbench\[evolution\]'"):
        search(name, problem("point2d_goals"), **changes)
