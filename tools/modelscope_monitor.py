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
from functools import cached_property, partial

import config
from tools.core.errors import (
    HubError,
    HubForbidden,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    PipelineError,
    Stopped,
    Unexpected,
)
from tools.core.folder import Folder, group_folders
from tools.core.past import PollLine
from tools.core.retry import asked_to_wait
from tools.core.stability import (
    Answer,
    Poll,
    Snapshot,
    Timeline,
    first_poll,
    next_poll,
    observe,
    seconds_until_stable,
)
from tools.env_watch import EnvWatch
from tools.flags import Parser
from tools.hub.client import Head, HubClient
from tools.login import Login
from tools.notifying import notifier_of
from tools.report.last_line import LastLine
from tools.report.monitor_log import SkippedPaths, poll_line, tell_changes, tell_kept_out, tell_queued, tell_settled
from tools.report.waiting import waiting_line
from tools.runtime import language, logs
from tools.runtime.clock import STOP_WITHIN, Clock, SystemClock, stop_on_signals
from tools.runtime.once import Once
from tools.startup import (
    dotenv_path,
    make_hub,
    origin_of,
    read_command_settings,
    read_settings,
    run_program,
    tell_origin,
    version,
)
from tools.state.history import HistoryWriter
from tools.state.intake import Intake
from tools.state.monitor_state import MonitorState, MonitorStateFile, waiting_for_nothing
from tools.state.work_queue import WorkQueue

log = logging.getLogger("animation.monitor")
_GROUPS = ("monitor", "notify")  # of settings that concern nobody else
_HUB = "hub"  # kind of what is over once the hub answers
_RELIST = 6 * 3600.0  # s; a whole listing this often even if the head does not move
_SHORTEST_WAIT = 0.2  # s
_OFF_BEAT = (
    0.382  # seconds a poll is early: polls at odd fractions of a second tell the hub's clock, see core/stability
)
_ROUNDING = 0.001  # seconds a poll is later than a folder is stable, lest it be a breath too early


