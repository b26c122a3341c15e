"""What the history tells, as typed values; see ``tools.state.history`` for what is in it.

Read-only: it changes no file of ours and holds no lock that anybody waits for. It reads the history of a running
processor, of one that is stopped, and of a ``LOG_DIR`` copied from elsewhere that can't be written. Nothing here
raises for a history that is missing, damaged or of another version: answers are empty then, and ``problem`` says why.

    history = History(log_dir)
    history.hours(since)        # charts: throughput, saved bytes, failures, pauses over time
    history.totals()            # "what did I gain", counters for metrics
    history.videos(folder=…)    # tables: before → after, causes
    history.close()
"""

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tools.core.message import message
from tools.core.past import (
    STAGES,
    FolderSums,
    HourSums,
    PauseLine,
    PollLine,
    Sums,
    TroubleCount,
    VideoLine,
    WorkerSums,
)
from tools.state.foreign_sqlite import ForeignBase
from tools.state.history import COLUMNS, HISTORY_FILE, SHARED, SUMS, VERSION

T = TypeVar("T")
_BUSY = 1.0  # s
_TABLES = ("video", "poll", "pause", "hour", "trouble", "text")
_SHOWN = ", ".join(f"(SELECT text FROM text WHERE id = {name})" if name in SHARED else name for name in COLUMNS)
_NUMBERS = frozenset(name for name in COLUMNS if name not in SHARED | {"video", "outcome", "quality", "crf"})


class History:
    """The history of a log folder. The constructor touches nothing; one object serves one thread."""

    def __init__(self, log_dir: Path) -> None:
        self._path = log_dir / HISTORY_FILE
        self._database: ForeignBase | None = None
        self._inode = 0
        self.problem: str | None = None
        """Why the latest answer is empty, in one line; None if the history is there."""

    def videos(
        self,
        *,
        folder: str | None = None,
        outcome: str | None = None,
        since: float = 0.0,
        before: int | None = None,
        limit: int = 1000,
    ) -> list[VideoLine]:
        """Attempts at videos, newest first: of one folder, with one outcome, ended at ``since`` (epoch s) or later.

        ``before``: the ``id`` of the last line of the page before.
        """
        where: list[str] = ["ended >= ?"]
        values: list[object] = [since]
        if folder is not None:
            where, values = [*where, "folder = (SELECT id FROM text WHERE text = ?)"], [*values, _plain(folder)]
        if outcome is not None:
            where, values = [*where, "outcome = ?"], [*values, outcome]
        if before is not None:
            where, values = [*where, "id < ?"], [*values, before]
        asked = f"SELECT id, {_SHOWN} FROM video WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        return self._all(asked, (*values, limit), _video)

    def hours(self, since: float = 0.0, until: float = 1e12) -> list[HourSums]:
        """Sums per hour, oldest first, of those that begin in ``[since, until)`` (epoch s). Hours without anything are
        absent."""
        asked = f"SELECT hour, {', '.join(SUMS)} FROM hour WHERE hour >= ? AND hour < ? ORDER BY hour"
        return self._all(asked, (since, until), lambda row: HourSums(hour=int(_number(row[0])), **_named(row[1:])))

    def totals(self, since: float = 0.0) -> Sums:
        """Sums over all hours that begin at ``since`` (epoch s) or later; by default of all time."""
        asked = f"SELECT {', '.join(f'COALESCE(SUM({name}), 0)' for name in SUMS)} FROM hour WHERE hour >= ?"
        found = self._all(asked, (since,), lambda row: Sums(**_named(row)))
        return found[0] if found else Sums()

    def stored(self, since: float) -> Sums:
        """What was stored at ``since`` (epoch s) or later, not by hours: ``stored``, ``bytes_in`` and ``bytes_out``."""
        asked = (
            "SELECT COUNT(*), COALESCE(SUM(bytes_in), 0), COALESCE(SUM(bytes_out), 0) FROM video "
            "WHERE ended >= ? AND outcome = 'stored'"
        )
        found = self._all(
            asked,
            (since,),
            lambda row: Sums(**dict(zip(("stored", "bytes_in", "bytes_out"), _numbers(row), strict=True))),
        )
        return found[0] if found else Sums()

    def troubles(self, since: float = 0.0) -> list[TroubleCount]:
        """How attempts ended that did not succeed, most frequent first, in days (UTC) that begin at ``since`` or
        later."""
        asked = (
            "SELECT trouble, outcome, SUM(attempts) FROM trouble WHERE day >= ? GROUP BY trouble, outcome "
            "ORDER BY 3 DESC, 1, 2"
        )
        return self._all(asked, (since,), lambda row: TroubleCount(str(row[0]), str(row[1]), int(row[2])))

    def workers(self, since: float = 0.0) -> list[WorkerSums]:
        """What each worker did in attempts that ended at ``since`` (epoch s) or later, by name; "" is this machine."""
        asked = (
            "SELECT (SELECT text FROM text WHERE id = worker), SUM(outcome = 'stored'), SUM(outcome != 'stored'), "
            "SUM((outcome = 'stored') * bytes_in), SUM(encode_s), MAX(ended) FROM video WHERE ended >= ? "
            "GROUP BY worker ORDER BY 1"
        )
        return self._all(asked, (since,), lambda row: WorkerSums(str(row[0] or ""), *_numbers(row[1:])))

    def folders(self) -> dict[str, FolderSums]:
        """What was stored, by folder."""
        asked = (
            "SELECT (SELECT text FROM text WHERE id = folder), COUNT(*), SUM(bytes_in), SUM(bytes_out), "
            "SUM(encode_s), MAX(ended) FROM video WHERE outcome = 'stored' GROUP BY folder"
        )
        found = self._all(asked, (), lambda row: FolderSums(str(row[0]), *_numbers(row[1:])))
        return {one.folder: one for one in found}

    def polls(self, since: float = 0.0, limit: int = 1000) -> list[PollLine]:
        """Polls of the hub, newest first. Only the newest are kept; ``hours`` counts all."""
        asked = "SELECT time, answered, cause, listed, folders, waiting, queued FROM poll WHERE time >= ?"
        return self._all(f"{asked} ORDER BY id DESC LIMIT ?", (since, limit), _poll)

    def pauses(self, since: float = 0.0, limit: int = 1000) -> list[PauseLine]:
        """Pauses that last, or ended at ``since`` (epoch s) or later, newest first."""
        asked = "SELECT began, ended, cause FROM pause WHERE ended IS NULL OR ended >= ? ORDER BY id DESC LIMIT ?"
        return self._all(asked, (since, limit), _pause)

    def close(self) -> None:
        """Let go of the file; a later question opens it again."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    # --- the file -------------------------------------------------------------------------------------------------

    def _all(self, asked: str, values: Sequence[object], make: Callable[[Sequence[Any]], T]) -> list[T]:
        """Every row as ``make`` makes it; [] and a ``problem`` if that can't be done."""
        try:
            found = [make(row) for row in self._opened().rows(asked, values)]
        except FileNotFoundError:
            self.problem = "there is no history yet"
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError, RecursionError) as exc:
            self.problem = f"the history can't be read: {exc}"
        else:
            self.problem = None
            return found
        self.close()
        return []

    def _opened(self) -> ForeignBase:
        inode = self._path.lstat().st_ino
        if self._database is not None and inode == self._inode:
            return self._database
        self.close()
        database = ForeignBase(self._path, _TABLES, _BUSY)
        version = database.version
        if version != VERSION:
            database.close()
            raise ValueError(f"its format is {version}, this version of the programs knows {VERSION}")
        self._database, self._inode = database, inode
        return database


