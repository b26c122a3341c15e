"""Video jobs and what becomes of them, for tests that need one and do not care which."""

from tools.core.artifact import Artifact, ArtifactKind, Target, VideoOutput
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.core.record import Record

OUT = "0" * 63 + "1"
"""sha256 of what ``output_of`` says."""


def mkv(path: str = "x.mkv") -> tuple[Target, ...]:
    """The targets of a video that becomes an MKV and nothing else."""
    return (Target(ArtifactKind.VIDEO, "me/out", path),)


def video_job(source: RemoteFile, *, attempt_id: str, folder: str = "A", attempt: int = 1) -> VideoJob:
    return VideoJob(attempt_id, attempt, folder, "me/in", "c", source, mkv())


def record_of(source: RemoteFile, name: str = "x.mkv", sha256: str = "out", size: int = 5) -> Record:
    return {
        "file_name": name,
        "source_path": source.path,
        "source_sha256": source.sha256,
        "source_size": source.size,
        "sha256": sha256,
        "size": size,
    }


def output_of(job: VideoJob) -> VideoOutput:
    """One artifact for each target, all of the same content."""
    artifacts = tuple(Artifact(one.kind, one.repo, one.path, OUT, 5) for one in job.targets)
    record: Record = {**record_of(job.source, sha256=OUT), "source_repo": job.input_repo}
    return VideoOutput({**record, "source_sha256": job.source.sha256 or "5" * 64}, artifacts)
