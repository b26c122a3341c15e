"""Verified MKV → blob on the hub, invisible until its batch is committed."""

from collections.abc import Mapping
from typing import Any

from tools.core.planning import VideoJob
from tools.stages.port import JobPort, TransferMeter, Worker


def store(job: VideoJob, worker: Worker, port: JobPort, record: Mapping[str, Any]) -> None:
    """Send the result's content; nothing is sent when the hub has it. Raises HubError."""
    result = worker.workspace.result_file(job.folder, job.source)
    meter = TransferMeter(job, "upload", record["size"], port)
    worker.hub.store_blob(job.output_repo, result, record["sha256"], record["size"], meter)
