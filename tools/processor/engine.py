"""What is in work: claimed items, their jobs in the executor, their commits. One turn at a time, never blocking.

The main loop calls ``turn``; jobs run in the executor, everything else that asks the hub runs one by one in a thread
of its own (the hub thread), and both answer through one inbox. So a slow hub delays nothing but itself, and
a stop is quick.
"""

import contextlib
import logging
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tools.core.errors import (
    BlobsLost,
    CorruptState,
    HubForbidden,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    PipelineError,
    StateError,
    Stopped,
    Trouble,
)
from tools.core.queue_item import QueueItem, Status, claim, give_back, is_due, rank, settle, with_sane_times
from tools.hub.client import HubClient
from tools.processor.executor import Executor
from tools.processor.hub_thread import Answer, HubThread, Inbox
from tools.processor.item_run import Batch, FolderChanged, ItemRun, RunRules, open_item
from tools.processor.pause import Pause, Suspect
from tools.processor.publish import publish
from tools.runtime import logs
from tools.runtime.clock import Clock
from tools.stages.job_context import JobTools
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event, Journal, sweep
from tools.state.work_queue import QueueView, WorkQueue

log = logging.getLogger("animation.processor")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRules:
    """Plain settings. ``check_interval`` and ``stable_time`` in s."""

    run: RunRules
    check_interval: float
    stable_time: float
    aging_hours: float


