"""Makes pages of this folder anew from their runs: `python results/make.py [PAGE...]`, by default all that have runs.

A page is a README.md beside `runs.zip`, which `rlbench pack` made. Below a line `<!-- rlbench ... -->` of it stands,
down to `<!-- end -->`, what that command prints; a line `<!-- rlbench plot ... -->` stands above its figure.
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rlbench.cli import main

HERE = Path(__file__).parent
BLOCK = re.compile(r"(?P<open><!-- (?P<command>rlbench (?!plot).*) -->\n)(?:.*\n)*?(?P<close><!-- end -->\n)")
FIGURE = re.compile(r"<!-- (?P<command>rlbench plot .*) -->\n(?=!\[)")


def printed(command: str) -> str:
    """What a command prints.

    Raises:
        SystemExit: it failed.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(shlex.split(command)[1:])
    if code:
        sys.exit(f"{command}: exit code {code}")
    return out.getvalue()


@contextlib.contextmanager
def unpacked(page: Path) -> Iterator[None]:
    """Commands see the runs of a page, and write into its folder."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(page):
        os.environ["RLBENCH_RESULTS"] = folder
        printed("rlbench unpack runs.zip")
        yield


def make(page: Path) -> None:
    """Replace what the commands of a page gave by what they give now."""
    readme = page / "README.md"
    with unpacked(page):

        def anew(found: re.Match[str]) -> str:
            print(found["command"])
            return found["open"] + printed(found["command"]) + found["close"]

        text = BLOCK.sub(anew, readme.read_text())
        for found in FIGURE.finditer(text):
            print(found["command"])
            printed(found["command"])
    readme.write_text(text)


if __name__ == "__main__":
    for page in sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("*/runs.zip")):
        make(HERE / page)
