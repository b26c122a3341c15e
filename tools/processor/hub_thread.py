"""The thread that asks the hub for the engine: one thing at a time, answers through the engine's inbox."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.core.errors import PipelineError
from tools.stages.video_job import JobResult

log = logging.getLogger("animation.processor")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the clerk found: ``value`` or ``error`` of ``task``, whose subject is ``about``."""

    task: str
    about: Any
    value: Any = None
    error: PipelineError | None = None


Inbox = queue.SimpleQueue[JobResult | Answer]


class HubThread:
    """Does one thing at a time with the hub, in a daemon thread that begins with the first."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._tasks: queue.SimpleQueue[tuple[str, Any, Callable[[], Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, task: str, about: Any, call: Callable[[], Any]) -> None:
        self._tasks.put((task, about, call))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hub", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._inbox.put(answer_to(*self._tasks.get()))


def answer_to(task: str, about: Any, call: Callable[[], Any]) -> Answer:
    """Do it; every end is an answer."""
    try:
        return Answer(task, about, value=call())
    except PipelineError as exc:
        return Answer(task, about, error=exc)
    except Exception as exc:
        # The boundary of a thread: a bug must come back as an answer, or its item would hang for ever.
        log.exception("%s failed in a way that nobody foresaw", task)
        return Answer(task, about, error=PipelineError(f"unforeseen {type(exc).__name__}: {exc}"))
