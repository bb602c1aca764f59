"""Committed results are what their commands give today."""

import csv
import os
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
    made, committed = table(tmp_path / "compare.tsv"), table(script.with_name("compare.tsv"))
    assert made.keys() == committed.keys()
    assert len(committed) > 100
    for key, numbers in committed.items():
        for number, again in zip(numbers, made[key], strict=True):
            assert (number == "") == (again == ""), key
            if number:
                assert float(again) == pytest.approx(float(number), rel=CLOSE, abs=CLOSE), key
    assert (tmp_path / "bars.svg").read_text().count("<path") == script.with_name("bars.svg").read_text().count("<path")
