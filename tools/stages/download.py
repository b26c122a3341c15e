"""Source video → local file, with size and sha256 checked by the hub client."""

from pathlib import Path

from tools.core.planning import VideoJob
from tools.stages.port import JobPort, TransferMeter, Worker


def download(job: VideoJob, worker: Worker, port: JobPort) -> tuple[Path, str]:
    """The source on local disk and its sha256 (hex); a partial earlier download is resumed. Raises HubError."""
    target = worker.workspace.source_file(job)
    meter = TransferMeter(job, "download", job.source.size, port)
    sha256 = worker.hub.download(job.input_repo, job.revision, job.source, target, meter)
    return target, sha256
