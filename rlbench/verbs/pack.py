"""`rlbench pack FILE [FILTER...]`: runs in one small file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.paths import results_root

HELP = """\
Put finished runs into one small file: configuration, command, versions, commit and all metrics, without policies, logs,
and names of machines and folders. It goes beside a paper or into a repository; `rlbench unpack FILE` brings the runs
back, for `compare`, `table`, `plot`, `report` and `dashboard`. The same runs always give the same bytes.

  rlbench pack runs.zip
  rlbench pack hopper.zip hopper algo=iql,cql"""
ENDED = "finished", "pruned"


def main(argv: Sequence[str]) -> int:
    parser = Parser("pack", HELP)
    parser.add_argument("file", type=Path, metavar="FILE", help="FILE.zip, replaced if it is there")
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="KEY=VALUE[,VALUE], or a word of a run's path")
    given = parser.read(argv)
    if given.file.suffix != ".zip":
        raise UsageError(f"{given.file}: name it FILE.zip")
    if not given.file.absolute().parent.is_dir():
        raise UsageError(f"{given.file}: there is no folder {given.file.absolute().parent}")

    from rlbench.analysis.results import Results
    from rlbench.tracking.pack import pack

    results = Results(results_root(), given.filters, keep=lambda _: False)
    results.refresh()
    results.require_fit()
    runs = [(Path(path), state) for path, state in results.runs.select("path", "state").iter_rows()]
    ended = [path for path, state in runs if state in ENDED]
    if not ended:
        raise UsageError(f"no such finished run in {results_root() / 'runs'}; `rlbench runs` lists them")
    pack(ended, given.file)
    for state, count in Counter(state for _, state in runs if state not in ENDED).items():
        print(f"left out: {count} {state}")
    for path, why in results.damaged.items():
        print(f"left out, damaged: {path}: {why}")
    print(f"{len(ended):,} run{'s' * (len(ended) > 1)}, {given.file.stat().st_size / 1e3:,.0f} kB: {given.file}")
    return 0
