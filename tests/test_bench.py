"""`rlbench bench`: what it measures is there, and fits together."""

import json
from pathlib import Path

import pytest

from rlbench.cli import main

SMALL = ["algo=bc", "env=disc2d", "dataset=disc", "dataset.rows=400", "algo.hidden_dims=[32, 32]", "eval.episodes=2"]


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))


def bench(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["bench", *SMALL, "--seconds", "0.3", "--rounds", "3", *words]) == 0
    return capsys.readouterr().out


def test_json_fits_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = json.loads(bench(capsys, "seeds=2", "--json"))
    assert (found["algorithm"], found["seeds"], found["compiled"]) == ("bc", 2, False)
    update = found["update_seconds"]
    assert 0 < update["low"] <= update["median"] <= update["high"]
    assert found["seed_updates_per_second"] == pytest.approx(2 * found["updates_per_second"])
    # d=2, a=2, batch 256, two seeds; backward is twice forward but for the first layer's input
    forward = 2 * 256 * (2 * 32 + 32 * 32 + 32 * 2)
    expected = 2 * (3 * forward - 2 * 256 * 2 * 32) / 1e9
    assert found["gflop_per_update"] == pytest.approx(expected, rel=0.01)
    reached = found["gflop_per_second"] / found["limit_gflop_per_second"]
    assert found["share_of_the_limit"] == pytest.approx(reached)
    assert 0 < reached < 1
    for phase in ("sample", "evaluate", "log", "checkpoint"):
        assert found[f"{phase}_seconds"] > 0
    assert found["sample_seconds"] < update["median"]
    assert not (tmp_path / "results").exists()  # nothing is kept


def test_a_person_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = bench(capsys)
    for word in ("bc, 1 seed, cpu", "update", "sample", "evaluate", "checkpoint", "float32"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--rounds", "1"], "--rounds"), (["algo.no_such=1"], "no_such"), (["--seconds", "0"], "--seconds")],
)
def test_refuses(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SMALL, *words]) == 2
    assert said in capsys.readouterr().err
