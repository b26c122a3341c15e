"""Results of jobs → what follows for their videos: stored, quarantined, tried again, or a suspicion (see ``pause``)."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tools.core.aimed import aim_of, crf_of, saved_percent
from tools.core.artifact import ArtifactKind
from tools.core.blame import OF_THE_HUB
from tools.core.errors import PipelineError, Trouble
from tools.core.frames import told_of
from tools.core.witness import Given
from tools.processor import reporting
from tools.processor.item_run import ItemRun
from tools.processor.parts import EngineParts, Guard
from tools.processor.pause import Suspect
from tools.processor.twins import Twins
from tools.processor.waits import Kind
from tools.stages.video_job import JobResult, Outcome
from tools.state.journal import Event

_NEED_PERSON = OF_THE_HUB - {Trouble.HUB_UNAVAILABLE, Trouble.HUB_NOT_FOUND}  # if they do not speak of one video


class Results:
    """Takes the results of all jobs of ``runs``, which are by folder and change meanwhile."""

    def __init__(self, parts: EngineParts, runs: Mapping[str, ItemRun], guard: Guard, twins: Twins) -> None:
        self._runs = runs
        self._twins = twins
        self._guard = guard
        self._jobs = parts.executor
        self._waits = parts.waits
        self._pause = parts.pause
        self._witnesses = parts.witnesses
        self._clock = parts.clock
        self._tell = parts.observer.observe
        self._smallest_stored = math.inf  # bytes, of the sources whose results the hub took

    def what_lacks_space(self) -> str | None:
        """Why a video waits for room on a disk; None if none does."""
        return next((cause for run in self._runs.values() for cause in run.no_room.values()), None)

    def take(self, result: JobResult) -> None:
        """Each job's one result; one of an older attempt changes nothing."""
        folder, source = result.job.folder, result.job.source
        run = self._runs.get(folder)
        lacked_space = self.what_lacks_space() is not None
        if run is None or not run.accept(result, self._clock.monotonic()):
            self._tell(reporting.LateResult(source.path))
            return
        is_video = result.job.published is None  # else what was told of it stays true
        self._asked_instead(result)
        if result.outcome is Outcome.DEFERRED or (result.outcome is Outcome.STORED and is_video):
            self._tell_end(result, final=result.outcome is Outcome.STORED)
        if result.outcome is Outcome.STORED:
            self._pause.worked("transfer", source.path)
            self._waits.worked("download", source.path)
            self._waits.worked("upload", source.path)
            self._witnesses.given(result.job)
            self._smallest_stored = min(self._smallest_stored, source.size)
            self._tell(_stored(result) if is_video else _pictures(result))
        elif result.outcome is Outcome.DEFERRED:
            self._deferred(run, result, lacked_space)
        elif result.outcome is Outcome.STOPPED:
            self._pause.not_given(source.path, result.given)  # to a worker; another one is to try it
        else:
            if result.outcome is Outcome.REFUSED:
                self._jobs.forget(folder, source)
            self._tell_failure(run, result)
        if result.outcome in {Outcome.STORED, Outcome.REFUSED}:
            for event in self._twins.share(source.sha256):
                self._tell(event)

    def _asked_instead(self, result: JobResult) -> None:
        """What became of asking for another video."""
        if result.job.witness is not None and result.given in {Given.UNKNOWN, Given.NOT_IT}:
            self._pause.give_turn_back()
        elif result.job.witness is not None:
            self._witnesses.answered(result.job.witness, result.given)

    def _tell_end(self, result: JobResult, *, final: bool) -> None:
        self._tell(reporting.AttemptOver(self._clock.time(), result, final))

    def _tell_failure(self, run: ItemRun, result: JobResult) -> None:
        source, attempt = result.job.source, result.job.attempt
        cause = run.why_quarantined(source)
        if result.job.published is not None and run.is_settled(source):
            self._tell_end(result, final=True)
            self._tell(reporting.PicturesGivenUp(result.job.targets[0].path, attempt, result.cause))
            return
        self._tell_end(result, final=cause is not None)
        if cause is not None:
            self._tell(reporting.VideoQuarantined(source.path, attempt, cause))
        elif result.outcome is Outcome.CRASHED:
            self._tell(reporting.WorkerDied(source.path, attempt, result.cause))
        else:
            self._tell(reporting.VideoFailed(source.path, attempt, result.cause))

    def _deferred(self, run: ItemRun, result: JobResult, lacked_space: bool) -> None:
        if self._must_wait(run, result):
            return
        if result.trouble is Trouble.HUB_FULL:
            self._pause.full("transfer", result.cause)
        elif result.trouble in OF_THE_HUB:
            self._pause.suspect(
                Suspect(
                    kind="transfer",
                    about=result.job.source.path,
                    cause=result.cause,
                    needs_person=result.trouble in _NEED_PERSON,
                    blame=partial(self._blame, run, result),
                    is_certain=self._speaks_of_the_video(result),
                    given=result.given,
                    folder=result.job.folder,
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
        with self._guard(result.job.folder):
            with contextlib.suppress(PipelineError):  # a full disk may refuse even this note
                run.journal.note(Event.FAILED, source, cause=result.cause)
            result_file = self._jobs.artifact_file(result.job.folder, source, ArtifactKind.VIDEO)
            keeps = result_file is None or result_file.exists()
            run.blame(source, result.cause, self._clock.monotonic(), result_kept=keeps)
            if run.is_settled(source):
                self._pause.given_up(source.path)
                self._witnesses.silent(source.path)
            self._tell_failure(run, replace(result, outcome=Outcome.FAILED, spent={}))  # its time was told


def _pictures(result: JobResult) -> reporting.PicturesStored:
    artifacts = () if result.output is None else result.output.artifacts
    made = sum(len(told_of(one.about).frames) for one in artifacts)
    return reporting.PicturesStored(result.job.targets[0].path, result.job.attempt, made)


def _stored(result: JobResult) -> reporting.VideoStored:
    """What was aimed at, and what it came to."""
    record: Mapping[str, Any] = {} if result.output is None else result.output.record
    aim, quality = aim_of(record), record.get("quality")
    return reporting.VideoStored(
        result.job.targets[0].path,
        result.job.attempt,
        saved_percent=saved_percent(result.job.source.size, int(record.get("size") or 0)) if record else None,
        crf=crf_of(record),
        predicted=aim.get("predicted"),
        measured=quality.get("mean") if isinstance(quality, Mapping) and aim else None,
        bigger=aim.get("bigger"),
    )
