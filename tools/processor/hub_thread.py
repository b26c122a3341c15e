"""The thread that asks the hub for the engine: one thing at a time, each answer comes through the engine's inbox."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeAlias, TypeVar

from tools.core.errors import PipelineError
from tools.stages.video_job import JobResult

log = logging.getLogger("animation.processor")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """It went well."""

    value: T


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not."""

    error: PipelineError


Answer: TypeAlias = Done[T] | Failed
Reply = Callable[[], None]
"""An answer with whatever is to be done about it, for the engine to call in its own thread."""
Inbox = queue.SimpleQueue[JobResult | Reply]


class HubThread:
    """Does one thing at a time with the hub, in a daemon thread that starts with the first."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._tasks: queue.SimpleQueue[Callable[[], Reply]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, what: str, call: Callable[[], T], then: Callable[[Answer[T]], None]) -> None:
        """Make the call in the thread; ``then`` gets its answer from whoever empties the inbox. Returns at once."""
        self._tasks.put(lambda: partial(then, answer_to(what, call)))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hub", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._inbox.put(self._tasks.get()())


def answer_to(what: str, call: Callable[[], T]) -> Answer[T]:
    """Make the call; every end is an answer. ``what`` it is about, for the log."""
    try:
        return Done(call())
    except PipelineError as exc:
        return Failed(exc)
    except Exception as exc:
        # The boundary of a thread: a bug must come back as an answer, or its item would hang for ever.
        log.exception("unexpected error in the hub thread: task=%s", what)
        return Failed(PipelineError(f"unexpected {type(exc).__name__}: {exc}"))
