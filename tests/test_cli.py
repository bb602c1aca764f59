"""The command line as a user meets it: exit codes, one message, nothing imported that is not needed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlbench import cli
from rlbench.errors import Interrupted, RunError, UsageError
from rlbench.launch.sweep import Planned
from tests.pace import budget


def rlbench(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`rlbench WORDS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "rlbench", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=120,
    )


def loaded(*words: str) -> set[str]:
    """The modules that a command imports."""
    code = "import sys; from rlbench.cli import main; code = main(sys.argv[1:]); print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.partition("MODULES ")[2].split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list"], ["list", "algo"], ["list", "--json"]])
def test_help_and_list_need_neither_hydra_nor_torch(words: list[str]) -> None:
    assert not {"torch", "hydra", "omegaconf", "numpy"} & loaded(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "algo=cocoa", "base=iql"],
        ["check", "algo=nobody"],
        ["describe", "algo=cocoa"],
        ["algo=iql", "--cfg", "job"],
        ["algo=iql", "algo.gama=1"],
        ["runs"],
    ],
)
def test_looking_and_refusing_need_no_torch(words: list[str]) -> None:
    assert "torch" not in loaded(*words)


def test_refusal_is_quick() -> None:
    with budget(1):
        assert rlbench("algo=iql", "algo.gama=1").returncode == 2


@pytest.mark.parametrize(
    ("words", "code", "lines"),
    [
        (["--version"], 0, []),
        (["--help"], 0, []),
        (["check", "algo=iql", "algo.gama=1"], 2, ["no key 'algo.gama'", "did you mean algo.gamma?"]),
        (["lst"], 2, ["no command 'lst'", "did you mean list?"]),
        (["algo=iql", "--seed", "3"], 2, ["no option --seed", "values are set without dashes: seed=VALUE"]),
        (["algo=iql", "--seed=3"], 2, ["no option --seed=3", "values are set without dashes: seed=3"]),
        (["algo=iql", "--confg-dir", "x"], 2, ["no option --confg-dir", "did you mean --config-dir?"]),
        (
            ["algo=bc", "env=pendulum", f"seed={10**20}"],
            2,
            [f"seed={10**20}: expected whole number in [0, {2**63 - 1}]"],
        ),
        (["algo=bc", "env=pendulum", f"seed={2**63 - 1}", "seeds=2"], 2, [f"the last seed is {2**63}, expected whole"]),
        (["-m", "algo=bc", "env=pendulum", f"seed=0,{10**20}"], 2, [f"seed={10**20}: expected whole number in [0, "]),
        (["compare", "pendulum", "--seed", "-1"], 2, ["--seed -1: at least 0"]),
        (["plot", "curves", "--out", "x.pdf", "--seed", "-1"], 2, ["--seed -1: at least 0"]),
        (["report", "x.html", "--seed", "-1"], 2, ["--seed -1: at least 0"]),
        (["list", "algos"], 2, ["argument group: invalid choice", "`rlbench list --help` explains"]),
        (["describe", "seed=1"], 2, ["nothing to describe in seed=1", "name an algo=, env= or dataset="]),
        (["seed=1"], 2, ["no algorithm given", "there are base_stock, bc, "]),
        (["algo=iql", "env=hopper", "list"], 2, ["'list' is neither a command", "`rlbench --help` lists"]),
    ],
)
def test_exit_codes_and_messages(words: list[str], code: int, lines: list[str], capsys: Any) -> None:
    assert cli.main(words) == code
    captured = capsys.readouterr()
    said = captured.err.splitlines()
    assert len(said) == len(lines)
    for found, wanted in zip(said, lines, strict=True):
        assert wanted in found
    if lines:
        assert said[0].startswith("rlbench: error: ")
        assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (RunError("x"), 1),
        (KeyboardInterrupt(), 130),
        (Interrupted(signal.SIGTERM), 143),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_every_end_has_its_code_and_one_message(error: BaseException, code: int, capsys: Any) -> None:
    def command() -> int:
        raise error

    assert cli.guarded(command) == code
    said = capsys.readouterr().err
    assert said.startswith("rlbench: error: ")
    assert "Traceback" not in said


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLBENCH_TRACEBACK", "1")
    assert cli.main(["algo=nobody"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m rlbench list | head -1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def piped(command: str) -> list[str]:
    """What a shell's command prints; `$R` is rlbench."""
    return subprocess.run(
        command.replace("$R", f"{sys.executable} -m rlbench"), shell=True, executable="/bin/bash",
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ).stdout.splitlines()  # fmt: skip


