"""``log/progress.json``: what runs now, for ``--status`` and other readers; rewritten whole about once per second.

::

    {"updated": epoch s, "interval": s, "slots": number, "paused": reason or null,
     "hub": [{"kind", "about", "state", "since", "until", "cause"}],
     "jobs": [{"folder", "video", "stage", "percent", "fps", "speed", "eta_s", "attempt", "worker", "work"}],
     "workers": [{"name", "address", "slots", "state", "cause", "encoding", "fps", "last_seen"}]}

``slots`` encodes at a time on this machine. ``hub`` is what is asked of the hub for the engine, and what waits since
the hub wants to be left alone with it.
``workers`` and ``worker`` tell of the machines of a cluster; without one they are empty and null.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.runtime.files import create, read_plain
from tools.runtime.owner import give_to_owner
from tools.state.orders import BY_HAND, OrdersFile

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.planning import Stage

PROGRESS_FILE = "progress.json"
_LONGEST = 1 << 24  # bytes; a job takes about 300


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """One video under way."""

    folder: str
    video: str  # source path
    stage: "Stage"
    percent: float | None = None
    fps: float | None = None  # pictures per second, of an encode
    speed: float | None = None  # an encode: times real time; a transfer: bytes/s
    eta_s: float | None = None  # s
    attempt: int = 1  # from 1
    worker: str | None = None  # its name; None on this machine
    work: float | None = None  # seconds × pixels of its pictures, once a probe has told


@dataclass(frozen=True, slots=True, kw_only=True)
class HubWork:
    """Something that the hub is asked for, or that waits until it may be asked again."""

    kind: str  # connect, open, publish, download, upload
    about: str  # the folder, batch or video
    state: str  # "asking" or "waiting"
    since: float | None = None  # epoch s, if it is asked
    until: float | None = None  # epoch s, if it waits
    cause: str | None = None  # why it waits


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One worker of a cluster."""

    name: str
    address: str
    slots: int  # encodes at a time
    state: str  # see ``tools.cluster.roster.State``
    cause: str | None = None  # why it is not ready
    encoding: tuple[str, ...] = ()  # its videos in the encoder
    fps: float | None = None  # of all of them together
    last_seen: float = 0.0  # epoch s, by our clock


class ProgressFile:
    """Written by the processor alone, read by anybody without a lock."""

    def __init__(
        self, log_dir: Path, confined: Sequence[str] = (), interval: float | None = None, slots: int | None = None
    ) -> None:
        """For a writer: ``confined``, what is taken from the processor's children, see ``tools.runtime.cage``;
        ``interval`` s, how long it may wait between two turns, from which readers judge its silence;
        ``slots`` encodes at a time."""
        self._slots = slots
        self._path = log_dir / PROGRESS_FILE
        self._interval = interval
        self._confined = list(confined)

    def write(
        self,
        now: float,
        paused: str | None,
        jobs: Sequence[JobProgress],
        workers: Sequence[WorkerState] = (),
        hub: Sequence[HubWork] = (),
    ) -> None:
        """Replace the content; not durable, since it is stale after a crash anyway. Raises OSError."""
        content = {
            "updated": round(now, 3),
            "interval": self._interval,
            "slots": self._slots,
            "paused": paused,
            "confined": self._confined,
            "hub": [asdict(work) for work in hub],
            "jobs": [asdict(job) for job in jobs],
            "workers": [asdict(worker) for worker in workers],
        }
        temporary = self._path.with_name(PROGRESS_FILE + ".tmp")
        with create(temporary) as stream:
            stream.write((json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
        give_to_owner(temporary)
        temporary.replace(self._path)

    def read(self) -> dict[str, Any]:
        """The content, without what makes no sense in it; an empty one if there is no readable file.

        A pause that a person ordered, or ended, counts before the processor has seen it, and while none runs.
        """
        try:
            content = json.loads(read_plain(self._path, _LONGEST))
        except (OSError, ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            content = {}
        updated, paused, confined = (content.get(name) for name in ("updated", "paused", "confined"))
        slots = content.get("slots")
        order = OrdersFile(self._path.parent).read().pause
        if order is not None:
            paused = paused or order.text
        elif isinstance(paused, str) and paused.startswith(BY_HAND):
            paused = None
        return {
            "updated": updated if _is_number(updated) else 0.0,
            "interval": content.get("interval") if _is_number(content.get("interval")) else None,
            "slots": slots if type(slots) is int and 0 < slots < 10_000 else None,
            "paused": None if paused is None else str(paused),
            "confined": [part for part in confined if isinstance(part, str)] if isinstance(confined, list) else [],
            "hub": _sensible(content.get("hub")),
            "jobs": _sensible(content.get("jobs")),
            "workers": _sensible(content.get("workers")),
        }


_NUMBERS = ("percent", "fps", "speed", "eta_s", "attempt", "work", "slots", "last_seen", "since", "until")


def _sensible(entries: object) -> list[dict[str, Any]]:
    """The entries that readers can show."""
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [
        entry
        for entry in found
        if all(entry.get(name) is None or _is_number(entry[name]) for name in _NUMBERS)
        and isinstance(entry.get("folder") or "", str)
        and isinstance(entry.get("encoding") or [], list)
        and all(isinstance(name, str) for name in entry.get("encoding") or ())
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e18 < value < 1e18
