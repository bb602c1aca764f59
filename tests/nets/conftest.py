"""What tests of networks share."""

from collections.abc import Iterator

import pytest

from rlbench.nets import amx, matmul


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """What multiplies in this test: the backend of its parameter, by default the matrix units."""
    name = getattr(request, "param", "amx")
    if name == "amx" and not amx.available():  # compiles: not while tests are collected
        pytest.skip("needs a processor with AMX, and a C++ compiler")
    before = matmul.in_use()
    assert matmul.use(name) == name
    yield
    matmul.use(before)
