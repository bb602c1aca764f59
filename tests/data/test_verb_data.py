"""`rlbench data`: what it prints, and that behaviour policies can be made again from nothing."""

import json
from pathlib import Path

import pytest

from rlbench import make_behaviour as making
from rlbench import paths
from rlbench.data.behaviour import LEVELS, RANDOM, Behaviour
from rlbench.data.embedded import Embedded
from rlbench.envs.control import Control
from rlbench.errors import RunError, UsageError
from rlbench.make_behaviour import Snapshot, Trial, candidates
from rlbench.verbs import data as verb


def test_list_and_verify_know_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert verb.main(["info", "env=hopper", "dataset=random", "dataset.size=300", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["rows"] == 300
    assert verb.main(["list", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {row["level"] for row in shown["embedded"] if row["env"] == "hopper"} == set(LEVELS)
    assert [entry["id"] for entry in shown["cached"]] == ["rlbench/hopper/random"]
    assert verb.main(["verify"]) == 0
    table = next((paths.cache_root() / "data").glob("*/transitions.npy"))
    table.write_bytes(table.read_bytes()[:-1])
    assert verb.main(["list"]) == 0
    assert "damaged" in capsys.readouterr().out
    with pytest.raises(RunError, match="1 damaged"):
        verb.main(["verify"])


def test_data_that_are_no_transitions_are_told_of_by_their_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("arm,idle,reward\n0,1,0.5\n2,2,1\n")
    words = ["algo=ppp", "env=recovering_bandit_hand", f"dataset=pulls:{log}"]
    assert verb.main(["info", *words]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "pulls:log.csv",
        "  level        pulls",
        f"  source       {log}",
        "  rows         2",
        "  curves       0.5, 0.5, 0.5, 0.5, 0.5 | 0, 0, 0, 0, 0 | 0, 1, 1, 1, 1",
    ]
    for other in (["make"], ["export", "--to", str(tmp_path / "a.hdf5")], ["label", "--to", str(tmp_path / "a.npz")]):
        with pytest.raises(UsageError, match=r"pulls:log\.csv has no transitions, which this is for"):
            verb.main([*other, *words])
    assert verb.main(["info", "algo=dpo", "env=lm_enum"]) == 0
    assert capsys.readouterr().out.startswith("enum_pairs\n  level        enum_pairs\n  rows         6000\n")


def test_d4rls_data_sets_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ant_expert.hdf5").write_bytes(b"a size that is not known")
    (tmp_path / "hopper_medium-v2.hdf5").write_bytes(b"of another size than D4RL's")
    assert verb.main(["list", "d4rl", "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 124
    assert [id for id, row in rows.items() if row["here"]] == ["ant-expert-v0"]
    assert verb.main(["list", "d4rl"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "hopper-medium-v2" in line]
    assert line.split() == ["d4rl/hopper-medium-v2", "env=hopper", "152.8", "MB"]


def test_slips_are_answered() -> None:
    for words, message in (
        (["lst"], "invalid choice"),
        (["list", "env=hopper"], r"takes no words \(or d4rl\)"),
        (["verify", "d4rl"], "takes no words, not 'd4rl'"),
        (["info", "env=hoper"], "did you mean env=hopper"),
        (["info", "env=hopper", "--markdown"], "takes no --markdown: it is for used"),
        (["make-behaviour", "--to", "mine"], "takes no --to: it is for make, label, sample"),
        (["make", "env=pendulum", "dataset=medium", "steps=1000"], "steps= says how .* policy=RUN is missing"),
        (["make", "env=pendulum", "dataset=medium", "views=pendulum_pixels"], "views= says how"),
        (["make", "env=pendulum", "--to", "mine.hdf5"], "rlbench data export env=pendulum --to PLACE writes it"),
        (["make", "env=pendulum", "--format", "minari"], "--to and --format say nothing"),
        (["make-behaviour", "every=often"], "every=often"),
        (["make-behaviour", "snapshots=/not/there"], "is no folder"),
        (["make-behaviour", "env=disc2d"], "no reference scores"),
    ):
        with pytest.raises(UsageError, match=message):
            verb.main(words)


def test_behaviour_policies_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"SCREEN_EPISODES": 2, "MANIFEST_EPISODES": 15, "TRIAL_ROWS": 300, "TRIAL_UPDATES": 3, "TRIALS": 1}
    for name, size in sizes.items():
        monkeypatch.setattr(making, name, size)
    to = tmp_path / "made" / "hopper"
    words = ["env=hopper", "steps=90", "seed=1", "every=15", "algo.batch_size=8", "algo.start_steps=10"]
    assert verb.main(["make-behaviour", *words, f"to={to}"]) == 0
    assert "best-20% BC" in capsys.readouterr().out
    made = Behaviour.of("hopper", tmp_path / "made")
    assert made.manifest["training"]["command"] == f"rlbench data make-behaviour {' '.join(words[:3])} " + (
        "algo.batch_size=8 algo.start_steps=10 every=15"
    )
    assert {path.stem for path in to.glob("*.npz")} == set(made.manifest["policies"]) - {RANDOM}
    assert len(made.manifest["snapshots"]) == 6
    assert len(made.manifest["trials"]) == 1

    env = Control("hopper", "Hopper-v4", -20.272305, 3234.3)
    dataset = Embedded(env, "mixed", 400)
    dataset.behaviour, dataset.mix = made, made.mix("mixed")
    assert len(dataset.load()) == 400

    first = (to / "snapshots" / "90.npz").read_bytes()
    monkeypatch.setattr(making, "select", lambda *_: None)
    assert verb.main(["make-behaviour", *words, f"to={tmp_path / 'again'}"]) == 0
    assert (tmp_path / "again" / "snapshots" / "90.npz").read_bytes() == first


def test_candidates_for_medium_are_near_the_target_and_narrow() -> None:
    near = [Snapshot(step, Path(), 20.0 + step, 20.0 + step) for step in (1, 2, 3)]
    hidden = [Snapshot(step, Path(), 21.0, 90.0) for step in (4, 5)]
    far = [Snapshot(step, Path(), 60.0 + step, 60.0 + step) for step in range(6, 14)]
    first, *others = candidates([*near, *hidden, *far], 22.0)
    assert [s.step for s in first] == [1, 2, 3]
    assert len(others) == making.TRIALS - 1


def test_a_fair_medium_can_be_neither_outdone_nor_missed() -> None:
    def offence(bc: float, best: float) -> float:
        return Trial([1, 2, 3], 30.0, 5.0, bc, best, fair=False).offence

    assert offence(33.0, 36.0) <= 1
    assert offence(33.0, 96.7) > 1
    assert offence(18.0, 18.0) > 1
