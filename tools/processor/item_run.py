"""One queue item while it is processed: which videos are left, what to try next, which batches can be published.

Pure bookkeeping over the plan, the journal's history and the results of jobs; the processor does the calling.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from tools.core.aimed import is_bigger, start_of
from tools.core.artifact import ArtifactKind
from tools.core.companions import companions
from tools.core.errors import Trouble
from tools.core.folder import Folder, RemoteFile
from tools.core.planning import FolderPlan, VideoJob
from tools.core.queue_item import Quarantined, QueueItem
from tools.core.retry import next_attempt
from tools.core.reuse import seconds_saved
from tools.core.sidecar import SidecarRules
from tools.processor.batch import Batch, Task, died, tried
from tools.processor.output_folder import OutputFolder
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event, Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules:
    """Plain settings of a run."""

    input_repo: str
    output_repo: str  # of the MKVs and of ``metadata.jsonl``
    other_repos: Mapping[ArtifactKind, str] = field(default_factory=dict)  # what else is wanted of a video, and where
    extensions: frozenset[str]  # of what is converted; lower case, without the dot
    marker: str  # name of the file whose presence makes a folder complete at once; "" = none
    batch_size: int  # videos per commit
    sidecars: SidecarRules = field(default_factory=SidecarRules)  # what else of a folder is carried over
    mux_subtitles: bool = False  # subtitles beside a video go into its MKV
    max_attempts: int  # at a video, and at a commit
    retry_interval: float  # s
    frame_archive: int = 1 << 30  # bytes of one archive of frames
    endpoint: str = ""  # address of the hub, for links in the dataset card; "" = no card is written

    @property
    def repos(self) -> dict[ArtifactKind, str]:
        """The kinds of files that a video becomes, and the repo of each."""
        return {ArtifactKind.VIDEO: self.output_repo, **self.other_repos}


@dataclass(slots=True)
class ItemRun:
    """A claimed item. Made by ``open_item`` of ``tools.processor.opening``."""

    item: QueueItem
    plan: FolderPlan
    journal: Journal
    rules: RunRules
    revision: str  # commit of the input repo that was planned from
    there: Folder  # as it is at that commit
    output_folders: tuple[OutputFolder, ...]  # to be committed to in this order
    files: Sequence[RemoteFile] = ()  # directly in the folder of the input repo
    batches: list[Batch] = field(default_factory=list)
    is_made_elsewhere: Callable[[Task], bool] = field(default=lambda task: False)  # its bytes, so that it waits
    source_gone: tuple[str, ...] = ()  # names of results that are published and whose sources are gone
    is_cancelled: bool = False  # it is to end: a person wants it, or
    broken: str = ""  # an unexpected error
    no_room: dict[str, str] = field(default_factory=dict)  # source path of what waits for disk space → its cause
    _tasks: dict[str, Task] = field(default_factory=dict)  # by source path; filled at first use
    _over: int = 0  # so many batches, from the first on, are over
    _crf: int | None = None  # of the latest search
    _isolated: str | None = None  # attempt id of the video at its last try after deaths

    def _unfinished(self) -> Iterator[Batch]:
        """The batches from the first unfinished one on: a long folder's finished ones are not visited again."""
        while self._over < len(self.batches) and self.batches[self._over].is_over:
            self._over += 1
        return islice(self.batches, self._over, None)

    def jobs_ready(self, now: float, *, isolated: bool, held: Collection[str] = ()) -> Iterable[VideoJob]:
        """Jobs that may begin now (monotonic s), in order, each marked as running when it is taken.

        ``isolated``: no other item has one at its last try after deaths. Two such never run at the same time: if
        several encode at once, the one that brings everything down would take the others with it into quarantine.
        ``held``: "download" or "upload", what the hub wants nobody to begin with now.
        """
        for batch in self._unfinished():
            for task in batch.tasks:
                if self._is_ready(task, now, isolated, held):
                    if batch.began is None:
                        batch.began = now
                    yield self._job(task)

    def has_ready(self, now: float, *, isolated: bool, held: Collection[str] = ()) -> bool:
        """Whether ``jobs_ready`` would give one."""
        return any(self._is_ready(task, now, isolated, held) for batch in self._unfinished() for task in batch.tasks)

    def _is_ready(self, task: Task, now: float, isolated: bool, held: Collection[str]) -> bool:
        may_run = not self._is_last_try(task) or (isolated and self._isolated is None)
        is_due = task.not_before <= now and task.begins_with not in held
        may_run = may_run and not self.is_made_elsewhere(task)
        return not task.is_settled and task.running is None and is_due and may_run

    def _is_last_try(self, task: Task) -> bool:
        """Whether one more death while it is being encoded has it quarantined."""
        return task.crashes > 0 and task.crashes >= self.rules.max_attempts - 1

    @property
    def is_isolating(self) -> bool:
        """Whether one at its last try after deaths is under way."""
        return self._isolated is not None

    def _job(self, task: Task) -> VideoJob:
        task.running = uuid.uuid4().hex[:12]
        if self._is_last_try(task):
            self._isolated = task.running
        source, redo = task.video.source, self.item.redo
        beside, left_out = self._beside(source) if task.video.published is None else ((), 0)
        return VideoJob(
            attempt_id=task.running,
            attempt=task.failures + 1,
            folder=self.item.folder,
            input_repo=self.rules.input_repo,
            revision=self.revision,
            source=source,
            targets=task.video.targets,
            published=task.video.published,
            is_again=self.is_again(source),
            order=redo.order if redo and self.is_again(source) else "",
            options=redo.options if redo and self.is_again(source) else (),
            beside=beside,
            fonts_left_out=left_out,
            crf=self._latest_crf(),
        )

    def _latest_crf(self) -> int | None:
        """What the search for the CRF of a video of this folder came to last."""
        if self._crf is None:
            found = (crf for _, record in reversed(self.plan.done) if (crf := start_of(record)) is not None)
            self._crf = next(found, None)
        return self._crf

    def _beside(self, source: RemoteFile) -> tuple[tuple[RemoteFile, ...], int]:
        """The subtitles and fonts that go into its MKV, and how many fonts are too many for it."""
        return companions(source, self.files, self.rules.extensions) if self.rules.mux_subtitles else ((), 0)

    def is_again(self, source: RemoteFile) -> bool:
        """Whether a person wants it made again: no earlier result serves."""
        return self.item.redo is not None and self.item.redo.wants(source.path)

    def may_share(self, task: Task) -> bool:
        """Whether a result of the same bytes will do for it: the bytes are known, it has none of its own, and nobody
        wants it made again."""
        source = task.video.source
        is_new = task.video.published is None and not self.is_again(source)
        return bool(source.sha256) and is_new and not self._beside(source)[0]

    def accept(self, result: JobResult, now: float) -> bool:
        """Take a result in; False for a late one of an older attempt, which changes nothing."""
        task = self._task_of(result.job.source)
        if task is None or task.running != result.job.attempt_id:
            return False
        self._isolated = None if self._isolated == task.running else self._isolated
        task.running = None
        self.no_room.pop(result.job.source.path, None)
        if result.trouble is Trouble.DISK_FULL:
            self.no_room[result.job.source.path] = result.cause
        if result.outcome is Outcome.CRASHED:
            task.crashes += 1
        elif result.outcome is not Outcome.STOPPED:
            task.crashes = 0
        if result.outcome is not Outcome.STOPPED:  # which may be a job that only waited
            task.is_converted = result.is_converted
        if result.outcome is Outcome.STORED:
            task.output = result.output
            self._crf = (start_of(result.output.record) if result.output else None) or self._crf
        elif result.outcome is Outcome.REFUSED:
            self._refuse(task, result.cause)
        elif result.outcome is Outcome.FAILED:
            self._failed(task, result.cause, now)
        elif result.outcome is Outcome.DEFERRED:
            task.not_before = now + self.rules.retry_interval
        elif task.crashes >= self.rules.max_attempts:
            self._refuse(task, died("its worker", task.crashes), is_spent=True)
        return True

    def put_off(self, source: RemoteFile, until: float) -> None:
        """Not before ``until`` (monotonic s), whatever else is said of it."""
        task = self._task_of(source)
        if task is not None:
            task.not_before = max(task.not_before, until)

    def ended(self, attempt_id: str) -> None:
        """This attempt does not run any more, whatever came of it."""
        for task in (task for batch in self.batches for task in batch.tasks if task.running == attempt_id):
            task.running = None

    def blame(self, source: RemoteFile, cause: str, now: float, *, result_kept: bool = False) -> None:
        """A transfer that was put off counts as a failure of its video after all; ``result_kept``: it was converted."""
        task = self._task_of(source)
        if task is not None and task.running is None and not task.is_settled:
            self._failed(task, cause, now, result_kept=result_kept)

    def _task_of(self, source: RemoteFile) -> Task | None:
        if not self._tasks:
            self._tasks = {task.video.source.path: task for batch in self.batches for task in batch.tasks}
        return self._tasks.get(source.path)

    def _failed(self, task: Task, cause: str, now: float, *, result_kept: bool = False) -> None:
        task.failures += 1
        wait = next_attempt(task.failures, self.rules.max_attempts, self.rules.retry_interval)
        if wait is None:
            self._refuse(task, tried(cause, task.failures), result_kept=result_kept, is_spent=True)
        else:
            task.not_before = max(task.not_before, now + wait)

    def _refuse(self, task: Task, cause: str, *, result_kept: bool = False, is_spent: bool = False) -> None:
        source = task.video.source
        task.refuse(Quarantined(source.path, cause, source.sha256, result_kept, is_spent))

    def batches_ready(self, now: float) -> list[Batch]:
        """Batches whose videos are all settled and that are not being published."""
        free = (b for b in self._unfinished() if not b.is_over and not b.is_publishing and b.not_before <= now)
        return [batch for batch in free if all(task.is_settled for task in batch.tasks)]

    def split_what_waits(self) -> bool:
        """Let batches that can't continue for now publish what they have; whether any could.

        Their local results go with the commit, which is what makes room on a disk too small for a whole batch.
        """
        split = False
        for batch in list(self.batches):
            waiting = [task for task in batch.tasks if not task.is_settled]
            if waiting and batch.records() and not any(task.running for task in waiting):
                batch.tasks = [task for task in batch.tasks if task.is_settled]
                self.batches.append(Batch(len(self.batches) + 1, waiting))
                split = True
        return split

    def halve(self, batch: Batch) -> Batch | None:
        """Make two batches of one, so that what the hub refuses keeps nothing else back; the new one, None if it can't
        be done."""
        number, middle = len(self.batches) + 1, max(len(batch.tasks), len(batch.sidecars)) // 2
        if batch.tasks and batch.sidecars:  # before any video pays for one of them
            half = Batch(number, [], batch.began, sidecars=batch.sidecars)
            batch.sidecars = []
        elif middle == 0:
            return None
        else:
            half = Batch(number, batch.tasks[middle:], batch.began, sidecars=batch.sidecars[middle:])
            batch.tasks, batch.sidecars = batch.tasks[:middle], batch.sidecars[:middle]
        self.batches.append(half)
        batch.failures = 0
        batch.is_half = half.is_half = True
        batch.refusals = 0
        return half

    def refuse_batch(self, batch: Batch, cause: str) -> None:
        """The hub won't have the commit: its videos count as quarantined, so that in = out + quarantined."""
        for task in batch.tasks:
            if task.output is not None:
                task.output = None
                self._refuse(task, cause, result_kept=True)
        batch.sidecars = []

    def put_back(self, batch: Batch) -> None:
        """The hub lost blobs that can't be sent from here: the videos are done again, by whoever has their results."""
        for task in batch.tasks:
            if task.output is not None:
                self.journal.note(Event.LOST, task.video.source)
                task.output, task.is_converted = None, False

    @property
    def is_over(self) -> bool:
        return all(batch.is_over for batch in self._unfinished())

    @property
    def is_running(self) -> bool:
        """Whether a job or a publication of it is under way."""
        return any(batch.is_publishing or any(task.running for task in batch.tasks) for batch in self.batches)

    def quarantined(self) -> tuple[Quarantined, ...]:
        return (*self.plan.quarantined, *(q for batch in self.batches for q in batch.refused()))

    def is_settled(self, source: RemoteFile) -> bool:
        """Whether nothing more is tried with this video."""
        task = self._task_of(source)
        return task is not None and task.is_settled

    def why_quarantined(self, source: RemoteFile) -> str | None:
        """The cause, if this video is quarantined."""
        task = self._task_of(source)
        return task.refused.cause if task and task.refused else None

    def with_totals(self, item: QueueItem) -> QueueItem:
        """The item as it is worked at: the folder's fingerprint, and what is published so far; sizes in bytes."""
        records = [record for _, record in self.plan.done]
        records += [record for batch in self.batches if batch.is_over for record in batch.records()]
        counted = [folder.counted() for folder in self.output_folders]
        return replace(
            item,
            hash=self.there.fingerprint,
            contents=self.there.contents,
            videos_done=len(records),
            videos_total=len(self.plan.done) + len(self.plan.quarantined) + sum(map(len, self.plan.batches)),
            bytes_in=sum(int(record.get("source_size") or 0) for record in records),
            bytes_out=sum(int(record.get("size") or 0) for record in records),
            videos_reused=sum(bool(record.get("reused_from")) for record in records),
            seconds_saved=round(sum(map(seconds_saved, records))),
            videos_bigger=sum(map(is_bigger, records)),
            scenes=sum(scenes for scenes, _ in counted),
            frames=sum(frames for _, frames in counted),
        )
