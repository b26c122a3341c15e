"""Batches whose videos are all settled → their commits, one by one in their own thread; what follows from each end."""

from collections.abc import Callable, Iterable
from functools import partial

from tools.core.aimed import is_bigger, saved_percent
from tools.core.commit_pace import CommitPace
from tools.core.errors import (
    LIMITED,
    BlobsLost,
    HubError,
    HubForbidden,
    HubFull,
    HubNotFound,
    HubRejected,
    HubUnavailable,
    PipelineError,
    Stopped,
    Unexpected,
    WorkspaceError,
)
from tools.core.folder import ROOT
from tools.core.message import plural
from tools.core.retry import AskedToWait, asked_to_wait
from tools.core.reuse import seconds_saved
from tools.core.sidecar import Sidecar
from tools.processor.batch import Batch, tried
from tools.processor.hub_thread import Answer, Done, Failed
from tools.processor.item_run import ItemRun
from tools.processor.output_card import OutputCard
from tools.processor.parts import EngineParts, Guard
from tools.processor.publish import CommitNotShown, publish
from tools.processor.reporting import BatchOver, CommitFailed, CommitRejected
from tools.processor.shared_commit import publish_together
from tools.stages.sidecars import store_sidecars
from tools.state.journal import Event

# s between two looks for a commit that the hub took: as long as it took so far, within these.
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 300.0
_SIDECARS_WITHIN = 6 * 3600.0  # s after which a file beside the videos that can't be carried over is given up
_TOO_MANY = 429  # HTTP
_MOST_TOGETHER = 250  # videos of several folders in one commit. Source: modelscope_hub, which aims at 256 actions
_SHOWN_WITHIN = 3600.0  # s after which a commit that never came to be seen is made again


class SidecarsNotStored(PipelineError):
    """The hub does not hold what is to be committed. ``passes``: that is no matter of these files."""

    retryable = True

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes


class Commits:
    """Publishes batches. Every attempt at one ends in exactly one ``BatchOver``."""

    def __init__(self, parts: EngineParts, guard: Guard) -> None:
        """``guard``: within it, what is unexpected counts against the folder's item."""
        self._guard = guard
        self._rules = parts.rules
        self._reuse = parts.reuse
        self._claims = parts.claims
        self._pause = parts.pause
        self._tools = parts.tools
        self._jobs = parts.executor
        self._hub = parts.hub
        self._waits = parts.waits
        self._clock = parts.clock
        self._tell = parts.observer.observe
        self._card = OutputCard(parts.rules.output_repo, parts.rules.input_repo, parts.rules.endpoint)
        self._pace = CommitPace(parts.check_interval)
        self._is_busy = False  # one commit at a time: what the hub says to it decides on the next

    def share_ready(self, runs: Iterable[ItemRun]) -> None:
        """While the hub limits commits: begin one for what is ready of several items together, if it may be now."""
        now = self._clock.monotonic()
        if not self._pace.is_limited or not self._may_begin(now):
            return
        found: list[tuple[ItemRun, Batch]] = []
        videos = 0
        for run in runs:
            if len(run.output_folders) > 1 or run.is_cancelled:
                continue
            with self._guard(run.item.folder):
                for batch in run.batches_ready(now)[:1]:  # of one folder, one at a time
                    may_share = not (batch.is_alone or batch.is_half or batch.sidecars or batch.taken_at is not None)
                    if may_share and batch.outputs() and videos + len(batch.outputs()) <= _MOST_TOGETHER:
                        found.append((run, batch))
                        videos += len(batch.outputs())
        if len(found) > 1:
            for _, batch in found:
                batch.is_publishing = True
            self._is_busy = True
            about = f"{_about(*found[0])} and {len(found) - 1} more"
            self._hub.do("publish", about, self._shared(found), partial(self._shared_ended, found))

    def _shared(self, found: list[tuple[ItemRun, Batch]]) -> Callable[[], list[str | HubError]]:
        message = f"Add {sum(len(batch.outputs()) for _, batch in found)} AV1 videos of {len(found)} folders"

        def commit() -> list[str | HubError]:
            folders = [(run.output_folders[-1], batch.outputs()) for run, batch in found]
            ends = publish_together(self._tools.hub, folders, message)
            for folder, _ in folders:
                self._reuse.published(folder)
            return ends

        return commit

    def _shared_ended(self, found: list[tuple[ItemRun, Batch]], answer: Answer[list[str | HubError]]) -> None:
        """Each folder's own end. What fails is the first one's to bear; the others are tried again, alone if it was
        refused."""
        self._is_busy = False
        if not isinstance(answer, Failed):
            self._pace.taken(self._clock.monotonic())
        for number, (run, batch) in enumerate(found):
            batch.is_publishing = False
            if isinstance(answer, Failed):
                batch.is_alone = not _is_of_the_hub(answer.error)
                batch.not_before = self._clock.monotonic() + self._rules.retry_interval
            with self._guard(run.item.folder):
                if not isinstance(answer, Failed):
                    end = answer.value[number]
                    self._published(run, batch, Failed(end) if isinstance(end, HubError) else Done(end))
                elif number == 0 and not batch.is_alone:
                    self._published(run, batch, answer)

    def _may_begin(self, now: float) -> bool:
        is_held = self._is_busy or self._pause.stops("publish") or "publish" in self._waits.held()
        return not is_held and self._pace.may_commit(now)

    def publish_ready(self, run: ItemRun) -> None:
        """Begin to commit what is ready of an item; what has nothing to commit is over at once."""
        now = self._clock.monotonic()
        for batch in run.batches_ready(now):
            if batch.is_empty:
                self._over(run, batch, None, "")
            elif self._may_begin(now):
                ended = partial(self._ended, run, batch)
                self._hub.do("publish", _about(run, batch), self._commit_of(run, batch), ended)
                batch.is_publishing = self._is_busy = True

    def _commit_of(self, run: ItemRun, batch: Batch) -> Callable[[], str]:
        def commit() -> str:
            folder, outputs = run.item.folder, batch.outputs()
            file_of = partial(self._jobs.artifact_file, folder)
            sidecars = self._stored(run, batch)
            message = _message(folder, len(outputs), len(sidecars))
            card = self._card
            is_last = batch.failures + 1 >= self._rules.max_attempts
            hub, folders = self._tools.hub, run.output_folders
            made = publish(hub, folders, outputs, file_of, message, sidecars, card, is_last=is_last)
            self._reuse.published(run.output_folders[-1])
            return made

        return commit

    def _stored(self, run: ItemRun, batch: Batch) -> list[Sidecar]:
        """The sidecars of a batch, whose contents the hub holds. Raises SidecarsNotStored."""
        tools, rules = self._tools, self._rules
        try:
            return batch.sidecars and store_sidecars(
                tools.hub,
                tools.workspace,
                run.item.folder,
                batch.sidecars,
                input_repo=rules.input_repo,
                revision=run.revision,
                output_repo=rules.output_repo,
            )
        except (HubError, WorkspaceError, OSError) as exc:
            is_theirs = isinstance(exc, HubError) and not isinstance(exc, HubUnavailable | HubForbidden)
            raise SidecarsNotStored(f"files beside the videos: {exc}", passes=not is_theirs) from exc

    def _ended(self, run: ItemRun, batch: Batch, answer: Answer[str]) -> None:
        batch.is_publishing = self._is_busy = False
        if not isinstance(answer, Failed):
            self._pace.taken(self._clock.monotonic())
        with self._guard(run.item.folder):
            self._published(run, batch, answer)

    def _published(self, run: ItemRun, batch: Batch, answer: Answer[str]) -> None:
        about = _about(run, batch)
        if not isinstance(answer, Failed):
            self._pause.worked("publish", about)
            self._waits.worked("publish", about)
            self._over(run, batch, answer.value, "")
            return
        error = answer.error
        if isinstance(error, CommitNotShown):
            self._not_shown(run, batch, error)
            return
        if isinstance(error, SidecarsNotStored):
            self._sidecars_wait(run, batch, error)
            return
        if isinstance(error, BlobsLost) and batch.failures + 1 >= self._rules.max_attempts:
            error = HubRejected(str(error))  # it was sent again each time: that is no matter of lost blobs
        tried = len(batch.tasks), len(batch.sidecars)

        def not_published() -> None:
            if (
                len(batch.tasks),
                len(batch.sidecars),
            ) == tried:  # else it was halved meanwhile, and what is left of it was not tried yet
                with self._guard(run.item.folder):
                    self._not_published(run, batch, error)

        if isinstance(error, HubFull):
            batch.not_before = self._clock.monotonic() + self._rules.retry_interval
            self._pause.full("publish", str(error))
            return
        asked = asked_to_wait(error)
        if isinstance(error, HubUnavailable) and error.status in LIMITED:
            asked = self._slower(error, asked)
        until, is_all = self._waits.asked("publish", about, str(error), asked)
        batch.not_before = max(self._clock.monotonic() + self._rules.retry_interval, until)
        if is_all:
            return
        if not self._pause.may_explain("publish", about, error, not_published, run.item.folder):
            not_published()
        elif isinstance(error, HubRejected) and not isinstance(error, HubForbidden | HubNotFound):
            self._narrow(run, batch, error)

    def _slower(self, exc: HubUnavailable, asked: AskedToWait | None) -> AskedToWait | None:
        """The hub has enough commits for now; the wait that follows, which nobody bears the blame for."""
        now = self._clock.monotonic()
        wait = self._pace.refused(now) - now
        return AskedToWait(wait, True) if asked is None and exc.status == _TOO_MANY else asked

    def _narrow(self, run: ItemRun, batch: Batch, exc: HubRejected) -> None:
        """Try the halves of what the hub refused: if it takes one, it is the other that it speaks of."""
        batch.refusals += 1
        # A half is tried twice: if the hub takes none, few commits come of it.
        if batch.refusals > int(batch.is_half):
            self._halve(run, batch, exc)

    def _halve(self, run: ItemRun, batch: Batch, exc: PipelineError) -> bool:
        half = run.halve(batch)
        if half is None:
            return False
        half.not_before = batch.not_before
        self._pause.split("publish", _about(run, batch), _about(run, half))
        self._tell(CommitRejected(run.item.folder, batch.number, str(exc)))
        return True

    def _sidecars_wait(self, run: ItemRun, batch: Batch, exc: SidecarsNotStored) -> None:
        """No video waits for them, and nothing pauses for them: they are tried alone, in the end one by one."""
        now = self._clock.monotonic()
        if batch.tasks:
            batch = run.halve(batch) or batch
        batch.failures += 1
        batch.taken_at = now if batch.taken_at is None else batch.taken_at
        batch.not_before = now + min(_LONGEST_WAIT, self._rules.retry_interval * 2 ** min(batch.failures - 1, 16))
        may_wait = exc.passes and now - batch.taken_at < _SIDECARS_WITHIN
        if batch.failures < self._rules.max_attempts or may_wait:
            self._tell(CommitFailed(run.item.folder, batch.number, str(exc)))
        elif not self._halve(run, batch, exc):
            run.refuse_batch(batch, str(exc))
            self._over(run, batch, None, str(exc))

    def _not_shown(self, run: ItemRun, batch: Batch, exc: CommitNotShown) -> None:
        """What the hub took is published: it is waited for, and no attempt is counted however long that takes."""
        now = self._clock.monotonic()
        if batch.taken_at is None:
            batch.taken_at = now
            self._tell(CommitFailed(run.item.folder, batch.number, str(exc)))
        waited = now - batch.taken_at
        if waited >= _SHOWN_WITHIN:
            batch.taken_at = None
            for folder in run.output_folders:
                folder.give_up_waiting()
        batch.not_before = now + min(_LONGEST_WAIT, max(_SHORTEST_WAIT, waited))

    def _not_published(self, run: ItemRun, batch: Batch, exc: PipelineError) -> None:
        about = run.item.folder, batch.number, str(exc)
        if isinstance(exc, HubUnavailable) and exc.status in LIMITED:
            self._tell(CommitFailed(*about))
            return  # "not now" uses up no attempt, however often it is said
        batch.failures += 1
        if isinstance(exc, BlobsLost) and batch.failures < self._rules.max_attempts:
            run.put_back(batch)
        if exc.retryable and batch.failures < self._rules.max_attempts:
            wait = self._rules.retry_interval * 2 ** (batch.failures - 1)
            batch.not_before = max(batch.not_before, self._clock.monotonic() + wait)
            self._tell(CommitFailed(*about))
        elif not ((isinstance(exc, HubRejected) or batch.sidecars) and self._halve(run, batch, exc)):
            unexpected = tried(str(exc), batch.failures) if isinstance(exc, Unexpected) else None
            run.refuse_batch(batch, unexpected or f"the hub did not take the commit: {exc}")
            self._over(run, batch, None, str(exc))

    def _over(self, run: ItemRun, batch: Batch, commit: str | None, cause: str) -> None:
        """The one event of this attempt at the batch; then its local files go."""
        batch.is_over = True
        self._tell(_event(run, batch, self._clock.monotonic(), commit, cause))
        run.journal.note(Event.COMMITTED, *batch.outputs(), commit=commit)
        for source in batch.unneeded():
            self._jobs.forget(run.item.folder, source)
        if not run.is_over:  # else it is settled in this turn, and one write does for both
            self._claims.change(run.item.folder, run.with_totals)