def test_a_reader_that_has_gone_does_not_change_what_came_of_the_command() -> None:
    assert piped("$R nonsense=1 2>&1 | true; echo ${PIPESTATUS[0]}") == ["2"]
    assert piped("$R show --help | true; echo ${PIPESTATUS[0]}") == ["0"]


def test_a_sweep_goes_on_when_its_reader_has_gone(brittle: Path, tmp_path: Path) -> None:
    words = f"-m --config-dir {brittle} algo=brittle env=disc2d tracking=disabled hardware.pack=1"
    there = f"RLBENCH_RESULTS={tmp_path / 'results'}"
    assert piped(f"{there} $R {words} seed=0,1 2>&1 | true; echo ${{PIPESTATUS[0]}}") == ["0"]
    states = [json.loads(path.read_text())["state"] for path in (tmp_path / "results").rglob("status.json")]
    assert states == ["finished", "finished"]
    assert piped(f"{there} $R {words} seed=2 algo.fails=true 2>&1 | true; echo ${{PIPESTATUS[0]}}") == ["1"]


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0), ("nonsense 2>&-", 2)])
def test_it_needs_neither_stdout_nor_stderr(closed: str, code: int) -> None:
    assert piped(f"$R list {closed}; echo $?")[-1] == str(code)


def test_what_cannot_be_written_is_one_message(capsys: Any) -> None:
    assert piped("$R list 2>&1 >/dev/full; echo $?") == [
        "rlbench: error: cannot read or write: No space left on device",
        "1",
    ]
    assert cli.guarded(lambda: Path("/proc/nothing").write_text("")) == 1
    assert capsys.readouterr().err == "rlbench: error: cannot read or write /proc/nothing: No such file or directory\n"


