"""``log/processing_queue.json``: a readable JSON list, one object per folder (see ``tools.core.queue_item``).

Every change is one transaction under the file's lock. Entries that can't be understood stay in the file as they are
and are reported once; the others are processed.

**A long queue is cut at its braces, not parsed.** Of thousands of entries a change touches one, so the file is taken
apart as bytes; an entry is parsed when somebody asks for it and encoded when it changed. ``encoded`` writes::

    [                        "[\\n" + _HEAD = _OPEN
      {                      _HEAD
        "folder": "A",       from here ...
        ...                  ... the text of an entry ...
        "bytes_out": 0       ... to here
      },                     _TAIL + ",\\n" + _HEAD = _BETWEEN
      {
        "folder": "B",
        ...
      }                      _TAIL
    ]                        _TAIL + "\\n]\\n" = _CLOSE

and ``recognised`` splits that at ``_BETWEEN``. It relies on this:

- Only bytes that this module wrote get there: ``JsonFile`` compares them with the length and CRC-32 that were noted
  with the file. One that a person edited, or an older version wrote, is parsed whole.
- ``json.dumps`` writes line breaks in a string as ``\\n`` and indents what is nested deeper, so ``_BETWEEN`` occurs
  between two entries alone.
- ``to_json`` puts ``folder`` first, which is the key, ``added_time`` to ``end_time`` behind one another, which
  ``_STATE`` reads, and ``error`` after them: claims and ``--status`` pass over entries without parsing them.
- A file with entries that can't be understood is not noted as written by us, so it is parsed whole each time.
"""

import contextlib
import heapq
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tools.core.errors import CorruptState
from tools.core.message import message
from tools.core.queue_item import CANCELLED, RESULT_KEPT, QueueItem, Status, counted_as, from_json, to_json
from tools.runtime.language import both
from tools.runtime.once import Once
from tools.state.json_file import JsonFile

log = logging.getLogger("animation.state")
_LIVE = frozenset((Status.PENDING, Status.PROCESSING))
QUEUE_FILE = "processing_queue.json"


class QueueView:
    """The queue inside one transaction (or as read): items by folder, in the order of the file."""

    def __init__(
        self, texts: dict[bytes, bytes], items: dict[bytes, QueueItem] | None = None, foreign: Sequence[bytes] = ()
    ) -> None:
        self._texts = texts  # by ``_key_of`` the folder: its entry between its braces, b"" if it must be encoded
        self._items = items or {}  # by the same key: those that are parsed already
        self._stale = [key for key in self._items if not texts[key]]  # keys of entries to be encoded
        self._foreign = foreign  # entries that can't be understood, whole
        self._live: dict[bytes, QueueItem] | None = None  # None: not searched yet
        self.changed = False

    @classmethod
    def recognised(cls, content: bytes, before: "QueueView | None") -> "QueueView | None":
        """From the bytes that ``encoded`` made, None for others; what ``before`` has as well is not parsed again."""
        if not content.startswith(_OPEN) or not content.endswith(_CLOSE):
            return None
        entries = content[len(_OPEN) : -len(_CLOSE)].split(_BETWEEN)
        texts = {text[_NAME : text.index(_NAME_END)]: text for text in entries}  # an entry begins with its folder
        known = {} if before is None else before._items
        return cls(texts, {key: item for key, item in known.items() if before and texts.get(key) == before._texts[key]})

    def items(self) -> list[QueueItem]:
        return [self._item(key) for key in self._texts]

    def live(self) -> list[QueueItem]:
        """The items that wait or are being processed, in no order; the others are skipped once, unparsed."""
        if self._live is None:
            self._live = {key: self._item(key) for key, text in self._texts.items() if self._is_live(key, text)}
        return list(self._live.values())

    def keeping(self) -> list[str]:
        """The folders of settled items with results that the hub did not take."""
        mark = RESULT_KEPT.encode()
        items = [self._item(key) for key, text in self._texts.items() if not text or mark in text]
        return [item.folder for item in items if any(one.result_kept for one in item.quarantined)]

    def _is_live(self, key: bytes, text: bytes) -> bool:
        found = None if key in self._items else _STATE.search(text)
        return (Status(found[2].decode()) if found else self._item(key).status) in _LIVE

    def get(self, folder: str) -> QueueItem | None:
        key = _key_of(folder)
        return self._item(key) if key in self._texts else None

    def _item(self, key: bytes) -> QueueItem:
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = from_json(json.loads(b"{%b}" % self._texts[key]))
        return item

    def put(self, item: QueueItem) -> None:
        """Add the item, or replace the one of its folder."""
        key = _key_of(item.folder)
        self._items[key] = item
        self._texts[key] = b""
        self._stale.append(key)
        if self._live is not None:
            if item.status in _LIVE:
                self._live[key] = item
            else:
                self._live.pop(key, None)
        self.changed = True

    def remove(self, folder: str) -> None:
        """Take the item of a folder out, if there is one."""
        key = _key_of(folder)
        if self._texts.pop(key, None) is None:
            return
        self._items.pop(key, None)
        self._stale = [one for one in self._stale if one != key]
        if self._live is not None:
            self._live.pop(key, None)
        self.changed = True

    def counts(self) -> dict[str, int]:
        """Items by status, every status named; those that a person cancelled apart from those that failed."""
        return _counted(map(counted_as, self.items()))

    @property
    def is_plain(self) -> bool:
        """Whether ``recognised`` understands what ``encoded`` makes."""
        return bool(self._texts) and not self._foreign

    def encoded(self) -> bytes:
        """The whole file."""
        for key in self._stale:
            self._texts[key] = _indented(to_json(self._items[key]))[len(_HEAD) : -len(_TAIL)]
        self._stale.clear()
        if not self._texts and not self._foreign:
            return b"[]\n"
        entries = list(self._texts.values())
        if self.is_plain:  # copied once: it is long
            entries[0] = _OPEN + entries[0]
            entries[-1] += _CLOSE
            return _BETWEEN.join(entries)
        whole = (*(_HEAD + text + _TAIL for text in entries), *self._foreign)
        return b"[\n" + b",\n".join(whole) + b"\n]\n"