def _is_of_the_hub(exc: PipelineError) -> bool:
    """Whether a commit for several folders failed for none of them: it asks to wait, is full, or refuses us."""
    asks_to_wait = isinstance(exc, HubUnavailable) and exc.status in LIMITED
    return asks_to_wait or isinstance(exc, HubForbidden | HubNotFound | Stopped)


def _message(folder: str, videos: int, sidecars: int) -> str:
    """Of a commit."""
    what = [plural(videos, "AV1 video")] * (videos > 0) + [plural(sidecars, "other file")] * (sidecars > 0)
    return f"Add {' and '.join(what)} of {'the root' if folder == ROOT else folder}"


def _about(run: ItemRun, batch: Batch) -> str:
    return f"{run.item.folder}/{batch.number}"


def _event(run: ItemRun, batch: Batch, now: float, commit: str | None, cause: str) -> BatchOver:
    refused = batch.refused()
    reused = [record for record in batch.records() if record.get("reused_from")]
    return BatchOver(
        folder=run.item.folder,
        batch=f"{batch.number}/{len(run.batches)}",
        videos=len(batch.tasks),
        published=len(batch.outputs()),
        quarantined=len(refused),
        sidecars=len(batch.sidecars) or None,
        bytes_in=batch.bytes_in(),
        bytes_out=batch.bytes_out(),
        saved_percent=saved_percent(batch.bytes_in(), batch.bytes_out()),
        bigger=sum(map(is_bigger, batch.records())) or None,
        elapsed_s=0.0 if batch.began is None else now - batch.began,
        attempt=run.item.attempts,
        commit=commit,
        cause=cause or (f"{refused[0].path}: {refused[0].cause}" if refused else None),
        reused=len(reused) or None,
        saved_s=round(sum(map(seconds_saved, reused))) if reused else None,
    )
