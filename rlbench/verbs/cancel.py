"""`rlbench cancel RUN|SWEEP`: stop what runs, wherever it runs, and take from the queue what waits."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlbench.cli import Parser
from rlbench.errors import RunError

if TYPE_CHECKING:
    from rlbench.launch.states import State
    from rlbench.launch.sweep import Sweep

HELP = """\
Stop a run, or the runs of a sweep: those that run save a checkpoint first, those that wait are taken from the queue.
`rlbench resume` goes on with them."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("cancel", HELP)
    parser.add_argument("target", metavar="RUN|SWEEP", help="first digits of a run's id, its directory, or a sweep")
    given = parser.parse_args(argv)

    from rlbench.launch.find import meant, run_of
    from rlbench.launch.states import states
    from rlbench.launch.sweep import Sweep

    target = meant(given.target)
    if isinstance(target, Sweep):
        return stop(target, states(target))
    sweep, state = run_of(target)
    return stop(sweep, [state])


def stop(sweep: Sweep | None, found: Sequence[State]) -> int:
    """Stop those of the runs that are queued or at work, and say so.

    Args:
        sweep: theirs, if they have one.
        found: the runs.
    """
    from rlbench.launch.start import place
    from rlbench.launch.states import ACTIVE, labels, summary

    live = [each for each in found if each.name in ACTIVE]
    if not live:
        print(f"nothing to cancel: {summary(found)}")
        return 0
    queued = [each for each in live if each.job is not None and each.job.state != "ended"]
    if sweep is not None and queued:
        place(sweep.hardware["where"]).cancel(sweep, [each.run for each in queued])
    for each in live:
        if each not in queued:  # begun by hand
            signal_process(each)
    names = labels([each.run for each in found])
    for each in live:
        did = "taken from the queue" if each.name == "queued" else "told to stop; it saves a checkpoint first"
        print(f"{names[each.run.path]}: {did}")
    what = found[0].run.directory.name if sweep is None or len(found) == 1 else sweep.name
    print(f"`rlbench resume {what}` goes on")
    return 0


def signal_process(state: State) -> None:
    """Tell the process that works on a run to stop.

    Raises:
        RunError: it is one of another machine.
    """
    pid, host = state.status["pid"], state.status["host"]
    if host != socket.gethostname():
        raise RunError(f"process {pid} on {host} works on {state.run.directory}: cancel it there")
    os.kill(pid, signal.SIGTERM)