_HEAD, _TAIL = b"  {\n", b"\n  }"
_BETWEEN = _TAIL + b",\n" + _HEAD  # no JSON string holds a line break, so this stands between two entries alone
_OPEN, _CLOSE = b"[\n" + _HEAD, _TAIL + b"\n]\n"


class Waiting(NamedTuple):
    """What may be known of a pending item without parsing it."""

    folder: str
    priority: int
    added_time: str  # local ISO 8601
    held: bool
    videos: int  # not published yet
    size: int  # bytes of its files, less those of the videos that are published

    @classmethod
    def of(cls, item: QueueItem) -> "Waiting":
        rest = item.videos_total - item.videos_done, max(0, item.total_size - item.bytes_in)
        return cls(item.folder, item.priority, item.added_time, item.held, *rest)


class Gain(NamedTuple):
    """Sums over all items of what is published."""

    videos: int
    bytes_in: int  # of the sources
    bytes_out: int  # of their MKVs
    bigger: int = 0  # videos that weigh more than they may, whatever was done
    scenes: int = 0  # of them, with FRAMES_REPO
    frames: int = 0  # pictures of scenes


class Overview(NamedTuple):
    """A summary of the queue."""

    counts: dict[str, int]  # as ``QueueView.counts``
    latest: list[QueueItem]  # that ended, started or were added last, newest first
    failed: list[QueueItem]  # of the failed ones, likewise
    processing: list[QueueItem]  # all of them, in no order
    pending: list[Waiting]  # likewise
    gain: Gain

    @classmethod
    def of(cls, items: Iterable[QueueItem], shown: int, shown_failed: int) -> "Overview":
        """At most ``shown`` items among the latest, and ``shown_failed``."""
        seen = [(item.end_time or item.start_time or item.added_time, n, item) for n, item in enumerate(items)]
        failed = heapq.nlargest(shown_failed, (one for one in seen if counted_as(one[2]) == Status.FAILED.value))
        latest = heapq.nlargest(shown, seen)
        counts = _counted(counted_as(item) for _, _, item in seen)
        everything = [item for _, _, item in seen]
        processing = [item for item in everything if item.status is Status.PROCESSING]
        pending = [Waiting.of(item) for item in everything if item.status is Status.PENDING]
        gain = Gain(
            sum(item.videos_done for item in everything),
            sum(item.bytes_in for item in everything),
            sum(item.bytes_out for item in everything),
            sum(item.videos_bigger for item in everything),
            sum(item.scenes for item in everything),
            sum(item.frames for item in everything),
        )
        return cls(counts, [it for _, _, it in latest], [it for _, _, it in failed], processing, pending, gain)

    @classmethod
    def recognised(cls, content: bytes, shown: int, shown_failed: int) -> "Overview | None":
        """From the bytes that ``encoded`` made, None for others; no entry is parsed but those to be shown."""
        if not content.startswith(_OPEN) or not content.endswith(_CLOSE):
            return None
        states = list(_STATE.finditer(content))
        seen = [(one[5] or one[4] or one[1], one.start(), one[2]) for one in states]
        numbers = [tuple(map(int, one)) for one in _DONE.findall(content)]
        if not len(seen) == len(numbers) == content.count(_BETWEEN) + 1:
            return None
        ended = [one for one in seen if one[2] == b"failed"]
        failed = [one for one in ended if not content.startswith(_CANCELLED, content.find(_ERROR, one[1]))]
        counts = _counted(status.decode() for _, _, status in seen)
        counts[CANCELLED] = len(ended) - len(failed)
        counts[Status.FAILED.value] = len(failed)
        processing = [one for one in seen if one[2] == b"processing"]
        chosen = heapq.nlargest(shown, seen), heapq.nlargest(shown_failed, failed), processing
        pending = [
            _waiting_at(content, state, done)
            for state, done in zip(states, numbers, strict=True)
            if state[2] == b"pending"
        ]
        bigger, scenes, frames = (_sum_of(name, content) for name in ("videos_bigger", "scenes", "frames"))
        _, *sums = (sum(column) for column in zip(*numbers, strict=True))
        gain = Gain(*sums)._replace(bigger=bigger, scenes=scenes, frames=frames)
        latest, worst, running = ([_item_at(content, at) for _, at, _ in some] for some in chosen)
        return cls(counts, latest, worst, running, pending, gain)


