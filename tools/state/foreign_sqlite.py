"""A SQLite file that a stranger may have made, read without believing it: that of a ``LOG_DIR`` copied from elsewhere.

A schema is a program: a view can be endless, a generated column costly, and either bears any name. So nothing is asked
but of tables that are tables, and a question ends after a number of steps, an answer after a number of rows and of
characters: a few that are long can stand in a million rows. Neither file nor what lies beside it is a link, a pipe, a
device, or larger than ours ever get.

Source: SQLite, "Defense Against The Dark Arts".
"""

import contextlib
import sqlite3
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.runtime.files import size_plain

_LARGEST = 1 << 29  # bytes of each file; ours stay below a tenth of that
_BESIDE = ("-wal", "-shm", "-journal")
_STEPS, _AT_ONCE = 400_000_000, 100_000  # of SQLite's machine; the longest of our questions takes a twentieth of it
_ROWS = 1_000_000  # of an answer
_TEXTS = 1 << 26  # characters, or bytes, of the values of an answer; what 400,000 folders are called


class ForeignBase:
    """One open file, read-only; serves one thread at a time."""

    def __init__(self, path: Path, tables: Collection[str], busy: float = 1.0) -> None:
        """Open it; ``busy`` s to wait for another program's transaction. Whichever of ``tables`` is there must be a
        plain table. Raises FileNotFoundError without a file, OSError, ValueError and sqlite3.Error for one that is no
        such database."""
        size_plain(path, _LARGEST)
        for name in _BESIDE:
            with contextlib.suppress(FileNotFoundError):
                size_plain(path.with_name(path.name + name), _LARGEST)
        self._left = _STEPS
        self._base = self._opened(path, busy)
        try:
            _check(self._base, tables)
        except BaseException:
            self._base.close()
            raise

    def _opened(self, path: Path, busy: float) -> sqlite3.Connection:
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            uri = f"{path.absolute().as_uri()}?{mode}"
            base = sqlite3.connect(uri, uri=True, timeout=busy, check_same_thread=False)
            base.set_progress_handler(self._is_too_long, _AT_ONCE)
            if sys.version_info >= (3, 11):
                base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _TEXTS)
            try:
                base.execute("PRAGMA trusted_schema = OFF")
                base.execute("PRAGMA cell_size_check = ON")
                base.execute("PRAGMA user_version").fetchone()
            except sqlite3.OperationalError as exc:  # nothing can be written beside it, which WAL wants
                base.close()
                failure = exc
                continue
            except BaseException:
                base.close()
                raise
            return base
        raise failure

    def _is_too_long(self) -> bool:
        self._left -= _AT_ONCE
        return self._left < 0

    @property
    def version(self) -> int:
        """Its ``user_version``."""
        return int(next(self.rows("PRAGMA user_version"))[0])

    def rows(self, asked: str, values: Sequence[object] = ()) -> Iterator[Sequence[Any]]:
        """The answer. Raises sqlite3.Error, also for a question that takes too long, and ValueError for an answer
        without an end."""
        self._left = _STEPS
        with contextlib.closing(self._base.execute(asked, values)) as found:
            held = 0
            for number, row in enumerate(found):
                held += sum(len(value) for value in row if isinstance(value, str | bytes))
                if number >= _ROWS or held > _TEXTS:
                    raise ValueError(f"more than {_ROWS} rows, or {_TEXTS} characters")
                yield row

    def close(self) -> None:
        self._base.close()


def _check(base: sqlite3.Connection, tables: Collection[str]) -> None:
    """What is asked for by name are tables with columns that hold what was put there."""
    marks = ", ".join("?" * len(tables))
    asked = f"SELECT name, type, rootpage FROM sqlite_master WHERE lower(name) IN ({marks})"
    for name, kind, page in base.execute(asked, tuple(tables)).fetchall():
        if kind != "table" or not page:  # a virtual table has no page of its own
            raise ValueError(f"{name} is no plain table")
    for name in tables:
        if any(column[6] for column in base.execute(f'PRAGMA table_xinfo("{name}")')):
            raise ValueError(f"{name} has a column that is computed")
