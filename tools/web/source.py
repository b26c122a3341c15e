"""What the pages show, read from state files and history: the same values, by the same functions, as ``--status``.

It takes no lock and writes nothing. What was read is kept until a file changes, and serves everybody who looks.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from tools.core.aimed import saved_percent
from tools.core.eta import Calendar
from tools.core.past import VideoLine
from tools.core.queue_item import QueueItem, Status
from tools.report.folders import why_lines
from tools.report.glance import eta_json, gain_json, mean_quality, problems, quality_of
from tools.report.heading import Pulse, free_space, pulse, pulse_json, pulse_lines
from tools.report.known import gone_from, known_json
from tools.report.outlook import Outlook, outlook, places_of, run_of
from tools.report.status import FRESH, pause_line, retry_command, status_json
from tools.runtime.language import Language, speaking, translated
from tools.runtime.logs import LOG_FILE
from tools.state.history import HISTORY_FILES
from tools.state.history_reader import History
from tools.state.journal import Journal
from tools.state.mirror_file import MirrorFile
from tools.state.monitor_state import MonitorStateFile
from tools.state.orders import OrdersFile
from tools.state.progress import ProgressFile
from tools.state.results import read_known
from tools.state.work_queue import Overview, WorkQueue
from tools.web.charts import SPANS, bars
from tools.web.items import Query, epoch_of, selected, word_of
from tools.web.log_tail import tail

T = TypeVar("T")
_STATE = ("processing_queue.json", "progress.json", "monitor_state.json", "orders.json")
_ANEW = 5.0  # s after which the same files are judged anew: silence is a matter of time
_FAILED, _CAUSES, _ATTEMPTS = 5, 3, 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Of what a dashboard tells. ``aging_hours``, ``calendar``, ``stable_time`` as the programs work by."""

    log_dir: Path
    work_dir: Path
    aging_hours: float = 24.0
    calendar: Calendar | None = None
    stable_time: float = 600.0  # s