def _sum_of(name: str, content: bytes) -> int:
    """Of a number that few entries have."""
    if f'"{name}"'.encode() not in content:
        return 0
    return sum(map(int, re.findall(rb'\n    "%b": (\d{1,18})\b' % name.encode(), content)))


def _counted(words: Iterable[str]) -> dict[str, int]:
    return {**{status.value: 0 for status in Status}, CANCELLED: 0, **Counter(words)}


def _item_at(content: bytes, place: int) -> QueueItem:
    """The item in whose entry, as ``encoded`` made it, a place lies."""
    begin = content.rindex(_HEAD, 0, place) + len(_HEAD)
    return from_json(json.loads(b"{%b}" % content[begin : content.index(_TAIL, place)]))


def _waiting_at(content: bytes, state: "re.Match[bytes]", done: tuple[int, ...]) -> Waiting:
    """Of the entry in whose state a match of ``_STATE`` lies; ``done`` its numbers as ``_DONE`` has them."""
    head = content[content.rindex(_HEAD, 0, state.start()) : state.start()]
    name = head[len(_HEAD) + _NAME : head.index(_NAME_END)]
    is_held = content.find(b'\n    "held": true', state.end(), content.index(_ERROR, state.end())) >= 0
    size = int(head[head.rindex(b" ") : -1])
    videos, published, bytes_in, _ = done
    folder = name.decode() if b"\\" not in name else json.loads(b'"%b"' % name)
    rest = videos - published, max(0, size - bytes_in)
    return Waiting(folder, int(state["priority"]), state[1].decode(), is_held, *rest)


