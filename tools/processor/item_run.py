"""One queue item while it is processed: which videos are left, what to try next, which batches can be published.

Pure bookkeeping over the plan, the journal's history and the results of jobs; the processor does the calling.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from tools.core.artifact import ArtifactKind, VideoOutput
from tools.core.errors import HubUnavailable, PipelineError, Trouble
from tools.core.folder import Folder, RemoteFile, group_folders
from tools.core.planning import FolderPlan, Video, VideoJob, plan_folder
from tools.core.queue_item import Quarantined, QueueItem
from tools.core.record import Record
from tools.core.retry import next_attempt
from tools.hub.client import HubClient
from tools.processor.publish import OutputFolder
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event, Journal, VideoHistory


class FolderChanged(PipelineError):
    """The folder is not what was queued."""

    def __init__(self, folder: Folder | None) -> None:
        said = "the folder changed since it was queued" if folder else "the folder is gone from the hub"
        super().__init__(said if folder is None or folder.video_count else "the folder holds no video any more")
        self.folder = folder  # as it is now; None when it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules:
    """Plain settings of a run."""

    input_repo: str
    output_repo: str  # of the MKVs and of ``metadata.jsonl``
    other_repos: Mapping[ArtifactKind, str] = field(default_factory=dict)  # what else is wanted of a video, and where
    extensions: frozenset[str]  # of what is converted; lower case, without the dot
    marker: str  # name of the file whose presence makes a folder complete at once; "" = none
    batch_size: int  # videos per commit
    max_attempts: int  # at a video, and at a commit
    retry_interval: float  # s

    @property
    def repos(self) -> dict[ArtifactKind, str]:
        """The kinds of files that a video becomes, and the repo of each."""
        return {ArtifactKind.VIDEO: self.output_repo, **self.other_repos}


@dataclass(slots=True)
class _Task:
    """One video of the plan. It waits, or is running, or has its output, or is refused."""

    video: Video
    failures: int = 0  # attempts so far that failed
    crashes: int = 0  # in a row, while it was being encoded
    not_before: float = 0.0  # monotonic s
    running: str | None = None  # attempt id
    output: VideoOutput | None = None  # stored, ready to be committed
    refused: Quarantined | None = None

    @property
    def is_settled(self) -> bool:
        return self.output is not None or self.refused is not None


@dataclass(slots=True)
class Batch:
    """Videos of one commit."""

    number: int  # from 1
    tasks: list[_Task]
    began: float | None = None  # monotonic s of its first job
    failures: int = 0  # of its publication so far
    refusals: int = 0  # of its publication, whosever fault they are
    is_half: bool = False  # of one that was refused
    not_before: float = 0.0  # monotonic s, of the next try to publish it
    taken_at: float | None = None  # monotonic s since which a commit of it is not shown by the hub that took it
    is_over: bool = False  # published, or nothing of it can be
    is_publishing: bool = False

    def sources(self) -> list[RemoteFile]:
        return [task.video.source for task in self.tasks]

    def outputs(self) -> dict[RemoteFile, VideoOutput]:
        """What is to be committed, or was."""
        return {task.video.source: task.output for task in self.tasks if task.output is not None}

    def unneeded(self) -> list[RemoteFile]:
        """The sources whose local files may go once it is over."""
        return [task.video.source for task in self.tasks if task.refused is None or not task.refused.result_kept]

    def records(self) -> list[Record]:
        return [task.output.record for task in self.tasks if task.output is not None]

    def refused(self) -> list[Quarantined]:
        return [task.refused for task in self.tasks if task.refused is not None]

    def bytes_in(self) -> int:
        return sum(record["source_size"] for record in self.records())

    def bytes_out(self) -> int:
        return sum(record["size"] for record in self.records())


@dataclass(slots=True)
class ItemRun:
    """A claimed item. Made by ``open_item``."""

    item: QueueItem
    plan: FolderPlan
    journal: Journal
    rules: RunRules
    revision: str  # commit of the input repo that was planned from
    fingerprint: str  # of the folder at that commit
    output_folders: tuple[OutputFolder, ...]  # to be committed to in this order
    batches: list[Batch] = field(default_factory=list)
    is_cancelled: bool = False
    no_room: dict[str, str] = field(default_factory=dict)  # source path of what waits for disk space → its cause
    _tasks: dict[str, _Task] = field(default_factory=dict)  # by source path; filled at first use
    _over: int = 0  # so many batches, from the first on, are over
    _isolated: str | None = None  # attempt id of the video at its last try after deaths

    def _unfinished(self) -> Iterator[Batch]:
        """The batches from the first unfinished one on: a long folder's finished ones are not visited again."""
        while self._over < len(self.batches) and self.batches[self._over].is_over:
            self._over += 1
        return islice(self.batches, self._over, None)

    def jobs_ready(self, now: float, *, isolated: bool) -> Iterable[VideoJob]:
        """Jobs that may begin now (monotonic s), in order, each marked as running when it is taken.

        ``isolated``: no other item has one at its last try after deaths. Two such never run at the same time: if
        several encode at once, the one that brings everything down would take the others with it into quarantine.
        """
        for batch in self._unfinished():
            for task in batch.tasks:
                if self._is_ready(task, now, isolated):
                    if batch.began is None:
                        batch.began = now
                    yield self._job(task)

    def has_ready(self, now: float, *, isolated: bool) -> bool:
        """Whether ``jobs_ready`` would give one."""
        return any(self._is_ready(task, now, isolated) for batch in self._unfinished() for task in batch.tasks)

    def _is_ready(self, task: _Task, now: float, isolated: bool) -> bool:
        may_run = not self._is_last_try(task) or (isolated and self._isolated is None)
        return not task.is_settled and task.running is None and task.not_before <= now and may_run

    def _is_last_try(self, task: _Task) -> bool:
        """Whether one more death while it is being encoded has it quarantined."""
        return task.crashes > 0 and task.crashes >= self.rules.max_attempts - 1

    @property
    def is_isolating(self) -> bool:
        """Whether one at its last try after deaths is under way."""
        return self._isolated is not None

    def _job(self, task: _Task) -> VideoJob:
        task.running = uuid.uuid4().hex[:12]
        if self._is_last_try(task):
            self._isolated = task.running
        return VideoJob(
            attempt_id=task.running,
            attempt=task.failures + 1,
            folder=self.item.folder,
            input_repo=self.rules.input_repo,
            revision=self.revision,
            source=task.video.source,
            targets=task.video.targets,
        )

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
        if result.outcome is Outcome.STORED:
            task.output = result.output
        elif result.outcome is Outcome.REFUSED:
            self._refuse(task, result.cause)
        elif result.outcome is Outcome.FAILED:
            self._failed(task, result.cause, now)
        elif result.outcome is Outcome.DEFERRED:
            task.not_before = now + self.rules.retry_interval
        elif task.crashes >= self.rules.max_attempts:
            self._refuse(task, _died("its worker", task.crashes))
        return True

    def blame(self, source: RemoteFile, cause: str, now: float, *, result_kept: bool = False) -> None:
        """A transfer that was put off counts as a failure of its video after all; ``result_kept``: it was converted."""
        task = self._task_of(source)
        if task is not None and task.running is None and not task.is_settled:
            self._failed(task, cause, now, result_kept=result_kept)

    def _task_of(self, source: RemoteFile) -> _Task | None:
        if not self._tasks:
            self._tasks = {task.video.source.path: task for batch in self.batches for task in batch.tasks}
        return self._tasks.get(source.path)

    def _failed(self, task: _Task, cause: str, now: float, *, result_kept: bool = False) -> None:
        task.failures += 1
        wait = next_attempt(task.failures, self.rules.max_attempts, self.rules.retry_interval)
        if wait is None:
            self._refuse(task, f"{cause} (tried {task.failures} times)", result_kept=result_kept)
        else:
            task.not_before = now + wait

    def _refuse(self, task: _Task, cause: str, *, result_kept: bool = False) -> None:
        source = task.video.source
        task.refused = Quarantined(source.path, cause, source.sha256, result_kept)

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
        middle = len(batch.tasks) // 2
        if middle == 0:
            return None
        half = Batch(len(self.batches) + 1, batch.tasks[middle:], batch.began)
        self.batches.append(half)
        batch.tasks = batch.tasks[:middle]
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

    def put_back(self, batch: Batch) -> None:
        """The hub lost blobs that can't be sent from here: the videos are done again, by whoever has their results."""
        for task in batch.tasks:
            if task.output is not None:
                self.journal.note(Event.LOST, task.video.source)
                task.output = None

    @property
    def is_over(self) -> bool:
        return all(batch.is_over for batch in self._unfinished())

    @property
    def is_running(self) -> bool:
        """Whether a job or a publication of it is under way."""
        return any(batch.is_publishing or any(task.running for task in batch.tasks) for batch in self.batches)

    def quarantined(self) -> tuple[Quarantined, ...]:
        return (*self.plan.quarantined, *(q for batch in self.batches for q in batch.refused()))

    def why_quarantined(self, source: RemoteFile) -> str | None:
        """The cause, if this video is quarantined."""
        task = self._task_of(source)
        return task.refused.cause if task and task.refused else None

    def with_totals(self, item: QueueItem) -> QueueItem:
        """The item as it is worked at: the folder's fingerprint, and what is published so far; sizes in bytes."""
        records = [record for _, record in self.plan.done]
        records += [record for batch in self.batches if batch.is_over for record in batch.records()]
        return replace(
            item,
            hash=self.fingerprint,
            videos_done=len(records),
            videos_total=len(self.plan.done) + len(self.plan.quarantined) + sum(map(len, self.plan.batches)),
            bytes_in=sum(int(record.get("source_size") or 0) for record in records),
            bytes_out=sum(int(record.get("size") or 0) for record in records),
        )


