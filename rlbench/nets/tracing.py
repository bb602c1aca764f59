"""Whether operations are being recorded for a compiler, which fuses plain ones where ready-made kernels stay whole."""

from collections.abc import Iterator
from contextlib import contextmanager

active = False


@contextmanager
def tracing() -> Iterator[None]:
    """Meanwhile they are."""
    global active
    active = True
    try:
        yield
    finally:
        active = False
