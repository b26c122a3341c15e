"""Verified MKV → blob on the hub, invisible until its batch is committed."""

from collections.abc import Mapping
from typing import Any

from tools.core.planning import VideoJob
from tools.stages.job_context import JobContext, JobTools, TransferMeter


def store(job: VideoJob, tools: JobTools, context: JobContext, record: Mapping[str, Any]) -> None:
    """Send the result's content; nothing is sent when the hub has it. Raises HubError."""
    result = tools.workspace.result_file(job.folder, job.source)
    meter = TransferMeter(job, "upload", record["size"], context)
    tools.hub.store_blob(job.output_repo, result, record["sha256"], record["size"], meter)
