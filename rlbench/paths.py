"""Where rlbench reads and writes."""

import os
import re
from pathlib import Path

from rlbench.errors import UsageError

FOLDER = re.compile(r"\w[^/\x00-\x1f]*")
"""What may name a folder of the results: one, in its place, and no hidden one."""


def conf_root() -> Path:
    """The folder of choices: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def results_root() -> Path:
    """Runs and what is made of them: `RLBENCH_RESULTS`, else `results` in the working directory."""
    return folder("RLBENCH_RESULTS", "results")


def cache_root() -> Path:
    """What can be made again, datasets and trained stages: `RLBENCH_CACHE`, else `~/.cache/rlbench`."""
    return folder("RLBENCH_CACHE", "~/.cache/rlbench")


def folder(variable: str, otherwise: str) -> Path:
    """The folder that an environment variable names, else another one.

    Raises:
        UsageError: it lies in the home of somebody who has none, as in many a container.
    """
    path = Path(os.environ.get(variable) or otherwise)
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{path}: there is no such home folder\nset {variable} to a full path") from error
