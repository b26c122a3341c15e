"""``log/results.sqlite``: which contents are published already, and which are known to be no video.

The results are those of the output repo's ``metadata.jsonl`` files, read when they changed; nothing here is believed
without asking the hub (see ``tools.processor.reuse``). The file may be deleted at any time: it is rebuilt, at the
cost of reading those files once, and contents known to be bad are tried once more.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.core.errors import StateError
from tools.runtime.owner import give_to_owner, make_folder
from tools.state.foreign_sqlite import ForeignBase

RESULTS_FILE = "results.sqlite"
RESULTS_FILES = (RESULTS_FILE, RESULTS_FILE + "-journal")
_VERSION = 1
_BUSY = 10.0  # s to wait for another program's transaction
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE folders (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE options (id INTEGER PRIMARY KEY, text TEXT UNIQUE NOT NULL);
CREATE TABLE results (folder INTEGER NOT NULL, source BLOB NOT NULL, result BLOB NOT NULL, options INTEGER NOT NULL,
    saved REAL);
CREATE INDEX by_folder ON results (folder);
CREATE INDEX by_source ON results (source);
CREATE INDEX by_result ON results (result);
CREATE TABLE refused (source BLOB PRIMARY KEY, path TEXT NOT NULL, cause TEXT NOT NULL, build TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE gone (folder TEXT PRIMARY KEY, names TEXT NOT NULL) WITHOUT ROWID;
"""


class ResultRow(NamedTuple):
    """A published result, as far as a look-up needs it."""

    source_sha256: str  # hex
    sha256: str  # hex
    options: str  # as in the record
    saved: float | None = None  # s that making it took when it was made from the same bytes; None: it was made here


class Found(NamedTuple):
    """Where a result of a content may be."""

    folder: str  # of the output repo
    options: str