def _plain(text: str) -> str:
    """As ``tools.state.history`` keeps it."""
    return text.encode("utf-8", "replace").decode()


def _named(row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(SUMS, _numbers(row), strict=True))


def _number(value: Any, said: str = message("a number of it is none")) -> Any:
    """A number that can be added up and shown; what else a stranger's file holds raises ValueError."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(said)
    return value


def _numbers(row: Sequence[Any]) -> list[Any]:
    return [_number(value) for value in row]


def _pause(row: Sequence[Any]) -> PauseLine:
    began, ended, cause = row
    return PauseLine(began=_number(began), ended=None if ended is None else _number(ended), cause=str(cause))


def _poll(row: Sequence[Any]) -> PollLine:
    cause, numbers = row[2], _numbers((*row[:2], *row[3:]))
    when, answered, listed, folders, waiting, queued = numbers
    return PollLine(
        time=when,
        answered=bool(answered),
        cause=str(cause),
        listed=bool(listed),
        folders=folders,
        waiting=waiting,
        queued=queued,
    )


def _video(row: Sequence[Any]) -> VideoLine:
    """Of a row whose numbers are numbers; what else a stranger's file holds raises ValueError."""
    values = dict(zip(("id", *COLUMNS), row, strict=True))
    for name, value in values.items():
        if name in _NUMBERS or (name == "crf" and value is not None):
            _number(value, message(f"{name} of an attempt is no number"))
        elif name in SHARED or name in {"video", "outcome"}:
            values[name] = "" if value is None else str(value)
    seconds = {stage: float(values.pop(f"{stage}_s")) for stage in STAGES}
    quality = json.loads(values["quality"]) if values["quality"] else {}
    if not isinstance(quality, dict):
        raise ValueError("quality of an attempt is no object")
    values |= {"final": bool(values["final"]), "seconds": seconds}
    values["quality"] = {name: _number(value) for name, value in quality.items()}
    return VideoLine(**values)
