"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest

from tools.runtime.spawn import set_caged


@pytest.fixture
def uncaged() -> Iterator[None]:
    """For stand-ins of ffmpeg, which start the real one and leave marks where a confined child may touch nothing."""
    set_caged(False)
    yield
    set_caged(True)
