"""Policy gradients through the one entry point: run, exported, played without rlbench."""

import runpy
from pathlib import Path

import pytest

from rlbench import cli, config
from rlbench.run import run
from rlbench.tracking.rundir import RunDir


def test_a_policy_of_choices_is_exported_and_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    cfg = config.compose(
        ["algo=npg_igt", "steps=2500", "eval.every=2500", "eval.episodes=2", "seeds=2", "tracking=disabled"]
    )
    assert run(cfg) == 0
    path = config.run_directory(cfg)
    rows = RunDir(path).rows()
    assert [row["train/iterations"] for row in rows if row["step"] == 1000] == [0, 0]  # whole episodes: more than that
    assert [row["train/iterations"] for row in rows if row["step"] == 2500] == [2, 2]
    assert cli.main(["export", config.run_id(cfg)]) == 0
    monkeypatch.chdir(path / "export")
    capsys.readouterr()
    runpy.run_path("example.py")
    words = capsys.readouterr().out.split()
    assert words[0] == "return"
    assert 8 <= float(words[1]) <= 500
