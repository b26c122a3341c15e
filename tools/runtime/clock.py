"""Time, and requests to stop: the two things that every loop asks for, so that tests can bring their own."""

import os
import signal
import threading
import time
from typing import Protocol

STOP_WITHIN = 8.5
"""Seconds after which a program that was asked to end does so in any case; the promise is 10."""


class Clock(Protocol):
    """Wall time for what crosses processes, monotonic time inside one, and a sleep that a stop ends."""

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the program to end."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment of this process."""
        ...

    def sleep(self, seconds: float) -> bool:
        """Wait; returns True if cut short (or not started) because the program is to end."""
        ...


class SystemClock:
    """The machine's clock. ``stop`` is set by SIGTERM/SIGINT once ``stop_on_signals`` was called."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()

    @property
    def stopping(self) -> bool:
        return self.stop.is_set()

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> bool:
        return self.stop.wait(max(0.0, seconds))


def stop_on_signals(stop: threading.Event, within: float | None = None) -> None:
    """Let SIGTERM, SIGINT and SIGHUP (a closed terminal) set ``stop``; main thread only.

    A second signal kills at once, as a person who types Ctrl-C twice expects. A program that has not ended ``within``
    s after the first, because a hub does not answer or a disk hangs, exits then with status 0: only for one whose
    state on disk is right at any instant.
    """
    asked = False

    def announce() -> None:
        stop.set()
        if within is not None:
            time.sleep(within)
            os._exit(0)

    def ask(signum: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
            return
        asked = True
        # In a thread: the handler may interrupt the main thread while it holds the event's own lock.
        threading.Thread(target=announce, daemon=True).start()

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, ask)
