"""The monitor: watches the input dataset and queues every folder whose upload has finished.

Polls the head commit, lists only when it moved, and adds folders that stayed the same for the stable time to
``log/processing_queue.json``. It never touches an item that is being processed, and never writes to the hub.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import config
from tools.core.errors import (
    CorruptState,
    HubError,
    HubForbidden,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    PipelineError,
    Stopped,
)
from tools.core.folder import Folder, group_folders
from tools.core.queue_item import QueueItem, Status, entry_for
from tools.core.retry import asked_to_wait
from tools.core.stability import (
    Answer,
    Poll,
    Snapshot,
    Timeline,
    first_poll,
    is_stable,
    next_poll,
    observe,
    seconds_until_stable,
)
from tools.hub.client import Head, HubClient
from tools.runtime import logs
from tools.runtime.clock import STOP_WITHIN, Clock, SystemClock, stop_on_signals
from tools.runtime.once import Once
from tools.startup import connect, make_hub, origin_of, read_command_settings, read_settings, run_program, tell_origin
from tools.state.monitor_state import MonitorState, MonitorStateFile
from tools.state.work_queue import QueueView, WorkQueue

log = logging.getLogger("animation.monitor")
_HUB = "hub"  # kind of what is over once the hub answers
_RELIST = 6 * 3600.0  # s; a whole listing this often even if the head does not move
_SHORTEST_WAIT = 0.2  # s
_OFF_BEAT = (
    0.382  # seconds a poll is early: polls at odd fractions of a second tell the hub's clock, see core/stability
)
_ROUNDING = 0.001  # seconds a poll is later than a folder is stable, lest it be a breath too early


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a poll judged, so that the next one may judge only what can have changed since."""

    folders: dict[str, Snapshot]
    queue: QueueView  # holds each stable one of ``folders``, unless it is settled
    waiting: list[Snapshot]  # the rest of ``folders``

    def is_of(self, folders: dict[str, Snapshot], queue: QueueView | None) -> bool:
        """Whether of these very objects: a listing, or another program's write, makes new ones."""
        return folders is self.folders and queue is self.queue