class Source:
    """Serves any number of threads; the constructor touches nothing. Methods raise StateError for a queue that can't be
    read."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()  # of all that follows: a queue that was read is no thread's own
        self._queue = WorkQueue(place.log_dir)
        self._found: tuple[object, Overview] | None = None
        self._made: dict[Language, tuple[object, dict[str, Any]]] = {}

    def stamps(self) -> dict[str, str]:
        """What changes with the files, by ``state``, ``queue``, ``history`` and ``log``; costs a few microseconds."""
        groups = {"state": _STATE, "queue": _STATE[:1], "history": HISTORY_FILES[:2], "log": (LOG_FILE,)}
        return {name: ";".join(map(self._stamp, files)) for name, files in groups.items()}

    def _stamp(self, name: str) -> str:
        try:
            found = (self._place.log_dir / name).stat()
        except OSError:
            return "-"
        return f"{found.st_mtime_ns:x}.{found.st_size:x}.{found.st_ino:x}"

    def overview(self, language: Language) -> dict[str, Any]:
        """The first page; the same object as long as nothing changed."""
        stamps = self.stamps()
        key = (stamps, time.monotonic() // _ANEW)
        with self._lock:
            kept = self._made.get(language)
            if kept is None or kept[0] != key:
                with speaking(language):
                    self._made[language] = kept = (key, {"stamps": stamps, **self._overview()})
            return kept[1]

    def _overview(self) -> dict[str, Any]:
        log_dir, now = self._place.log_dir, time.time()
        seen, progress = pulse(log_dir), ProgressFile(log_dir).read()
        found = self._summary()
        wrong = problems(seen, progress, found.counts, free_space(log_dir, self._place.work_dir), now)
        ahead = self._asked(lambda history: self._outlook(history, found, progress, now))
        known = known_json(read_known(log_dir), None)
        return {
            "now": now,
            "health": {
                "level": wrong[0].level.name if wrong else "OK",
                "problems": [{"level": one.level.name, "text": translated(one.text)} for one in wrong],
                "pulse": pulse_lines(seen, now),
            },
            **pulse_json(seen),
            **_state_json(found, progress, seen, now, ahead),
            "pause": pause_line(progress["paused"]) if progress["paused"] else None,
            "places": places_of(progress)["encode"],
            "eta": {"queue": eta_json(ahead.queue), "if_resumed": ahead.is_held},
            "left": {
                "folders": len(found.processing) + len(found.pending),
                "videos": sum(one.videos_total - one.videos_done for one in found.processing)
                + sum(one.videos for one in found.pending),
            },
            "held": sum(one.held for one in found.pending),
            "gain": gain_json(found.gain, self._asked(lambda history: run_of(history, seen))),
            "quality": quality_of(mean_quality(ahead.videos)),
            "reused": known["reused"],
            "failed": [failure_json(item, _CAUSES) for item in found.failed],
        }  # fmt: skip

    def _summary(self) -> Overview:
        view = self._queue.read()
        if self._found is None or self._found[0] is not view:
            self._found = view, Overview.of(view.items(), 0, _FAILED)
        return self._found[1]

    def _outlook(
        self,
        history: History,
        found: Overview,
        progress: Mapping[str, Any],
        now: float,
        wanted: Sequence[str] = (),
    ) -> Outlook:
        place = self._place
        return outlook(
            history,
            found.processing,
            found.pending,
            progress,
            now,
            place.aging_hours,
            wanted=wanted,
            calendar=place.calendar,
        )

    def items(self, query: Query, language: Language) -> dict[str, Any]:
        """Rows of the queue: ``{"total", "rows": […]}``."""
        with self._lock, speaking(language):
            now, items = time.time(), self._queue.read().items()
            chosen = selected(items, query, now, self._place.aging_hours)
            rows = chosen[query.offset : query.offset + query.limit]
            return {"total": len(chosen), "rows": self._rows(rows, now)}

    def _rows(self, rows: Sequence[QueueItem], now: float) -> list[dict[str, Any]]:
        live = [item.folder for item in rows if item.status in {Status.PENDING, Status.PROCESSING}]
        ahead = Outlook(None)
        if live:
            found, progress = self._summary(), ProgressFile(self._place.log_dir).read()
            ahead = self._asked(lambda history: self._outlook(history, found, progress, now, live))
        return [item_json(item, ahead) for item in rows]

    def folder(self, name: str, language: Language) -> dict[str, Any]:
        """All that is known here of one folder; ``item`` is None for one that is not queued."""
        log_dir, now = self._place.log_dir, time.time()
        with self._lock, speaking(language):
            items = {item.folder: item for item in self._queue.read().items()}
            state = MonitorStateFile(log_dir).read()
            state.settled.update(OrdersFile(log_dir).read().forgotten)
            known = Journal(log_dir, name).history()
            age, stable = self._place.aging_hours, self._place.stable_time
            why = [line.strip() for line in why_lines(name, items, state, known, now, age, stable)]
            item = items.get(name)
            row = self._rows([item], now)[0] if item else None
            failure = failure_json(item, 10**6) if item and item.status is Status.FAILED else None
            lines = self._asked(lambda history: history.videos(folder=name, limit=_ATTEMPTS))
            videos = _latest(lines)
            gone = gone_from(name, MirrorFile(log_dir).read(), read_known(log_dir))
        return {
            "now": now, "folder": name, "item": row, "why": why, "failure": failure, "videos": videos, "gone": gone,
        }  # fmt: skip

    def charts(self, span: str, language: Language) -> dict[str, Any]:
        """Bars of a span of ``SPANS``; and what each worker did in it."""
        now = time.time()
        since = now - SPANS[span][0] - SPANS[span][1]

        def ask(history: History) -> dict[str, Any]:
            made, problem = bars(history.hours(since), span, now), history.problem
            workers = [asdict(one) for one in history.workers(since)]
            return {**made, "workers": workers, "problem": problem or history.problem}

        with speaking(language):
            found = self._asked(ask)
            return {**found, "problem": translated(found["problem"] or "")}

    def log(self, level: str, text: str, limit: int) -> list[dict[str, str]]:
        """Entries of the log, oldest first. Raises OSError."""
        return [asdict(one) for one in tail(self._place.log_dir, level=level, text=text, limit=limit)]

    def _asked(self, ask: Callable[[History], T]) -> T:
        history = History(self._place.log_dir)
        try:
            return ask(history)
        finally:
            history.close()


def _state_json(
    found: Overview, progress: Mapping[str, Any], seen: Pulse, now: float, ahead: Outlook
) -> dict[str, Any]:
    """What ``--status --json`` has of it, but for the items; nothing runs if the processor does not."""
    told = status_json(found.counts, found.processing, progress, ahead)
    del told["items"]
    if seen.lives["processor"].running is False or now - float(progress["updated"]) >= FRESH:
        told |= {"running": [], "workers": [], "hub": []}
    return told


def failure_json(item: QueueItem, causes: int) -> dict[str, Any]:
    """A failed item: why, ``causes`` of its videos at most, and what to type; null if only a better file helps."""
    return {
        "folder": item.folder,
        "ended": epoch_of(item.end_time),
        "cause": translated(item.error or ""),
        "videos": [{"path": one.path, "cause": translated(one.cause)} for one in item.quarantined[:causes]],
        "more": max(0, len(item.quarantined) - causes),
        "command": retry_command(item),
    }


def item_json(item: QueueItem, ahead: Outlook) -> dict[str, Any]:
    """One row of the queue. Times are epoch s, sizes bytes."""
    return {
        "folder": item.folder,
        "status": word_of(item),
        "redo": item.redo is not None,
        "priority": item.priority,
        "attempts": item.attempts,
        "videos": item.videos_total,
        "done": item.videos_done,
        "size": item.total_size,
        "bytes_in": item.bytes_in,
        "bytes_out": item.bytes_out,
        "saved_percent": saved_percent(item.bytes_in, item.bytes_out),
        "added": epoch_of(item.added_time),
        "started": epoch_of(item.start_time),
        "ended": epoch_of(item.end_time),
        "eta": eta_json(ahead.folders.get(item.folder)),
        "error": translated(item.error) if item.error else None,
    }


def _latest(lines: Sequence[VideoLine]) -> list[dict[str, Any]]:
    """Of each video the newest attempt, by name, with the causes of earlier ones."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line.video in found:
            if line.cause:
                found[line.video]["earlier"].append({"ended": line.ended, "cause": translated(line.cause)})
            continue
        shown = {
            **asdict(line),
            "fps": line.fps,
            "cause": translated(line.cause),
            "warnings": translated(line.warnings),
        }
        found[line.video] = {**shown, "earlier": []}
    return [found[name] for name in sorted(found)]
