"""The processor: takes folders from the queue, converts their videos, publishes them, and cleans up.

Holds the lock of its log folder for life, so whatever is ``processing`` when it starts was left behind and is
requeued. What it did is in the journal and on the hub; nothing that was converted is encoded twice.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import config
from tools import notifying, queue_commands, queue_questions, status_command
from tools.core.errors import AlreadyRunning, PipelineError, StateError, Unexpected
from tools.core.message import plural
from tools.flags import Parser
from tools.runtime.once import Once
from tools.startup import (
    dotenv_path,
    need_cluster_packages,
    need_frame_packages,
    origin_of,
    read_command_settings,
    read_settings,
    run_program,
    shares_for,
    sidecar_rules,
    tell_origin,
    version,
)
from tools.state.progress import ProgressFile

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from pathlib import Path

    from tools.env_watch import EnvWatch
    from tools.hub.client import HubClient
    from tools.login import Login
    from tools.media.converter import Converter
    from tools.processor.build import Processor, ProcessorOptions
    from tools.processor.executor import Deliver, Executor, Note
    from tools.processor.reporting import Observer
    from tools.runtime.clock import SystemClock
    from tools.runtime.private import FolderLock
    from tools.stages.job_context import JobTools

log = logging.getLogger("animation.processor")
_TURNS = "turns"  # the kind of what is said of them
_TURN = 0.5  # s that a turn waits for news at most
_JOBS_END_WITHIN = 5.0  # s for jobs to end; the promise is 10 s in all


class QueueProcessor:
    """Processes the queue. ``check_interval`` in s and ``max_concurrent`` encodes (None = as the machine allows) may be
    edited here."""

    check_interval: float = 60
    max_concurrent: int | None = None

    def __init__(
        self,
        settings: config.Settings | None = None,
        *,
        clock: "SystemClock | None" = None,
        env: "EnvWatch | None" = None,
    ) -> None:
        """Nothing is opened or asked here; ``settings`` None = read them when the work begins. ``env`` is asked each
        turn."""
        self._env = env
        self._settings = settings
        self._work_lock: FolderLock | None = None
        self._clock = clock
        self._said = Once()
        self._login: Login | None = None  # whose token is in use, once it works
        if settings is not None and "CHECK_INTERVAL" in settings.given:
            self.check_interval = settings.processor.check_interval
        if settings is not None and "MAX_CONCURRENT" in settings.given:
            self.max_concurrent = settings.processor.max_concurrent

    @property
    def settings(self) -> config.Settings:
        if self._settings is None:
            self._settings = read_settings(argparse.Namespace())
        return self._settings

    def run(self, drain: bool = False) -> int:
        """Work until asked to stop, or with ``drain`` until nothing is pending; returns the exit status.

        Raises ConfigError if another processor works in the same WORK_DIR: a restart would not change that.
        """
        from tools.report.bars import Bars
        from tools.report.historian import Historian
        from tools.report.notifier import HURRY, PEACE
        from tools.runtime.clock import SystemClock
        from tools.state.history import HistoryWriter

        clock = self._clock = self._clock or SystemClock()
        self._hold_work_dir()
        bars = Bars(partial(status_command.queue_line, self.settings))
        historian = Historian(HistoryWriter(self.settings.paths.log_dir))
        notifier = notifying.notifier_of(self.settings, "monitor")
        built = self.build(clock, bars, historian, *([notifier] if notifier else []))
        engine = built.engine
        try:
            while not clock.stopping:
                if self._env is not None and self._env.changed():
                    engine.ask_soon()  # a token may have come
                self._turn(built, clock)
                if self._login is not None:
                    self._login.remind()
                if drain and engine.needs_person:
                    return 1
                if drain and engine.is_idle():
                    return 1 if engine.any_failed else 0
            return 0
        finally:
            engine.close(_JOBS_END_WITHIN)
            bars.close()
            historian.close(clock.time())
            if notifier is not None:
                notifier.close(HURRY if clock.stopping else PEACE)
            if self._work_lock is not None:
                self._work_lock.release()
            log.info("stopped")

    def _hold_work_dir(self) -> None:
        """Before anything there is swept. A folder that can't be used now is waited for: see ``_connect``."""
        from tools.runtime.private import FolderLock, take_folder

        work_dir = self.settings.paths.work_dir
        self._work_lock = FolderLock(work_dir, "processor")
        try:
            take_folder(work_dir)
            self._work_lock.acquire()
        except AlreadyRunning as exc:
            raise config.ConfigError(str(exc)) from exc
        except OSError:
            pass

    def _turn(self, built: "Processor", clock: "SystemClock") -> None:
        """One turn whatever happens; what blocks it is said once and waited for."""
        from tools.processor.reporting import Blocked, Resumed

        is_blocked = True
        try:
            built.engine.turn(_TURN)
            is_blocked = False
        except PipelineError as exc:
            if self._said.is_news(str(exc), _TURNS):
                built.observer.observe(Blocked(str(exc), needs_person=isinstance(exc, StateError)))
        except Exception as exc:
            if self._said.is_news(str(Unexpected.of(exc)), _TURNS):
                log.exception("unexpected error in the processing loop; continuing after the check interval")
        else:
            if self._said.over(_TURNS):
                built.observer.observe(Resumed())
        try:
            built.engine.report_progress()
        except Exception as exc:
            if self._said.is_news(str(Unexpected.of(exc)), "progress"):
                log.exception("unexpected error while the progress is noted; the work continues")
        if is_blocked:
            clock.sleep(self.check_interval)

    def build(self, clock: "SystemClock", *more: "Observer") -> "Processor":
        """The parts of this processor, as the settings want them; ``more`` observers. Nothing is opened yet."""
        from tools.login import Login
        from tools.processor.build import build
        from tools.processor.reporting import LogObserver, ProgressWriter
        from tools.runtime.cage import confined_parts
        from tools.startup import make_hub

        settings = self.settings
        login = self._login = Login(settings, clock)
        cage, interval = confined_parts(settings.encode.cage), float(self.check_interval)
        slots = shares_for(self.max_concurrent).slots
        progress = ProgressFile(settings.paths.log_dir, cage, interval, slots)
        return build(
            self._options(),
            make_hub(settings, clock),
            self.converter(),
            clock,
            connect=partial(_connect, settings, login, Once(), self._work_lock),
            make_executor=partial(_cluster_executor, settings) if settings.cluster.scheduler else None,
            observers=(LogObserver(), ProgressWriter(progress), *more),
        )

    def _options(self) -> "ProcessorOptions":
        from tools.core.artifact import ArtifactKind
        from tools.core.reuse import Rule
        from tools.processor.build import ProcessorOptions
        from tools.stages.work_hours import HoursOptions
        from tools.startup import hours_of

        settings = self.settings
        return ProcessorOptions(
            input_repo=settings.hub.input_repo,
            output_repo=settings.hub.output_repo,
            endpoint=settings.hub.endpoint,
            log_dir=settings.paths.log_dir,
            work_dir=settings.paths.work_dir,
            check_interval=float(self.check_interval),
            stable_time=settings.monitor.min_folder_stable_time,
            extensions=settings.monitor.video_extensions,
            other_repos={ArtifactKind.FRAMES: settings.frames.repo} if settings.frames.repo else {},
            frame_archive=int(settings.frames.archive_mb * 2**20),
            marker=settings.monitor.complete_marker,
            sidecars=sidecar_rules(settings),
            mux_subtitles=bool(settings.encode.mux_subtitles),
            batch_size=settings.processor.batch_size,
            max_attempts=settings.processor.max_attempts,
            aging_hours=settings.processor.aging_hours,
            reuse=Rule(settings.processor.reuse),
            mirror_percent=settings.processor.mirror_max_percent if settings.processor.mirror else None,
            version=version(),
            min_free_space=int(settings.processor.min_free_space_gb * 1e9),
            hours=hours_of(settings) if not settings.cluster.scheduler else HoursOptions(),
            **shares_for(self.max_concurrent)._asdict(),
        )

    def converter(self) -> "Converter":
        """What converts here, or is compared with what converts on the workers of a cluster."""
        from tools.media.converter import FfmpegConverter
        from tools.startup import encode_options, frame_options

        return FfmpegConverter(*encode_options(self.settings), frame_options(self.settings))