def open_item(item: QueueItem, hub: HubClient, journal: Journal, rules: RunRules, now: float) -> ItemRun:
    """List the folder again, see what is published, and plan the rest. Raises FolderChanged, HubError.

    ``now`` monotonic s: what failed, or died with the program, before is not retried at once.
    An item without a hash (a person wrote it into the queue) takes the folder as it is.
    """
    head = hub.head(rules.input_repo)
    if head is None:  # no folder can be queued from it, so this proves nothing
        raise HubUnavailable(f"the hub lists no commits of {rules.input_repo}")
    files = hub.list_folder(rules.input_repo, head.commit_id, item.folder)
    now_there = group_folders(files, rules.extensions, rules.marker).get(item.folder)
    if now_there is None or item.hash not in {"", now_there.fingerprint}:
        raise FolderChanged(now_there)
    main = OutputFolder(rules.output_repo, item.folder)
    main.refresh(hub)
    plan = plan_folder(
        files,
        main.published,
        main.files,
        item.quarantined,
        repos=rules.repos,
        extensions=rules.extensions,
        batch_size=rules.batch_size,
    )
    others = sorted(set(rules.other_repos.values()) - {rules.output_repo})
    # The metadata last: what they show as done must be done everywhere.
    folders = (*(OutputFolder(repo, item.folder, keeps_metadata=False) for repo in others), main)
    run = ItemRun(item, plan, journal, rules, head.commit_id, now_there.fingerprint, folders)
    history = journal.history()
    for number, videos in enumerate(plan.batches, 1):
        run.batches.append(Batch(number, [_task(video, history, rules, now) for video in videos]))
    return run


def _task(video: Video, history: Mapping[tuple[str, str], VideoHistory], rules: RunRules, now: float) -> _Task:
    """A video as the journal left it: stored blobs are not sent again, refused videos not retried."""
    task = _Task(video)
    past = history.get((video.source.path, video.source.sha256), VideoHistory())
    task.failures = past.failures
    task.crashes = past.crashes
    cause = past.refused
    if cause is None and past.crashes >= rules.max_attempts:
        cause = _died("the program", past.crashes)
    if cause is None and past.failures >= rules.max_attempts:
        cause = f"{past.last_cause} (tried {past.failures} times)"
    if cause is None and (tries := max(past.failures, past.crashes)):
        task.not_before = now + (next_attempt(tries, rules.max_attempts, rules.retry_interval) or 0.0)
    task.output = past.stored and past.stored.at(video.targets)
    if task.output is None and cause is not None:
        task.refused = Quarantined(video.source.path, cause, video.source.sha256)
    return task


def _died(who: str, times: int) -> str:
    return f"{who} died {times} times in a row while this video was being encoded"
