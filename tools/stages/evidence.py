"""Before a video is blamed: is its file still what was downloaded, does the disk work, does the hub give others?"""

import threading
from pathlib import Path

from tools.core.errors import FilesGone, HubError, HubForbidden, HubUnavailable, PipelineError
from tools.core.planning import VideoJob
from tools.core.retry import AskedToWait, asked_to_wait
from tools.core.witness import Given
from tools.hub.client import HubClient
from tools.runtime.files import replace_durably, sha256_of

_TRIAL = bytes(1 << 16)
_TOO_MANY = 429  # HTTP


def look_for_fault(source: Path, sha256: str, stop: threading.Event) -> None:
    """Returns if the failure of a program on ``source`` is not explained by this machine's files and disk.

    Reads the file whole. Raises FilesGone if the file is gone or has other bytes than ``sha256`` says (it is deleted
    then, and will be downloaded again), OSError if it can't be read or its folder not be written to, Stopped.
    """
    if not source.exists():
        raise FilesGone(f"{source} is gone: somebody deleted it while it was in work; it is downloaded again")
    if sha256_of(source, stop) != sha256:
        source.unlink(missing_ok=True)
        raise FilesGone(f"{source} has other bytes than were downloaded: check this disk; it is downloaded again")
    trial = source.with_name("trial")
    replace_durably(trial, _TRIAL)
    trial.unlink()


def given_instead(job: VideoJob, hub: HubClient, exc: PipelineError) -> tuple[Given, AskedToWait | None]:
    """What the hub gives now that it did not give the source of ``job``, and the wait that it asks for.

    At most one small request, and none if the hub wants to be left alone."""
    if not isinstance(exc, HubError) or not exc.is_nothing_given or job.published is not None:
        return Given.UNKNOWN, None
    witness = job.witness
    is_busy = isinstance(exc, HubUnavailable) and (exc.status == _TOO_MANY or asked_to_wait(exc) is not None)
    if witness is None or is_busy or (isinstance(exc, HubForbidden) and witness.repo != job.input_repo):
        return Given.NOT_IT, None
    try:
        hub.glance(witness.repo, witness.revision, witness.file)
    except HubError as other:
        return Given.NOTHING, asked_to_wait(other)
    return Given.OTHERS, None
