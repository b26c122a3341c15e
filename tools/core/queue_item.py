"""A folder at one fingerprint, waiting for, in, or after processing: its states, order, and JSON form.

::

    pending ──claim──▶ processing ──all videos published──▶ completed ──folder changed──▶ pending
       ▲                  │ ├── stopped, orphaned, or a transient error: pending again, not before t
       └──────────────────┘ └── quarantined videos, cancelled ──▶ failed ──retry by hand, or folder changed──▶ pending
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from tools.core.errors import CorruptState, IllegalTransition
from tools.core.redo import Redo, redo_of_json

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.folder import Folder

_GIB = 1024**3
_CLASSES = ((1, 10, 5 * _GIB), (2, 50, 20 * _GIB))  # (priority, most files, most bytes); the rest is 3
_LAST_CLASS = 3
_CLOCK_STEP = 60.0  # s by which a clock may be set without anybody calling it a jump
CANCELLED = "cancelled"
"""The ``error`` of an item that a person cancelled; the monitor skips it until the folder changes."""


class Status(Enum):
    """Where an item stands."""

    PENDING = "pending"  # waits for the processor
    PROCESSING = "processing"  # claimed by the processor that holds the lock
    COMPLETED = "completed"  # every video is published
    FAILED = "failed"  # some video is quarantined, or a person or an error ended it


_MOVES = {
    Status.PENDING: {Status.PENDING, Status.PROCESSING, Status.FAILED},
    Status.PROCESSING: {Status.PENDING, Status.COMPLETED, Status.FAILED},
    Status.COMPLETED: {Status.PENDING},
    Status.FAILED: {Status.PENDING},
}


RESULT_KEPT = "result_kept"
"""The key in the queue file of a quarantined video whose result is still there."""
_SPENT = "attempts_spent"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A video that can't be converted, and why."""

    path: str
    cause: str
    sha256: str = ""  # hex, of the source that was tried; "" if unknown
    result_kept: bool = False  # it was converted and the hub did not take it: the result waits in WORK_DIR for --retry
    is_spent: bool = False  # not refused for what it is: it used up its attempts, and --retry may help

    @property
    def is_of_content(self) -> bool:
        """Whether it was refused for what it is."""
        return not (self.is_spent or self.result_kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueItem:
    """One entry of the queue. Times are local ISO 8601 to the second."""

    folder: str
    hash: str  # the fingerprint that was queued; "" if a person wrote the entry: the folder as it is
    file_count: int
    total_size: int  # bytes
    added_time: str
    status: Status = Status.PENDING
    priority: int = _LAST_CLASS  # 1 is first, see ``priority_of``
    start_time: str | None = None  # of the latest attempt
    end_time: str | None = None  # when it was completed or failed
    attempts: int = 0  # at this content that came to an end, or are under way; also after success
    runs: int = 0  # how often it was claimed, whatever its content and however that ended
    held: bool = False  # by a person: not claimed until it is released
    not_before: str | None = None  # with its offset from UTC; None = at once
    error: str | None = None  # why it failed, or was given back
    quarantined: tuple[Quarantined, ...] = ()
    videos_total: int = 0
    videos_done: int = 0  # published so far
    bytes_in: int = 0  # of the sources of the videos done
    bytes_out: int = 0  # of their MKVs
    videos_reused: int = 0  # of the videos done: those whose bytes had a result already
    seconds_saved: int = 0  # s that making those results had taken
    videos_bigger: int = 0  # of the videos done: those that weigh more than MAX_SIZE_PERCENT, whatever was done
    scenes: int = 0  # of the videos done, with FRAMES_REPO
    frames: int = 0  # pictures of scenes that are published
    contents: str = ""  # digest over the contents of its files as they were queued; "" if not known
    redo: Redo | None = None  # what a person wants made again, though it is published
    extra: Mapping[str, Any] = field(default_factory=dict)  # keys of the file that are unknown to us


def counted_as(item: QueueItem) -> str:
    """The word under which it is counted for people: its status, but what a person cancelled has not failed."""
    return CANCELLED if item.status is Status.FAILED and item.error == CANCELLED else item.status.value


def local_time(now: float) -> str:
    """Epoch s → local ISO 8601 to the second."""
    return datetime.fromtimestamp(now).isoformat(timespec="seconds")


def priority_of(file_count: int, total_size: int) -> int:
    """1 for small folders, 2 for middling ones, 3 for the rest."""
    for priority, most_files, most_bytes in _CLASSES:
        if file_count <= most_files and total_size <= most_bytes:
            return priority
    return _LAST_CLASS


def new_item(folder: "Folder", now: float) -> QueueItem:
    """A stable folder as it enters the queue."""
    return QueueItem(
        folder=folder.name,
        hash=folder.fingerprint,
        contents=folder.contents,
        file_count=folder.file_count,
        total_size=folder.total_size,
        added_time=local_time(now),
        priority=priority_of(folder.file_count, folder.total_size),
        videos_total=folder.video_count,
    )


def enqueue_again(item: QueueItem, folder: "Folder", now: float) -> QueueItem:
    """The folder changed. One that still waits keeps its place; quarantined videos stay so until they change."""
    waiting = item.status is Status.PENDING
    is_ordered = waiting and item.priority != priority_of(item.file_count, item.total_size)  # by a person
    return _move(
        item,
        Status.PENDING,
        hash=folder.fingerprint,
        contents=folder.contents,
        file_count=folder.file_count,
        total_size=folder.total_size,
        priority=item.priority if is_ordered else priority_of(folder.file_count, folder.total_size),
        videos_total=folder.video_count,
        added_time=item.added_time if waiting else local_time(now),
        start_time=None,
        end_time=None,
        not_before=None,
        error=None,
        attempts=0,
        redo=item.redo if waiting else None,
    )


def is_as_queued(item: QueueItem, folder: "Folder") -> bool:
    """Whether the folder has the names and sizes that were queued, and the contents as far as they are known."""
    replaced = bool(item.contents and folder.contents) and item.contents != folder.contents
    return item.hash == folder.fingerprint and not replaced


def entry_for(item: QueueItem | None, folder: "Folder", now: float) -> QueueItem | None:
    """What the queue should hold for a stable folder in the place of ``item``; None if that is right already.

    An item that is being processed is not touched: the change is queued once it is settled.
    """
    if item is None:
        return new_item(folder, now)
    if is_as_queued(item, folder) or item.status is Status.PROCESSING:
        return None
    return enqueue_again(item, folder, now)


def claim(item: QueueItem, now: float) -> QueueItem:
    """The processor takes the item; one more attempt."""
    return _move(
        item,
        Status.PROCESSING,
        start_time=local_time(now),
        end_time=None,
        not_before=None,
        error=None,
        attempts=item.attempts + 1,
        runs=item.runs + 1,
    )


def give_back(item: QueueItem, not_before: float | None = None, error: str | None = None) -> QueueItem:
    """Stopped, orphaned, or a transient error: requeued, to be claimed not before ``not_before`` (epoch s).

    That was a run, and no attempt: what is to blame for it, if anything, has attempts of its own.
    """
    if item.status is not Status.PROCESSING:
        raise IllegalTransition(f"{item.folder}: only a claimed item can be given back, this is {item.status.value}")
    # With its offset from UTC: in the repeated hour when daylight saving ends the bare time is an hour too early.
    when = None if not_before is None else datetime.fromtimestamp(not_before + 0.999).astimezone()
    attempts = max(0, item.attempts - 1)
    return _move(
        item, Status.PENDING, start_time=None, end_time=None, not_before=_iso(when), error=error, attempts=attempts
    )


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat(timespec="seconds")


def settle(
    item: QueueItem, now: float, quarantined: tuple[Quarantined, ...] = (), error: str | None = None
) -> QueueItem:
    """The end of an attempt: completed, or failed if a video is quarantined or ``error`` says why."""
    failed = bool(quarantined or error)
    if quarantined and not error:
        error = f"{item.videos_done} of {item.videos_total} published, {len(quarantined)} can't be converted"
    return _move(
        item,
        Status.FAILED if failed else Status.COMPLETED,
        end_time=local_time(now),
        quarantined=quarantined,
        error=error,
        redo=_redo_left(item.redo, quarantined) if failed else None,
    )


def _redo_left(redo: Redo | None, quarantined: tuple[Quarantined, ...]) -> Redo | None:
    """What ``--retry`` has to make again: what was published with the order is done."""
    return redo.left([one.path for one in quarantined]) if redo and quarantined else redo


def gone(item: QueueItem, now: float, why: str) -> QueueItem:
    """The folder, or every video in it, is not there any more: nothing is left to do. Its fingerprint goes as well, so
    that the same folder uploaded again is queued again."""
    return replace(settle(item, now), hash="", error=why, quarantined=())


def cancel(item: QueueItem, now: float) -> QueueItem:
    """A person cancels the item; it is not queued again until the folder changes or ``--retry``."""
    return _move(item, Status.FAILED, end_time=local_time(now), error=CANCELLED, redo=None)


def retry(item: QueueItem) -> QueueItem:
    """A person wants a failed item tried again, its quarantined videos too."""
    if item.status is not Status.FAILED:
        raise IllegalTransition(f"{item.folder}: only a failed item can be retried, this one is {item.status.value}")
    return _move(item, Status.PENDING, start_time=None, end_time=None, not_before=None, error=None, quarantined=())


def _move(item: QueueItem, status: Status, **changes: Any) -> QueueItem:
    if status not in _MOVES[item.status]:
        raise IllegalTransition(f"{item.folder}: {item.status.value} can't become {status.value}")
    return replace(item, status=status, **changes)


def is_due(item: QueueItem, now: float) -> bool:
    """Whether the item may be claimed now."""
    return (
        item.status is Status.PENDING and not item.held and (item.not_before is None or _epoch(item.not_before) <= now)
    )


def with_sane_times(item: QueueItem, now: float, longest: float) -> QueueItem:
    """The item without times that only a clock since set back can have given; the same one if there are none.

    ``longest`` s that any wait of ours lasts: a longer one would last until the wrong time has come.
    """
    if _epoch(item.added_time) > now + _CLOCK_STEP:
        item = replace(item, added_time=local_time(now))
    if item.not_before is not None and _epoch(item.not_before) > now + longest + _CLOCK_STEP:
        item = replace(item, not_before=None)
    return item


class Ranked(Protocol):
    """What decides on an item's place."""

    @property
    def folder(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def added_time(self) -> str: ...


def rank(item: Ranked, now: float, aging_hours: float) -> tuple[int, str, str]:
    """Sort key, smallest first: class lifted by waiting, then time added. ``aging_hours`` 0 = nothing is lifted."""
    place = item.priority
    if aging_hours > 0 and place > 1 and (waited := now - _epoch(item.added_time)) > 0:
        place = max(1, place - int(waited / (aging_hours * 3600)))
    return place, item.added_time, item.folder


@lru_cache(1 << 16)  # each claim compares the times of all that waits
def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def to_json(item: QueueItem) -> dict[str, Any]:
    """The item as the queue file shows it."""
    shown = {f.name: getattr(item, f.name) for f in fields(item) if f.name != "extra"}
    shown["status"] = item.status.value
    shown["quarantined"] = [_quarantined_json(one) for one in item.quarantined]
    shown["redo"] = item.redo and item.redo.as_json()
    for name in _SHOWN_IF_SET:
        if not shown[name]:
            del shown[name]
    return {**{key: shown.pop(key) for key in _READERS_FIRST}, **shown, **item.extra}


_READERS_FIRST = ("folder", "file_count", "total_size", "added_time", "status", "priority", "start_time", "end_time")


_SHOWN_IF_SET = ("held", "contents", "redo", "videos_reused", "seconds_saved", "videos_bigger", "scenes", "frames")
_KNOWN = frozenset(f.name for f in fields(QueueItem)) - {"extra"}


def from_json(entry: object) -> QueueItem:
    """An entry of the queue file, also one that a person edited or an older version wrote. Raises CorruptState."""
    if not isinstance(entry, dict):
        raise CorruptState(f"expected an object, found {type(entry).__name__}")
    values = {key: value for key, value in entry.items() if key in _KNOWN}
    try:
        values["status"] = Status(values.get("status", "pending"))
        values["held"] = values.get("held") is True
        values["redo"] = redo_of_json(values.get("redo"))
        values["quarantined"] = tuple(_quarantined(one) for one in values.get("quarantined") or ())
        item = QueueItem(**_defaults(values), extra={k: v for k, v in entry.items() if k not in _KNOWN})
    except (TypeError, ValueError, KeyError) as exc:
        raise CorruptState(f"folder {entry.get('folder')!r}: {exc}") from exc
    _check_types(item)
    return item


def _defaults(values: dict[str, Any]) -> dict[str, Any]:
    values.setdefault("hash", "")
    values.setdefault("file_count", 0)
    values.setdefault("total_size", 0)
    if "priority" not in values:
        values["priority"] = priority_of(values["file_count"], values["total_size"])
    if values.get("added_time") is None:  # a person may have emptied it
        values["added_time"] = local_time(0)
    return values


def _quarantined(one: Mapping[str, Any]) -> Quarantined:
    path, kept, spent = str(one["path"]), one.get(RESULT_KEPT) is True, one.get(_SPENT) is True
    return Quarantined(path, str(one.get("cause", "")), str(one.get("sha256", "")), kept, spent)


def _quarantined_json(one: Quarantined) -> dict[str, Any]:
    marks = {RESULT_KEPT: True} if one.result_kept else {}
    if one.is_spent:
        marks[_SPENT] = True
    return {"path": one.path, "cause": one.cause, "sha256": one.sha256, **marks}


_NUMBERS = (
    "file_count",
    "total_size",
    "priority",
    "attempts",
    "runs",
    "videos_total",
    "videos_done",
    "bytes_in",
    "bytes_out",
    "videos_reused",
    "seconds_saved",
    "videos_bigger",
    "scenes",
    "frames",
)
_MOST = 1 << 60  # what is more is no number of anything, and no float either
_TIMES = ("added_time", "start_time", "end_time", "not_before")


def _check_types(item: QueueItem) -> None:
    if not isinstance(item.folder, str) or not item.folder or not isinstance(item.hash, str):
        raise CorruptState(f"folder {item.folder!r}: folder and hash must be text")
    if not isinstance(item.contents, str):
        raise CorruptState(f"folder {item.folder!r}: contents must be text")
    if any(0xD800 <= ord(ch) < 0xE000 for ch in item.folder):
        raise CorruptState(f"folder {item.folder!r}: half a character is in it")
    for name in _NUMBERS:
        value = getattr(item, name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
            raise CorruptState(f"folder {item.folder!r}: {name} must be a whole number, found {value!r}")
    for name in _TIMES:
        value = getattr(item, name)
        try:
            if value is not None:
                _epoch(value)
        except (TypeError, ValueError, OverflowError, OSError) as exc:
            raise CorruptState(f"folder {item.folder!r}: {name} must be a time, found {value!r}") from exc
    if item.error is not None and not isinstance(item.error, str):
        raise CorruptState(f"folder {item.folder!r}: error must be text or null")
