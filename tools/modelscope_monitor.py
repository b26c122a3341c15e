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
    HubForbidden,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    PipelineError,
    Stopped,
)
from tools.core.folder import Folder, group_folders
from tools.core.queue_item import QueueItem, Status, entry_for
from tools.core.stability import (
    HubClock,
    Poll,
    Snapshot,
    agree,
    is_stable,
    observe,
    observe_answer,
    seconds_until_stable,
)
from tools.hub.client import Head, HubClient
from tools.runtime import logs
from tools.runtime.clock import STOP_WITHIN, Clock, SystemClock, stop_on_signals
from tools.runtime.once import Once
from tools.startup import connect, make_hub, read_settings, run_program
from tools.state.monitor_state import MonitorState, MonitorStateFile
from tools.state.work_queue import QueueView, WorkQueue

log = logging.getLogger("animation.monitor")
_RELIST = 6 * 3600.0  # s; a whole listing this often even when the head does not move
_SHORTEST_WAIT = 0.2  # s
_OFF_BEAT = (
    0.382  # s that a look comes early: looks at odd fractions of a second tell the hub's clock, see observe_answer()
)
_ROUNDING = 0.001  # s that a look comes later than a folder is stable, lest it comes a breath too early


@dataclass(frozen=True, slots=True)
class _Passed:
    """What a look went through: each stable one of ``folders`` is in ``queue`` or settled, ``waiting`` are the rest."""

    folders: dict[str, Snapshot]
    queue: QueueView
    waiting: list[Snapshot]

    def judged(self, folders: dict[str, Snapshot], queue: QueueView | None) -> bool:
        """Whether these very objects: both are made anew when a listing or another program changes them."""
        return folders is self.folders and queue is self.queue


class ModelScopeMonitor:
    """Finds finished folders. ``monitor_interval`` and ``min_folder_stable_time`` are in s and may be edited here."""

    monitor_interval: float = 300
    min_folder_stable_time: float = 600

    def __init__(
        self, settings: config.Settings | None = None, *, hub: HubClient | None = None, clock: Clock | None = None
    ) -> None:
        """Nothing is opened or asked here; ``settings`` None = read them when the work begins."""
        self._settings = settings
        self._hub = hub
        self._clock: Clock = clock or SystemClock()
        self._files: MonitorStateFile | None = None
        self._queue: WorkQueue | None = None
        self._state: MonitorState | None = None
        self._last: Poll | None = None  # the last look of this life that went well
        self._steady_ahead = 0.0  # s by which the steady scale is ahead of the monotonic clock, once there is a look
        self._hub_clock: HubClock | None = None
        self._passed: _Passed | None = None
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
        """Poll, wait, look again, until asked to stop; returns the exit status."""
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
        """One look whatever happens; returns the seconds to wait until the next one."""
        try:
            self.check()
        except Stopped:
            return 0.0
        except PipelineError as exc:
            self._report(self._looked_into(exc))
        except Exception:
            log.exception("the look at %s failed; the next one is in its turn", self.settings.hub.input_repo)
        else:
            if self._said.over():
                log.info("hub reachable again")
            return self._until_next()
        return self.monitor_interval

    def check(self) -> list[str]:
        """One look at the hub: lists what changed, queues what is stable; returns the folders that it queued.

        Raises HubError and StateError; then nothing is forgotten and the next look starts from the same state.
        """
        files = self._files = self._files or MonitorStateFile(self.settings.paths.log_dir)
        queue = self._queue = self._queue or WorkQueue(self.settings.paths.log_dir)
        state = self._loaded(files)
        asked = self._clock.monotonic()
        head = self._connected().head(self.settings.hub.input_repo)
        look = self._look(state, head, asked)
        now = look.now
        moved = state.head != (head.commit_id if head else None)
        listing = moved or not 0 <= now - state.listed < _RELIST
        snapshots = self._listed(state, head, look) if listing else state.folders
        fresh = MonitorState(
            folders=snapshots,
            settled={n: value for n, value in state.settled.items() if n in snapshots} if listing else state.settled,
            last_check=now,
            steady=look.answered,
            server_time=head.server_time if head else None,
            head=head.commit_id if head else None,
            listed=now if listing else state.listed,
            repo=self.settings.hub.input_repo,
        )
        queued = self._enqueue(queue, fresh, look)
        files.save(fresh)
        self._state, self._last = fresh, look
        return queued

    def _loaded(self, files: MonitorStateFile) -> MonitorState:
        state = self._state or files.load()
        if state.repo not in {"", self.settings.hub.input_repo}:
            log.info("INPUT_REPO changed, starting anew %s", logs.fields(before=state.repo))
            return MonitorState()
        return state

    def _connected(self) -> HubClient:
        if self._hub is None:
            self._hub = make_hub(self.settings, self._clock)
        return self._hub

    def _look(self, state: MonitorState, head: Head | None, asked: float) -> Poll:
        """The look whose question was ``asked`` (monotonic s) and has just been answered by ``head``."""
        now, answered = self._clock.time(), self._clock.monotonic()
        hub_time = head.server_time if head else None
        self._hub_clock = None if hub_time is None else observe_answer(self._hub_clock, hub_time, asked, answered)
        hub_now = self._hub_clock.now() if self._hub_clock else None
        window: float | None
        if self._last is not None:
            window = max(0.0, answered + self._steady_ahead - self._last.asked)
        elif state.last_check is None:
            window = None
            self._steady_ahead = state.steady - answered
        else:
            # Over a restart no monotonic clock tells; two wall clocks must agree on what certainly passed. Where they
            # do not, the hub's may have been set: a commit then counts as older than it is.
            gaps = [now - state.last_check]
            if hub_time is not None and state.server_time is not None:
                hub_gap = hub_time - state.server_time
                hub_now = hub_now if agree(gaps[0], hub_gap) else None
                gaps.append(hub_gap - 1.0)
            window = max(0.0, min(gaps))
            self._steady_ahead = state.steady + window - answered
        return Poll(
            now=now,
            hub_now=hub_now,
            asked=asked + self._steady_ahead,
            answered=answered + self._steady_ahead,
            window=window,
            committed_at=head.committed_at if head else None,
        )

    def _listed(self, state: MonitorState, head: Head | None, look: Poll) -> dict[str, Snapshot]:
        folders: dict[str, Folder] = {}
        if head is not None:
            files = self._connected().list_files(self.settings.hub.input_repo, head.commit_id)
            settings = self.settings.monitor
            known = {name: snapshot.folder for name, snapshot in state.folders.items()}
            unsafe = _LeftOut()
            folders = group_folders(files, settings.video_extensions, settings.complete_marker, known, unsafe.note)
            unsafe.tell()
        snapshots = {name: observe(state.folders.get(name), folder, look) for name, folder in folders.items()}
        self._tell_changes(state, snapshots, look.answered)
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

    def _enqueue(self, queue: WorkQueue, state: MonitorState, look: Poll) -> list[str]:
        known: QueueView | None
        try:
            known = queue.read()
        except CorruptState:
            known = None  # the transaction restores it
        # Where neither folders nor queue are news, only those that waited at the last look can have become ready.
        as_before = self._passed if self._passed and self._passed.judged(state.folders, known) else None
        if known is not None and as_before is None:
            _note_settled(state, known.items())
        ready, waiting = [], []
        for snapshot in as_before.waiting if as_before else state.folders.values():
            if is_stable(snapshot, look.asked, self.min_folder_stable_time):
                ready.append(snapshot.folder)
            else:
                waiting.append(snapshot)
        queued: list[QueueItem] = []
        if known is None or any(True for _ in _missing(known, state, ready, look.now)):
            with queue.transaction() as known:
                for entry in _missing(known, state, ready, look.now):
                    known.put(entry)
                    queued.append(entry)
        self._passed = _Passed(state.folders, known, waiting)
        for entry in queued:
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
        return [entry.folder for entry in queued]

    def _until_next(self) -> float:
        """Not later than the moment at which the first folder becomes stable."""
        passed, look = self._passed, self._last
        assert passed is not None and look is not None
        waits = [
            seconds_until_stable(snapshot, look.asked, self.min_folder_stable_time)
            for snapshot in passed.waiting
            if snapshot.folder.video_count
        ]
        since = self._clock.monotonic() + self._steady_ahead - look.asked
        interval = self.monitor_interval - min(_OFF_BEAT, self.monitor_interval / 10)
        return max(_SHORTEST_WAIT, min([interval, *(wait - since + _ROUNDING for wait in waits)]))

    def _report(self, exc: PipelineError) -> None:
        """Log a problem once; log it as ERROR when somebody must act."""
        # What the hub says may change from one time to the next; for the reader it is the same trouble.
        trouble = type(exc).__name__ if isinstance(exc, HubUnavailable | HubForbidden) else str(exc)
        if self._said.is_news(trouble):
            if isinstance(exc, HubUnavailable):
                log.warning("the hub can't be asked for now, trying again: %s", exc)
            else:
                log.error("can't go on until this is mended: %s", exc)

    def _looked_into(self, exc: PipelineError) -> PipelineError:
        """The error to tell. A token that a person has put into ``.env`` or logged in with meanwhile counts from the
        next look on; where none is accepted, that is why a private dataset does not exist."""
        if not isinstance(exc, HubRejected) or (isinstance(exc, HubNotFound) and not self.settings.hub.token):
            return exc
        try:
            self._hub, _ = connect(self.settings, self._clock)
        except HubForbidden as refused:
            return refused
        except PipelineError:
            pass  # it is told about at the next look, if it lasts
        return exc


