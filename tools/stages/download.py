"""Source video → local file, with size and sha256 checked by the hub client."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from tools.core.artifact import ArtifactKind
from tools.core.errors import HubRejected, HubUnavailable, IntegrityError
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.media.converter import Beside
from tools.runtime.files import sha256_of
from tools.stages.job_context import JobContext, JobTools, TransferMeter

log = logging.getLogger("animation.job")


@contextlib.contextmanager
def downloaded(job: VideoJob, tools: JobTools, context: JobContext) -> Iterator[tuple[Path, str]]:
    """The source on local disk and its sha256 (hex), while the place is held that it was downloaded in. Raises
    HubError, Stopped.

    A partial earlier download is resumed; a whole one, left by an attempt that ended during the encode, is used again.
    """
    target = tools.workspace.source_file(job)
    is_here = _is_here(job, tools, target, context)
    with tools.download.held(job, context):
        # Nothing is asked of the system from here to the hub's client, so that in practice jobs come to it in the order
        # of their places.
        yield target, job.source.sha256 if is_here else _fetched(job, tools, context, target)


def _fetched(job: VideoJob, tools: JobTools, context: JobContext, target: Path) -> str:
    meter = TransferMeter(job, "download", job.source.size, context)
    return tools.hub.download(job.input_repo, job.revision, job.source, target, meter)


def download_published(job: VideoJob, tools: JobTools, context: JobContext) -> Path:
    """The MKV that is published of the source, on local disk. Raises HubError, Stopped."""
    record = job.published
    assert record is not None
    place = next(target for target in job.targets if target.kind is ArtifactKind.VIDEO)
    head = tools.hub.head(place.repo)
    if head is None:
        raise HubUnavailable(f"the hub lists no commits of {place.repo} any more")
    file = RemoteFile(place.path, record["size"], record["sha256"])
    target = tools.workspace.video_folder(job) / "published.mkv"
    tools.hub.download(place.repo, head.commit_id, file, target, TransferMeter(job, "download", file.size, context))
    return target


def download_beside(job: VideoJob, tools: JobTools) -> tuple[Beside, ...]:
    """The subtitles and fonts that go into the result, on local disk. One that the hub does not give is left out: no
    video fails for it. Raises HubUnavailable, Stopped, OSError."""
    found = []
    folder = tools.workspace.video_folder(job) / "beside"
    for number, file in enumerate(job.beside):
        target = folder / str(number)
        folder.mkdir(exist_ok=True)
        try:
            tools.hub.download(job.input_repo, job.revision, file, target, lambda moved: None)
        except (HubRejected, IntegrityError) as exc:
            log.warning("not put into %s: %s", job.source.path, exc)
        else:
            found.append(Beside(target, file.name))
    return tuple(found)


def _is_here(job: VideoJob, tools: JobTools, target: Path, context: JobContext) -> bool:
    """Whether the content is on the disk already, byte for byte: a power cut may have left anything under the name."""
    if not job.source.sha256 or not target.exists() or target.stat().st_size != job.source.size:
        return False
    tools.download.pass_by(context.order)  # to read it takes a while
    return sha256_of(target, context.stop) == job.source.sha256