class ModelScopeMonitor:
    """Finds finished folders. ``monitor_interval`` and ``min_folder_stable_time`` are in s and may be edited here."""

    monitor_interval: float = 300
    min_folder_stable_time: float = 600

    def __init__(
        self, settings: config.Settings | None = None, *, hub: HubClient | None = None, clock: Clock | None = None
    ) -> None:
        """Opens and sends nothing; ``settings`` None = read them when the work starts."""
        self._settings = settings
        self._hub = hub
        self._clock: Clock = clock or SystemClock()
        self._files: MonitorStateFile | None = None
        self._queue: WorkQueue | None = None
        self._state: MonitorState | None = None
        self._timeline: Timeline | None = None  # of this process's last poll that succeeded
        self._judged: _Judged | None = None
        self._said = Once()
        if settings is not None and "MONITOR_INTERVAL" in settings.given:
            self.monitor_interval = settings.monitor.interval
        if settings is not None and "MIN_FOLDER_STABLE_TIME" in settings.given:
            self.min_folder_stable_time = settings.monitor.min_folder_stable_time

    @property
    def settings(self) -> config.Settings:
        if self._settings is None:
            self._settings = read_settings(argparse.Namespace())
        return self._settings

    def run(self) -> int:
        """Poll and wait until asked to stop; returns the exit status."""
        log.info(
            "watching %s",
            logs.fields(
                repo=self.settings.hub.input_repo,
                hub=self.settings.hub.endpoint,
                interval_s=float(self.monitor_interval),
                stable_s=float(self.min_folder_stable_time),
            ),
        )
        while not self._clock.stopping:
            wait = self.turn()
            self._clock.sleep(wait)
        log.info("stopped")
        return 0

    def turn(self) -> float:
        """One poll whatever happens; returns the seconds to wait until the next one."""
        try:
            self.check()
        except Stopped:
            return 0.0
        except PipelineError as exc:
            self._report(self._explained(exc))
            asked = asked_to_wait(exc)
            return max(self.monitor_interval, asked.seconds if asked else 0.0)
        except Exception:
            repo = self.settings.hub.input_repo
            log.exception("poll of %s failed unexpectedly; polling again after the interval", repo)
        else:
            if self._said.over(_HUB):
                log.info("hub reachable again")
            if self._said.over():
                log.info("resumed")
            return self._until_next()
        return self.monitor_interval

    def check(self) -> list[str]:
        """Poll the hub once: list what changed, queue what is stable; returns the folders that it queued.

        Raises HubError and StateError; then nothing is forgotten and the next poll starts from the same state.
        """
        files = self._files = self._files or MonitorStateFile(self.settings.paths.log_dir)
        queue = self._queue = self._queue or WorkQueue(self.settings.paths.log_dir)
        state = self._loaded(files)
        timeline, head = self._poll_head(state)
        poll, commit = timeline.poll, head.commit_id if head else None
        is_listed = state.head != commit or not 0 <= poll.now - state.listed < _RELIST
        snapshots = self._listed(state, commit, poll) if is_listed else state.folders
        settled = {n: value for n, value in state.settled.items() if n in snapshots} if is_listed else state.settled
        fresh = MonitorState(
            folders=snapshots,
            settled=settled,
            last_check=poll.now,
            steady=poll.answered,
            server_time=head.server_time if head else None,
            head=commit,
            listed=poll.now if is_listed else state.listed,
            repo=self.settings.hub.input_repo,
            interval=float(self.monitor_interval),
        )
        queued = self._enqueue(queue, fresh, poll)
        files.save(fresh)
        self._state, self._timeline = fresh, timeline
        return queued

    def _loaded(self, files: MonitorStateFile) -> MonitorState:
        state = self._state or files.load()
        if state.repo not in {"", self.settings.hub.input_repo}:
            log.info("INPUT_REPO changed, starting over %s", logs.fields(before=state.repo))
            return MonitorState()
        return state

    def _connected(self) -> HubClient:
        if self._hub is None:
            self._hub = make_hub(self.settings, self._clock)
        return self._hub

    def _poll_head(self, state: MonitorState) -> tuple[Timeline, Head | None]:
        asked = self._clock.monotonic()
        head = self._connected().head(self.settings.hub.input_repo)
        answer = Answer(
            now=self._clock.time(),
            asked=asked,
            answered=self._clock.monotonic(),
            hub_time=head.server_time if head else None,
            committed_at=head.committed_at if head else None,
        )
        if self._timeline is not None:
            return next_poll(self._timeline, answer), head
        return first_poll(answer, state.last_check, state.steady, state.server_time), head

    def _listed(self, state: MonitorState, commit: str | None, poll: Poll) -> dict[str, Snapshot]:
        folders: dict[str, Folder] = {}
        if commit is not None:
            files = self._connected().list_files(self.settings.hub.input_repo, commit)
            settings = self.settings.monitor
            known = {name: snapshot.folder for name, snapshot in state.folders.items()}
            skipped = _SkippedPaths()
            folders = group_folders(files, settings.video_extensions, settings.complete_marker, known, skipped.note)
            skipped.tell()
        snapshots = {name: observe(state.folders.get(name), folder, poll) for name, folder in folders.items()}
        self._tell_changes(state, snapshots, poll.answered)
        return snapshots

    def _tell_changes(self, state: MonitorState, snapshots: dict[str, Snapshot], steady: float) -> None:
        for name, snapshot in snapshots.items():
            before = state.folders.get(name)
            if before is None or before.folder.fingerprint != snapshot.folder.fingerprint:
                folder = snapshot.folder
                log.info(
                    "%s %s",
                    "new folder" if before is None else "folder changed",
                    logs.fields(
                        folder=name,
                        files=folder.file_count,
                        videos=folder.video_count,
                        bytes=folder.total_size,
                        stable_in_s=seconds_until_stable(snapshot, steady, self.min_folder_stable_time),
                    ),
                )
        for name in state.folders.keys() - snapshots.keys():
            log.info("folder is gone from the hub %s", logs.fields(folder=name))

    def _enqueue(self, queue: WorkQueue, state: MonitorState, poll: Poll) -> list[str]:
        known: QueueView | None
        try:
            known = queue.read()
        except CorruptState:
            known = None  # the transaction restores it
        # If neither folders nor queue are new, only those that waited at the last poll can have become ready.
        as_before = self._judged if self._judged and self._judged.is_of(state.folders, known) else None
        if known is not None and as_before is None:
            _note_settled(state, known.items())
        ready, waiting = [], []
        for snapshot in as_before.waiting if as_before else state.folders.values():
            if is_stable(snapshot, poll.asked, self.min_folder_stable_time):
                ready.append(snapshot.folder)
            else:
                waiting.append(snapshot)
        queued: list[QueueItem] = []
        if known is None or any(True for _ in _missing(known, state, ready, poll.now)):
            with queue.transaction() as known:
                for entry in _missing(known, state, ready, poll.now):
                    known.put(entry)
                    queued.append(entry)
        self._judged = _Judged(state.folders, known, waiting)
        _tell_queued(queued)
        return [entry.folder for entry in queued]

    def _until_next(self) -> float:
        """Not later than the moment at which the first folder becomes stable."""
        judged, timeline = self._judged, self._timeline
        assert judged is not None and timeline is not None
        asked = timeline.poll.asked
        waits = [
            seconds_until_stable(snapshot, asked, self.min_folder_stable_time)
            for snapshot in judged.waiting
            if snapshot.folder.video_count
        ]
        since = self._clock.monotonic() + timeline.ahead - asked
        interval = self.monitor_interval - min(_OFF_BEAT, self.monitor_interval / 10)
        return max(_SHORTEST_WAIT, min([interval, *(wait - since + _ROUNDING for wait in waits)]))

    def _report(self, exc: PipelineError) -> None:
        """Log a problem once; log it as ERROR when somebody must act."""
        # What the hub says may change from one time to the next; for the reader it is the same problem.
        problem = type(exc).__name__ if isinstance(exc, HubUnavailable | HubForbidden) else str(exc)
        if self._said.is_news(problem, _HUB if isinstance(exc, HubError) else ""):
            if isinstance(exc, HubUnavailable):
                log.warning("hub unavailable, retrying: %s", exc)
            else:
                log.error("needs attention: %s", exc)

    def _explained(self, exc: PipelineError) -> PipelineError:
        """The error to report. A token that somebody has put into ``.env``, or logged in with, meanwhile is used from
        the next poll on; if none is accepted, that is why a private dataset does not exist."""
        if not isinstance(exc, HubRejected) or (isinstance(exc, HubNotFound) and not self.settings.hub.token):
            return exc
        try:
            self._hub, _ = connect(self.settings, self._clock)
        except HubForbidden as refused:
            return refused
        except PipelineError:
            pass  # the next poll reports it, if it lasts
        return exc


