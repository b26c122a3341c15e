"""Local source → verified MKV and its metadata record, kept so that a crash never has it encoded again."""

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tools.core.planning import VideoJob
from tools.media.converter import Conversion, EncodeProgress
from tools.runtime.files import replace_durably, sha256_of
from tools.stages.job_context import JobContext, JobTools
from tools.state.progress import JobProgress

Record = dict[str, Any]


def convert(job: VideoJob, tools: JobTools, context: JobContext, source: Path, source_sha256: str) -> Record:
    """Convert into the workspace's result file and remove the source; returns the result's record.

    Waits for a place to encode in, and for one to verify in: the next video encodes while this one is verified.
    Raises MediaError, DiskFull, Stopped.
    """
    began = datetime.now().astimezone().isoformat(timespec="seconds")
    target = tools.workspace.result_file(job.folder, job.source)
    conversion = tools.converter.convert(
        source,
        target,
        on_progress=partial(_show, job, context, "encode"),
        stop=context.stop,
        threads=tools.threads,
        held=partial(_held, job, tools, context),
    )
    record = make_record(job, conversion, source_sha256, began)
    source.unlink(missing_ok=True)  # before the note, so that a disk which just filled has room for it
    replace_durably(_note_of(target), json.dumps(record, ensure_ascii=False).encode())
    return record


def converted_before(job: VideoJob, tools: JobTools, context: JobContext) -> Record | None:
    """The record of a result that an earlier attempt left whole in the workspace; None where there is none.

    Raises Stopped.
    """
    target = tools.workspace.result_file(job.folder, job.source)
    try:
        record = json.loads(_note_of(target).read_bytes())
        same_size = isinstance(record, dict) and target.stat().st_size == record["size"]
        if same_size and sha256_of(target, context.stop) == record["sha256"]:
            # The same content may have been planned under another name before the crash.
            return {**record, "file_name": PurePosixPath(job.output_path).name}
    except (OSError, ValueError, KeyError):
        return None
    return None


def make_record(job: VideoJob, conversion: Conversion, source_sha256: str, began: str) -> Record:
    """One line of ``metadata.jsonl``; ``attempt_time`` is when this attempt's conversion began."""
    record: Record = {
        "file_name": PurePosixPath(job.output_path).name,
        "source_path": job.source.path,
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
        "streams": conversion.streams,
        "quality": conversion.quality,
        "attempt_time": began,
    }
    if conversion.warnings:
        record["warnings"] = list(conversion.warnings)
    return record


def _note_of(result: Path) -> Path:
    return result.with_name("converted.json")


@contextlib.contextmanager
def _held(job: VideoJob, tools: JobTools, context: JobContext, stage: str) -> Iterator[None]:
    with (tools.encode if stage == "encode" else tools.verify).held(context):
        if stage == "encode":
            context.note("encoding")  # from here on a crash counts against this video
        _show(job, context, stage, EncodeProgress(percent=0.0, fps=None, speed=None, eta_s=None))
        yield


def _show(job: VideoJob, context: JobContext, stage: str, progress: EncodeProgress) -> None:
    context.show(
        JobProgress(
            folder=job.folder,
            video=job.source.path,
            stage=stage,
            percent=progress.percent,
            fps=progress.fps,
            speed=progress.speed,
            eta_s=progress.eta_s,
            attempt=job.attempt,
        )
    )
