"""``log/history.sqlite3``: what was done, and when. This module writes it, ``history_reader`` reads it.

It decides nothing: one that is damaged is set aside, one that is deleted is begun anew, and a disk that does not take
it costs the history alone. Each is said once. Lines go to a thread that writes them together about once per second, so
nobody waits for the disk; what that thread can't keep up with is dropped.

Any number of processes may write (the processor its attempts and pauses, the monitor its polls) and read: SQLite in
WAL mode. The tables:

``video``  one row per attempt, ``VideoLine``; the newest ``KEPT_VIDEOS`` are kept
``poll``   one row per poll, ``PollLine``; ``KEPT_POLLS``. ``pause`` one per pause, ``PauseLine``; ``KEPT_PAUSES``
``hour``   sums per hour of all of them, ``HourSums``; never pruned: 9,000 short rows a year
``trouble`` attempts by day, trouble and outcome; never pruned
``text``   names that many rows share: folders, workers, encoders, causes
"""

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.core.past import STAGES, PollLine, VideoLine
from tools.runtime.owner import give_to_owner

if TYPE_CHECKING:  # a Python without it has no history
    from sqlite3 import Connection

log = logging.getLogger("animation.state")
HISTORY_FILE = "history.sqlite3"
HISTORY_FILES = (HISTORY_FILE, HISTORY_FILE + "-wal", HISTORY_FILE + "-shm")
"""The file, and what lies beside it while it is in use, or after a crash."""
VERSION = 1
KEPT_VIDEOS, KEPT_POLLS, KEPT_PAUSES = 100_000, 20_000, 10_000
_LONGEST_TEXT = 500  # characters of a cause, of warnings
_AT_ONCE = 1.0  # s of lines written together
_HELD = 10_000  # lines that wait to be written at most
_PRUNED_EVERY = 500  # lines
_BUSY = 5.0  # s that another writer may take
_HOUR, _DAY = 3600, 86400
_LONGEST_PAUSE = 60 * _DAY  # s; a longer one is a clock that was set

_STAGES = tuple(f"{stage}_s" for stage in STAGES)
_DONE = ("bytes_in", "bytes_out", "duration_s", "frames")
SUMS = ("stored", "refused", "failed", "crashed", "deferred", *_DONE, *_STAGES, "polls", "polls_failed", "paused_s")
"""The columns of ``hour`` beside it."""
_CAUSED = ("ended", "folder", "video", "outcome", "final", "attempt", "worker", "trouble", "cause")
_MADE = ("width", "height", "source_codec", "encoder", "crf", "quality", "kept", "dropped", "warnings")
COLUMNS = (*_CAUSED, *_DONE, *_MADE, *_STAGES)
"""Those of ``video`` beside its number."""
SHARED = frozenset(("folder", "worker", "trouble", "cause", "source_codec", "encoder", "warnings"))
"""Columns of ``video`` that hold the number of a ``text``."""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS text (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS video (id INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(COLUMNS)});
CREATE INDEX IF NOT EXISTS video_of_folder ON video (folder, id);
CREATE TABLE IF NOT EXISTS poll (id INTEGER PRIMARY KEY, time, answered, cause, listed, folders, waiting, queued);
CREATE TABLE IF NOT EXISTS pause (id INTEGER PRIMARY KEY, began, ended, cause);
CREATE TABLE IF NOT EXISTS hour (hour INTEGER PRIMARY KEY, {", ".join(f"{name} NOT NULL DEFAULT 0" for name in SUMS)});
CREATE TABLE IF NOT EXISTS trouble
    (day INTEGER, trouble TEXT, outcome TEXT, attempts INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (day, trouble, outcome))
    WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True, slots=True)
class Deferral:
    """An attempt that was put off, which counts as nothing; it is counted and leaves no line."""

    ended: float  # epoch s
    trouble: str
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PauseBegan:
    began: float  # epoch s
    cause: str


@dataclass(frozen=True, slots=True)
class PauseEnded:
    """The pause that lasts is over; none does if there is none."""

    ended: float  # epoch s; 0 = nobody knows, since the program died in it: it counts as nothing


Line = VideoLine | Deferral | PollLine | PauseBegan | PauseEnded


