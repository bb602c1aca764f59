"""`rlbench eval` and `export`: what they refuse before a policy plays, and what they say of a run that is not done."""

from __future__ import annotations

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
