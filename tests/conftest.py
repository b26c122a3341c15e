"""What holds for every test: as whom it runs."""

from collections.abc import Iterator

import pytest

from tests.rights import drop_real_time, whoami
from tools.runtime.language import Language, use


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--another-user-only",
        action="store_true",
        help="only tests marked another_user, as tests/another_user.py runs them",
    )


def pytest_configure() -> None:
    """In the process that collects and in each worker of xdist, before a test starts anything."""
    drop_real_time()


def pytest_report_header() -> str:
    return f"as {whoami()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--another-user-only"):
        others = [item for item in items if item.get_closest_marker("another_user") is None]
        items[:] = [item for item in items if item.get_closest_marker("another_user") is not None]
        config.hook.pytest_deselected(items=others)


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    """Whatever a test made of the language, the next one starts with that of the code."""
    yield
    use(Language.ENGLISH)
