"""Moves claimed items from opening to settled: their jobs, their batches, their end. One turn at a time, none blocks.

The main loop calls ``turn``; jobs run in the executor, everything else that asks the hub in a thread per kind of work,
and all answer through one inbox. So a slow hub delays nothing but itself, and a stop is quick. What is in work is the
business of ``claims``, when nothing may start that of ``pause``, what the hub wants to wait that of ``waits``, what a
batch needs that of ``commits``; what happened is told to an observer.
"""

import contextlib
import math
import queue
from functools import partial
from itertools import islice

from tools.core.artifact import ArtifactKind
from tools.core.blame import OF_THE_HUB
from tools.core.errors import PipelineError, Stopped, Trouble
from tools.core.queue_item import QueueItem, Status, give_back, gone, local_time, settle
from tools.core.retry import asked_to_wait
from tools.hub.client import HubClient
from tools.processor import reporting
from tools.processor.commits import Commits
from tools.processor.hub_thread import Answer, Failed
from tools.processor.item_run import ItemRun
from tools.processor.opening import FolderChanged, open_item
from tools.processor.ordered import Ordered
from tools.processor.parts import EngineParts
from tools.processor.pause import Suspect
from tools.processor.waits import Kind
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event, sweep
from tools.state.orders import OrdersFile
from tools.state.progress import HubWork

