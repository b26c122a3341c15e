"""How long reading a file whole may take: the usual, or what this disk was seen to need; and patience with it."""

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from tools.core.blame import may_be_the_file
from tools.core.errors import MachineError, ProbeError, ReadTooSlow, Stopped
from tools.runtime.files import sha256_of

log = logging.getLogger("animation.media")
T = TypeVar("T")

ReadLimit = Callable[[int], float]
"""Bytes of a file → seconds that a program may take to read it."""
_BASE, _PER_GB = 60.0, 120.0  # s
_MARGIN = 4.0  # a program reads a file this much slower than it is read without looking at it
_PATIENCE = (1.0, 2.0, 4.0)  # times the limit; after the last the attempt failed
_WAIT = 5.0  # s before a program that this machine ended is started again


def usual_limit(size: int) -> float:
    """Enough for a disk of 8 MB/s."""
    return _BASE + _PER_GB * size / 1e9


class Pace:
    """What the disk was seen to do. Threads may share it."""

    def __init__(self) -> None:
        self._per_byte = 0.0  # s, as measured last

    def limit(self, patience: float = 1.0) -> ReadLimit:
        """The limit as of now, times ``patience``."""
        return partial(self._limit, patience)

    def _limit(self, patience: float, size: int) -> float:
        return patience * max(usual_limit(size), _BASE + _MARGIN * self._per_byte * size)

    def measure(self, path: Path, stop: threading.Event | None) -> None:
        """Read the file whole and remember how long that took. Raises OSError, Stopped."""
        began = time.monotonic()
        with path.open("rb") as stream:  # else it could be the memory that is measured
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        sha256_of(path, stop)
        self.seen(path.stat().st_size, time.monotonic() - began)

    def seen(self, size: int, seconds: float) -> None:
        """So long it took to read so many bytes."""
        self._per_byte = seconds / max(1, size)


def patiently(read: Callable[[ReadLimit], T], path: Path, pace: Pace, stop: threading.Event | None) -> T:
    """What reading a file finds; retried if this machine was too slow for it, each time with a longer limit, or ended
    a program. What was encoded is still there meanwhile. Raises MachineError after the last time, but ProbeError if
    the program only fails at what damage explains as well, and the file itself can be read whole."""
    for patience in _PATIENCE[:-1]:
        try:
            return read(pace.limit(patience))
        except ReadTooSlow as exc:
            log.warning("reading took too long, will retry with a longer limit: %s", exc)
            pace.measure(path, stop)
        except MachineError as exc:
            log.warning("a program was ended, will retry: %s", exc)
            pause(stop)
    try:
        return read(pace.limit(_PATIENCE[-1]))
    except MachineError as exc:
        if not may_be_the_file(exc.numbers) or not _can_be_read(path, stop):
            raise
        raise ProbeError(f"can't be read as a video: {exc.said or 'no program says why'}") from exc


def _can_be_read(path: Path, stop: threading.Event | None) -> bool:
    try:
        sha256_of(path, stop)
    except OSError:
        return False
    return True


def pause(stop: threading.Event | None) -> None:
    """Time for whatever ended a program to pass. Raises Stopped."""
    if stop is None:
        time.sleep(_WAIT)
    elif stop.wait(_WAIT):
        raise Stopped("stopped while waiting to retry")
