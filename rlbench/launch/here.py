"""A sweep in this process: one run after another."""

from __future__ import annotations

from rlbench.cli import guarded
from rlbench.errors import RunError
from rlbench.launch.start import Hardware, Job
from rlbench.launch.sweep import Sweep


def workers(_hardware: Hardware) -> int:
    return 1


def start(sweep: Sweep) -> int:
    """Run what is unfinished; a run that fails does not stop the others.

    Raises:
        RunError: some failed; the message says which.
    """
    from rlbench.launch.job import execute

    failed = []
    with sweep.alone():
        runs = sweep.runs()
        for number, each in enumerate(runs, 1):
            print(f"[{number}/{len(runs)}] {each.label}", flush=True)
            code = guarded(lambda each=each: execute(sweep, each))  # type: ignore[misc]
            if code >= 128:
                return code
            if code:
                failed.append(each.label)
    if failed:
        raise RunError(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}")
    return 0


def jobs(_sweep: Sweep) -> dict[str, Job]:
    """Nothing: what is not in a run's directory is not begun."""
    return {}
