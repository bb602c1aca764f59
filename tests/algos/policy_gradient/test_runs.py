"""Policy gradients through the one entry point: run, exported, played without rlbench."""

import runpy
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from rlbench import cli, config
from rlbench.envs.control import Control
from rlbench.run import run
from rlbench.tracking.rundir import RunDir
from tests.algos.helpers import build


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


@pytest.mark.parametrize("algo", ["vanilla_pg", "trpo", "npg_igt", "nsgdm", "nharpg"])
def test_seeds_of_different_pace_do_not_depend_on_how_much_is_asked_for_at_once(algo: str) -> None:
    """Whose iterations fall into one call, or are played again after a reload, changes no bit."""
    hopper = Control("hopper", "Hopper-v4")
    whole, parts, resumed = (
        build(algo, hopper, (0, 1, 2), steps=1200, hidden_dims=[64, 64], batch_size=100) for _ in range(3)
    )
    whole.train(1200)
    assert len(set(whole.spent.tolist())) > 1
    for _ in range(60):
        parts.train(10)
    resumed.load_state_dict(deepcopy(parts.state_dict()))
    for _ in range(60):
        parts.train(10)
    resumed.train(600)
    expected = whole.state_dict()["tensors"]
    for other in (parts, resumed):
        for name, value in other.state_dict()["tensors"].items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, equal_nan=True, msg=name)