class WorkQueue:
    """The queue file of a log folder. Safe for any number of processes; the constructor touches nothing."""

    def __init__(self, log_dir: Path) -> None:
        self._file = JsonFile(log_dir / QUEUE_FILE)
        self._stamp: tuple[int, int, int] | None = None
        self._view: QueueView | None = None
        self._said = Once()

    @property
    def path(self) -> Path:
        return self._file.path

    def read(self) -> QueueView:
        """The queue as it is now, without the lock. Raises CorruptState for a damaged file, which stays as it is."""
        stamp = self._file.stamp()
        if self._view is None or stamp is None or stamp != self._stamp:
            self._remember(self._file.read(self._understand, self._recognise), stamp)
        assert self._view is not None
        return self._view

    def overview(self, shown: int, shown_failed: int) -> Overview:
        """A summary of the queue as it is now, without the lock: see ``Overview.of``. Raises CorruptState."""
        found = self._file.read(
            lambda content: Overview.of(self._understand(content).items(), shown, shown_failed),
            lambda content: Overview.recognised(content, shown, shown_failed),
        )
        return found or Overview.of((), shown, shown_failed)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[QueueView]:
        """Read, change, write as one step. Nothing is written when the block raises or changes nothing."""
        with self._file.locked():
            stamp = self._file.stamp()
            if self._view is None or stamp is None or stamp != self._stamp:
                found = self._file.read_or_restore(self._understand, self._recognise)
                self._remember(found, self._file.stamp())
            view = self._view
            assert view is not None
            try:
                yield view
                if view.changed:
                    self._file.write(view.encoded(), vouched=view.is_plain)
                    view.changed = False
                    self._stamp = self._file.stamp()
            except BaseException:
                self._view = None  # what the block did to it is not in the file
                raise

    def _remember(self, view: QueueView | None, stamp: tuple[int, int, int] | None) -> None:
        self._view = view or QueueView({})
        self._stamp = stamp

    def _recognise(self, content: bytes) -> QueueView | None:
        return QueueView.recognised(content, self._view)

    def _understand(self, content: Any) -> QueueView:
        if not isinstance(content, list):
            raise CorruptState(f"expected a list, found {type(content).__name__}")
        items: dict[bytes, QueueItem] = {}
        foreign: list[bytes] = []
        for entry in content:
            try:
                item = from_json(entry)
                key = _key_of(item.folder)
                if key in items:
                    raise CorruptState(f"folder {item.folder!r} is there twice")
                items[key] = item
            except CorruptState as exc:
                foreign.append(_indented(entry))
                self._tell(str(exc))
        return QueueView(dict.fromkeys(items, b""), items, foreign)

    def _tell(self, problem: str) -> None:
        if self._said.is_news(problem):
            said = f"an entry of {self.path} can't be understood and is left as it is: {problem}"
            log.error("%s", both(message(f"{said}; fix it by hand")))


def _indented(entry: object) -> bytes:
    lines = json.dumps(entry, ensure_ascii=False, indent=2).split("\n")
    # Halves of characters that a person's edit left in it come back as they were; nothing of ours has any.
    return "\n".join("  " + line for line in lines).encode("utf-8", "surrogatepass")


_quoted = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes an encoder at every call


def _key_of(folder: str) -> bytes:
    """A folder's name as its entry has it between quotes."""
    return _quoted(folder)[1:-1].encode("utf-8", "surrogatepass")


_ERROR, _CANCELLED = b'\n    "error": ', b'\n    "error": "cancelled"'
_NAME, _NAME_END = len(b'    "folder": "'), b'",\n'  # no JSON string holds a line break
_DONE = re.compile(
    rb'\n    "videos_total": (\d{1,18}),\n    "videos_done": (\d{1,18}),'
    rb'\n    "bytes_in": (\d{1,18}),\n    "bytes_out": (\d{1,18})\b'
)
_STATE = re.compile(
    rb'\n    "added_time": "([^"]*)",\n    "status": "(\w+)",\n    "priority": (?P<priority>\d{1,9}),'
    rb'\n    "start_time": (?:null|"([^"]*)"),\n    "end_time": (?:null|"([^"]*)")'
)


def pending_in_order(items: Iterable[QueueItem], key: Callable[[QueueItem], Any]) -> list[QueueItem]:
    """What waits, first to be claimed first."""
    return sorted((item for item in items if item.status is Status.PENDING), key=key)
