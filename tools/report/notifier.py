"""Tells people by message what happened: an observer with a thread of its own, so that no work ever waits for it."""

import logging
import threading
import time
from collections.abc import Callable

from tools.core.errors import PipelineError
from tools.core.message import plural
from tools.core.news import Kind, News, NewsDesk
from tools.core.queue_item import Status
from tools.processor.reporting import (
    Blocked,
    Event,
    ItemSettled,
    MirrorHeld,
    Paused,
    QueueEmpty,
    Resumed,
    TakenOut,
    WaitingForSpace,
)
from tools.report.notices import notice
from tools.runtime.language import translated, ui
from tools.runtime.once import Once

log = logging.getLogger("animation.notify")
GATHER = 20.0
"""Seconds that a message waits for what else happens."""
_WATCH = 60.0  # s between two looks at the other program
_AGAIN = 300.0  # s before a message that nobody took is sent again
HURRY, PEACE = 3.0, 30.0
"""Seconds for the last message when a program is told to end, and when it ends by itself."""
_WORK, _OTHER = "work", "other-program"

Send = Callable[[str, str], list[str]]
"""Title and body → the names of the addresses that did not take it; may raise PipelineError."""


class Notifier:
    """``watch`` tells what is wrong with the other program, None if nothing; it is asked about once per minute."""

    def __init__(
        self,
        desk: NewsDesk,
        send: Send,
        names: list[str],
        host: str,
        watch: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``names`` of all addresses. The thread begins at once, and ends with the program."""
        self._desk, self._send, self._names, self._host, self._watch = desk, send, names, host, watch
        self._changed = threading.Condition()
        self._is_ending = False
        self._said = Once()
        self._watched = time.monotonic()  # nothing is wrong with who may just be starting
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._thread.start()

    def observe(self, event: Event) -> None:
        """Of the processor: what people want to know of. Returns at once."""
        news = news_of(event)
        if news is not None:
            self._add(news)

    def close(self, within: float = HURRY) -> None:
        """Send all that is left, whatever it waits for; give up after so many s."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self._thread.join(within)

    def _add(self, news: News) -> None:
        with self._changed:
            self._desk.add(news, time.monotonic())
            self._changed.notify()

    def _run(self) -> None:
        while True:
            try:
                self._look()
                with self._changed:
                    now, due = time.monotonic(), self._desk.due()
                    is_due = due is not None and (due <= now or self._is_ending)
                    if not is_due and not self._is_ending:
                        self._changed.wait(min(_WATCH, max(0.0, due - now)) if due is not None else _WATCH)
                        continue
                    taken = self._desk.take(now) if is_due else []
                if taken:
                    self._tell(taken)
                if self._is_ending:
                    return
            except Exception:
                # The boundary of what is no part of the work.
                if self._said.is_news("unexpected", "unexpected"):
                    log.warning("notifications failed in an unexpected way, the work continues")
                    log.debug("the traceback of it", exc_info=True)
                time.sleep(1.0)

    def _tell(self, news: list[News]) -> None:
        try:
            failed = self._send(*notice(news, self._host))
        except PipelineError as exc:
            if self._said.is_news(str(exc), "library"):
                log.warning("%s", exc)
            return
        for name in self._names:
            if name not in failed:
                self._said.over(name)
            elif self._said.is_news("dead", name):
                log.warning("address %s of NOTIFY_URLS did not take a message: --notify-test tries them all", name)
        if len(failed) == len(self._names):
            with self._changed:
                self._desk.put_back(news, time.monotonic() + _AGAIN)

    def _look(self) -> None:
        if time.monotonic() - self._watched < _WATCH:
            return
        self._watched = time.monotonic()
        problem = self._watch()
        if problem and self._said.is_news(problem, _OTHER):
            self._add(News(Kind.STALLED, translated(problem), _OTHER))
        elif not problem and self._said.over(_OTHER):
            self._add(News(Kind.RECOVERED, ui("the other program runs again"), _OTHER))


def news_of(event: Event) -> News | None:
    """What an event is to people; None for what they need not know."""
    match event:
        case ItemSettled(folder, Status.COMPLETED, published):
            return News(Kind.COMPLETED, ui("completed: {}, videos: {}", folder, published))
        case ItemSettled(folder, _, _, _, cause):
            return News(Kind.FAILED, ui("failed: {}: {}", folder, cause or ""))
        case Paused(cause, _) | Blocked(cause, _) | WaitingForSpace(cause):
            return News(Kind.PAUSED, ui("paused: {}", cause), _WORK)
        case Resumed():
            return News(Kind.RECOVERED, ui("work resumed"), _WORK)
        case QueueEmpty():
            return News(Kind.EMPTY, ui("the queue is empty"))
        case TakenOut(folder, files):
            return News(Kind.MIRROR, ui("MIRROR took {} of {} out of the output", plural(files, "file"), folder))
        case MirrorHeld(cause):
            return News(Kind.MIRROR, ui("MIRROR takes nothing out: {}", translated(cause)))
    return None
