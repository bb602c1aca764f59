"""What every test lives in: results and cached data of its own, one thread, no account."""

import os
import tempfile
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before anything is imported; subprocesses inherit it.

    The cache is the session's: parallel workers inherit it and share what is expensive to make. Results are each
    process's own, so that no test finds the run of a test beside it finished.
    """
    home = tempfile.TemporaryDirectory(prefix="rlbench-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    for name in [name for name in os.environ if name.startswith(("RLBENCH_", "WANDB_"))]:
        if not (name == "RLBENCH_CACHE" and hasattr(config, "workerinput")):
            del os.environ[name]
    os.environ.setdefault("RLBENCH_CACHE", str(Path(home.name, "cache")))
    os.environ["RLBENCH_RESULTS"] = str(Path(home.name, "results"))
    os.environ["WANDB_MODE"] = "disabled"
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What needs a GPU is skipped where there is none."""
    if item.get_closest_marker("gpu"):
        import torch  # late: few tests ask

        if not torch.cuda.is_available():
            pytest.skip("torch finds no NVIDIA GPU here")
