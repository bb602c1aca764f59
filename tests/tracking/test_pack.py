"""Runs in one file: what comes out again is what went in, without whose machine it was."""

from __future__ import annotations

import json
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rlbench.cli import main
from rlbench.tracking.pack import pack
from rlbench.tracking.rundir import RunDir, run_paths
from tests.analysis.synthetic import Experiment, write

MACHINE = {"host": "secret-host", "cpu": "Some CPU", "cores": 2}
META = {"machine": MACHINE, "command": ["/home/me/venv/bin/rlbench", "algo=iql"], "versions": {"torch": "2.13.0"}}


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of two algorithms with three seeds each, and a run that is not finished; the results folder is an empty one."""
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "before"))
    for algo, level in (("iql", 60.0), ("bc", 40.0)):
        experiment = Experiment(tmp_path / "before", [f"algo={algo}"], level, meta=META)
        for seed in range(3):
            run = experiment.run(seed)
            (run.path / "log.txt").write_text("what was said\n")
    write(tmp_path / "before", ["algo=cql"], done=0.5)
    assert main(["pack", str(tmp_path / "runs.zip")]) == 0
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "after"))
    return tmp_path / "runs.zip"


def test_a_comparison_of_unpacked_runs_is_the_same(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unpack", str(packed)]) == 0
    assert "6 unpacked" in capsys.readouterr().out

    def compared() -> str:
        assert main(["compare", "algo=iql,bc", "--plain"]) == 0
        return capsys.readouterr().out

    after = compared()
    monkeypatch.setenv("RLBENCH_RESULTS", str(packed.parent / "before"))
    assert after == compared()
    assert "seed 2" in after


def test_no_machine_is_named_and_all_else_is_kept(packed: Path) -> None:
    main(["unpack", str(packed)])
    for path in run_paths(packed.parent / "after"):
        twin = packed.parent / "before" / path.relative_to(packed.parent / "after")
        run = RunDir.open(path)
        assert run.metrics.read_bytes() == (twin / "metrics.jsonl").read_bytes()
        assert run.config() == (twin / "config.yaml").read_text()
        assert run.overrides() == RunDir.open(twin).overrides()
        meta = run.meta()
        assert meta["command"] == ["rlbench", "algo=iql"]
        assert meta["machine"] == {"cpu": "Some CPU", "cores": 2}
        assert meta["versions"] == {"torch": "2.13.0"}
        assert {file.name for file in path.iterdir()} == {
            "config.yaml", "overrides.yaml", "meta.json", "metrics.jsonl", "status.json",
        }  # fmt: skip
        everything = "".join(file.read_text() for file in path.iterdir())
        assert not any(word in everything for word in ("secret-host", "/home/me", socket.gethostname() + '"'))


def test_files_are_named_and_their_folders_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "before"))
    source = {"dataset": {"fingerprint": "f" * 16, "source": "/home/me/secret/data.npz", "from": "https://a.org/b/c"}}
    run = write(tmp_path / "before", ["algo=iql"], meta=source)
    config = run.path / "config.yaml"
    config.write_text(config.read_text().replace("dataset:\n", "dataset:\n  path: /home/me/secret/data.npz\n", 1))
    (run.path / "overrides.yaml").write_text('- "algo=iql"\n- "dataset=file:/home/me/secret/data.npz"\n')
    assert main(["pack", str(tmp_path / "runs.zip")]) == 0
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "after"))
    main(["unpack", str(tmp_path / "runs.zip")])
    (path,) = run_paths(tmp_path / "after")
    again = RunDir.open(path)
    assert again.overrides() == ["algo=iql", "dataset=file:data.npz"]
    assert "  path: data.npz\n" in again.config()
    assert again.meta()["dataset"] == {"fingerprint": "f" * 16, "source": "data.npz", "from": "https://a.org/b/c"}


def test_folders_with_spaces_and_of_addresses_are_not_named_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "before"))
    place = "/home/Jörg Maria Sebastian von Doe/a folder with a long name/and another/my data.npz"
    run = write(tmp_path / "before", ["algo=iql"], meta={"dataset": {"source": place, "at": "file:///home/me/x.npz"}})
    config = run.path / "config.yaml"
    folded = place.replace(" and", "\n    and")  # as YAML breaks lines
    config.write_text(config.read_text().replace("dataset:\n", f"dataset:\n  path: {folded}\n", 1))
    (run.path / "overrides.yaml").write_text("- " + json.dumps(f"dataset=file:{place}") + "\n")
    assert main(["pack", str(tmp_path / "runs.zip")]) == 0
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "after"))
    main(["unpack", str(tmp_path / "runs.zip")])
    (path,) = run_paths(tmp_path / "after")
    again = RunDir.open(path)
    assert again.overrides() == ["dataset=file:my data.npz"]
    assert again.content()["dataset"]["path"] == "my data.npz"
    assert again.meta()["dataset"] == {"source": "my data.npz", "at": "file://x.npz"}


def test_the_same_runs_are_the_same_file_and_what_is_there_stays(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["unpack", str(packed)])
    again = packed.with_name("again.zip")
    pack(run_paths(packed.parent / "after"), again)
    assert again.read_bytes() == packed.read_bytes()
    mine = run_paths(packed.parent / "after")[0] / "status.json"
    mine.write_text(mine.read_text().replace('"finished"', '"failed"'))
    before = mine.read_text()
    capsys.readouterr()
    assert main(["unpack", str(packed)]) == 0
    assert "0 unpacked, 6 already here" in capsys.readouterr().out
    assert mine.read_text() == before


def test_packing_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    write(tmp_path, ["algo=iql"])
    write(tmp_path, ["algo=bc"], done=0.5)
    broken = write(tmp_path, ["algo=cql"])
    (broken.path / "status.json").write_text("{")
    assert main(["pack", str(tmp_path / "some.zip"), "hopper"]) == 0
    said = capsys.readouterr().out
    assert "left out: 1 interrupted" in said
    assert f"left out, damaged: {broken.path}" in said
    assert "1 run, " in said
    assert main(["pack", str(tmp_path / "some.zip"), "algo=bc"]) == 2
    assert "no such finished run" in capsys.readouterr().err
    assert main(["pack", str(tmp_path / "some.zip"), "algo=iql"]) == 0
    assert "left out" not in capsys.readouterr().out


def test_a_run_that_lacks_a_file_and_a_place_that_takes_none_end_with_one_message(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["unpack", str(packed)])
    path = run_paths(packed.parent / "after")[0]
    (path / "overrides.yaml").unlink()
    out = packed.with_name("more.zip")
    capsys.readouterr()
    assert main(["pack", str(out)]) == 1
    assert capsys.readouterr().err == (
        f"rlbench: error: {out} cannot be made: {path / 'overrides.yaml'}: No such file or directory\n"
    )
    (packed.parent / ".more.zip.tmp").mkdir()
    assert main(["pack", str(out)]) == 1
    assert "Is a directory" in capsys.readouterr().err
    assert not out.exists()


def spoiled(packed: Path, how: str) -> Path:
    """A file that is no good."""
    bad = packed.with_name("bad.zip")
    if how == "cut":
        bad.write_bytes(packed.read_bytes()[:-200])
    elif how == "text":
        bad.write_text("no archive")
    elif how == "altered":
        data = bytearray(packed.read_bytes())
        data[len(data) // 2] ^= 0xFF
        bad.write_bytes(data)
    else:
        with zipfile.ZipFile(bad, "w") as archive:
            archive.writestr(how, "{}")
    return bad


@pytest.mark.parametrize("how", ["cut", "text", "altered", "../../evil.txt", "/etc/evil", "runs/iql/hopper/xyz/a.txt"])
def test_a_bad_file_ends_with_one_message_and_makes_nothing(
    packed: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = spoiled(packed, how)
    capsys.readouterr()
    assert main(["unpack", str(bad)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"rlbench: error: {bad} cannot be unpacked: ")
    assert said.count("\n") == 1
    assert not (packed.parent / "evil.txt").exists()
    for path in run_paths(packed.parent / "after"):  # those before the fault are whole
        assert RunDir.open(path).finished()
        assert json.loads((path / "status.json").read_text())


@pytest.mark.parametrize("name", ["status.json", "metrics.jsonl"])
def test_a_run_that_is_not_whole_is_refused_and_leaves_nothing(
    packed: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = packed.with_name("bad.zip")
    with zipfile.ZipFile(packed) as archive, zipfile.ZipFile(bad, "w") as other:
        left_out = next(each for each in archive.namelist() if each.endswith(name))
        for each in archive.namelist():
            if each != left_out:
                other.writestr(each, archive.read(each))
    capsys.readouterr()
    assert main(["unpack", str(bad)]) == 1
    said = f"rlbench: error: {bad} cannot be unpacked: {left_out.removesuffix('/' + name)} lacks {name}\n"
    assert capsys.readouterr().err == said
    assert not (packed.parent / "after").exists()


def test_a_run_that_is_damaged_on_its_way_leaves_nothing(packed: Path) -> None:
    assert main(["unpack", str(spoiled(packed, "altered"))]) == 1
    assert not list((packed.parent / "after").glob("runs/*/*/.*.new"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pack"], "the following arguments are required: FILE\n"),
        (["pack", "runs.tar"], "name it FILE.zip"),
        (["pack", "nowhere/runs.zip"], "there is no folder"),
        (["unpack", "runs.zip"], "there is no file"),
    ],
)
def test_wrong_words(words: list[str], said: str, monkeypatch: Any, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert said in capsys.readouterr().err
