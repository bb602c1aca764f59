"""Bandits through the one entry point: killed and taken up again, exported, evaluated."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlbench import cli, config
from rlbench.algos.planning.ucb_ppp import UCBPPP
from rlbench.checkpoint import Checkpoints
from rlbench.conformance import same
from rlbench.run import run
from rlbench.tracking.rundir import RunDir

WORDS = ["algo=ucb_ppp", "steps=4000", "eval.every=500", "log.every=250", "seeds=3", "tracking=disabled"]


def outcome(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    state = Checkpoints(path / "ckpt", keep=2).load()
    assert state is not None
    return state["algorithm"], [
        {k: v for k, v in row.items() if not k.startswith("time")} for row in RunDir(path).rows()
    ]


def test_a_struck_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "whole"))
    cfg = config.compose(WORDS)
    assert run(cfg) == 0
    whole = outcome(config.run_directory(cfg))
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "struck"))
    train, strikes = UCBPPP.train, iter([False, False, True, False, True])

    def struck(self: UCBPPP, n: int) -> dict[str, np.ndarray]:
        if self.time > 1000 and next(strikes, False):
            os.kill(os.getpid(), signal.SIGTERM)
        return train(self, n)

    monkeypatch.setattr(UCBPPP, "train", struck)
    path = config.run_directory(cfg)
    assert [run(cfg) for _ in range(3)] == [143, 143, 0]
    state, rows = outcome(path)
    same(state, whole[0], "states")
    assert rows == whole[1]
    assert {"eval/mean_reward", "eval/regret", "eval/bound_regret", "train/reward"} <= rows[-1].keys()
    score = RunDir(path).score()
    assert score is not None
    assert (score.metric, score.step) == ("eval/mean_reward", 4000)


def test_schedules_are_exported_as_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    words = ["steps=96", "eval.every=96", "seeds=2", "tracking=disabled", "env=recovering_bandit_hand"]
    for algo, table in (
        ("ppp", "arm,offset,period\n0,1,4\n1,0,2\n2,3,4\n"),
        ("round_robin", "period,arm\n0,0\n1,1\n2,2\n"),
    ):
        cfg = config.compose([f"algo={algo}", *words])
        assert run(cfg) == 0
        assert cli.main(["export", config.run_id(cfg)]) == 0
        assert (config.run_directory(cfg) / "export" / "schedule-seed1.csv").read_text() == table
    capsys.readouterr()
    assert cli.main(["eval", config.run_id(cfg)]) == 0
    assert "eval/long_run_reward: 0.6500" in capsys.readouterr().out
