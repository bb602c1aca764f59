"""Where rlbench reads and writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rlbench.errors import UsageError
from rlbench.paths import cache_root, results_root


@pytest.mark.parametrize(("root", "variable"), [(results_root, "RLBENCH_RESULTS"), (cache_root, "RLBENCH_CACHE")])
def test_a_home_that_is_not_there_is_said(
    root: Callable[[], Path], variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, "~a-user-that-nobody-is/x")
    with pytest.raises(UsageError, match=rf"no such home folder\nset {variable}"):
        root()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "~/x")
    assert root() == tmp_path / "x"