class ModelScopeMonitor:
    """Finds finished folders. ``monitor_interval`` and ``min_folder_stable_time`` are in s and may be edited here."""

    monitor_interval: float = 300
    min_folder_stable_time: float = 600

    def __init__(
        self,
        settings: config.Settings | None = None,
        *,
        hub: HubClient | None = None,
        clock: Clock | None = None,
        env: EnvWatch | None = None,
    ) -> None:
        """Opens and sends nothing; ``settings`` None = read them when the work starts. ``env`` is asked each turn."""
        self._settings = settings
        self._env = env
        self._hub = hub
        self._clock: Clock = clock or SystemClock()
        self._files: MonitorStateFile | None = None
        self._intake: Intake | None = None
        self._state: MonitorState | None = None
        self._history: HistoryWriter | None = None
        self._line = LastLine()
        self._timeline: Timeline | None = None  # of this process's last poll that succeeded
        self._said = Once()
        if settings is not None and "MONITOR_INTERVAL" in settings.given:
            self.monitor_interval = settings.monitor.interval
        if settings is not None and "MIN_FOLDER_STABLE_TIME" in settings.given:
            self.min_folder_stable_time = settings.monitor.min_folder_stable_time

    @cached_property
    def _login(self) -> Login:
        return Login(self.settings, self._clock)

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
        log.info("settings %s", logs.fields(**config.shown(self.settings, *_GROUPS)))
        while not self._clock.stopping:
            self._wait(self.turn())
        log.info("stopped")
        return 0

    def _wait(self, seconds: float) -> None:
        """Until the next poll; on a terminal with a line that says what is waited for."""
        line, until = self._line, self._clock.monotonic() + seconds
        while line.is_terminal and not self._clock.stopping and (left := until - self._clock.monotonic()) > 1:
            line.show(waiting_line(self._state, self._waiting(), self._clock.time(), left))
            self._clock.sleep(1.0)
        self._clock.sleep(max(0.0, until - self._clock.monotonic()) if line.is_terminal else seconds)

    def _waiting(self) -> dict[str, float]:
        """Seconds until each folder that waits for quiet alone becomes stable, by name, the next first."""
        if self._intake is None or self._timeline is None:
            return {}
        passed = self._clock.monotonic() + self._timeline.ahead - self._timeline.poll.asked
        names = [one.folder.name for one in self._quiet()]
        found = sorted((max(0.0, wait - passed), name) for wait, name in zip(self._waits(), names, strict=True))
        return {name: left for left, name in found}

    def turn(self) -> float:
        """One poll whatever happens; returns the seconds to wait until the next one."""
        if self._env is not None:
            self._env.changed()
        try:
            self.check()
            wait = self._until_next()
        except Stopped:
            return 0.0
        except PipelineError as exc:
            self._report(self.explained(exc))
            asked = asked_to_wait(exc)
            return max(self.monitor_interval, asked.seconds if asked else 0.0)
        except Exception as exc:
            if self._said.is_news(str(Unexpected.of(exc))):
                repo = self.settings.hub.input_repo
                log.exception("poll of %s failed unexpectedly; polling again after the interval", repo)
        else:
            if self._said.over(_HUB):
                log.info("hub reachable again")
            if self._said.over():
                log.info("resumed")
            return wait
        return self.monitor_interval

    def check(self) -> list[str]:
        """Poll the hub once: list what changed, queue what is stable; returns the folders that it queued.

        Raises HubError and StateError; then nothing is forgotten and the next poll starts from the same state.
        """
        self._history = self._history or HistoryWriter(self.settings.paths.log_dir)
        try:
            queued = self._check()
        except Stopped:
            raise
        except PipelineError as exc:
            answered = not isinstance(exc, HubError)
            self._history.add(PollLine(time=self._clock.time(), answered=answered, cause=str(exc)))
            raise
        assert self._state is not None and self._intake is not None
        self._history.add(poll_line(self._state, self._intake, len(queued)))
        return queued

    def close(self) -> None:
        """Write what is left of the history; leave the terminal clean."""
        self._line.close()
        if self._history is not None:
            self._history.close()

    def _check(self) -> list[str]:
        files = self._files = self._files or MonitorStateFile(self.settings.paths.log_dir)
        state = self._loaded(files)
        timeline, head = self._poll_head(state)
        poll, commit = timeline.poll, head.commit_id if head else None
        is_listed = state.head != commit or not 0 <= poll.now - state.listed < _RELIST
        snapshots = self._listed(state, commit, poll) if is_listed else state.folders
        fresh = MonitorState(
            folders=snapshots,
            settled={n: value for n, value in state.settled.items() if n in snapshots} if is_listed else state.settled,
            settled_contents={n: value for n, value in state.settled_contents.items() if n in snapshots}
            if is_listed
            else state.settled_contents,
            told={n: value for n, value in state.told.items() if n in snapshots} if is_listed else state.told,
            last_check=poll.now,
            steady=poll.answered,
            server_time=head.server_time if head else None,
            head=commit,
            listed=poll.now if is_listed else state.listed,
            repo=self.settings.hub.input_repo,
            interval=float(self.monitor_interval),
            stable_time=float(self.min_folder_stable_time),
        )
        if is_listed:
            tell_changes(state, fresh, self.min_folder_stable_time)
        queued = self._enqueue(fresh, poll)
        files.save(fresh)
        self._state, self._timeline = fresh, timeline
        return queued

    def _loaded(self, files: MonitorStateFile) -> MonitorState:
        state = self._state or files.load()
        if state.repo not in {"", self.settings.hub.input_repo}:
            log.info("INPUT_REPO changed, starting over %s", logs.fields(before=state.repo))
            return MonitorState()
        return state if self.settings.monitor.wait_for_partial else waiting_for_nothing(state)

    def _connected(self) -> HubClient:
        if self._hub is None:
            self._hub = make_hub(self.settings, self._clock)
            self._login.begin()
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
            skipped = SkippedPaths()
            folders = group_folders(
                files,
                settings.video_extensions,
                settings.complete_marker,
                known,
                skipped.note,
                waits=bool(settings.wait_for_partial),
            )
            skipped.tell()
        return {name: observe(state.folders.get(name), folder, poll) for name, folder in folders.items()}

    def _enqueue(self, state: MonitorState, poll: Poll) -> list[str]:
        intake = self._intake = self._intake or Intake(WorkQueue(self.settings.paths.log_dir))
        changes = intake.update(state, poll.now, poll.asked, self.min_folder_stable_time)
        tell_queued(changes.queued)
        tell_settled(changes.removed, state)
        tell_kept_out(changes.kept_out)
        return [entry.folder for entry in changes.queued]

    def summary(self, queued: int) -> str:
        """The last poll in one line, if it queued so many."""
        assert self._state is not None and self._intake is not None
        folders, waits = self._state.folders.values(), self._waits()
        return logs.fields(
            repo=self._state.repo,
            folders=len(folders),
            queued=queued,
            not_quiet_yet=len(waits),
            next_quiet_in_s=min(waits, default=None),
            half_uploaded=sum(bool(snapshot.folder.partial) for snapshot in folders) or None,
            no_video=sum(not snapshot.folder.video_count for snapshot in folders),
            pending=self._intake.pending,
        )

    def _waits(self) -> list[float]:
        """Seconds until each folder with videos that waits for quiet alone becomes stable, as of the last poll."""
        timeline = self._timeline
        assert timeline is not None
        asked = timeline.poll.asked
        return [seconds_until_stable(one, asked, self.min_folder_stable_time) for one in self._quiet()]

    def _quiet(self) -> list[Snapshot]:
        """The folders with videos that wait for quiet alone."""
        assert self._intake is not None
        return [one for one in self._intake.waiting if one.folder.video_count and not one.folder.partial]

    def _until_next(self) -> float:
        """Not later than the moment at which the first folder becomes stable."""
        waits, timeline = self._waits(), self._timeline
        assert timeline is not None
        asked = timeline.poll.asked
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
                log.error("needs attention: %s", language.both(str(exc)))

    def explained(self, exc: PipelineError) -> PipelineError:
        """The error to report. A token that somebody has put into ``.env``, or logged in with, meanwhile is used from
        the next poll on; if none is accepted, that is why a private dataset does not exist."""
        if isinstance(exc, HubNotFound):  # "HTTP 404" of an address of the hub's says little
            repo = self.settings.hub.input_repo
            exc = HubNotFound(f"INPUT_REPO={repo} does not exist, or this token can't see it", status=exc.status)
        if not isinstance(exc, HubRejected) or (isinstance(exc, HubNotFound) and not self.settings.hub.token):
            return exc
        before = self._login.in_use
        try:
            self._hub, _ = self._login.connect()
            if self._login.in_use != before:  # which may see what the one before did not
                return HubUnavailable("another token is in use from now on")
        except HubForbidden as refused:
            return refused
        except PipelineError:
            pass  # the next poll reports it, if it lasts
        return exc


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 done, 1 failed, 2 bad usage or configuration."""
    parser = Parser(prog="modelscope_monitor.py", description="Queue folders whose upload has finished.")
    parser.add_argument("--once", action="store_true", help="poll the hub once, then exit")
    parser.add_argument("--queue", action="store_true", help="show the pending items in order, then exit")
    config.add_flags(parser, "hub", "monitor", "notify", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_command_settings(parsed)
    if parsed.queue:
        return _show_queue(settings)
    env = EnvWatch(dotenv_path(), settings, partial(read_settings, parsed), "hub", *_GROUPS)
    return _watch(settings, env, once=parsed.once)


def _show_queue(settings: config.Settings) -> int:
    from tools.report.heading import pulse, pulse_lines
    from tools.report.paint import printable
    from tools.report.status import queue_text
    from tools.report.waiting import waiting_lines

    tell_origin(settings)
    now, log_dir = SystemClock().time(), settings.paths.log_dir
    items = WorkQueue(log_dir).read().items()
    shown = queue_text(items, now, settings.processor.aging_hours)
    by_name, state = {item.folder: item for item in items}, MonitorStateFile(log_dir).read()
    waiting = waiting_lines(state, by_name, now, settings.monitor.min_folder_stable_time)
    lines = [*pulse_lines(pulse(log_dir), now), "", shown, *([""] if waiting else []), *waiting]
    print(printable("\n".join(lines)))
    return 0


def _watch(settings: config.Settings, env: EnvWatch, *, once: bool) -> int:
    from tools.state.origin import start

    clock = SystemClock()
    stop_on_signals(clock.stop, within=STOP_WITHIN)
    lock, news = start(settings.paths.log_dir, "monitor", origin_of(settings), version())
    logs.set_up("monitor", settings.paths.log_dir, [settings.hub.token or ""])
    if news:
        log.warning("%s", news)
    monitor = ModelScopeMonitor(settings, clock=clock, env=env)
    notifier = None if once else notifier_of(settings, "processor")
    try:
        if not once:
            return monitor.run()
        queued = monitor.check()
        log.info("polled once %s", monitor.summary(len(queued)))
        return 0
    except Stopped:
        return 0
    except PipelineError as exc:
        log.error("%s", language.both(str(monitor.explained(exc))))
        return 1
    finally:
        monitor.close()
        if notifier is not None:
            notifier.close()
        lock.release()


if __name__ == "__main__":
    sys.exit(main())
