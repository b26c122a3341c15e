"""Time and the wish to stop: the two things every loop asks for, so that tests can bring their own."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol


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
        """Wait; returns True when cut short (or not begun) because the program is to end."""
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


def stop_on_signals(stop: threading.Event, on_first: Callable[[], None] = lambda: None) -> None:
    """Let SIGTERM, SIGINT and SIGHUP (a closed terminal) set ``stop``, then call ``on_first``; main thread only.

    A second signal kills at once, as a person who types Ctrl-C twice expects.
    """
    asked = False

    def announce() -> None:
        stop.set()
        on_first()

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