class ResultsFile:
    """The index of one output repo, as far as it was read. Threads may share it, and other programs look at it.

    The constructor touches nothing. Every method raises StateError if the file can't be used; one that is damaged, of
    another version or of other repos is rebuilt.
    """

    def __init__(self, log_dir: Path, repos: str) -> None:
        """``repos`` names the repos that it is about."""
        self._path = log_dir / RESULTS_FILE
        self._repos = repos
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None

    @property
    def commit(self) -> str:
        """The commit of the output repo that was read last, as a whole; "" = none."""
        with self._used() as base:
            return _about(base, "commit")

    def folders(self) -> dict[str, str]:
        """The sha256 of each folder's metadata as they were read."""
        with self._used() as base:
            return dict(base.execute("SELECT name, metadata FROM folders"))

    def put(
        self, folder: str, metadata: str, rows: Iterable[ResultRow], *, step: tuple[str, str] | None = None
    ) -> None:
        """Put a folder's results in the place of those known before; ``metadata`` is the sha256 that they were read
        from. ``step``: a commit that changed nothing else, and the one before it."""
        with self._used() as base, base:
            base.execute("INSERT INTO folders (name, metadata) VALUES (?, '') ON CONFLICT DO NOTHING", (folder,))
            (number,) = base.execute("SELECT id FROM folders WHERE name = ?", (folder,)).fetchone()
            base.execute("DELETE FROM results WHERE folder = ?", (number,))
            options: dict[str, int] = {}
            for row in rows:
                if row.options not in options:
                    text = row.options.encode("utf-8", "replace").decode()  # a stranger's row may have any character
                    base.execute("INSERT INTO options (text) VALUES (?) ON CONFLICT DO NOTHING", (text,))
                    found = base.execute("SELECT id FROM options WHERE text = ?", (text,)).fetchone()
                    options[row.options] = found[0]
                source, result = bytes.fromhex(row.source_sha256), bytes.fromhex(row.sha256)
                values = number, source, result, options[row.options], row.saved
                base.execute("INSERT INTO results VALUES (?, ?, ?, ?, ?)", values)
                base.execute("DELETE FROM refused WHERE source = ?", (source,))
            base.execute("UPDATE folders SET metadata = ? WHERE id = ?", (metadata, number))
            if step is not None and _about(base, "commit") == step[1]:
                _tell(base, "commit", step[0])

    def keep(self, folders: Iterable[str], commit: str) -> None:
        """The repo has metadata in these folders alone, and all of them are read as of ``commit``."""
        there = set(folders)
        with self._used() as base, base:
            for number, name in base.execute("SELECT id, name FROM folders").fetchall():
                if name not in there:
                    base.execute("DELETE FROM results WHERE folder = ?", (number,))
                    base.execute("DELETE FROM folders WHERE id = ?", (number,))
            _tell(base, "commit", commit)

    def find(self, source_sha256: str) -> list[Found]:
        """Folders that have a result of this content. One whose file is said to be of another content, too, is none."""
        with self._used() as base:
            rows = base.execute(_FIND, (bytes.fromhex(source_sha256),)).fetchall()
        return [Found(*row) for row in rows]

    def refuse(self, source_sha256: str, path: str, cause: str, build: str) -> None:
        """A content is no video, or can't be converted, as ``build`` of the programs found at ``path``."""
        with self._used() as base, base:
            values = bytes.fromhex(source_sha256), path, cause, build
            base.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", values)

    def refused(self, source_sha256: str, build: str) -> tuple[str, str] | None:
        """The path and the cause of a content that this build refused; None if it did not."""
        with self._used() as base:
            asked = bytes.fromhex(source_sha256), build
            found = base.execute("SELECT path, cause FROM refused WHERE source = ? AND build = ?", asked).fetchone()
        return found and (str(found[0]), str(found[1]))

    def note_gone(self, folder: str, names: Iterable[str]) -> None:
        """Results of a folder whose sources are gone, by name: they stay, and ``--status`` names them."""
        lines = "\n".join(names)
        with self._used() as base, base:
            base.execute("DELETE FROM gone WHERE folder = ?", (folder,))
            if lines:
                base.execute("INSERT INTO gone VALUES (?, ?)", (folder, lines))

    @contextlib.contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._open = self._open or self._opened()
                yield self._open
            except sqlite3.OperationalError as exc:  # a full disk, a lock: the file itself is all right
                self._close()
                raise StateError(f"can't use {self._path}: {exc}") from exc
            except sqlite3.DatabaseError as exc:
                self._start_over()
                raise StateError(f"{self._path} is damaged ({exc}) and is rebuilt") from exc
            except OSError as exc:
                raise StateError(f"can't use {self._path}: {exc.strerror}") from exc
            except ValueError as exc:  # a text that can't be written
                raise StateError(f"can't use {self._path}: {exc}") from exc

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._start_over()
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        make_folder(self._path.parent)
        base = sqlite3.connect(self._path, timeout=_BUSY, check_same_thread=False)
        try:
            self._path.chmod(0o644)
            give_to_owner(self._path)
            known = base.execute("PRAGMA user_version").fetchone()[0]
            if known == _VERSION and _about(base, "repos") == self._repos:
                return base
            with base:
                _clear(base)
                base.executescript(_SCHEMA)
                base.execute(f"PRAGMA user_version = {_VERSION}")
                _tell(base, "repos", self._repos)
                _tell(base, "commit", "")
            return base
        except BaseException:
            base.close()
            raise

    def close(self) -> None:
        """Let go of the file; whatever is asked later opens it again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _start_over(self) -> None:
        self._close()
        for name in RESULTS_FILES:
            self._path.with_name(name).unlink(missing_ok=True)


# A file that is told to be of two contents is of one of them at most.
_FIND = """
SELECT folders.name, options.text FROM results
JOIN folders ON folders.id = results.folder JOIN options ON options.id = results.options
WHERE results.source = ?1
AND NOT EXISTS (SELECT 1 FROM results AS other WHERE other.result = results.result AND other.source != ?1)
ORDER BY results.rowid DESC
"""


def _about(base: sqlite3.Connection, name: str) -> str:
    found = base.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
    return str(found[0]) if found else ""


def _tell(base: sqlite3.Connection, name: str, value: str) -> None:
    base.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))


def _clear(base: sqlite3.Connection) -> None:
    for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        base.execute(f'DROP TABLE "{name}"')


def forgive(log_dir: Path, sources: Iterable[str]) -> None:
    """These contents are to be tried again, whatever became of them before. Raises StateError."""
    path, wanted = log_dir / RESULTS_FILE, [(bytes.fromhex(sha256),) for sha256 in sources]
    if not wanted or not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY)) as base, base:
            base.executemany("DELETE FROM refused WHERE source = ?", wanted)
    except sqlite3.OperationalError as exc:
        if "no such table" not in str(exc):
            raise StateError(f"can't use {path}: {exc}") from exc
    except sqlite3.DatabaseError:
        return  # damaged: the processor builds it anew


class Known(NamedTuple):
    """What the index tells people."""

    reused: int = 0  # published results that are another one's bytes
    saved: float = 0.0  # s that making those took when they were made
    gone: Mapping[str, Sequence[str]] = {}  # by folder: results whose sources are gone, as the processor saw it last
    folders: Mapping[str, int] = {}  # how many results each folder has


def read_known(log_dir: Path) -> Known:
    """From the file as it is, which another program may be writing; nothing from one that can't be read."""
    try:
        base = ForeignBase(log_dir / RESULTS_FILE, ("results", "gone", "folders"))
    except (OSError, ValueError, sqlite3.Error):
        return Known()
    counts = "SELECT name, COUNT(*) FROM folders JOIN results ON folder = folders.id GROUP BY name ORDER BY name"
    with contextlib.suppress(sqlite3.Error, ValueError, TypeError), contextlib.closing(base):
        ((reused, saved),) = base.rows("SELECT COUNT(saved), TOTAL(saved) FROM results")
        gone = {str(folder): str(names).split("\n") for folder, names in base.rows("SELECT * FROM gone ORDER BY 1")}
        found = {str(folder): int(number) for folder, number in base.rows(counts)}
        return Known(int(reused), min(1e12, max(0.0, float(saved))), gone, found)
    return Known()
