"""Committed results are what their commands give today."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
