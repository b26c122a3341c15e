"""Local source → verified MKV and whatever else it is to become, noted so that no crash has it encoded again."""

import contextlib
import json
import logging
import stat
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath

from tools.core.artifact import Artifact, ArtifactKind, Target, VideoOutput
from tools.core.companions import too_many_fonts
from tools.core.concurrency import NO_NEED, Need
from tools.core.errors import MachineError, MediaError, NoEncoder
from tools.core.frames import EMPTY, END, About, Origin, completed, lack, lacked, tells_of_pictures
from tools.core.planning import Stage, VideoJob
from tools.core.record import Record
from tools.core.reuse import is_as_wanted
from tools.media.ahead import Ahead
from tools.media.aim import Hints, Told
from tools.media.converter import Beside, Conversion, EncodeProgress
from tools.media.frames import FramesMade
from tools.runtime.files import read_plain, replace_durably, sha256_of
from tools.runtime.logs import fields
from tools.stages.evidence import look_for_fault
from tools.stages.job_context import JobContext, JobTools
from tools.state.journal import Event
from tools.state.progress import JobProgress

log = logging.getLogger("animation.job")


def convert(
    job: VideoJob,
    tools: JobTools,
    context: JobContext,
    source: Path,
    source_sha256: str,
    beside: Sequence[Beside],
    ahead: Ahead,
) -> VideoOutput:
    """Convert into the workspace's result files and remove the source; returns what it became.

    Waits for a place to encode in, and for one to verify in: the next video encodes while this one is verified.
    ``ahead``: told of a result before that.
    Raises MediaError, MachineError, DiskFull, FilesGone, Stopped, and OSError for local files that can't be used.
    """
    converter = tools.converter.with_options(dict(job.options)) if job.options else tools.converter
    converter = converter.with_beside(job.source.name, beside) if beside else converter
    converter = converter.with_hints(_hints(job, tools, context)).with_ahead(ahead)
    if any(target.kind is ArtifactKind.FRAMES for target in job.targets):
        archive = tools.workspace.artifact_file(job.folder, job.source, ArtifactKind.FRAMES)
        converter = converter.with_frames(Origin(job.source.path, source_sha256), archive)
    shown = _Shown(job, tools, context)
    began = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        conversion = converter.convert(
            source,
            tools.workspace.artifact_file(job.folder, job.source, ArtifactKind.VIDEO),
            on_progress=partial(shown.show, "encode"),
            stop=context.stop,
            threads=tools.threads,
            held=shown.held,
        )
    except (MediaError, MachineError) as exc:
        if not isinstance(exc, NoEncoder):
            look_for_fault(source, source_sha256, context.stop)
        raise
    artifacts = [_artifact(job, tools, target, conversion, context.stop) for target in job.targets]
    output = VideoOutput(make_record(job, conversion, source_sha256, began), tuple(artifacts))
    _leave(job, tools, source, output)
    return output


def complete(job: VideoJob, tools: JobTools, context: JobContext, result: Path) -> tuple[VideoOutput, list[str]]:
    """Make what a published video lacks of its MKV, which is removed then; what it is now, and warnings.

    Raises MachineError, NoEncoder, DiskFull, Stopped, and OSError for local files that can't be used."""
    assert job.published is not None
    (target,) = (target for target in job.targets if target.kind in job.kinds)
    archive = tools.workspace.artifact_file(job.folder, job.source, target.kind)
    converter = tools.converter.with_frames(Origin(job.source.path, job.published["source_sha256"]), archive)
    made, warnings = converter.frames_alone(result, context.stop, _Shown(job, tools, context).held)
    is_told = made is not None or any(map(tells_of_pictures, warnings))
    record = completed(job.published, {"warnings": "\n".join(warnings)}) if is_told else job.published
    output = VideoOutput.of_published(record, job.targets, [_pictures(target, archive, made, context.stop)])
    _leave(job, tools, result, output)
    return output, warnings


def left_as_it_is(job: VideoJob, tools: JobTools) -> VideoOutput | None:
    """A published video whose pictures can't be made on this machine, which is known before its MKV is downloaded; None
    if they may be. Raises NoEncoder, and OSError for local files that can't be used."""
    assert job.published is not None
    lacks = tools.converter.frames_lack(lacked(job.published))
    if not lacks:
        return None
    log.warning("%s: %s", job.source.path, lack(lacks))
    tools.workspace.video_folder(job)
    artifacts = []
    for kind in job.kinds:
        archive = tools.workspace.artifact_file(job.folder, job.source, kind)
        archive.write_bytes(END)
        artifacts.append(Artifact(kind, "", "", *EMPTY))
    return VideoOutput.of_published(job.published, job.targets, artifacts)


def _leave(job: VideoJob, tools: JobTools, source: Path, output: VideoOutput) -> None:
    """Note what is whole now, and remove what it was made of."""
    source.unlink(missing_ok=True)  # before the note, so that a disk which just filled has room for it
    note = json.dumps(output.as_json() | {"order": job.order}, ensure_ascii=False).encode()
    replace_durably(tools.workspace.note_file(job.folder, job.source), note)


