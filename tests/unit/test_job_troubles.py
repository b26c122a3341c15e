"""What a failed operation on one of a job's local files is for its video: never the video's fault."""

import errno
import os
from pathlib import Path

import pytest

from tests.fakes import FakeConverter, MemoryHub
from tests.jobs import mkv
from tests.unit.test_video_job import Port
from tools.core.errors import Trouble
from tools.core.planning import VideoJob
from tools.hub.client import Progress
from tools.stages.job_context import JobTools
from tools.stages.video_job import Outcome, run_video_job
from tools.stages.workspace import Workspace


@pytest.mark.parametrize(
    ("number", "trouble", "said"),
    [
        (errno.ENOSPC, Trouble.DISK_FULL, "make room"),
        (errno.EDQUOT, Trouble.DISK_FULL, "make room"),
        (errno.EFBIG, Trouble.DISK_FULL, "make room"),
        (errno.ENOENT, Trouble.FILES_GONE, "gone"),
        (errno.ESTALE, Trouble.FILES_GONE, "gone"),
        (errno.EIO, Trouble.WORKSPACE, "can't work in"),
        (errno.EROFS, Trouble.WORKSPACE, "can't work in"),
    ],
)
def test_failed_operation_on_a_local_file_puts_the_video_off(
    number: int, trouble: Trouble, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = MemoryHub()
    commit = hub.put("me/in", {"A/1.mp4": b"video"})
    hub.create_repo("me/out")
    tools = JobTools(hub, FakeConverter(), Workspace(tmp_path, 0), 1)
    tools.workspace.prepare()

    def fails(repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        raise OSError(number, os.strerror(number), str(source))

    monkeypatch.setattr(hub, "store_blob", fails)
    job = VideoJob("1", 1, "A", "me/in", commit, next(hub.list_files("me/in", commit)), mkv("A/1.mkv"))
    port = Port()
    result = run_video_job(job, tools, port)
    assert (result.outcome, result.trouble) == (Outcome.DEFERRED, trouble)
    assert said in result.cause and str(tmp_path) in result.cause and port.noted[-1] == "released"
