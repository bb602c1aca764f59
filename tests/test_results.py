"""Committed results are what their commands give today."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from results.cpl.labels import GAMMA, Pendulum
from results.make import BLOCK, make
from results.moorl.detours import rows
from rlbench.cli import main

ROOT = Path(__file__).parents[1]
CLOSE = 1e-6  # relative: the last digits belong to the processor


def table(path: Path) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Numbers by what they are numbers of."""
    with path.open() as file:
        rows = list(csv.reader(file, delimiter="\t"))
    return {tuple(row[:5]): tuple(row[5:]) for row in rows[1:]}


def drawn(path: Path) -> tuple[int, list[str]]:
    """How many shapes a figure has, and its words."""
    text = path.read_text()
    return text.count("<path"), re.findall(r">([^<>]+)</text>", text)


@pytest.mark.slow
def test_a_comparison_comes_out_as_committed(tmp_path: Path) -> None:
    command = tmp_path / "rlbench"
    program = "from rlbench.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    command.write_text(f'#!{sys.executable}\nimport sys\nsys.path.insert(0, "{ROOT}")\n{program}')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RLBENCH_RESULTS": str(tmp_path / "results"),
    }
    script = ROOT / "results/compare/run.sh"
    subprocess.run(["bash", str(script), str(tmp_path)], env=environment, cwd=tmp_path, check=True)
    for name in ("compare.tsv", "regret.tsv"):
        made, committed = table(tmp_path / name), table(script.with_name(name))
        assert list(made) == list(committed)  # the best first, whichever way the metric goes
        assert len(committed) > 100
        for key, numbers in committed.items():
            for number, again in zip(numbers, made[key], strict=True):
                assert (number == "") == (again == ""), key
                if number:
                    assert float(again) == pytest.approx(float(number), rel=CLOSE, abs=CLOSE), key
    for name in ("bars.svg", "curves.svg", "improvement.svg", "regret.svg"):
        assert drawn(tmp_path / name) == drawn(script.with_name(name))
    said = [(folder / "compare.txt").read_text() for folder in (tmp_path, script.parent)]
    assert said[0] == said[1]


@pytest.mark.slow
def test_ways_through_the_maze_are_no_shorter_than_the_shortest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    run = ["algo=bc", "env=pointmaze2d_sparse", "dataset=detours", "algo.hidden_dims=[64,64]", "seeds=2", "steps=4000"]
    assert main([*run, "eval.every=4000", "eval.episodes=1", "tracking=disabled"]) == 0
    (folder,) = tmp_path.glob("runs/bc/*/*/")
    told = [row.strip("| ").split(" | ") for row in rows(folder)]
    assert told
    for algorithm, *_, seed, successes, longer in told:
        assert (algorithm, int(seed)) in {("bc", 0), ("bc", 1)}
        assert 0 < int(successes) <= 100
        assert 0.95 < float(longer) < 7  # an episode has 100 steps


@pytest.mark.slow
def test_exact_advantages_of_the_pendulum_fit_gymnasium_s() -> None:
    """Along any way, discounted advantages are what is earned above V*, if the grid's model is the simulator's."""
    env, pendulum, drawn, found = gymnasium.make("Pendulum-v1"), Pendulum(), np.random.default_rng(0), []
    for seed in range(5):
        observations, actions, rewards = [env.reset(seed=seed)[0]], drawn.uniform(-1, 1, (101, 1)), []
        for action in actions[:100]:
            after, reward, *_ = env.step((2 * action).astype(np.float32))
            observations.append(after)
            rewards.append(float(reward))
        state = torch.from_numpy(np.array(observations)).double()[None]
        advantage, best = pendulum.judge(state, torch.from_numpy(actions)[None])
        value = pendulum.q(torch.atan2(state[..., 1], state[..., 0]), state[..., 2], 2 * best)[0].numpy()
        discount = GAMMA ** np.arange(101)
        earned = np.dot(discount[:100], rewards) + discount[100] * value[100] - value[0]
        found.append((advantage[0].numpy() * discount)[:100].sum() / earned)
    assert found == pytest.approx([1] * 5, abs=0.05)
    assert np.median(found) == pytest.approx(1, abs=0.01)


NUMBER = re.compile(r"-?\d[\d,]*\.\d+")


def split(page: str) -> tuple[list[str], list[str]]:
    """A page's words and its numbers that have decimals."""
    return NUMBER.split(page), NUMBER.findall(page)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [path.parent for path in sorted(ROOT.glob("results/*/runs.zip"))], ids=lambda p: p.name
)
def test_a_page_comes_out_as_committed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path / "elsewhere"))
    again = tmp_path / page.name
    shutil.copytree(page, again, ignore=shutil.ignore_patterns("*.svg"))
    readme = again / "README.md"
    # What stood there must not survive by not being made: the tables go first.
    emptied = BLOCK.sub(r"\g<open>\g<close>", readme.read_text())
    readme.write_text(emptied)
    make(again)
    (words, numbers), (words_before, numbers_before) = (
        split(readme.read_text()),
        split((page / "README.md").read_text()),
    )
    assert words == words_before
    assert len(numbers) > len(split(emptied)[1])
    for number, before in zip(numbers, numbers_before, strict=True):
        last_digit = 10.0 ** -len(before.partition(".")[2])
        assert float(number.replace(",", "")) == pytest.approx(float(before.replace(",", "")), abs=1.01 * last_digit)
    figures = re.findall(r"<!-- rlbench plot .*--out (\S+)", readme.read_text())
    assert all(drawn(again / name) == drawn(page / name) for name in figures)
