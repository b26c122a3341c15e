"""Moves claimed items from opening to settled: their jobs, their batches, their end. One turn at a time, none blocks.

The main loop calls ``turn``; jobs run in the executor, everything else that asks the hub in a thread per kind of work,
and all answer through one inbox. So a slow hub delays nothing but itself, and a stop is quick. What is in work is the
business of ``claims``, when nothing may start that of ``pause``, what the hub wants to wait that of ``waits``, what a
batch needs that of ``commits``; what happened is told to an observer.
"""

import contextlib
import logging
import queue
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice

from tools.core.errors import PipelineError, Stopped, Unexpected
from tools.core.planning import VideoJob
from tools.core.queue_item import QueueItem, Status, give_back, gone, local_time, settle
from tools.core.retry import asked_to_wait
from tools.core.reuse import Rule
from tools.hub.client import HubClient
from tools.processor import reporting
from tools.processor.commits import Commits
from tools.processor.hub_thread import Answer, Failed
from tools.processor.item_run import ItemRun
from tools.processor.mirroring import Mirroring
from tools.processor.opening import FolderChanged, open_item
from tools.processor.ordered import Ordered
from tools.processor.parts import EngineParts
from tools.processor.results import Results
from tools.processor.twins import Twins, known_before
from tools.stages.video_job import JobResult
from tools.state.journal import Journal, sweep
from tools.state.orders import OrdersFile
from tools.state.progress import HubWork

log = logging.getLogger("animation.processor")
_PROGRESS, _IDLE_PROGRESS = 1.0, 30.0  # s between two reports of what runs, and of nothing


