"""The threads that ask the hub for the engine: one per kind of work, each does one thing at a time.

So a listing that takes minutes keeps no batch from being published, and nothing waits in them for long: a wait that
the hub asks for belongs to the engine. Each answer comes through the engine's inbox.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeAlias, TypeVar

from tools.core.errors import PipelineError, Unexpected
from tools.stages.video_job import JobResult

log = logging.getLogger("animation.processor")
T = TypeVar("T")

Work = Literal["connect", "open", "publish"]
"""What the engine asks of the hub, each in a thread of its own."""


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
_Tasks: TypeAlias = "queue.SimpleQueue[Callable[[], Reply]]"


class HubThreads:
    """Does one thing of each kind at a time with the hub, in daemon threads that start with the first of their kind."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._tasks: dict[Work, _Tasks] = {}
        self._asking: dict[Work, tuple[str, float]] = {}

    def do(self, work: Work, about: str, call: Callable[[], T], then: Callable[[Answer[T]], None]) -> None:
        """Make the call in the thread of its kind; ``then`` gets its answer from whoever empties the inbox. Returns at
        once."""
        if work not in self._tasks:
            tasks: _Tasks = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(tasks,), name=f"hub-{work}", daemon=True).start()
            self._tasks[work] = tasks
        self._tasks[work].put(lambda: self._asked(work, about, call, then))

    def asking(self) -> list[tuple[Work, str, float]]:
        """What is asked now, what it is about, and for how many s already."""
        now = time.monotonic()
        return [(work, about, now - since) for work, (about, since) in sorted(self._asking.copy().items())]

    def _work(self, tasks: _Tasks) -> None:
        while True:
            self._inbox.put(tasks.get()())

    def _asked(self, work: Work, about: str, call: Callable[[], T], then: Callable[[Answer[T]], None]) -> Reply:
        self._asking[work] = about, time.monotonic()
        try:
            return partial(then, answer_to(work, call))
        finally:
            del self._asking[work]


def answer_to(work: Work, call: Callable[[], T]) -> Answer[T]:
    """Make the call; every end is an answer."""
    try:
        return Done(call())
    except PipelineError as exc:
        return Failed(exc)
    except Exception as exc:
        # The boundary of a thread: a bug must come back as an answer, or its item would hang for ever.
        log.exception("unexpected error in the hub thread: task=%s", work)
        return Failed(Unexpected.of(exc))
