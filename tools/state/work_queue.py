"""``log/processing_queue.json``: a readable JSON list, one object a folder (see ``tools.core.queue_item``).

Every change is one transaction under the file's lock. Entries that can't be understood stay in the file as they are,
are reported once, and the others go on. What a process wrote or read last is kept parsed, so that a change in a long
queue encodes one entry, not all.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tools.core.errors import CorruptState
from tools.core.queue_item import QueueItem, Status, from_json, to_json
from tools.state.json_file import JsonFile

log = logging.getLogger("animation.state")
QUEUE_FILE = "processing_queue.json"


class QueueView:
    """The queue inside one transaction (or as read): items by folder, in the order of the file."""

    def __init__(self, items: dict[str, QueueItem], foreign: list[str]) -> None:
        self._texts: dict[str, str] = {}  # encoded entries, made when the file is written and kept until they change
        self._items = items
        self._foreign = foreign
        self.changed = False

    def items(self) -> list[QueueItem]:
        return list(self._items.values())

    def get(self, folder: str) -> QueueItem | None:
        return self._items.get(folder)

    def put(self, item: QueueItem) -> None:
        """Add the item, or replace the one of its folder."""
        self._items[item.folder] = item
        self._texts.pop(item.folder, None)
        self.changed = True

    def counts(self) -> dict[str, int]:
        """Items by status, every status named."""
        found = {status.value: 0 for status in Status}
        for item in self._items.values():
            found[item.status.value] += 1
        return found

    def text(self) -> str:
        """The whole file."""
        for folder, item in self._items.items():
            if folder not in self._texts:
                self._texts[folder] = _entry_text(to_json(item))
        entries = [*(self._texts[folder] for folder in self._items), *self._foreign]
        return "[\n" + ",\n".join(entries) + "\n]\n" if entries else "[]\n"


class WorkQueue:
    """The queue file of a log folder. Safe for any number of processes; the constructor touches nothing."""

    def __init__(self, log_dir: Path) -> None:
        self._file = JsonFile(log_dir / QUEUE_FILE)
        self._stamp: tuple[int, int, int] | None = None
        self._view: QueueView | None = None
        self._told: set[str] = set()

    @property
    def path(self) -> Path:
        return self._file.path

    def read(self) -> QueueView:
        """The queue as it is now, without the lock. Raises CorruptState for a damaged file, which stays as it is."""
        stamp = self._file.stamp()
        if self._view is None or stamp is None or stamp != self._stamp:
            self._remember(self._file.read(self._understand), stamp)
        assert self._view is not None
        return self._view

    @contextlib.contextmanager
    def transaction(self) -> Iterator[QueueView]:
        """Read, change, write as one step. Nothing is written when the block raises or changes nothing."""
        with self._file.locked():
            stamp = self._file.stamp()
            if self._view is None or stamp is None or stamp != self._stamp:
                self._remember(self._file.read_or_restore(self._understand), self._file.stamp())
            view = self._view
            assert view is not None
            try:
                yield view
                if view.changed:
                    self._file.write(view.text())
                    view.changed = False
                    self._stamp = self._file.stamp()
            except BaseException:
                self._view = None  # what the block did to it is not in the file
                raise

    def _remember(self, view: QueueView | None, stamp: tuple[int, int, int] | None) -> None:
        self._view = view or QueueView({}, [])
        self._stamp = stamp

    def _understand(self, content: Any) -> QueueView:
        if not isinstance(content, list):
            raise CorruptState(f"expected a list, found {type(content).__name__}")
        items: dict[str, QueueItem] = {}
        foreign: list[str] = []
        for entry in content:
            try:
                item = from_json(entry)
                if item.folder in items:
                    raise CorruptState(f"folder {item.folder!r} is there twice")
                items[item.folder] = item
            except CorruptState as exc:
                foreign.append(_entry_text(entry))
                self._tell(str(exc))
        return QueueView(items, foreign)

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            log.error(
                "an entry of %s can't be understood and is left as it is: %s; mend it by hand", self.path, problem
            )


def _entry_text(entry: object) -> str:
    lines = json.dumps(entry, ensure_ascii=False, indent=2).split("\n")
    return "\n".join("  " + line for line in lines)


def pending_in_order(items: Iterable[QueueItem], key: Callable[[QueueItem], Any]) -> list[QueueItem]:
    """What waits, first to be claimed first."""
    return sorted((item for item in items if item.status is Status.PENDING), key=key)