class Engine:
    """Moves items of the queue from pending to settled. Nothing is touched before the first turn."""

    def __init__(self, parts: EngineParts) -> None:
        self._rules = parts.rules
        self._check_interval = parts.check_interval
        self._stable_time = parts.stable_time
        self._tools = parts.tools
        self._jobs = parts.executor
        self._hub = parts.hub
        self._waits = parts.waits
        self._hours = parts.hours
        self._inbox = parts.inbox
        self._claims = parts.claims
        self._pause = parts.pause
        self._witnesses = parts.witnesses
        self._connect = parts.connect
        self._journal_of = parts.journal_of
        self._clock = parts.clock
        self._tell = parts.observer.observe
        self._commits = Commits(parts, self._guarded)
        self._ordered = Ordered(OrdersFile(parts.claims.log_dir))
        self._runs: dict[str, ItemRun] = {}
        self._reuse = parts.reuse
        self._twins = Twins(parts.reuse.rule is not Rule.OFF)
        self._results = Results(parts, self._runs, self._guarded, self._twins)
        self._is_opening = False
        self._mirror = Mirroring(parts)
        self._next_check = 0.0  # monotonic s, of the queue
        self._recovered = False
        self._reported: tuple[float, str | None] | None = None  # monotonic s and pause of the last progress
        self.any_failed = False

    @property
    def paused(self) -> str | None:
        """What is not started, why, and until when; None if all is well."""
        reason, next_try = self._pause.reason, self._pause.next_try
        if reason in {None, "starting"}:
            lacking = self._results.what_lacks_space()
            return self._ordered.reason or lacking or self._waits.reason or self._hours.reason
        if next_try is None:
            return reason
        when = self._clock.time() + next_try - self._clock.monotonic()
        return f"{reason}; next try at {local_time(when)}"

    @property
    def needs_person(self) -> bool:
        """Whether it is paused for what does not pass by itself."""
        return self._pause.needs_person

    def ask_soon(self) -> None:
        """If it is paused, find out now whether that is over."""
        self._pause.ask_soon()

    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing waits in the queue."""
        is_at_work = self._runs or self._is_opening or self._pause.reason or self._mirror.is_busy
        may_look = self._ordered.may_claim and self._jobs.free() > 0
        return not is_at_work and self._claims.is_all_settled() and not (may_look and self._mirror.is_due)

    def is_working(self) -> bool:
        return bool(self._runs)

    def turn(self, wait: float) -> None:
        """Handle what came in (waiting at most ``wait`` s for it), then start what can start."""
        if not self._recovered:
            self._recover()
        self._take_in(wait)
        self._hours.ask(self._clock.time())
        now = self._clock.monotonic()
        self._stop_cancelled()
        if self._ordered.ask():
            for folder in self._runs:
                with self._guarded(folder):
                    self._jobs.cancel(folder)
        self._tools.encode.close(not self._ordered.may_submit, "order")
        if self._pause.must_ask():
            self._hub.do("connect", "the hub", partial(self._connect_and_look, [*self._pause.silent]), self._connected)
        self._commits.share_ready(self._runs.values())
        for run in self._runs.values():
            if not run.is_cancelled:
                with self._guarded(run.item.folder):
                    self._commits.publish_ready(run)
        if not self._pause.stops("transfer"):
            if self._ordered.may_submit:
                self._submit(now)
            if self._ordered.may_claim:
                self._claim(now)
        self._settle_over()

    def report_progress(self) -> None:
        """Tell what runs now: at once after news, each second of work, now and then otherwise."""
        now, paused = self._clock.monotonic(), self.paused or self._jobs.trouble()
        if self._reported is not None:
            when, was_paused = self._reported
            if paused == was_paused and now - when < (_PROGRESS if self._runs else _IDLE_PROGRESS):
                return
        self._reported = now, paused
        cancelled = {folder for folder, run in self._runs.items() if run.is_cancelled}
        jobs = [job for job in self._jobs.progress() if job.folder not in cancelled]
        workers, shown = self._jobs.workers(), self._hours.shown(jobs)
        self._tell(reporting.Progress(self._clock.time(), paused, shown, workers, self._asked_of_the_hub()))

    def _asked_of_the_hub(self) -> list[HubWork]:
        now = self._clock.time()
        asking = [
            HubWork(kind=work, about=about, state="asking", since=now - seconds)
            for work, about, seconds in self._hub.asking()
        ]
        return [*asking, *self._waits.shown()]

    def close(self, timeout: float) -> None:
        """End the jobs, within ``timeout`` s, and give every item back as pending."""
        for folder in self._runs:
            self._jobs.cancel(folder)
        try:  # before the jobs are waited for: the program may have to end sooner than they do
            if folders := self._claims.give_all_back():
                self._tell(reporting.ItemsReturned(folders))
        except PipelineError as exc:
            self._tell(reporting.ReturnFailed(str(exc)))
        if not self._jobs.close(timeout):
            self._tell(reporting.TransfersAbandoned())
        self._reported = None
        self.report_progress()
        self._reuse.results.close()

    def _recover(self) -> None:
        """Resume after an earlier run: its items are requeued, and what belongs to no item goes."""
        live = self._claims.recover()
        kept = [*live, *self._claims.keeping()]
        sweep(self._claims.log_dir, kept)
        self._jobs.sweep(kept)
        self._recovered = True

    # --- what comes in -------------------------------------------------------------------------------------------

    def _take_in(self, wait: float) -> None:
        try:
            message = self._inbox.get(timeout=wait) if wait > 0 else self._inbox.get_nowait()
            while True:
                if isinstance(message, JobResult):
                    with self._guarded(message.job.folder):
                        self._results.take(message)
                    if (run := self._runs.get(message.job.folder)) and run.broken:
                        run.ended(message.job.attempt_id)
                else:
                    message()
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _connect_and_look(self, failing: Collection[str]) -> HubClient:
        """In the hub's thread. What does not give one video may be asked for another, if there is one."""
        hub = self._connect()
        if failing:
            self._witnesses.look(hub, failing)
        return hub

    def _connected(self, answer: Answer[HubClient]) -> None:
        error = answer.error if isinstance(answer, Failed) else None
        if isinstance(error, Stopped):
            self._pause.give_up_asking()
            return
        if not isinstance(answer, Failed):
            self._tools.hub = answer.value
        self._pause.asked(error)
        self._next_check = 0.0

    # --- items ---------------------------------------------------------------------------------------------------

    def _claim(self, now: float) -> None:
        held = self._waits.held()
        ready = False
        for run in (run for run in self._runs.values() if not run.is_cancelled):
            with self._guarded(run.item.folder):
                ready = ready or run.has_ready(now, isolated=self._is_isolated(run), held=held)
        if self._is_opening or ready or self._mirror.is_busy or now < self._next_check or self._jobs.free() <= 0:
            return
        if self._pause.stops("open") or held & {"open", "download"}:
            return
        item = self._claims.next()
        self.any_failed |= self._claims.any_failed
        if item is None:
            self._next_check = now + self._check_interval
            if not self._runs and "publish" not in held:
                self._mirror.begin()
            return
        with self._guarded(item.folder):
            journal = self._journal_of(item.folder)
            self._hub.do(
                "open",
                item.folder,
                lambda: self._begun(item, journal, now),
                partial(self._open_ended, item),
            )
            self._is_opening = True

    def _begun(self, item: QueueItem, journal: Journal, now: float) -> ItemRun:
        """In the hub's thread."""
        hub = self._tools.hub
        run = open_item(item, hub, journal, self._rules, now)
        self._reuse.settle_known(run, hub)
        return run

    def _open_ended(self, item: QueueItem, answer: Answer[ItemRun]) -> None:
        self._is_opening = False
        with self._guarded(item.folder):
            self._opened(item, answer)

    def _opened(self, item: QueueItem, answer: Answer[ItemRun]) -> None:
        if isinstance(answer, Failed):
            self._not_opened(item, answer.error)
            return
        run = answer.value
        self._pause.worked("open", item.folder)
        self._waits.worked("open", item.folder)
        self._runs[item.folder] = run
        self._witnesses.opened(run.revision, run.files)
        videos = sum(len(batch.tasks) for batch in run.batches)
        redo = None if item.redo is None else item.redo.text() or "settings in force"
        self._tell(reporting.ItemStarted(item.folder, videos, len(run.plan.done), len(run.batches), redo))
        for event in (*known_before(run), *self._twins.add(run)):
            self._tell(event)
        if run.source_gone:
            self._tell(reporting.SourceGone(item.folder, ", ".join(run.source_gone)))
        self._claims.change(item.folder, run.with_totals)

    def _not_opened(self, item: QueueItem, error: PipelineError) -> None:
        now, cause = self._clock.time(), str(error)
        if isinstance(error, Unexpected):
            self._broke(item.folder, cause)
            return
        if isinstance(error, FolderChanged):
            self._tell(reporting.ItemNotAsQueued(item.folder, cause))
            if error.folder is None or not error.folder.video_count:  # which the monitor does not queue
                self._claims.release(item.folder, lambda it: gone(it, now, cause))
                self._forget(item.folder)
                return
            # The monitor puts the new fingerprint in once it is stable; until then there is nothing to do here.
            later = now + max(self._stable_time, self._check_interval)
            self._claims.release(item.folder, lambda it: give_back(it, later, cause))
            return
        until, is_all = self._waits.asked("open", item.folder, cause, asked_to_wait(error))
        soon = now + max(self._check_interval, until - self._clock.monotonic())
        self._claims.release(item.folder, lambda it: give_back(it, soon, cause))
        not_started = partial(self._tell, reporting.ItemNotStarted(item.folder, cause))
        if not is_all and not self._pause.may_explain("open", item.folder, error, not_started, item.folder):
            not_started()

    def _submit(self, now: float) -> None:
        held = self._waits.held()
        for run in self._runs.values():
            free = self._jobs.free()
            if free <= 0:
                return
            if not run.is_cancelled:
                with self._guarded(run.item.folder):
                    for job in islice(run.jobs_ready(now, isolated=self._is_isolated(run), held=held), free):
                        self._submit_one(run, job)

    def _submit_one(self, run: ItemRun, job: VideoJob) -> None:
        witness = self._witnesses.choose(self._pause.silent) if job.source.path in self._pause.silent else None
        if witness is not None and self._pause.take_turn(job.source.path):
            job = replace(job, witness=witness)
        try:
            self._jobs.submit(job)
        except Exception:
            run.ended(job.attempt_id)  # or the item would wait for it for ever
            raise

    def _is_isolated(self, run: ItemRun) -> bool:
        """Whether no other item has a video at its last try after deaths."""
        return not any(other.is_isolating for other in self._runs.values() if other is not run)

    def _stop_cancelled(self) -> None:
        for folder in self._claims.taken_away():
            run = self._runs.get(folder)
            if run is not None and not run.is_cancelled:
                self._tell(reporting.ItemCancelled(folder))
                run.is_cancelled = True
                self._reported = None
                with self._guarded(folder):
                    self._jobs.cancel(folder)

    def _settle_over(self) -> None:
        for folder, run in list(self._runs.items()):
            with self._guarded(folder):
                if run.is_cancelled and not run.is_running:
                    self._drop(folder)
                    if run.broken:
                        self._broke(folder, run.broken)
                    else:
                        self._claims.release(folder)
                        self._forget(folder)
                elif run.is_over and not run.is_cancelled:
                    self._drop(folder)
                    self._settle(run)

    def _drop(self, folder: str) -> None:
        self._twins.remove(self._runs.pop(folder))

    @contextlib.contextmanager
    def _guarded(self, folder: str) -> Iterator[None]:
        """What is unexpected counts against this item, once nothing of it runs any more; the others go on."""
        try:
            yield
        except PipelineError:
            raise
        except Exception as exc:
            log.exception("unexpected error while a folder was worked at; it counts as an attempt: folder=%s", folder)
            cause, run = str(Unexpected.of(exc)), self._runs.get(folder)
            if run is None:
                self._broke(folder, cause)
            elif not run.is_cancelled:
                run.is_cancelled, run.broken = True, cause
                self._jobs.cancel(folder)

    def _broke(self, folder: str, cause: str) -> None:
        item = self._claims.unexpected(folder, cause, self._rules.max_attempts, self._check_interval)
        self._next_check, self._reported = 0.0, None
        if item is not None and item.status is Status.FAILED:
            self.any_failed = True
            self._forget(folder, results=False)  # what was converted serves after a --retry
            self._settled(item)

    def _settle(self, run: ItemRun) -> None:
        folder, quarantined = run.item.folder, run.quarantined()
        now = self._clock.time()
        tasks = (task for batch in run.batches for task in batch.tasks if run.may_share(task))
        self._reuse.refused(task.refused for task in tasks if task.refused is not None)
        item = self._claims.release(folder, lambda it: settle(run.with_totals(it), now, quarantined))
        self._forget(folder, results=not any(one.result_kept for one in quarantined))
        self._next_check = 0.0
        self._reported = None
        if item is None:
            return  # a person took it out of the queue this very moment
        self.any_failed |= item.status is Status.FAILED
        self._settled(item)

    def _settled(self, item: QueueItem) -> None:
        done, lost = item.videos_done, len(item.quarantined)
        self._tell(reporting.ItemSettled(item.folder, item.status, done, lost, item.error))
        if not self._runs and not self._is_opening and self._claims.is_all_settled():
            self._tell(reporting.QueueEmpty())

    def _forget(self, folder: str, *, results: bool = True) -> None:
        """Nothing local is needed of an item any more, except its ``results`` if they are still to be sent."""
        if results:
            self._journal_of(folder).remove()
            self._jobs.forget(folder)
        else:
            self._journal_of(folder).keep_results()
        if not self._runs and not self._is_opening:
            self._jobs.rest()