class _LeftOut:
    """Paths of a listing that are left out since they could do harm; one line tells of all."""

    def __init__(self) -> None:
        self._count = 0
        self._first = ""

    def note(self, path: str) -> None:
        self._first = self._first or path
        self._count += 1

    def tell(self) -> None:
        if self._count:
            log.warning(
                "paths that no disk can hold are left out, rename them on the hub: count=%d first=%r",
                self._count,
                self._first,
            )


def _missing(queue: QueueView, state: MonitorState, ready: Iterable[Folder], now: float) -> Iterator[QueueItem]:
    """What the queue should hold and does not. A settled folder that somebody took out of it stays out."""
    for folder in ready:
        item = queue.get(folder.name)
        if folder.video_count and (item or state.settled.get(folder.name) != folder.fingerprint):
            entry = entry_for(item, folder, now)
            if entry is not None:
                yield entry


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
    parser.add_argument("--queue", action="store_true", help="show what waits in the queue, and exit")
    config.add_flags(parser, "hub", "monitor", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    return _show_queue(settings) if parsed.queue else _watch(settings, once=parsed.once)


def _show_queue(settings: config.Settings) -> int:
    from tools.report.status import queue_text

    items = WorkQueue(settings.paths.log_dir).read().items()
    print(queue_text(items, SystemClock().time(), settings.processor.aging_hours))
    return 0


def _watch(settings: config.Settings, *, once: bool) -> int:
    from tools.state.singleton import Singleton

    clock = SystemClock()
    stop_on_signals(clock.stop, within=STOP_WITHIN)
    lock = Singleton(settings.paths.log_dir, "monitor")
    lock.acquire()
    logs.set_up("monitor", settings.paths.log_dir, [settings.hub.token or ""])
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
