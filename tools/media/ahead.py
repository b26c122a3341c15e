"""Whoever uses a result while it is verified: it is whole, and may yet be refused."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class Ahead(Protocol):
    """Told of each result that its verification may yet refuse, from one thread at a time."""

    def begin(self, result: Path, sha256: str) -> None:
        """This file may be read from now on; it may be moved, and is not changed before ``drop``. Returns at once."""
        ...

    def drop(self) -> None:
        """The latest result was refused: nothing that is read of its file counts from now on."""
        ...


class Nobody:
    """Uses no result before its verification has ended."""

    def begin(self, result: Path, sha256: str) -> None: ...

    def drop(self) -> None: ...


@contextlib.contextmanager
def unless_refused(ahead: Ahead) -> Iterator[None]:
    """Drop what ``ahead`` was told of when what is in here raises."""
    try:
        yield
    except BaseException:
        ahead.drop()
        raise
