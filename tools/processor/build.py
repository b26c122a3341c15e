"""The one wiring: plain values, a hub, a converter and a clock → an engine and its executor.

The program, the tests and the benches all come through here, so what is tested and measured is what runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tools.core.artifact import ArtifactKind
from tools.core.planning import VideoJob
from tools.core.retry import LONGEST
from tools.core.reuse import Rule
from tools.core.sidecar import SidecarRules
from tools.hub.client import HubClient
from tools.media.converter import Converter
from tools.processor.claims import Claims
from tools.processor.engine import Engine
from tools.processor.executor import Deliver, Executor, LocalExecutor, Note
from tools.processor.hub_thread import HubThreads, Inbox
from tools.processor.item_run import RunRules
from tools.processor.mirror import Mirror
from tools.processor.mirror_look import MirrorRules
from tools.processor.parts import EngineParts
from tools.processor.pause import Pause
from tools.processor.reporting import LogObserver, Observer, Observers
from tools.processor.reuse import Reuse
from tools.processor.waits import Waits
from tools.processor.witnesses import Witnesses
from tools.runtime.clock import Clock
from tools.stages.job_context import JobContext, JobTools
from tools.stages.video_job import JobResult, run_video_job
from tools.stages.work_hours import HoursOptions, WorkHours
from tools.stages.workspace import Workspace
from tools.state.journal import Event, Journal
from tools.state.results import ResultsFile
from tools.state.work_queue import WorkQueue

Connect = Callable[[JobTools], HubClient]
"""Checks all that work needs; returns the hub to use from then on, or raises what is wrong (PipelineError)."""
MakeExecutor = Callable[[JobTools, Deliver, Note], Executor]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorOptions:
    """The plain values of a processor; all but the repositories, the folders and the times have the defaults of
    the settings."""

    input_repo: str
    output_repo: str
    log_dir: Path  # the queue and the journals
    work_dir: Path  # sources and results on their way
    check_interval: float  # s between two checks of the queue, and before the first retry
    stable_time: float  # s that a folder which changed after it was queued stays out of work
    extensions: frozenset[str]
    other_repos: Mapping[ArtifactKind, str] = field(default_factory=dict)  # of further outputs, by kind of artifact
    frame_archive: int = 1 << 30  # bytes of one archive of frames
    marker: str = ""
    sidecars: SidecarRules = field(default_factory=SidecarRules)  # what else of a folder is carried over
    mux_subtitles: bool = False  # subtitles beside a video go into its MKV
    batch_size: int = 30
    max_attempts: int = 3
    aging_hours: float = 24.0
    min_free_space: int = 0  # bytes
    slots: int = 1
    threads: int | None = None  # cores for each encode; None = the encoder's own choice
    cores: int | None = None  # to be shared by the encodes under way, instead of ``threads`` for each
    endpoint: str = ""  # address of the hub, for links in the dataset card; "" = no card is written
    budget: int = 0  # bytes that all encodes may take together; 0 = no limit
    hours: HoursOptions = field(default_factory=HoursOptions)  # of this machine
    reuse: Rule = Rule.SAME_SETTINGS  # which published results stand for sources of the same bytes
    mirror_percent: float | None = None  # of what is ours that may be taken out at once; None = nothing ever is
    version: str = ""  # of this program: another one tries again what can't be converted

    def rules(self) -> RunRules:
        """Those for the run of an item."""
        return RunRules(
            input_repo=self.input_repo,
            output_repo=self.output_repo,
            other_repos=self.other_repos,
            extensions=self.extensions,
            marker=self.marker,
            sidecars=self.sidecars,
            mux_subtitles=self.mux_subtitles,
            batch_size=self.batch_size,
            max_attempts=self.max_attempts,
            retry_interval=self.check_interval,
            frame_archive=self.frame_archive,
            endpoint=self.endpoint,
        )


@dataclass(frozen=True, slots=True)
class Processor:
    """What ``build`` made."""

    engine: Engine
    executor: Executor
    tools: JobTools
    observer: Observer  # all of them, for what the program has to tell


def build(
    options: ProcessorOptions,
    hub: HubClient,
    converter: Converter,
    clock: Clock,
    *,
    connect: Connect | None = None,
    make_executor: MakeExecutor | None = None,
    make_hub_threads: Callable[[Inbox], HubThreads] = HubThreads,
    observers: Sequence[Observer] = (LogObserver(),),
) -> Processor:
    """A processor over the queue of ``options.log_dir``. Nothing is read, written or asked before its first turn.

    Without ``connect`` the hub is taken as it is; without ``make_executor`` jobs run in the slots of this machine.
    """
    space = Workspace(options.work_dir, options.min_free_space)
    rules = options.rules()
    reuse = Reuse(
        ResultsFile(options.log_dir, f"{options.input_repo} -> {options.output_repo}"),
        options.reuse,
        options.input_repo,
        rules.repos,
        converter,
        options.version,
    )
    tools = JobTools(
        hub,
        converter,
        space,
        options.slots,
        options.threads,
        options.cores,
        options.budget,
        journals=options.log_dir,
        known=reuse.of_downloaded,
        joins=frozenset({ArtifactKind.FRAMES}),
    )
    observer, inbox = Observers(observers), Inbox()
    executor = (make_executor or local_executor)(tools, inbox.put, journal_note(options.log_dir))
    parts = EngineParts(
        rules=rules,
        check_interval=options.check_interval,
        stable_time=options.stable_time,
        tools=tools,
        executor=executor,
        hub=make_hub_threads(inbox),
        inbox=inbox,
        claims=_claims(options, clock, observer),
        reuse=reuse,
        pause=Pause(options.check_interval, clock, observer),
        witnesses=Witnesses(options.input_repo, options.output_repo, options.extensions),
        waits=Waits(clock, observer),
        hours=WorkHours(options.hours, tools),
        mirror=_mirror(options, reuse, clock),
        connect=partial(connect or _take_as_it_is, tools),
        journal_of=partial(Journal, options.log_dir),
        clock=clock,
        observer=observer,
    )
    return Processor(Engine(parts), executor, tools, observer)


def _mirror(options: ProcessorOptions, reuse: Reuse, clock: Clock) -> Mirror | None:
    if options.mirror_percent is None:
        return None
    rules = MirrorRules(
        input_repo=options.input_repo,
        output_repo=options.output_repo,
        extensions=options.extensions,
        percent=options.mirror_percent,
        quiet=options.stable_time,
    )
    return Mirror(rules, options.log_dir, reuse.results, clock)


def _claims(options: ProcessorOptions, clock: Clock, observer: Observer) -> Claims:
    longest_wait = max(options.stable_time, options.check_interval, LONGEST)
    queue = WorkQueue(options.log_dir)
    return Claims(queue, clock, observer, aging_hours=options.aging_hours, longest_wait=longest_wait)


def local_executor(
    tools: JobTools, deliver: Deliver, note: Note, kind: type[LocalExecutor] = LocalExecutor
) -> LocalExecutor:
    """The slots of this machine."""

    def run(job: VideoJob, context: JobContext) -> JobResult:
        return run_video_job(job, tools, context)

    return kind(run, tools.slots, deliver, note, tools.workspace, tools.download)


def journal_note(log_dir: Path) -> Note:
    """Writes what a job notes to its item's journal."""

    def note(job: VideoJob, event: Event, facts: dict[str, Any]) -> None:
        Journal(log_dir, job.folder).note(event, job.source, **facts)

    return note


def _take_as_it_is(tools: JobTools) -> HubClient:
    tools.workspace.prepare()
    return tools.hub
