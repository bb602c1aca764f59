"""Importing without looking for garbage."""

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlbench.importing import importing


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    gc.unfreeze()  # what other tests have left


class Ring:
    """Garbage once nothing else refers to it: it refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_collected_while_a_module_comes_and_new_garbage_is_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_more.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with importing():
        assert not gc.isenabled()
        with importing():
            import one_more  # type: ignore[import-not-found]  # noqa: F401
        assert not gc.isenabled(), "the inner one is not to end the outer one"
        within = len(gc.get_objects())
    assert gc.isenabled()
    assert len(gc.get_objects()) < within / 10, "what was there is looked at again"
    ring = weakref.ref(Ring())
    gc.collect()
    assert ring() is None
    del sys.modules["one_more"]


def test_where_nothing_is_imported_garbage_does_not_stay() -> None:
    ring = weakref.ref(Ring())
    with importing():
        import gc as known  # noqa: F401
    gc.collect()
    assert ring() is None


def test_a_module_that_fails_leaves_python_as_it_was() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import nonesuch  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
