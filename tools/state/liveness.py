"""Whether a program runs: its lock tells, which its death frees. Standard library alone, so that any Python may ask.

Never a pid: a container has pids of its own, and those of the dead are given to others. The name plate beside the lock
only tells who holds it, and since when.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.runtime.files import read_plain

_LONGEST = 1 << 16  # bytes of a plate
_NOBODY = "its pid is unknown"


@dataclass(frozen=True, slots=True)
class Life:
    """What the lock and the name plate of one program tell."""

    running: bool | None  # None: can't be known from here (no right to read the lock, a file system without locks)
    since: float | None = None  # epoch s at which the holder took the lock; None: not known, or nobody holds it
    holder: str = _NOBODY
    died: bool = False  # the plate of a holder that did not end in order is still there
    version: str | None = None  # of the holder, if it tells


def lock_path(log_dir: Path, program: str) -> Path:
    return log_dir / f".{program}.lock"


def plate_path(log_dir: Path, program: str) -> Path:
    return log_dir / f".{program}.pid"


def life_of(log_dir: Path, program: str) -> Life:
    """Ask now; changes nothing that stays, and never raises.

    The lock is asked for shared and for an instant: a program that starts in that instant waits for it.
    """
    running, plate = _is_held(lock_path(log_dir, program)), _plate(plate_path(log_dir, program))
    if running is False:
        return Life(False, died=plate is not None)
    since = plate.get("since") if plate else None
    known = isinstance(since, int | float) and not isinstance(since, bool) and 0 < since < 1e12
    told = plate.get("version") if plate else None
    return Life(
        running,
        float(since) if running and known and since is not None else None,
        _holder_text(plate),
        version=told if running and isinstance(told, str) else None,
    )


def _is_held(path: Path) -> bool | None:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _plate(path: Path) -> dict[str, Any] | None:
    """None without one; {} for one that can't be understood."""
    try:
        plate = json.loads(read_plain(path, _LONGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return plate if isinstance(plate, dict) else {}


def _holder_text(plate: dict[str, Any] | None) -> str:
    try:
        return f"pid {int((plate or {})['pid'])} on {(plate or {})['host']}"
    except (ValueError, KeyError, TypeError, OverflowError):
        return _NOBODY
