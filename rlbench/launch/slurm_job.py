"""A SLURM job: one run of a sweep, and the way back into the queue. `python -m rlbench.launch.slurm_job TAG.runs RUN`

SLURM asks a job to leave in one of two ways. SIGUSR2, as `sbatch --signal` orders it, announces the time limit and, on
some clusters, that others are to pass: the run is saved and goes back to the queue. SIGTERM comes on the other clusters
before others pass, and everywhere with scancel: the run is saved, and the job waits to be killed, for only SLURM knows
which of the two it is, and a job that ends by itself in that time is never put back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import rlbench
from rlbench.errors import Interrupted
from rlbench.launch.sweep import Planned, Sweep
from rlbench.signals import Stop

GRACE = 900.0  # seconds after SIGTERM; whoever lives then was asked to leave by something other than SLURM
PAUSE = 5.0  # seconds between two calls of a controller that does not answer


def main(argv: list[str]) -> int:
    """The exit code of the run, by which SLURM knows a failed job from one that is completed."""
    ledger, path = Path(argv[0]), argv[1]
    sweep = Sweep(ledger.parents[1])
    lines = (line.split("\t") for line in ledger.read_text().splitlines())
    run = next(Planned(**json.loads(planned)) for each, planned in lines if each == path)
    restarts, most = int(os.environ.get("SLURM_RESTART_COUNT", "0")), run.config["hardware"]["slurm"]["restarts"]
    if restarts > most:
        print(f"put back into the queue {restarts} times, more often than hardware.slurm.restarts={most}", flush=True)
        return 1
    code = life(sweep, run)
    if code == 128 + signal.SIGTERM:
        time.sleep(GRACE)
        code = 128 + signal.SIGUSR2
    if code == 128 + signal.SIGUSR2:
        if restarts == most:
            print(f"not put back into the queue again: hardware.slurm.restarts={most}", flush=True)
        else:
            put_back()
    return code


def life(sweep: Sweep, run: Planned) -> int:
    """Work on the run until its end or a signal; what comes later than either is ignored, as before it."""
    try:
        with Stop():
            from rlbench.launch.code import BESIDE
            from rlbench.launch.job import work

            sys.path.append(str(Path(rlbench.__file__).parents[1] / BESIDE))
            return work(sweep, run, wait=True)
    except Interrupted as early:
        return early.exit_code


def put_back() -> None:
    """Put this job back into the queue."""
    # Not SLURM_JOB_ID: for one job of an array that is the array's own number, which would put all of them back.
    job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    while True:
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            print("put back into the queue", flush=True)
            return
        print(f"SLURM does not put it back into the queue: {asked.stderr.strip()}", flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