class HistoryWriter:
    """Writes lines behind the back of whoever adds them. The constructor touches nothing; ``add`` starts the thread."""

    def __init__(self, log_dir: Path) -> None:
        self._path = log_dir / HISTORY_FILE
        self._lines: queue.Queue[Line | None] = queue.Queue(_HELD)
        self._thread: threading.Thread | None = None
        self._database: Connection | None = None
        self._inode = 0  # of the file that is open
        self._trouble = ""  # what was said last
        self._since_pruned = _PRUNED_EVERY
        self._texts: dict[str, int] = {}

    def add(self, line: Line) -> None:
        """Have it written within about a second. Raises nothing and never waits."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="history", daemon=True)
            self._thread.start()
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def close(self, timeout: float = 2.0) -> None:
        """Write what is left, within ``timeout`` s. A second call does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with contextlib.suppress(queue.Full):
                self._lines.put_nowait(None)
            thread.join(timeout)

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._lines.get()]
            until = time.monotonic() + _AT_ONCE
            while batch[-1] is not None and (left := until - time.monotonic()) > 0:
                try:
                    batch.append(self._lines.get(timeout=left))
                except queue.Empty:
                    break
            is_open = batch[-1] is not None
            self._write([line for line in batch if line is not None])
        self._shut()

    def _write(self, lines: list[Line]) -> None:
        """All of them or, if it can't be done, none; said once."""
        try:
            import sqlite3
        except ImportError:
            self._say("this Python has no sqlite3 module")
            return
        try:
            database = self._opened()
            with database:
                database.execute("BEGIN IMMEDIATE")
                for line in lines:
                    self._put(database, line)
                self._prune(database, len(lines))
            self._trouble = ""
        except sqlite3.OperationalError as exc:  # a full disk, a lock that is never free
            self._shut()
            self._say(str(exc))
        except (sqlite3.DatabaseError, KeyError) as exc:  # no database, or not with these tables
            self._shut()
            self._set_aside(str(exc))
        except (OSError, ValueError, TypeError, OverflowError) as exc:
            self._shut()
            self._say(str(exc))

    def _say(self, cause: str) -> None:
        if cause != self._trouble:
            self._trouble = cause
            log.warning("history can't be written, work continues without it: %s: %s", self._path, cause)

    def _opened(self) -> "Connection":
        import sqlite3

        with contextlib.suppress(OSError):
            if self._database is not None and self._path.stat().st_ino == self._inode:
                return self._database
        self._shut()  # somebody deleted or replaced it
        database = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        self._database, self._texts = database, {}
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise OSError(f"a newer version of the programs wrote it (format {version})")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # what a power cut costs is the last seconds
        for table, columns in (("video", ("id", *COLUMNS)), ("hour", ("hour", *SUMS))):
            if tuple(row[1] for row in database.execute(f"PRAGMA table_info({table})")) not in {(), columns}:
                raise sqlite3.DatabaseError(f"its table {table} is not ours")
        database.executescript(_SCHEMA)
        if (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        self._inode = self._path.stat().st_ino
        for name in HISTORY_FILES:
            if (file := self._path.with_name(name)).exists():
                give_to_owner(file)
        return database

    def _shut(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(Exception):  # whatever is wrong with it was said, or is seen at the next opening
                database.close()

    def _set_aside(self, cause: str) -> None:
        """So that the next line begins a new one."""
        mark = f".damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        with contextlib.suppress(OSError):
            self._path.replace(self._path.with_name(HISTORY_FILE + mark))
            for name in HISTORY_FILES[1:]:
                self._path.with_name(name).unlink(missing_ok=True)
            log.warning("%s is damaged (%s), see %s; a new history begins", self._path, cause, HISTORY_FILE + mark)
            return
        self._say(cause)

    # --- one line -------------------------------------------------------------------------------------------------

    def _put(self, database: "Connection", line: Line) -> None:
        if isinstance(line, VideoLine):
            self._put_video(database, line)
        elif isinstance(line, Deferral):
            _add(database, line.ended, {"deferred": 1} | _stages(line.seconds))
            _count(database, line.ended, line.trouble, "deferred")
        elif isinstance(line, PollLine):
            values = (line.time, line.answered, line.cause[:_LONGEST_TEXT], line.listed, line.folders)
            _insert(database, "poll", (*values, line.waiting, line.queued))
            _add(database, line.time, {"polls": 1, "polls_failed": int(not line.answered)})
        elif isinstance(line, PauseBegan):
            _end_pause(database, line.began)
            _insert(database, "pause", (line.began, None, line.cause[:_LONGEST_TEXT]))
        else:
            _end_pause(database, line.ended)

    def _put_video(self, database: "Connection", line: VideoLine) -> None:
        is_stored = line.outcome == "stored"
        values: dict[str, object] = {name: getattr(line, name) for name in (*_CAUSED, *_DONE, *_MADE)}
        values |= _stages(line.seconds)
        values["cause"], values["warnings"] = line.cause[:_LONGEST_TEXT], line.warnings[:_LONGEST_TEXT]
        values["quality"] = json.dumps(dict(line.quality)) if line.quality else ""
        for name in SHARED:
            values[name] = self._number_of(database, _storable(str(values[name])))
        values["video"] = _storable(line.video)
        _insert(database, "video", [values[name] for name in COLUMNS])
        added = {line.outcome: 1} | _stages(line.seconds)
        if is_stored:
            added |= {name: getattr(line, name) for name in _DONE}
        else:
            _count(database, line.ended, line.trouble, line.outcome)
        _add(database, line.ended, added)

    def _number_of(self, database: "Connection", text: str) -> int:
        number = self._texts.get(text)
        if number is None:
            database.execute("INSERT OR IGNORE INTO text (text) VALUES (?)", (text,))
            number = int(database.execute("SELECT id FROM text WHERE text = ?", (text,)).fetchone()[0])
            if len(self._texts) > _HELD:
                self._texts.clear()
            self._texts[text] = number
        return number

    def _prune(self, database: "Connection", lines: int) -> None:
        self._since_pruned += lines
        if self._since_pruned < _PRUNED_EVERY:
            return
        self._since_pruned = 0
        for table, kept in (("video", KEPT_VIDEOS), ("poll", KEPT_POLLS), ("pause", KEPT_PAUSES)):
            database.execute(f"DELETE FROM {table} WHERE id <= (SELECT MAX(id) FROM {table}) - ?", (kept,))
        used = " UNION ".join(f"SELECT {name} FROM video" for name in sorted(SHARED))
        (texts,) = database.execute("SELECT COUNT(*) FROM text").fetchone()
        if texts > KEPT_VIDEOS // 4:
            database.execute(f"DELETE FROM text WHERE id NOT IN ({used})")
            self._texts.clear()


def _stages(seconds: Mapping[str, float]) -> dict[str, float]:
    return {f"{stage}_s": round(seconds.get(stage, 0.0), 2) for stage in STAGES}


def _insert(database: "Connection", table: str, values: Iterable[object]) -> None:
    row = (None, *values)
    database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _add(database: "Connection", when: float, values: Mapping[str, float]) -> None:
    """To the sums of the hour."""
    hour = int(when // _HOUR * _HOUR)
    database.execute("INSERT OR IGNORE INTO hour (hour) VALUES (?)", (hour,))
    added = ", ".join(f"{name} = {name} + ?" for name in values)
    database.execute(f"UPDATE hour SET {added} WHERE hour = ?", (*values.values(), hour))


def _count(database: "Connection", when: float, trouble: str, outcome: str) -> None:
    key = (int(when // _DAY * _DAY), trouble, outcome)
    database.execute("INSERT OR IGNORE INTO trouble VALUES (?, ?, ?, 0)", key)
    database.execute("UPDATE trouble SET attempts = attempts + 1 WHERE day = ? AND trouble = ? AND outcome = ?", key)


def _end_pause(database: "Connection", ended: float) -> None:
    for number, began in database.execute("SELECT id, began FROM pause WHERE ended IS NULL").fetchall():
        database.execute("UPDATE pause SET ended = ? WHERE id = ?", (max(ended, began), number))
        at = max(began, ended - _LONGEST_PAUSE)
        while at < ended:  # hour by hour
            until = min(ended, at // _HOUR * _HOUR + _HOUR)
            _add(database, at, {"paused_s": until - at})
            at = until


def _storable(text: str) -> str:
    """What is no Unicode (a name of a local file need not be any) is shown as it can be."""
    return text.encode("utf-8", "replace").decode()
