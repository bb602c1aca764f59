"""Importing much at once."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Within, Python does not look for garbage, and later not in what is there by then, if modules came.

    It would look through all modules so far again and again as they become more, a seventh of the time of PyTorch's
    import, and find next to nothing: what is imported stays. Where nothing is imported nothing is to stay: it may be
    what an earlier run of this process has left.
    """
    if not gc.isenabled():
        yield
        return
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()
