"""``log/progress.json``: what runs now, for ``--status`` and other readers; rewritten whole about once a second.

::

    {"updated": epoch s, "paused": reason or null,
     "jobs": [{"folder", "video", "stage", "percent", "fps", "speed", "eta_s", "attempt", "worker"}],
     "workers": [{"name", "address", "slots", "state", "cause", "encoding", "fps", "last_seen"}]}

``workers`` and ``worker`` tell of the machines of a cluster; without one they are empty and null.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROGRESS_FILE = "progress.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """One video under way. ``speed`` in times real time for an encode, in bytes/s for a transfer; ``eta_s`` in s."""

    folder: str
    video: str
    stage: str
    percent: float | None = None
    fps: float | None = None
    speed: float | None = None
    eta_s: float | None = None
    attempt: int = 1
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One worker of a cluster. ``state`` ready | left out | silent | refused, ``cause`` why it is not ready;
    ``encoding`` its videos in the encoder, ``fps`` of all of them; ``last_seen`` epoch s, by our clock."""

    name: str
    address: str
    slots: int
    state: str
    cause: str | None = None
    encoding: tuple[str, ...] = ()
    fps: float | None = None
    last_seen: float = 0.0


class ProgressFile:
    """Written by the processor alone, read by anybody without a lock."""

    def __init__(self, log_dir: Path) -> None:
        self._path = log_dir / PROGRESS_FILE

    def write(
        self, now: float, paused: str | None, jobs: Sequence[JobProgress], workers: Sequence[WorkerState] = ()
    ) -> None:
        """Replace the content; not durable, since it is stale after a crash anyway. Raises OSError."""
        content = {
            "updated": round(now, 3),
            "paused": paused,
            "jobs": [asdict(job) for job in jobs],
            "workers": [asdict(worker) for worker in workers],
        }
        temporary = self._path.with_name(PROGRESS_FILE + ".tmp")
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._path)

    def read(self) -> dict[str, Any]:
        """The content; an empty one where there is no readable file."""
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("jobs"), list):
            content = {"updated": 0.0, "paused": None, "jobs": []}
        return {"workers": [], **content}
