"""Importing much at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Within, Python does not look for garbage, and later not in what is there by then.

    It would look through all modules so far again and again as they become more, a seventh of the time of PyTorch's
    import, and find next to nothing: what is imported stays.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