def test_list_for_a_program(capsys: Any) -> None:
    assert cli.main(["list", "env", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["env"]["hopper"]["is"] == "control"


def test_list_for_a_person(capsys: Any) -> None:
    assert cli.main(["list"]) == 0
    shown = capsys.readouterr().out
    for word in ("iql", "Implicit Q-Learning", "medium_replay", "hopper", "quick", "gpu"):
        assert word in shown


def test_describe_shows_value_meaning_and_source(capsys: Any) -> None:
    assert cli.main(["describe", "algo=cocoa", "base=iql", "dataset=medium_expert", "--json"]) == 0
    rows = {row["key"]: row for rows in json.loads(capsys.readouterr().out).values() for row in rows}
    temperature = rows["algo.base.temperature"]
    assert temperature["value"] == 6.0
    assert "inverse temperature" in temperature["meaning"]
    assert "CORL" in temperature["source"]
    assert "differs by dataset" in temperature["source"]
    assert rows["algo.base.hidden_dims"]["source"] == "COCOA's code"
    assert rows["algo.dynamics.members"]["value"] == 7
    assert rows["dataset.size"]["type"] == "whole number >= 1"


@pytest.mark.parametrize("words", [["env=hopper"], ["dataset=file"], ["dataset=medium"], [], ["algo=sac", "seeds=2"]])
def test_describe_takes_any_choice(words: list[str], capsys: Any) -> None:
    assert cli.main(["describe", *words]) == 0
    assert capsys.readouterr().out


def test_check_says_what_would_run(capsys: Any) -> None:
    assert cli.main(["check", "-m", "algo=bc,iql", "seeds=2", "steps=7", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["algorithm"], second["algorithm"]) == ("bc", "iql")
    assert (first["steps"], first["seeds"], first["state"]) == (7, "0 to 1", "new")
    assert Path(first["directory"]).name == first["id"]
    assert not Path(first["directory"]).exists()


@pytest.mark.parametrize("verb", [[], ["check"]], ids=["run", "check"])
def test_cfg_prints_the_configuration(verb: list[str], capsys: Any) -> None:
    assert cli.main([*verb, "algo=iql", "seed=4", "--cfg", "job", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 4


def test_a_folder_of_choices_may_stand_before_a_command(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "mine.yaml").write_text("# my own\nname: mine\n")
    for option in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert cli.main([*option, "list", "algo"]) == 0
        assert "\nmine " in capsys.readouterr().out


def test_cfg_prints_json_where_a_number_is_none() -> None:
    asked = cli.request(["--cfg", "job", "--json"], "", "")
    run = Planned([], {"most": float("inf"), "least": [float("nan"), 1.0]}, "runs/bc/disc2d-disc/0123456789")
    assert json.loads(cli.configurations([run], asked)) == {"most": None, "least": [None, 1.0]}


def test_doctor_finds_this_machine_fit(capsys: Any) -> None:
    code = cli.main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert {"python", "processor", "env=hopper", "results", "cache", "wandb"} <= {each["what"] for each in findings}
    assert code == any(each["state"] == "fail" for each in findings)
    assert [each for each in findings if each["state"] != "ok" and not each["advice"]] == []


def test_doctor_fails_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", "/proc/nothing/here")
    assert cli.main(["doctor", "--json"]) == 1
    (results,) = [each for each in json.loads(capsys.readouterr().out) if each["what"] == "results"]
    assert results["state"] == "fail"
    assert "RLBENCH_RESULTS" in results["advice"]


def test_results_that_cannot_be_written_are_one_message(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", "/proc/nothing/here")
    assert cli.main(["algo=bc", "steps=1"]) == 1
    said = capsys.readouterr().err
    assert "/proc/nothing/here" in said
    assert "RLBENCH_RESULTS" in said
    assert "a fault of rlbench" not in said


MODULE = '''
"""An algorithm that fails on demand."""


class Brittle:
    """Brittle.

    Args:
        task: the problem.
        fails: whether it does.
    """

    def __init__(self, task, *, fails: bool) -> None:
        self.fails = fails
        self.step = 0

    def train(self, n):
        if self.fails:
            raise ArithmeticError("as asked")
        self.step += n
        return {}

    def evaluate(self):
        return {}

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]
'''


@pytest.fixture
def brittle(tmp_path: Path) -> Path:
    """A user's folder with an algorithm that fails on demand."""
    conf = tmp_path / "conf"
    (conf / "algo").mkdir(parents=True)
    (tmp_path / "brittle_module.py").write_text(MODULE)
    (conf / "plugins.yaml").write_text("plugins: [brittle_module]\n")
    (conf / "algo" / "brittle.yaml").write_text(
        "defaults:\n  - override /dataset@_global_.dataset: none\n_target_: brittle_module.Brittle\nname: brittle\n"
        "about: {title: Brittle, needs: {env: control, data: none}}\nbudget: {steps: 4, eval_every: 2}\nfails: false\n"
    )
    return conf


def test_a_failing_cell_stops_no_other(brittle: Path, tmp_path: Path) -> None:
    words = [
        "-m",
        "--config-dir",
        str(brittle),
        "algo=brittle",
        "env=disc2d",
        "algo.fails=false,true",
        "seed=0,1",
        "hardware.pack=1",
    ]
    done = rlbench(*words, RLBENCH_RESULTS=str(tmp_path / "results"))
    assert done.returncode == 1, done.stderr
    assert "rlbench: error: of 4 runs, 2 failed" in done.stderr
    assert "  algo.fails=True seed=0: ArithmeticError: as asked" in done.stderr
    assert "Traceback" not in done.stderr
    states = [json.loads(path.read_text())["state"] for path in (tmp_path / "results").rglob("status.json")]
    assert sorted(states) == ["failed", "failed", "finished", "finished"]


@pytest.mark.parametrize("options", [["-m"], []])
def test_a_sweep_of_one_run_has_the_name_that_it_was_given(brittle: Path, tmp_path: Path, options: list[str]) -> None:
    words = ["--config-dir", str(brittle), "algo=brittle", "env=disc2d", "tracking=disabled"]
    done = rlbench(*options, *words, "--name", "mine", RLBENCH_RESULTS=str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert "mine: all 1 runs are finished" in done.stdout
    assert (tmp_path / "results" / "sweeps" / "mine" / "runs.jsonl").read_text().count("\n") == 1


def test_a_wrong_cell_stops_the_sweep_before_it_begins(brittle: Path, tmp_path: Path) -> None:
    words = ["-m", "--config-dir", str(brittle), "algo=brittle", "env=disc2d", "algo.fails=false,maybe"]
    done = rlbench(*words, RLBENCH_RESULTS=str(tmp_path / "results"))
    assert done.returncode == 2
    assert "algo.fails=maybe" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_gpu_that_is_not_there_is_one_message(brittle: Path, tmp_path: Path) -> None:
    words = ["--config-dir", str(brittle), "algo=brittle", "env=disc2d", "hardware=gpu"]
    done = rlbench(*words, RLBENCH_RESULTS=str(tmp_path / "results"), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "torch finds no NVIDIA GPU" in done.stderr
    assert "Traceback" not in done.stderr
