"""`rlbench eval` and `export`: what they refuse before a policy plays, and what they say of a run that is not done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlbench import config
from rlbench.cli import main
from rlbench.run import run
from rlbench.tracking.rundir import RunDir
from rlbench.verbs import eval as verb
from tests.launch.cases import SHORT


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A finished run."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    cfg = config.compose(SHORT)
    assert run(cfg) == 0
    return RunDir(config.run_directory(cfg))


def test_nothing_is_played_for_a_folder_that_cannot_be_written(
    trained: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    capsys.readouterr()
    assert main(["eval", trained.id, "--episodes", "2", "--keep"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"rlbench: error: --keep writes episodes.json, and {trained.path} is not to be written to\n"


def test_scores_are_printed_before_they_are_kept(
    trained: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "episodes.json")

    monkeypatch.setattr(verb, "write_atomically", full)
    capsys.readouterr()
    assert main(["eval", trained.id, "--episodes", "2", "--keep"]) == 1
    said = capsys.readouterr()
    assert "eval/return: " in said.out
    assert "cannot read or write episodes.json" in said.err


def test_a_film_that_cannot_be_written_is_one_message(
    trained: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    capsys.readouterr()
    assert main(["eval", trained.id, "--video", str(tmp_path / "file" / "x.mp4")]) == 1
    assert "cannot be made (" in capsys.readouterr().err
    assert main(["eval", trained.id, "--video", str(tmp_path / "folder.mp4")]) == 1
    assert "it cannot be written there" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert main(["eval", trained.id, "--video", str(tmp_path / "x.mp4")]) == 1
    said = capsys.readouterr().err
    assert said == f"rlbench: error: --video {tmp_path / 'x.mp4'}: it cannot be written there\n"


def test_an_interrupted_run_is_said(trained: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", trained.id, "--episodes", "2"], ["export", trained.id, "--out", str(tmp_path / "out")]
    capsys.readouterr()
    for each in words:
        assert main(each) == 0
        assert "note: " not in capsys.readouterr().err
    text = (trained.path / "config.yaml").read_text()
    (trained.path / "config.yaml").write_text(text.replace("steps: 60\n", "steps: 200000\n"))
    trained.write_status(**{**trained.raw_status(), "state": "interrupted", "steps": 200_000})
    for each in words:
        assert main(each) == 0
        assert "note: interrupted, saved at step 60 of 200,000\n" in capsys.readouterr().err


def test_policies_play_in_other_environments(trained: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    """Other settings of theirs, in which nothing is learned and which nothing is kept of."""
    before = {path: path.stat().st_mtime_ns for path in trained.path.rglob("*")}

    def played(*words: str) -> dict[str, float]:
        capsys.readouterr()
        assert main(["eval", trained.id, "--episodes", "2", "--json", *words]) == 0
        row: dict[str, float] = json.loads(capsys.readouterr().out)[0]
        return row

    own = played()
    scored = played("env.reference_min=-100", "env.reference_max=0")
    assert scored["eval/return"] == own["eval/return"]
    assert scored["eval/normalized_score"] == pytest.approx(100 + own["eval/return"])
    near = "env.kwargs.start_radius=[0.1,0.2]"
    assert played(near)["eval/return"] > own["eval/return"]
    assert main(["eval", trained.id, near, "--episodes", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"2 episodes a seed in Disc2D-v0 {near}\n")
    for words, code, message in (
        (["env.refrence_min=0"], 2, "env.refrence_min=0: this cannot be another in an evaluation than in training\n"),
        (["env.termination=hopper"], 2, "wanted is one of env.id, env.kwargs, env.reference_max, env.reference_min\n"),
        (["env.reference_min=low"], 2, "env.reference_min=low: expected number or null"),
        (["env.kwargs.radius=3"], 2, "is not made with env.kwargs={'radius': 3}: Disc2D.__init__() got an unexpected"),
        (["env.id=Hopper-v4"], 1, "the policies do not fit the environment with env.id=Hopper-v4: "),
        (["steps=3"], 2, "steps=3: this cannot be another in an evaluation than in training"),
        ([near, "--keep"], 2, "--keep keeps the episodes of the run's own environment"),
    ):
        assert main(["eval", trained.id, *words]) == code
        said = capsys.readouterr()
        assert message in said.err
        assert said.out == ""
    assert {path: path.stat().st_mtime_ns for path in trained.path.rglob("*")} == before


JUDGE = """
from rlbench.language.judge import Judge


class Longer(Judge):
    def __init__(self, task):
        pass

    def prefers(self, prompt, first, second):
        return "tie" if len(first) == len(second) else "first" if len(first) > len(second) else "second"
"""


def test_policies_are_judged_by_a_judge_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that training knew nothing of, at another temperature; what the reference is made of cannot be another."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("RLBENCH_CACHE", str(tmp_path / "cache"))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": f"{i}?", "chosen": "y", "rejected": "n"}) + "\n" for i in range(40)))
    cfg = config.compose(
        ["algo=dpo", "env=text_tiny", "env.sft_epochs=0", "env.max_new=8", f"dataset=pref_file:{pairs}",
         "steps=64", "eval.every=64", "eval.episodes=2", "tracking=disabled"]
    )  # fmt: skip
    assert run(cfg) == 0
    mine = tmp_path / "mine"
    (mine / "env").mkdir(parents=True)
    (mine / "env" / "empty.yaml").write_text("name: empty\n")
    (mine / "plugins.yaml").write_text("plugins: [one_judge]\n")
    (mine / "one_judge.py").write_text(JUDGE)
    id = config.run_directory(cfg).name
    judged = ["eval", id, "--json", "--config-dir", str(mine), "env.judge={_target_: one_judge.Longer}"]
    capsys.readouterr()
    assert main([*judged, "env.temperature=0"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["eval/win_rate"] + row["eval/tie_rate"] > 0.4
    assert "eval/kl" not in row
    assert main([*judged, "env.sft_epochs=1"]) == 2
    assert "env.sft_epochs=1: this cannot be another in an evaluation than in training" in capsys.readouterr().err
