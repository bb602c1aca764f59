"""Logs of pulls, and the curves fitted to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from rlbench import config
from rlbench.data.pulls import PullLog, Pulls, isotonic
from rlbench.envs.recovering_bandit import Logged
from rlbench.errors import UsageError
from tests.algos.planning.bandits import E1, HAND, policy

optimize: Any = pytest.importorskip("scipy.optimize")


@pytest.mark.parametrize("seed", range(5))
def test_fit_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 50, (6, 9)).astype(float)
    total = weight * rng.random((6, 9))
    for row, fitted in enumerate(isotonic(total, weight)):
        expected = optimize.isotonic_regression(total[row] / weight[row], weights=weight[row]).x
        np.testing.assert_allclose(fitted, expected, atol=1e-12)


def test_rests_never_tried_are_worth_what_shorter_ones_are() -> None:
    weight = np.array([[0, 4, 0, 0, 2, 2, 0], [0, 0, 0, 0, 0, 0, 0]], dtype=float)
    total = np.array([[0, 1, 0, 0, 2, 1, 0], [0, 0, 0, 0, 0, 0, 0]], dtype=float)
    assert isotonic(total, weight).tolist() == [[0, 0.25, 0.25, 0.25, 0.75, 0.75, 0.75], [0] * 7]


def written(path: Path, rows: list[tuple[Any, ...]], names: str = "arm,idle,reward") -> Path:
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_columns_by_name_and_rests_beyond_d(tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", [(1, 0, "x", 2), (0.5, 0, "y", 9), (0, 2, "z", 1)], "reward,arm,note,idle")
    log = Pulls(HAND, str(path)).load()
    assert log.count.tolist() == [[0, 1, 0, 0, 1], [0] * 5, [1, 0, 0, 0, 0]]
    assert log.total[0].tolist() == [0, 1, 0, 0, 0.5]
    assert log.card["rows"] == 3
    assert Pulls(Logged("x", 1, 3), str(path)).load().count.shape == (3, 3)


def test_identity_is_the_content(tmp_path: Path) -> None:
    one = written(tmp_path / "a.csv", [(0, 1, 1)])
    other = written(tmp_path / "b.csv", [(0, 1, 1)])
    assert Pulls(HAND, str(one)).identity() == Pulls(HAND, str(other)).identity()
    written(other, [(0, 1, 0)])
    assert Pulls(HAND, str(one)).identity() != Pulls(HAND, str(other)).identity()
    assert Pulls(HAND, str(one)).load().fingerprint == Pulls(HAND, str(one)).identity()["sha256"]


@pytest.mark.parametrize(
    ("rows", "names", "said"),
    [
        ([(0, 1, 1)], "arm,rest,reward", "does not name idle"),
        ([(0, 1, 1), (3, 1, 1)], "arm,idle,reward", "row 2 has arm 3, idle 1, reward 1: arm is to be a whole number"),
        ([(0, 1, 1), ("nan", 1, 1)], "arm,idle,reward", "row 2 has arm nan, idle 1, reward 1: arm is to be a whole"),
        ([(0, "inf", 1)], "arm,idle,reward", "idle is to be a whole number >= 1"),
        ([(0, 0, 1)], "arm,idle,reward", "idle is to be a whole number >= 1"),
        ([(0, 1, 1.5)], "arm,idle,reward", "reward is to lie in [0, 1]"),
        ([(0, 1, "nan")], "arm,idle,reward", "reward is to lie in [0, 1]"),
        ([(0, 1, "won")], "arm,idle,reward", "won"),
        ([], "arm,idle,reward", "it has no rows"),
    ],
)
def test_what_is_no_log_is_refused(rows: list[tuple[Any, ...]], names: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "log.csv", rows, names)
    with pytest.raises(UsageError) as error:
        Pulls(HAND, str(path)).load()
    assert said in str(error.value)
    assert f"dataset=pulls:{path}" in str(error.value)


def test_arms_that_were_not_counted_are_refused(tmp_path: Path) -> None:
    """Where the log is to tell how many arms there are: numbers of products, say, of which no table could be made."""
    path = written(tmp_path / "log.csv", [(0, 1, 1), (4_000_000_000_000, 2, 0.5)])
    with pytest.raises(UsageError, match=r"row 2 has arm 4e\+12, .*: arm is to be a whole number from 0 to 99999"):
        Pulls(Logged("x", 1, 3), str(path)).load()


def test_a_planner_of_logs_knows_nothing_else() -> None:
    """From many pulls it plans as on the true curves; from a log of other curves, as on those, judged by the true."""
    count = np.full(E1.R.shape, 1e9)
    truth = policy("ppp", E1, 100)
    learned = policy("ppp", E1, 100, data=PullLog(count, count * E1.R, "", {}))
    assert (learned.plan.period == truth.plan.period).all()
    misled = policy("ppp", E1, 100, data=PullLog(count, count * E1.R[::-1], "", {}))
    assert misled.long_run < truth.long_run
    assert misled.plan.value[0] == pytest.approx(truth.plan.value[0])


def test_words_for_a_log() -> None:
    cfg = config.compose(["algo=ppp", "env=recovering_bandit_logged", "dataset=pulls:my logs/a=b.csv", "env.K=2"])
    assert cfg.dataset.path == str(Path("my logs/a=b.csv").absolute())
    assert (cfg.dataset.level, cfg.env.K) == ("pulls", 2)
    assert OmegaConf.select(config.compose(["algo=ppp"]).dataset, "path") is None
    for words, said in (
        (["algo=ppp", "dataset=pulls"], "dataset=pulls needs the file: dataset=pulls:PATH"),
        (["algo=ppp", "dataset=medium"], "dataset=none, dataset=pulls:PATH"),
        (["algo=bc", "dataset=pulls:x.csv"], "algo=bc needs transitions, and dataset=pulls is pulls"),
    ):
        with pytest.raises(UsageError) as error:
            config.compose(words)
        assert said in str(error.value)
    cells = config.expand(["dataset=pulls:/a,pulls:/b"], multirun=True)
    paths = [dict(pair for word in cell for pair in config.assignments(word))["dataset.path"] for cell in cells]
    assert paths == ["/a", "/b"]