def _cluster_executor(settings: config.Settings, tools: "JobTools", deliver: "Deliver", note: "Note") -> "Executor":
    from tools.cluster import dask_transport
    from tools.cluster.delivery import look_up
    from tools.cluster.executor import ClusterExecutor
    from tools.cluster.pickles import load_no_classes
    from tools.startup import certificates, handshake_of

    dask_transport.configure()
    load_no_classes()
    scheduler = settings.cluster.scheduler
    connect_cluster = partial(dask_transport.connect, scheduler, dask_transport.security(certificates(settings)))
    handshake = partial(handshake_of, settings, tools.converter)
    known = partial(look_up, tools)
    return ClusterExecutor(scheduler, connect_cluster, handshake, deliver, note, tools.workspace, known)


def _connect(
    settings: config.Settings, login: "Login", said: Once, work_lock: "FolderLock | None", tools: "JobTools"
) -> "HubClient":
    """Everything that work needs, checked: token, datasets, disk, encoder. Raises what a person must fix.

    The token is read again each time, so one that was put into ``.env`` meanwhile counts.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as beside:  # the trials of encoders take as long as the hub's first answers
        prepared = beside.submit(tools.converter.prepare)
        hub, user = login.connect()
        _need_repos(settings, hub, user)
        tools.workspace.prepare()
        if work_lock is not None:
            work_lock.acquire()
        encoder = prepared.result()
    if said.is_news(f"{user} {encoder}"):  # a pause asks again and again
        log.info("connected as %s, encoder: %s", user, encoder)
    return hub


def _need_repos(settings: config.Settings, hub: "HubClient", user: str) -> None:
    """All datasets, those that are written made if they are missing; and the right to write there, which would be
    missed hours later. Raises HubError, which says whose right is missing where."""
    from tools.core.errors import HubForbidden, HubFull, HubNotFound

    source = settings.hub.input_repo
    if not hub.repo_exists(source):
        raise HubNotFound(f"INPUT_REPO={source} does not exist, or this token can't see it")
    others = {"INPUT_REPO": source}
    for name, target in (("OUTPUT_REPO", settings.hub.output_repo), ("FRAMES_REPO", settings.frames.repo)):
        if not target:
            continue
        try:
            _need_written(settings, hub, name, target, others)
        except HubFull:
            raise
        except HubForbidden as exc:
            if exc.status != _FORBIDDEN:
                raise
            said = f"the token of {user} may not create or write {name}={target}: use another token or dataset"
            raise HubForbidden(said, status=exc.status) from exc
        others[name] = target


def _say_if_emptied(repo: str, log_dir: "Path") -> None:
    """Of an output that had to be made: whether something was published in it before."""
    from tools.state.work_queue import WorkQueue

    folders = 0
    with contextlib.suppress(StateError):  # whoever works with the queue says what is wrong with it
        folders = sum(item.videos_done > 0 for item in WorkQueue(log_dir).read().items())
    if folders:
        log.warning(
            "OUTPUT_REPO=%s was gone and is created again, empty, though %s of the queue had videos published: if"
            " nobody meant that, `python3 tools/queue_processor.py --check` names what it lacks now; --add FOLDER"
            " publishes it again",
            repo,
            plural(folders, "folder"),
        )


def _need_written(
    settings: config.Settings, hub: "HubClient", name: str, repo: str, others: "Mapping[str, str]"
) -> None:
    """A dataset that is written, which none of the others is; made if it is missing. Raises HubError."""
    from tools.core.errors import HubRejected
    from tools.hub.client import same_dataset

    if not hub.repo_exists(repo):
        if hub.create_repo(repo):
            log.info("created the private dataset %s", repo)
            if name == "OUTPUT_REPO":
                _say_if_emptied(repo, settings.paths.log_dir)
    elif same := same_dataset(hub, repo, others):
        raise HubRejected(f"{name}={repo} is the same dataset as {same}: give a dataset of its own")
    hub.need_write(repo)


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 done, 1 failed, 2 bad usage or configuration."""
    parser = Parser(prog="queue_processor.py", description="Convert and publish what is queued.")
    status_command.add_flags(parser)
    parser.add_argument("--notify-test", action="store_true", help="send a test message to each address of NOTIFY_URLS")
    parser.add_argument("--drain", action="store_true", help="exit when the queue is empty; status 1 if an item failed")
    queue_questions.add_flags(parser)
    queue_commands.add_flags(parser)
    config.add_flags(parser, "hub", "processor", "encode", "frames", "notify", "cluster", "paths")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    queue_commands.need_sense(parsed)
    settings = read_command_settings(parsed)
    if parsed.status or queue_commands.is_given(parsed) or queue_questions.is_given(parsed):
        tell_origin(settings)
    if parsed.status:
        return status_command.run(parsed, settings)
    if parsed.notify_test:
        return notifying.send_test(settings)
    if queue_questions.is_given(parsed):
        return queue_questions.run(parsed, settings)
    if queue_commands.is_given(parsed):
        return queue_commands.run(parsed, settings)
    if settings.cluster.scheduler:
        need_cluster_packages()
    elif settings.frames.repo:
        need_frame_packages()
    return _work(settings, parsed)


