"""Where rlbench reads and writes."""

import os
from pathlib import Path


def conf_root() -> Path:
    """The folder of choices: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def results_root() -> Path:
    """Runs and what is made of them: `RLBENCH_RESULTS`, else `results` in the working directory."""
    return Path(os.environ.get("RLBENCH_RESULTS") or "results").expanduser().absolute()


def cache_root() -> Path:
    """What can be made again, datasets and trained stages: `RLBENCH_CACHE`, else `~/.cache/rlbench`."""
    return Path(os.environ.get("RLBENCH_CACHE") or "~/.cache/rlbench").expanduser().absolute()
