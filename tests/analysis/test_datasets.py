"""The data sets of runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlbench.cli import main
from tests.analysis import synthetic

CARD: dict[str, Any] = {
    "id": "file:mine.npz", "fingerprint": "0123456789abcdef", "rows": 12345, "episodes": 2,
    "return": {"mean": 6.0, "std": 1.0}, "length": {"mean": 6172.5, "std": 0.5}, "reference": {"min": 4.0, "max": 8.0},
}  # fmt: skip


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    return tmp_path


def test_a_run_tells_what_it_read(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["env=hopper", "dataset=random", "dataset.size=300"]
    assert main(["algo=bc", *words, "steps=2", "eval.every=2", "eval.episodes=1", "algo.hidden_dims=[8]"]) == 0
    capsys.readouterr()
    assert main(["data", "info", *words, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert main(["data", "used", "hopper", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {**card, "fingerprint": found["fingerprint"], "judged_in": "hopper"}


def test_each_data_set_is_a_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for algo in ("bc", "iql"):
        synthetic.write(results, [f"algo={algo}"], meta={"dataset": CARD})
    segments = {"id": "pairs", "fingerprint": "f" * 16, "pairs": 7, "length": 64}  # of each
    synthetic.write(results, ["algo=cql"], meta={"dataset": segments})
    synthetic.write(results, ["algo=td3"], meta={"dataset": None})
    assert main(["data", "used", "--markdown"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| data set | env | rows | episodes | return | length | score | fingerprint |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        "| file:mine.npz | hopper | 12,345 | 2 | 6.0 ± 1.0 | 6,172.5 ± 0.5 | 50.0 | 01234567 |",
        "| pairs | hopper |  |  |  | 64 |  | ffffffff |",
    ]
    assert main(["data", "used", "algo=cql"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["pairs", "hopper", "64", "ffffffff"]
    ]
    assert main(["data", "used", "algo=td3"]) == 2
    assert "no such run that read data" in capsys.readouterr().err