def _hints(job: VideoJob, tools: JobTools, context: JobContext) -> Hints:
    """Of the search for its CRF: a folder's videos are alike, so each begins where the one before it ended."""

    def start() -> int | None:
        latest = tools.answers.latest(job.folder)
        return job.crf if latest is None else latest

    def found(answer: Told) -> None:
        context.note(Event.SEARCHED, answer=answer)
        tools.answers.note(job.folder, int(answer.get("begin") or answer["crf"]))
        about = {name: answer[name] for name in ("crf", "probes", "reason")}
        log.info("CRF found: %s", fields(video=job.source.path, **about, predicted=f"{answer['score']:.1f}"))

    return Hints(start, tools.answer_of(job), found)


def _artifact(
    job: VideoJob, tools: JobTools, target: Target, conversion: Conversion, stop: threading.Event
) -> Artifact:
    if target.kind is ArtifactKind.VIDEO:
        return Artifact(target.kind, target.repo, target.path, conversion.sha256, conversion.size)
    file = tools.workspace.artifact_file(job.folder, job.source, target.kind)
    return _pictures(target, file, conversion.scenes, stop)


def _pictures(target: Target, file: Path, made: FramesMade | None, stop: threading.Event) -> Artifact:
    about = About(made.scenes, made.frames).as_text() if made is not None else ""
    return Artifact(target.kind, target.repo, target.path, sha256_of(file, stop), file.stat().st_size, about)


def converted_before(job: VideoJob, tools: JobTools, context: JobContext) -> VideoOutput | None:
    """What an earlier attempt left whole in the workspace; None if there is none, or less than is wanted now.

    It counts only if the journal names the sha256 of each of its files: whoever can put files into the workspace could
    put anything there. Raises Stopped, and OSError if it can't be read: then it may still be whole.
    """
    try:
        noted = json.loads(read_plain(tools.workspace.note_file(job.folder, job.source)))
        # An older version noted the record alone.
        output = VideoOutput.of_json(noted if "record" in noted else {"record": noted})
        own = [artifact for artifact in output.artifacts if artifact.kind in job.kinds]
        if not {artifact.sha256 for artifact in own} <= tools.results_of(job):
            return None
        if job.is_again and (noted.get("order", "") != job.order or not _is_as_ordered(output.record, job, tools)):
            return None  # a worker that was away still has what was made before, perhaps with the same options
        tools.download.pass_by(context.order)  # to read it takes a while
        for artifact in own:
            file = tools.workspace.artifact_file(job.folder, job.source, artifact.kind)
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != artifact.size:
                return None
            if sha256_of(file, context.stop) != artifact.sha256:
                return None
        if job.published is not None:
            return VideoOutput.of_published(completed(job.published, output.record), job.targets, own)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    placed = output.at(job.targets)  # the names planned before the crash may have been others
    return placed and placed.at_source(job.source, job.input_repo)


def _is_as_ordered(record: Record, job: VideoJob, tools: JobTools) -> bool:
    return is_as_wanted(record.get("options"), tools.converter.with_options(dict(job.options)).wanted())


def make_record(job: VideoJob, conversion: Conversion, source_sha256: str, began: str) -> Record:
    """One line of ``metadata.jsonl``; ``began`` is when this attempt's conversion did."""
    video = next(target for target in job.targets if target.kind is ArtifactKind.VIDEO)
    record: Record = {
        "file_name": PurePosixPath(video.path).name,
        "source_path": job.source.path,
        "source_repo": job.input_repo,
        "source_sha256": source_sha256,
        "source_size": job.source.size,
        "sha256": conversion.sha256,
        "size": conversion.size,
        "duration_s": conversion.duration_s,
        "frames": conversion.frames,
        "width": conversion.width,
        "height": conversion.height,
        "encoder": conversion.encoder,
        "settings": conversion.settings,
        "options": conversion.options,
        "streams": conversion.streams,
        "quality": conversion.quality,
        "target": conversion.target or None,
        "attempt_time": began,
        "conversion_s": conversion.seconds,
    }
    warnings = [*conversion.warnings, *([too_many_fonts(job.fonts_left_out)] if job.fonts_left_out else [])]
    if warnings:
        record["warnings"] = "\n".join(" ".join(line.splitlines()) for line in warnings)
    return record


class _Shown:
    """What is shown of a video while it is converted. How much there is to do is known once it was probed."""

    def __init__(self, job: VideoJob, tools: JobTools, context: JobContext) -> None:
        self._job, self._tools, self._context = job, tools, context
        self._work: float | None = None

    @contextlib.contextmanager
    def held(self, stage: Stage, need: Need = NO_NEED) -> Iterator[int | None]:
        """Hold a place of a stage."""
        tools, self._work = self._tools, need.work or self._work
        with (tools.encode if stage == "encode" else tools.verify).held(self._job, self._context, need):
            if stage == "encode":
                self._context.note(Event.ENCODING)  # from here on a crash counts against this video
            begun = 0.0 if stage == "encode" else None  # nobody tells how far a verification is
            self.show(stage, EncodeProgress(percent=begun, fps=None, speed=None, eta_s=None))
            yield tools.cores_now(stage)

    def show(self, stage: Stage, progress: EncodeProgress) -> None:
        self._context.show(
            JobProgress(
                folder=self._job.folder,
                video=self._job.source.path,
                stage=stage,
                percent=progress.percent,
                fps=progress.fps,
                speed=progress.speed,
                eta_s=progress.eta_s,
                attempt=self._job.attempt,
                work=self._work,
            )
        )