class Engine:
    """Moves items of the queue from pending to settled. ``connect`` is asked before the first claim and after trouble:
    it returns the hub to use from then on, or raises what is still wrong."""

    def __init__(
        self,
        rules: EngineRules,
        work: WorkQueue,
        journal_of: Callable[[str], Journal],
        tools: JobTools,
        clock: Clock,
        connect: Callable[[], HubClient],
        *,
        executor: Executor,
        inbox: Inbox,
        hub_thread: HubThread,
    ) -> None:
        """``executor`` and ``hub_thread`` answer through ``inbox``. Nothing is touched before the first turn."""
        self._rules = rules
        self._queue = work
        self._journal_of = journal_of
        self._tools = tools
        self._clock = clock
        self._connect = connect
        self._jobs = executor
        self._runs: dict[str, ItemRun] = {}
        self._opening: QueueItem | None = None
        self._inbox = inbox
        self._hub_thread = hub_thread
        self._next_look = 0.0
        self._pause = Pause(rules.check_interval, clock)
        self._no_room: dict[tuple[str, str], str] = {}  # folder, source path → what it waits for
        self._recovered = False
        self.any_failed = False
        self.progress_is_stale = True

    @property
    def paused(self) -> str | None:
        """Why nothing new is begun; None when all goes on."""
        if self._pause.reason in {None, "starting"}:
            return next(reversed(self._no_room.values()), None)
        return self._pause.reason

    @property
    def needs_person(self) -> bool:
        """Whether it is paused for what does not pass by itself."""
        return self._pause.needs_person

    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing waits in the queue."""
        if self._runs or self._opening or self._pause.reason:
            return False
        try:
            return not self._queue.read().live()
        except StateError:
            return False  # the next transaction deals with it

    def is_working(self) -> bool:
        return bool(self._runs)

    def turn(self, wait: float) -> None:
        """Handle what came in (waiting at most ``wait`` s for it), then begin what can begin."""
        if not self._recovered:
            self._recover()
        self._take_in(wait)
        now = self._clock.monotonic()
        self._notice_cancelled()
        if self._pause.reason is not None:
            if self._pause.must_ask():
                self._hub_thread.do("connect", None, self._connect)
        else:
            self._publish_ready(now)
            self._submit(now)
            self._claim(now)
        self._settle_over()

    def close(self, timeout: float) -> None:
        """End the jobs and give every item back as pending."""
        if not self._jobs.close(timeout):
            log.info("some transfers did not end in time; they end with the program")
        given = [*self._runs, *([self._opening.folder] if self._opening else [])]
        try:
            for folder in given:
                self._change(folder, give_back)
        except PipelineError as exc:
            log.warning("can't give back what is under way, the next start finds it: %s", exc)
        else:
            if given:
                log.info("given back, goes on where it stopped at the next start: %s", logs.fields(folders=len(given)))

    # --- start ---------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Begin where an earlier life ended: its items wait again, and what belongs to no item goes."""
        with self._queue.transaction() as view:
            self._mend(view)
            live = [item.folder for item in view.live()]
        sweep(self._queue.path.parent, live)
        self._jobs.sweep(live)
        self._recovered = True

    def _mend(self, view: QueueView) -> None:
        """Set right what no step of ours would leave: a claimed item that nobody works at (an earlier life ended, or
        a full disk kept its end from being written), and times that a jump of the clock made senseless."""
        wall, longest = self._clock.time(), max(self._rules.stable_time, self._rules.check_interval)
        for item in view.live():
            if item.status is Status.PROCESSING:
                if not self._is_lost(item):
                    continue
                item = give_back(item)
                view.put(item)
                log.info("left behind by an earlier run, waits again: %s", logs.fields(folder=item.folder))
            if (mended := with_sane_times(item, wall, longest)) is not item:
                view.put(mended)
                log.info("the clock was set back, the times of an item are mended: %s", logs.fields(folder=item.folder))

    def _is_lost(self, item: QueueItem) -> bool:
        opening = self._opening is not None and self._opening.folder == item.folder
        return item.status is Status.PROCESSING and item.folder not in self._runs and not opening

    def _change(self, folder: str, change: Callable[[QueueItem], QueueItem]) -> QueueItem | None:
        """Move a claimed item; None where it is not ours any more (cancelled, or edited away)."""
        with self._queue.transaction() as view:
            item = view.get(folder)
            if item is None or item.status is not Status.PROCESSING:
                return None
            new = change(item)
            if new != item:
                view.put(new)
            return new

    # --- messages ------------------------------------------------------------------------------------------------

    def _take_in(self, wait: float) -> None:
        try:
            message = self._inbox.get(timeout=wait) if wait > 0 else self._inbox.get_nowait()
            while True:
                if isinstance(message, JobResult):
                    self._job_ended(message)
                else:
                    self._answered(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _job_ended(self, result: JobResult) -> None:
        run = self._runs.get(result.job.folder)
        now = self._clock.monotonic()
        if run is None or not run.accept(result, now):
            log.info("a late result of an older attempt is dropped: %s", logs.fields(video=result.job.source.path))
            return
        about = logs.fields(video=result.job.source.path, attempt=result.job.attempt, cause=result.cause or None)
        if result.trouble is not Trouble.DISK_FULL:
            self._no_room.pop((run.item.folder, result.job.source.path), None)
        if result.outcome is Outcome.STORED:
            self._pause.worked("transfer", result.job.source.path)
            log.info("stored %s", about)
        elif result.outcome is Outcome.REFUSED:
            self._jobs.forget(run.item.folder, result.job.source)
            log.warning("can't be converted, quarantined: %s", about)
        elif result.outcome is Outcome.FAILED:
            log.warning("failed for now, tried again later: %s", about)
        elif result.outcome is Outcome.CRASHED:
            log.warning("its worker died in mid-encode: %s", about)
        elif result.outcome is Outcome.DEFERRED:
            self._deferred(run, result)

    def _deferred(self, run: ItemRun, result: JobResult) -> None:
        self.progress_is_stale = True
        if result.trouble in {Trouble.HUB_UNAVAILABLE, Trouble.HUB_FORBIDDEN, Trouble.HUB_NOT_FOUND}:
            self._pause.suspect(
                Suspect(
                    kind="transfer",
                    about=result.job.source.path,
                    cause=result.cause,
                    needs_person=result.trouble is Trouble.HUB_FORBIDDEN,
                    blame=partial(self._blame, run, result),
                    is_certain=result.trouble is Trouble.HUB_NOT_FOUND,
                )
            )
            return
        if result.trouble is not Trouble.DISK_FULL:
            self._pause.machine(result.cause)
            return
        if not self._no_room:
            log.warning("waits for room on the disk, smaller videos go on: %s", result.cause)
        self._no_room[run.item.folder, result.job.source.path] = result.cause
        run.split_what_waits()

    def _blame(self, run: ItemRun, result: JobResult) -> None:
        """The hub serves others: this video's transfer failed for its own sake."""
        source = result.job.source
        about = logs.fields(video=source.path, attempt=result.job.attempt, cause=result.cause)
        log.warning("failed for now, tried again later: %s", about)
        with contextlib.suppress(PipelineError):  # a full disk may refuse even this note
            run.journal.note(Event.FAILED, source, cause=result.cause)
        run.blame(source, result.cause, self._clock.monotonic())

    def _answered(self, answer: Answer) -> None:
        if answer.task == "connect":
            self._connected(answer)
        elif answer.task == "open":
            self._opened(answer)
        else:
            self._published(answer)

    # --- trouble -------------------------------------------------------------------------------------------------

    def _connected(self, answer: Answer) -> None:
        self.progress_is_stale = True
        if isinstance(answer.error, Stopped):
            self._pause.give_up_asking()
            return
        if answer.error is None:
            self._tools.hub = answer.value
        self._pause.asked(answer.error)
        self._next_look = 0.0

    def _trouble(self, kind: str, about: str, exc: PipelineError, blame: Callable[[], None]) -> bool:
        """Whether nobody here may be to blame for an error; then it is looked into, and ``blame`` called where so."""
        if not isinstance(exc, HubUnavailable | HubForbidden | HubNotFound):
            return isinstance(exc, Stopped)
        self.progress_is_stale = True
        self._pause.suspect(
            Suspect(
                kind=kind,
                about=about,
                cause=str(exc),
                needs_person=not isinstance(exc, HubUnavailable),
                blame=blame,
                retry_after=exc.retry_after if isinstance(exc, HubUnavailable) else None,
            )
        )
        return True

    # --- items ---------------------------------------------------------------------------------------------------

    def _claim(self, now: float) -> None:
        ready = any(run.has_ready(now, isolated=self._is_isolated(run)) for run in self._runs.values())
        if self._opening or ready or now < self._next_look or self._jobs.free() <= 0:
            return
        item = self._next_item()
        if item is None:
            self._next_look = now + self._rules.check_interval
            return
        self._opening = item
        journal = self._journal_of(item.folder)
        self._hub_thread.do("open", item, lambda: open_item(item, self._tools.hub, journal, self._rules.run, now))

    def _next_item(self) -> QueueItem | None:
        wall = self._clock.time()

        def due(items: list[QueueItem]) -> Iterator[QueueItem]:
            return (item for item in items if is_due(item, wall) and item.folder not in self._runs)

        try:
            items = self._queue.read().live()
            if next(due(items), None) is None and not any(map(self._is_lost, items)):
                return None
        except CorruptState:
            pass  # the transaction sets it right, or says that it can't
        with self._queue.transaction() as view:
            self._mend(view)
            first = min(due(view.live()), key=lambda item: rank(item, wall, self._rules.aging_hours), default=None)
            if first is None:
                return None
            claimed = claim(first, wall)
            view.put(claimed)
        return claimed

    def _opened(self, answer: Answer) -> None:
        item: QueueItem = answer.about
        self._opening = None
        if answer.error is None:
            run: ItemRun = answer.value
            self._pause.worked("open", item.folder)
            self._runs[item.folder] = run
            todo = sum(len(batch.tasks) for batch in run.batches)
            log.info(
                "begins %s",
                logs.fields(folder=item.folder, videos=todo, done_before=len(run.plan.done), batches=len(run.batches)),
            )
            self._show_totals(run)
        elif isinstance(answer.error, FolderChanged):
            self._not_as_queued(item, answer.error)
        else:
            cause = str(answer.error)
            can_not = partial(self._can_not_begin, item, cause)
            later = self._clock.time() + self._rules.check_interval
            self._change(item.folder, lambda it: give_back(it, later, cause))
            if not self._trouble("open", item.folder, answer.error, can_not):
                can_not()

    def _can_not_begin(self, item: QueueItem, cause: str) -> None:
        log.warning("can't begin, tried again later: %s", logs.fields(folder=item.folder, cause=cause))

    def _not_as_queued(self, item: QueueItem, change: FolderChanged) -> None:
        now = self._clock.time()
        log.info("%s: %s", change, logs.fields(folder=item.folder))
        if change.folder is None or not change.folder.video_count:  # which the monitor does not queue
            self._change(item.folder, lambda it: settle(it, now, it.quarantined, str(change)))
            self._forget(item.folder)
            return
        # The monitor puts the new fingerprint in once it is stable; until then there is nothing to do here.
        later = now + max(self._rules.stable_time, self._rules.check_interval)
        self._change(item.folder, lambda it: give_back(it, later, str(change)))

    def _submit(self, now: float) -> None:
        for run in self._runs.values():
            free = self._jobs.free()
            if free <= 0:
                return
            jobs = iter(run.jobs_ready(now, isolated=self._is_isolated(run))) if not run.is_cancelled else iter(())
            for _ in range(free):
                job = next(jobs, None)
                if job is None:
                    break
                self._jobs.submit(job)

    def _is_isolated(self, run: ItemRun) -> bool:
        """Whether no other item has a video at its last try after deaths."""
        return not any(other.is_isolating for other in self._runs.values() if other is not run)

    def _notice_cancelled(self) -> None:
        """A person took an item out of the queue, or edited it, while it is in work here."""
        if not self._runs:
            return
        try:
            view = self._queue.read()
        except StateError:
            return  # the next transaction deals with it
        for folder, run in self._runs.items():
            item = view.get(folder)
            if not run.is_cancelled and (item is None or item.status is not Status.PROCESSING):
                log.info("taken out of the queue, ends: %s", logs.fields(folder=folder))
                run.is_cancelled = True
                self._jobs.cancel(folder)

    # --- batches -------------------------------------------------------------------------------------------------

    def _publish_ready(self, now: float) -> None:
        for run in self._runs.values():
            for batch in run.batches_ready(now) if not run.is_cancelled else ():
                if batch.outputs():
                    batch.is_publishing = True
                    self._hub_thread.do("publish", (run, batch), partial(self._commit, run, batch))
                else:
                    self._batch_over(run, batch, None, "")

    def _commit(self, run: ItemRun, batch: Batch) -> str:
        folder, outputs = run.item.folder, batch.outputs()
        file_of = partial(self._jobs.artifact_file, folder)
        message = f"Add {len(outputs)} AV1 videos of {folder}"
        return publish(self._tools.hub, run.output_folders, outputs, file_of, message)

    def _published(self, answer: Answer) -> None:
        run, batch = answer.about
        batch.is_publishing = False
        about = f"{run.item.folder}/{batch.number}"
        if answer.error is None:
            self._pause.worked("publish", about)
            self._batch_over(run, batch, answer.value, "")
            return
        not_published = partial(self._not_published, run, batch, answer.error)
        batch.not_before = self._clock.monotonic() + self._rules.check_interval
        if not self._trouble("publish", about, answer.error, not_published):
            not_published()

    def _not_published(self, run: ItemRun, batch: Batch, exc: PipelineError) -> None:
        facts = logs.fields(folder=run.item.folder, batch=batch.number, cause=str(exc))
        batch.failures += 1
        if isinstance(exc, BlobsLost) and batch.failures < self._rules.run.max_attempts:
            run.put_back(batch)
        if exc.retryable and batch.failures < self._rules.run.max_attempts:
            batch.not_before = self._clock.monotonic() + self._rules.check_interval * 2 ** (batch.failures - 1)
            log.warning("a commit failed for now, tried again later: %s", facts)
        elif isinstance(exc, HubRejected) and run.halve(batch):
            log.warning("the hub refused a commit, each half of it is tried alone: %s", facts)
        else:
            run.refuse_batch(batch, f"the hub did not take the commit: {exc}")
            self._batch_over(run, batch, None, str(exc))

    def _batch_over(self, run: ItemRun, batch: Batch, commit: str | None, cause: str) -> None:
        """The one line of this attempt at the batch; then its local files go."""
        batch.is_over = True
        now = self._clock.monotonic()
        refused = batch.refused()
        facts = logs.fields(
            folder=run.item.folder,
            batch=f"{batch.number}/{len(run.batches)}",
            videos=len(batch.tasks),
            published=len(batch.outputs()),
            quarantined=len(refused),
            bytes_in=batch.bytes_in(),
            bytes_out=batch.bytes_out(),
            elapsed_s=0.0 if batch.began is None else now - batch.began,
            attempt=run.item.attempts,
            commit=commit,
            cause=cause or (f"{refused[0].path}: {refused[0].cause}" if refused else None),
        )
        if refused or cause:
            log.error("%s %s", logs.BATCH_FAILED, facts)
        else:
            log.info("%s %s", logs.BATCH_DONE, facts)
        run.journal.note(Event.COMMITTED, *batch.outputs(), commit=commit)
        for source in batch.sources():
            self._jobs.forget(run.item.folder, source)
        if not run.is_over:  # else it is settled in this turn, and one write does for both
            self._show_totals(run)

    def _show_totals(self, run: ItemRun) -> None:
        self._change(run.item.folder, lambda item: _with_totals(item, run))

    def _settle_over(self) -> None:
        for folder, run in list(self._runs.items()):
            if run.is_cancelled and not run.is_running:
                del self._runs[folder]
                self._forget(folder)
            elif run.is_over and not run.is_cancelled:
                del self._runs[folder]
                self._settle(run)
                self.progress_is_stale = True

    def _settle(self, run: ItemRun) -> None:
        quarantined = run.quarantined()
        now = self._clock.time()
        item = self._change(run.item.folder, lambda it: settle(_with_totals(it, run), now, quarantined))
        self._forget(run.item.folder)
        self._next_look = 0.0
        if item is None:
            return  # a person took it out of the queue this very moment
        self.any_failed |= item.status is Status.FAILED
        log.info(
            "%s %s",
            "folder completed" if item.status is Status.COMPLETED else "folder ended incomplete",
            logs.fields(folder=item.folder, videos=item.videos_done, quarantined=len(quarantined)),
        )

    def _forget(self, folder: str) -> None:
        """Nothing local is needed of an item any more."""
        self._no_room = {about: cause for about, cause in self._no_room.items() if about[0] != folder}
        self._journal_of(folder).remove()
        self._jobs.forget(folder)
        if not self._runs and self._opening is None:
            self._jobs.rest()


def _with_totals(item: QueueItem, run: ItemRun) -> QueueItem:
    totals: dict[str, Any] = {**run.totals(), "hash": run.fingerprint}
    return replace(item, **totals)
