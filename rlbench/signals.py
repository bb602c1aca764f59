"""SIGINT, SIGTERM and a cluster's SIGUSR2: heard at once, answered where the work can be left."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rlbench.errors import Interrupted, RunError

HEARD = signal.SIGINT, signal.SIGTERM, signal.SIGUSR2
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Stop:
    """While entered, a signal raises `Interrupted`; inside `held()` it is kept until the work there is whole.

    A second Ctrl-C raises `KeyboardInterrupt` wherever the program stands.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        """The signal that asked to stop, None so far."""
        self._holders = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {s: signal.signal(s, self._hear) for s in HEARD}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _hear(self, signum: int, _frame: FrameType | None) -> None:
        if self.signum is not None:
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signum = signum
        if not self._holders:
            raise Interrupted(signum)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait until the block is left; the block may look at `signum` to leave early."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
        if self.signum is not None and not self._holders:
            raise Interrupted(self.signum)


def ask_to_stop(pid: int) -> None:
    """Send SIGTERM to a process, if it is still there.

    Raises:
        RunError: it is another user's, or the number is no process's: kill() takes 0 and less for many of them.
    """
    if pid <= 0:
        raise RunError(f"{pid} is no process: the file that names it is damaged")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise RunError(f"process {pid} is another user's") from error


def end_with_parent() -> None:
    """This process is to get SIGTERM when the one that made it is gone, however that came to its end (Linux only)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