class _SkippedPaths:
    """Paths of a listing that are skipped since they could do harm; one line reports all of them."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def note(self, path: str) -> None:
        self._first = self._first or path
        self._count += 1

    def tell(self) -> None:
        if self._count:
            log.warning(
                "skipped paths that are not valid file names; rename them on the hub: count=%d first=%r",
                self._count,
                self._first,
            )


def _missing(queue: QueueView, state: MonitorState, ready: Iterable[Folder], now: float) -> Iterator[QueueItem]:
    """What the queue should hold and does not. A settled folder that somebody removed from it stays out."""
    for folder in ready:
        item = queue.get(folder.name)
        if folder.video_count and (item or state.settled.get(folder.name) != folder.fingerprint):
            entry = entry_for(item, folder, now)
            if entry is not None:
                yield entry


def _tell_queued(entries: Iterable[QueueItem]) -> None:
    for entry in entries:
        log.info(
            "queued %s",
            logs.fields(
                folder=entry.folder,
                priority=entry.priority,
                files=entry.file_count,
                videos=entry.videos_total,
                bytes=entry.total_size,
            ),
        )


def _note_settled(state: MonitorState, items: Iterable[QueueItem]) -> None:
    for item in items:
        if (item.status is Status.COMPLETED or item.status is Status.FAILED) and item.folder in state.folders:
            state.settled[item.folder] = item.hash


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 done, 1 failed, 2 bad usage or configuration."""
    parser = argparse.ArgumentParser(
        prog="modelscope_monitor.py", description="Queue folders whose upload has finished."
    )
    parser.add_argument("--once", action="store_true", help="poll the hub once, then exit")
    parser.add_argument("--queue", action="store_true", help="show the pending items in order, then exit")
    config.add_flags(parser, "hub", "monitor", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_command_settings(parsed)
    return _show_queue(settings) if parsed.queue else _watch(settings, once=parsed.once)


def _show_queue(settings: config.Settings) -> int:
    from tools.report.heading import pulse, pulse_lines
    from tools.report.status import queue_text

    tell_origin(settings)
    now = SystemClock().time()
    items = WorkQueue(settings.paths.log_dir).read().items()
    shown = queue_text(items, now, settings.processor.aging_hours)
    print("\n".join([*pulse_lines(pulse(settings.paths.log_dir), now), "", shown]))
    return 0


def _watch(settings: config.Settings, *, once: bool) -> int:
    from tools.state.origin import start

    clock = SystemClock()
    stop_on_signals(clock.stop, within=STOP_WITHIN)
    lock, news = start(settings.paths.log_dir, "monitor", origin_of(settings))
    logs.set_up("monitor", settings.paths.log_dir, [settings.hub.token or ""])
    if news:
        log.warning("%s", news)
    monitor = ModelScopeMonitor(settings, clock=clock)
    try:
        if not once:
            return monitor.run()
        monitor.check()
        return 0
    except Stopped:
        return 0
    except PipelineError as exc:
        log.error("%s", exc)
        return 1
    finally:
        lock.release()


if __name__ == "__main__":
    sys.exit(main())
