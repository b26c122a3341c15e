"""Artifacts on local disk → blobs on the hub, each in its repo, invisible until their batch is committed."""

import logging

from tools.core.artifact import ArtifactKind, VideoOutput
from tools.core.errors import LIMITED, HubError, HubForbidden, HubNotFound, HubRejected, HubUnavailable
from tools.core.planning import VideoJob
from tools.stages.ahead import SendingAhead
from tools.stages.job_context import JobContext, JobTools, TransferMeter

log = logging.getLogger("animation.job")


def store(job: VideoJob, tools: JobTools, context: JobContext, output: VideoOutput, ahead: SendingAhead) -> VideoOutput:
    """Send each artifact's content; nothing is sent when the hub has it, nor what is joined later, nor what went
    ``ahead``.

    Waits for a place to send from. Returns what is to be published: without pictures, for which no video waits, if
    their repo alone does not take them.
    Raises HubError, Stopped."""
    sent = [one for one in output.artifacts if one.kind in job.kinds and one.kind not in tools.joins]
    total = sum(artifact.size for artifact in sent)
    left = [artifact for artifact in sent if not ahead.has_sent(artifact, total)]
    if not left:
        return output
    with tools.store.held(job, context):
        meter = TransferMeter(job, "upload", total, context, total - sum(artifact.size for artifact in left))
        for artifact in left:
            file = tools.workspace.artifact_file(job.folder, job.source, artifact.kind)
            try:
                tools.hub.store_blob(artifact.repo, file, artifact.sha256, artifact.size, meter)
            except HubError as exc:
                if artifact.kind is not ArtifactKind.FRAMES or not _speaks_of_the_file(exc, job):
                    raise
                path = job.source.path
                log.warning("published without its scene frames; --frames-only makes them: %s: %s", path, exc)
                output = output.without_pictures()
    return output


def _speaks_of_the_file(exc: HubError, job: VideoJob) -> bool:
    """Whether the hub, as far as anybody can tell, does not take this file: it refuses it, or failed before while it
    served others."""
    if isinstance(exc, HubForbidden | HubNotFound):
        return False
    is_again = isinstance(exc, HubUnavailable) and job.attempt > 1 and exc.status not in LIMITED
    return isinstance(exc, HubRejected) or is_again
