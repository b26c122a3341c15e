"""Source video → local file, with size and sha256 checked by the hub client."""

from pathlib import Path

from tools.core.planning import VideoJob
from tools.stages.port import JobPort, TransferMeter, Worker
from tools.stages.workspace import sha256_of


def download(job: VideoJob, worker: Worker, port: JobPort) -> tuple[Path, str]:
    """The source on local disk and its sha256 (hex). Raises HubError, Stopped.

    A partial earlier download is resumed; a whole one, which an attempt that ended in mid-encode left, serves again.
    """
    target = worker.workspace.source_file(job)
    if _is_here(job, target, port):
        return target, job.source.sha256
    meter = TransferMeter(job, "download", job.source.size, port)
    sha256 = worker.hub.download(job.input_repo, job.revision, job.source, target, meter)
    return target, sha256


def _is_here(job: VideoJob, target: Path, port: JobPort) -> bool:
    """Whether the content is on the disk already, byte for byte: a power cut may have left anything under the name."""
    if not job.source.sha256 or not target.exists() or target.stat().st_size != job.source.size:
        return False
    return sha256_of(target, port.stop) == job.source.sha256
