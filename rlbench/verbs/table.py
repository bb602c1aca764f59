"""`rlbench table`: published against reproduced."""

from __future__ import annotations

from collections.abc import Sequence

from rlbench.cli import Parser
from rlbench.errors import UsageError
from rlbench.paths import results_root

HELP = """\
Hold runs against published results, cell by cell: value, spread over seeds, seeds, protocol, data, source, difference,
and whether it lies within the joint spread (the root of the sum of both squared standard deviations).

  rlbench table                                 every finished run for which something is published
  rlbench table algo=iql hopper                 some of them
  rlbench table -m algo=iql,cql dataset=d4rl/hopper-medium-v2 seeds=4
                                                a sweep's cells, with the command for each that is missing
  rlbench table experiment=NAME --format latex  likewise

Runs are judged by the protocol of the source that they are held against (docs/comparing.md)."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("table", HELP)
    parser.add_argument("words", nargs="*", metavar="WORD", help="filters of runs; with -m or experiment=, overrides")
    parser.add_argument("-m", "--multirun", action="store_true", help="the words are a sweep's")
    parser.add_argument("--format", choices=["md", "csv", "latex"], default="md", help="Markdown, CSV or LaTeX")
    parser.add_argument("--source", default="", metavar="KEY[,KEY]", help="only these sources, e.g. corl,cocoa")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="a folder of your own choices")
    given = parser.read(argv)

    from rlbench.analysis import table, table_text
    from rlbench.analysis.results import Results

    sweep = given.multirun or any(word.startswith("experiment=") for word in given.words)
    wanted = table.planned(given.words, given.config_dir) if sweep else None
    results = Results(results_root(), () if sweep else given.words, keep=lambda name: name.startswith("eval/"))
    results.refresh()
    results.require_fit()
    rows = table.lines(results, wanted, [key for key in given.source.split(",") if key])
    if not sweep:
        held = [line for line in rows if line.published is not None]
        if not held:
            raise UsageError(
                "nothing is published for these runs: published results are on D4RL's data, dataset=d4rl/ID\n"
                "`rlbench compare` shows what they came to"
            )
        rows = held
    print(table_text.FORMATS[given.format](rows), end="")
    return 0
