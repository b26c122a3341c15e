"""``log/orders.json``: what a person ordered that is about no item of the queue; both programs obey within seconds.

::

    {"pause": {"how": "folder" | "video" | "now", "reason": text, "since": epoch s} or null,
     "forgotten": {FOLDER: fingerprint}, "mirror": digest}

``forgotten``: folders that were taken out of the queue for good; one that changes is queued again.
``mirror``: the files that may be taken out of the output whatever their share, see ``digest_of`` of
``tools.core.mirror``; "" = none.
"""

import contextlib
import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from tools.core.errors import CorruptState, StateError
from tools.core.message import message
from tools.state.json_file import JsonFile

ORDERS_FILE = "orders.json"
BY_HAND = message("by --pause")
"""How the reason of a pause begins that a person ordered."""


class PauseHow(Enum):
    """What still goes on during a pause."""

    FOLDER = "folder"  # folders in work are finished, no other one is begun
    VIDEO = "video"  # videos in work are finished, no other one is begun
    NOW = "now"  # running encodes and transfers are ended, and done again later


class PauseOrder(NamedTuple):  # no dataclass: --status imports this, and must not wait for it
    how: PauseHow
    reason: str
    since: float  # epoch s

    @property
    def text(self) -> str:
        """For people."""
        return BY_HAND + (f": {self.reason}" if self.reason else "")


class Orders:
    """All that is ordered."""

    def __init__(
        self, pause: PauseOrder | None = None, forgotten: dict[str, str] | None = None, mirror: str = ""
    ) -> None:
        self.pause = pause
        self.mirror = mirror
        self.forgotten = forgotten or {}  # by folder: its fingerprint


class OrdersFile:
    """The orders of a log folder. Safe for any number of processes; the constructor touches nothing."""

    def __init__(self, log_dir: Path) -> None:
        self._file = JsonFile(log_dir / ORDERS_FILE)
        self._stamp: tuple[int, int, int] | None = None
        self._read = Orders()

    def read(self) -> Orders:
        """As they are now, without the lock; of a file that can't be read those of before, none at first."""
        stamp = self._file.stamp()
        if stamp is None:
            return Orders()
        if stamp != self._stamp:
            with contextlib.suppress(StateError):
                self._read = self._file.read(_from_json) or Orders()
            self._stamp = stamp
        return self._read

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Orders]:
        """Read, change, write as one step; nothing is written if the block raises. Raises StateError and DiskFull."""
        with self._file.locked():
            orders = self._file.read_or_restore(_from_json) or Orders()
            yield orders
            pause = None if orders.pause is None else orders.pause._asdict() | {"how": orders.pause.how.value}
            content = {"pause": pause, "forgotten": orders.forgotten, "mirror": orders.mirror}
            self._file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")


def _from_json(content: Any) -> Orders:
    try:
        pause = content.get("pause")
        order = pause and PauseOrder(PauseHow(pause["how"]), str(pause["reason"]), float(pause["since"]))
        forgotten = {str(name): str(value) for name, value in content.get("forgotten", {}).items()}
        return Orders(order or None, forgotten, str(content.get("mirror") or ""))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise CorruptState(f"no orders: unexpected {type(exc).__name__}") from exc
