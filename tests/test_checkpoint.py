"""Checkpoints: whole or not there, damage noticed, nothing executed."""

import pickle
from pathlib import Path

import pytest
import torch

from rlbench.build import restore
from rlbench.checkpoint import Checkpoints
from rlbench.errors import RunError
from tests.algos.helpers import build, synthetic


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.full((50,), float(step)), "names": ["a", "b"], "nothing": None}


def test_newest_comes_back_and_the_oldest_go(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path / "ckpt", keep=2)
    for step in (1, 2, 10):
        saved.save(state(step), step)
    assert [path.name[:17] for path in saved.files()] == ["step-000000000010", "step-000000000002"]
    found = saved.load()
    assert found is not None
    assert found["step"] == 10
    assert torch.equal(found["weights"], torch.full((50,), 10.0))


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", keep=2).load() is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_newest_gives_way_and_says_so(tmp_path: Path, damage: str) -> None:
    said: list[str] = []
    saved = Checkpoints(tmp_path, keep=2, say=said.append)
    saved.save(state(1), 1)
    saved.save(state(2), 2)
    newest = saved.files()[0]
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    newest.write_bytes(bytes({"cut": content[:-100], "flipped": content, "empty": bytearray()}[damage]))
    found = saved.load()
    assert found is not None
    assert found["step"] == 1
    assert len(said) == 1
    assert "damaged" in said[0]


def test_damage_to_all_leaves_none(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep=2, say=lambda _: None)
    saved.save(state(1), 1)
    saved.files()[0].write_bytes(b"x")
    assert saved.load() is None


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


def test_code_is_neither_saved_nor_run(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep=2)
    with pytest.raises(RunError, match="state_dict"):
        saved.save({"trap": Trap()}, 1)
    assert saved.files() == []
    # the same, planted from outside under a matching checksum
    import hashlib

    torch.save({"trap": Trap()}, tmp_path / "planted")
    content = (tmp_path / "planted").read_bytes()
    (tmp_path / f"step-000000000001-{hashlib.sha256(content).hexdigest()}.pt").write_bytes(content)
    with pytest.raises(pickle.UnpicklingError):
        saved.load()


def test_leftovers_of_a_killed_save_are_no_checkpoint_and_go(tmp_path: Path) -> None:
    saved = Checkpoints(tmp_path, keep=2)
    (tmp_path / ".step-000000000009-aa.pt.123.tmp").write_bytes(b"half")
    assert saved.load() is None
    saved.save(state(1), 1)
    assert [path.name for path in tmp_path.iterdir()] == [saved.files()[0].name]


def test_state_that_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    said: list[str] = []
    saved = Checkpoints(tmp_path, keep=2, say=said.append)
    saved.save(state(1), 1)
    saved.save(state(2), 2)
    found = saved.load(fits=lambda each: each["step"] < 2)
    assert found is not None
    assert found["step"] == 1
    assert "does not fit" in said[0]


def test_a_checkpoint_of_another_version_is_named() -> None:
    algorithm = build("bc", synthetic(), hidden_dims=[8])
    saved = algorithm.state_dict()
    restore(algorithm, {"algorithm": saved})
    del saved["parts"]
    with pytest.raises(RunError, match=r"lacks 'parts', which this version of rlbench saves[\s\S]*rerun=true"):
        restore(algorithm, {"algorithm": saved})