_GROUPS = ("processor", "encode", "frames", "notify")  # of settings that decide what is done, and how
_FORBIDDEN = 403  # HTTP


def _work(settings: config.Settings, parsed: argparse.Namespace) -> int:
    from tools.env_watch import EnvWatch
    from tools.runtime import logs
    from tools.runtime.cage import confine_children, confined_text
    from tools.runtime.clock import STOP_WITHIN, SystemClock, stop_on_signals
    from tools.runtime.spawn import set_patience
    from tools.state.origin import start

    clock = SystemClock()
    stop_on_signals(clock.stop, within=STOP_WITHIN)
    lock, news = start(settings.paths.log_dir, "processor", origin_of(settings), version())
    logs.set_up("processor", settings.paths.log_dir, [settings.hub.token or ""])
    if news:
        log.warning("%s", news)
    cage = confine_children(settings.encode.cage)
    set_patience(settings.encode.nice, settings.encode.ionice)
    env = EnvWatch(dotenv_path(), settings, partial(read_settings, parsed), "hub", "cluster", "paths", *_GROUPS)
    processor = QueueProcessor(settings, clock=clock, env=env)
    log.info(
        "processing the queue %s",
        logs.fields(
            output=settings.hub.output_repo,
            hub=settings.hub.endpoint,
            concurrent=shares_for(processor.max_concurrent).slots,
            interval_s=float(processor.check_interval),
            confined=confined_text(cage),
        ),
    )
    log.info("settings %s", logs.fields(**config.shown(settings, *_GROUPS)))
    if settings.cluster.scheduler and settings.processor.active_hours.spans:
        log.warning("ACTIVE_HOURS does nothing here: each worker of a cluster keeps to its own")
    try:
        return processor.run(parsed.drain)
    finally:
        lock.release()


if __name__ == "__main__":
    sys.exit(main())