_NEED_PERSON = OF_THE_HUB - {Trouble.HUB_UNAVAILABLE, Trouble.HUB_NOT_FOUND}  # if they do not speak of one video
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
        self._inbox = parts.inbox
        self._claims = parts.claims
        self._pause = parts.pause
        self._connect = parts.connect
        self._journal_of = parts.journal_of
        self._clock = parts.clock
        self._tell = parts.observer.observe
        self._commits = Commits(parts)
        self._ordered = Ordered(OrdersFile(parts.claims.log_dir))
        self._runs: dict[str, ItemRun] = {}
        self._is_opening = False
        self._next_check = 0.0  # monotonic s, of the queue
        self._recovered = False
        self._reported: tuple[float, str | None] | None = None  # monotonic s and pause of the last progress
        self._smallest_stored = math.inf  # bytes, of the sources whose results the hub took
        self.any_failed = False

    @property
    def paused(self) -> str | None:
        """What is not started, why, and until when; None if all is well."""
        reason, next_try = self._pause.reason, self._pause.next_try
        if reason in {None, "starting"}:
            return self._ordered.reason or self._what_lacks_space() or self._waits.reason
        if next_try is None:
            return reason
        when = self._clock.time() + next_try - self._clock.monotonic()
        return f"{reason}; next try at {local_time(when)}"

    def _what_lacks_space(self) -> str | None:
        return next((cause for run in self._runs.values() for cause in run.no_room.values()), None)

    @property
    def needs_person(self) -> bool:
        """Whether it is paused for what does not pass by itself."""
        return self._pause.needs_person

    def ask_soon(self) -> None:
        """If it is paused, find out now whether that is over."""
        self._pause.ask_soon()

    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing waits in the queue."""
        return not (self._runs or self._is_opening or self._pause.reason) and self._claims.is_all_settled()

    def is_working(self) -> bool:
        return bool(self._runs)

    def turn(self, wait: float) -> None:
        """Handle what came in (waiting at most ``wait`` s for it), then start what can start."""
        if not self._recovered:
            self._recover()
        self._take_in(wait)
        now = self._clock.monotonic()
        self._stop_cancelled()
        if self._ordered.ask():
            for folder in self._runs:
                self._jobs.cancel(folder)
        if self._pause.must_ask():
            self._hub.do("connect", "the hub", self._connect, self._connected)
        for run in self._runs.values():
            if not run.is_cancelled:
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
        workers = self._jobs.workers()
        self._tell(reporting.Progress(self._clock.time(), paused, jobs, workers, self._asked_of_the_hub()))

    def _asked_of_the_hub(self) -> list[HubWork]:
        now = self._clock.time()
        asking = [
            HubWork(kind=work, about=about, state="asking", since=now - seconds)
            for work, about, seconds in self._hub.asking()
        ]
        return [*asking, *self._waits.shown()]

    def close(self, timeout: float) -> None:
        """End the jobs, within ``timeout`` s, and give every item back as pending."""
        if not self._jobs.close(timeout):
            self._tell(reporting.TransfersAbandoned())
        try:
            if folders := self._claims.give_all_back():
                self._tell(reporting.ItemsReturned(folders))
        except PipelineError as exc:
            self._tell(reporting.ReturnFailed(str(exc)))
        self._reported = None
        self.report_progress()

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
                    self._job_ended(message)
                else:
                    message()
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _job_ended(self, result: JobResult) -> None:
        folder, source = result.job.folder, result.job.source
        run = self._runs.get(folder)
        lacked_space = self._what_lacks_space() is not None
        if run is None or not run.accept(result, self._clock.monotonic()):
            self._tell(reporting.LateResult(source.path))
            return
        if result.outcome is Outcome.STORED:
            self._pause.worked("transfer", source.path)
            self._waits.worked("download", source.path)
            self._waits.worked("upload", source.path)
            self._smallest_stored = min(self._smallest_stored, source.size)
            self._tell(reporting.VideoStored(result.job.targets[0].path, result.job.attempt))
        elif result.outcome is Outcome.DEFERRED:
            self._deferred(run, result, lacked_space)
        elif result.outcome is not Outcome.STOPPED:
            if result.outcome is Outcome.REFUSED:
                self._jobs.forget(folder, source)
            self._tell_failure(run, result)

    def _tell_failure(self, run: ItemRun, result: JobResult) -> None:
        source, attempt = result.job.source, result.job.attempt
        if (cause := run.why_quarantined(source)) is not None:
            self._tell(reporting.VideoQuarantined(source.path, attempt, cause))
        elif result.outcome is Outcome.CRASHED:
            self._tell(reporting.WorkerDied(source.path, attempt, result.cause))
        else:
            self._tell(reporting.VideoFailed(source.path, attempt, result.cause))

    def _deferred(self, run: ItemRun, result: JobResult, lacked_space: bool) -> None:
        if self._must_wait(run, result):
            return
        if result.trouble in OF_THE_HUB:
            self._pause.suspect(
                Suspect(
                    kind="transfer",
                    about=result.job.source.path,
                    cause=result.cause,
                    needs_person=result.trouble in _NEED_PERSON,
                    blame=partial(self._blame, run, result),
                    is_certain=self._speaks_of_the_video(result),
                )
            )
        elif result.trouble is Trouble.DISK_FULL:
            if not lacked_space:
                self._tell(reporting.WaitingForSpace(result.cause))
            run.split_what_waits()
        elif result.trouble is Trouble.FILES_GONE:
            self._tell(reporting.VideoFailed(result.job.source.path, result.job.attempt, result.cause))
        else:
            self._pause.machine(result.cause)

    def _must_wait(self, run: ItemRun, result: JobResult) -> bool:
        """Whether the hub only asks to be left alone with this video for a while."""
        kind: Kind = "upload" if result.is_converted else "download"
        until, is_all = self._waits.asked(kind, result.job.source.path, result.cause, result.asked)
        run.put_off(result.job.source, until)
        return is_all

    def _speaks_of_the_video(self, result: JobResult) -> bool:
        """Whether what the hub said is about this file, if it answers at all."""
        if result.trouble is Trouble.HUB_TOO_LARGE:
            return result.job.source.size > self._smallest_stored
        return result.trouble is Trouble.HUB_NOT_FOUND

    def _blame(self, run: ItemRun, result: JobResult) -> None:
        """The hub serves others: this video's transfer failed for its own sake."""
        source = result.job.source
        with contextlib.suppress(PipelineError):  # a full disk may refuse even this note
            run.journal.note(Event.FAILED, source, cause=result.cause)
        result_file = self._jobs.artifact_file(result.job.folder, source, ArtifactKind.VIDEO)
        keeps = result_file is None or result_file.exists()
        run.blame(source, result.cause, self._clock.monotonic(), result_kept=keeps)
        self._tell_failure(run, result)

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
        ready = any(run.has_ready(now, isolated=self._is_isolated(run), held=held) for run in self._runs.values())
        if self._is_opening or ready or now < self._next_check or self._jobs.free() <= 0:
            return
        if self._pause.stops("open") or held & {"open", "download"}:
            return
        item = self._claims.next()
        if item is None:
            self._next_check = now + self._check_interval
            return
        self._is_opening = True
        journal = self._journal_of(item.folder)
        self._hub.do(
            "open",
            item.folder,
            lambda: open_item(item, self._tools.hub, journal, self._rules, now),
            partial(self._opened, item),
        )

    def _opened(self, item: QueueItem, answer: Answer[ItemRun]) -> None:
        self._is_opening = False
        if isinstance(answer, Failed):
            self._not_opened(item, answer.error)
            return
        run = answer.value
        self._pause.worked("open", item.folder)
        self._waits.worked("open", item.folder)
        self._runs[item.folder] = run
        videos = sum(len(batch.tasks) for batch in run.batches)
        self._tell(reporting.ItemStarted(item.folder, videos, len(run.plan.done), len(run.batches)))
        if run.source_gone:
            self._tell(reporting.SourceGone(item.folder, ", ".join(run.source_gone)))
        self._claims.change(item.folder, run.with_totals)

    def _not_opened(self, item: QueueItem, error: PipelineError) -> None:
        now, cause = self._clock.time(), str(error)
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
        if not is_all and not self._pause.may_explain("open", item.folder, error, not_started):
            not_started()

    def _submit(self, now: float) -> None:
        held = self._waits.held()
        for run in self._runs.values():
            free = self._jobs.free()
            if free <= 0:
                return
            if not run.is_cancelled:
                for job in islice(run.jobs_ready(now, isolated=self._is_isolated(run), held=held), free):
                    self._jobs.submit(job)

    def _is_isolated(self, run: ItemRun) -> bool:
        """Whether no other item has a video at its last try after deaths."""
        return not any(other.is_isolating for other in self._runs.values() if other is not run)

    def _stop_cancelled(self) -> None:
        for folder in self._claims.taken_away():
            run = self._runs.get(folder)
            if run is not None and not run.is_cancelled:
                self._tell(reporting.ItemCancelled(folder))
                run.is_cancelled = True
                self._jobs.cancel(folder)
                self._reported = None

    def _settle_over(self) -> None:
        for folder, run in list(self._runs.items()):
            if run.is_cancelled and not run.is_running:
                del self._runs[folder]
                self._claims.release(folder)
                self._forget(folder)
            elif run.is_over and not run.is_cancelled:
                del self._runs[folder]
                self._settle(run)

    def _settle(self, run: ItemRun) -> None:
        folder, quarantined = run.item.folder, run.quarantined()
        now = self._clock.time()
        item = self._claims.release(folder, lambda it: settle(run.with_totals(it), now, quarantined))
        self._forget(folder, results=not any(one.result_kept for one in quarantined))
        self._next_check = 0.0
        self._reported = None
        if item is None:
            return  # a person took it out of the queue this very moment
        self.any_failed |= item.status is Status.FAILED
        self._tell(reporting.ItemSettled(folder, item.status, item.videos_done, len(quarantined)))

    def _forget(self, folder: str, *, results: bool = True) -> None:
        """Nothing local is needed of an item any more, except its ``results`` if they are still to be sent."""
        if results:
            self._journal_of(folder).remove()
            self._jobs.forget(folder)
        else:
            self._journal_of(folder).keep_results()
        if not self._runs and not self._is_opening:
            self._jobs.rest()
