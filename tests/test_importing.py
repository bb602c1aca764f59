"""Importing without looking for garbage."""

import gc
import weakref

import pytest

from rlbench.importing import importing


class Ring:
    """Garbage once nothing else refers to it: it refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_collected_within_and_new_garbage_is_after() -> None:
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled(), "the inner one is not to end the outer one"
        within = len(gc.get_objects())
    assert gc.isenabled()
    assert len(gc.get_objects()) < within / 10, "what was there is looked at again"
    gc.unfreeze()  # what other tests left
    ring = weakref.ref(Ring())
    gc.collect()
    assert ring() is None


def test_a_module_that_fails_leaves_python_as_it_was() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import nonesuch  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
