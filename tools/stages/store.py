"""Artifacts on local disk → blobs on the hub, each in its repo, invisible until their batch is committed."""

from tools.core.artifact import VideoOutput
from tools.core.planning import VideoJob
from tools.stages.job_context import JobContext, JobTools, TransferMeter


def store(job: VideoJob, tools: JobTools, context: JobContext, output: VideoOutput) -> None:
    """Send each artifact's content; nothing is sent when the hub has it, nor what is joined later. Raises HubError,
    Stopped."""
    sent = [one for one in output.artifacts if one.kind in job.kinds and one.kind not in tools.joins]
    meter = TransferMeter(job, "upload", sum(artifact.size for artifact in sent), context)
    for artifact in sent:
        file = tools.workspace.artifact_file(job.folder, job.source, artifact.kind)
        tools.hub.store_blob(artifact.repo, file, artifact.sha256, artifact.size, meter)
