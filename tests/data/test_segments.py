"""Files of segments: what is read of them, how segments are paired, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlbench import config
from rlbench.algos.preference.learner import SegmentMinibatches
from rlbench.data.segments import PrefSegments, preference, write
from rlbench.envs.maxent_tab import MaxEntTab
from rlbench.errors import UsageError
from rlbench.rng import SeedStreams
from tests.data.helpers import control

ENV = control("disc2d")
OPTIONS: dict[str, Any] = {"mode": "rank", "label": "rl_sum", "capacity": None}


def arrays(segments: int = 10) -> dict[str, np.ndarray]:
    """Segments that tell themselves apart: each observation is the number of its segment."""
    rng = np.random.default_rng(0)
    return {
        "obs": np.repeat(np.arange(float(segments)), 6).reshape(segments, 3, 2),
        "action": rng.uniform(-1, 1, (segments, 3, 2)),
        "reward": rng.normal(size=(segments, 3)),
        "rl_sum": np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3])[:segments],
        "human": np.array([0, 1, 0.5, 1, 0])[: segments // 2],
    }


def file(path: Path, card: dict[str, Any] | None = None, **changes: Any) -> Path:
    content = {**arrays(), **changes}
    write(path, {name: array for name, array in content.items() if array is not None}, card or {})
    return path


def load(path: Path, **options: Any) -> Any:
    return PrefSegments(ENV, str(path), **{**OPTIONS, **options}).load()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = file(tmp_path / "a.npz", {"about": "drawn", "env": "rlbench.envs.disc2d:Disc2D-v0"})
    data = load(path)
    assert data.observation.dtype == data.action.dtype == data.label.dtype == np.float32
    np.testing.assert_array_equal(data.observation[:, 0, 0], np.arange(10))
    np.testing.assert_array_equal(data.action, arrays()["action"].astype(np.float32))
    np.testing.assert_array_equal(data.label, arrays()["rl_sum"])
    assert (data.card["about"], data.card["segments"], data.card["length"]) == ("drawn", 10, 3)
    assert data.card["id"] == "pref_segments:a.npz"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["a.npz"]


def test_a_card_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    for card in ("{", "[" * 100_000):
        np.savez(tmp_path / "a.npz", card=np.array(card), **arrays())  # type: ignore[arg-type]
        assert load(tmp_path / "a.npz").card["about"] == "segments of one's own"


def test_capacity_keeps_the_first(tmp_path: Path) -> None:
    path = file(tmp_path / "a.npz")
    assert load(path, capacity=4).observation[:, 0, 0].tolist() == [0, 1, 2, 3]
    pairs = load(path, capacity=2, mode="comparison", label="human")
    assert (pairs.observation[:, 0, 0].tolist(), pairs.label.tolist()) == ([0, 1, 5, 6], [0, 1])
    scored = load(path, mode="comparison")  # scores 3 1 4 1 5 against 9 2 6 5 3
    assert scored.label.tolist() == [1, 1, 1, 1, 0]
    assert preference(np.array([1.0, 2, 2]), np.array([2.0, 2, 1])).tolist() == [1, 0.5, 0]


@pytest.mark.parametrize("mode", ["comparison", "rank", "score"])
def test_minibatches_pair_segments_with_the_labels_that_are_theirs(tmp_path: Path, mode: str) -> None:
    data = load(file(tmp_path / "a.npz"), mode=mode)
    batches = SegmentMinibatches(data, 64, True, SeedStreams((0, 1), "minibatches"))
    pairs = batches.split(batches.next())
    number = pairs.observation[:, :, 0, 0].long()
    assert (pairs.observation == number[..., None, None]).all()
    torch.testing.assert_close(pairs.action, torch.from_numpy(data.action)[number].clamp(1e-5 - 1, 1 - 1e-5))
    assert len(number.unique()) == 10
    assert (number[0] != number[1]).any()
    score = torch.tensor(arrays()["rl_sum"], dtype=torch.float32)[number]
    if mode == "score":
        torch.testing.assert_close(pairs.label, score)
        return
    first, second = score.chunk(2, 1)
    torch.testing.assert_close(pairs.label, (second > first) + 0.5 * (second == first))
    if mode == "comparison":
        assert (number[:, 64:] == number[:, :64] + 5).all()
    else:
        assert (number[:, 64:] == number[:, :64]).any()  # a segment may meet itself: a tie


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"reward": None}, {}, "it has no reward; arrays: obs, action, rl_sum, human"),
        ({}, {"label": "rl_dir"}, "no label rl_dir; there are: dataset.label=rl_sum, dataset.label=human"),
        ({}, {"label": "human"}, "label human compares pairs: dataset.mode=comparison"),
        ({"human": np.full(5, 2.0)}, {"label": "human", "mode": "comparison"}, "label human leaves [0, 1]"),
        ({"rl_sum": np.ones(7)}, {}, "label rl_sum has shape [7]"),
        ({"rl_sum": np.r_[1, np.nan, np.ones(8)]}, {}, "label rl_sum holds a NaN or an infinity"),
        ({"rl_sum": np.r_[np.inf, np.ones(9)]}, {"mode": "comparison"}, "label rl_sum holds a NaN or an infinity"),
        ({"human": np.full(5, -np.inf)}, {"label": "human", "mode": "comparison"}, "label human holds a NaN or an inf"),
        ({"obs": np.zeros((10, 3, 4))}, {}, "observations and actions are 4 and 2 wide, those of env=disc2d 2 and 2"),
        ({"reward": np.zeros((10, 2))}, {}, "reward has shape [10, 2], and obs [10, 3, 2]: [N, T]"),
        ({"action": np.full((10, 3, 2), 1.5)}, {}, "actions reach 1.5, and policies act in [-1, 1]"),
        ({"obs": np.full((10, 3, 2), np.nan)}, {}, "obs holds a NaN or an infinity (first in segment 0)"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = file(tmp_path / "a.npz", **changes)
    with pytest.raises(UsageError) as error:
        load(path, **options)
    assert str(error.value).startswith(f"dataset=pref_segments:{path}: ")
    assert said in str(error.value)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "pickled.npz", obs=np.array([{}], dtype=object))
    for name in ("text", "pickled"):
        with pytest.raises(UsageError, match="cannot be read as an npz archive of numbers"):
            load(tmp_path / f"{name}.npz")
    with pytest.raises(UsageError, match=r"choose the env= that the segments come from"):
        PrefSegments(MaxEntTab("maxent_tab", 0.9, 0.5, 6, 4, 0, 0), str(tmp_path / "text.npz"), **OPTIONS)
    with pytest.raises(UsageError, match=r"does not exist\n`rlbench data label"):
        load(tmp_path / "none.npz")
    with pytest.raises(UsageError, match=r"recorded in Hopper-v4, which is not env=disc2d"):
        load(file(tmp_path / "hopper.npz", {"env": "Hopper-v4"}))


def test_words_for_segments() -> None:
    cfg = config.compose(["algo=cpl", "env=reacher", "dataset=pref_segments:some/a.npz", "dataset.mode=score"])
    assert cfg.dataset.path == str(Path("some/a.npz").absolute())
    assert (cfg.algo.hidden_dims, cfg.algo.alpha, cfg.steps) == ([512, 512], 0.1, 500_000)
    for words, said in (
        (["algo=cpl", "env=reacher"], "dataset=pref_exact exists for env=maxent_tab, lqr_pref, not for env=reacher"),
        (["algo=cpl", "dataset=medium"], "these fit: dataset=pref_exact, dataset=pref_segments:PATH"),
        (
            ["algo=bc", "dataset=pref_exact", "env=maxent_tab"],
            "algo=bc needs control or images, and env=maxent_tab is solved",
        ),
        (["algo=percent_bc", "env=hopper", "dataset=pref_segments:a.npz"], "algo=percent_bc needs transitions"),
    ):
        with pytest.raises(UsageError) as error:
            config.compose(words)
        assert said in str(error.value)
