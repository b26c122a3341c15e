"""The exception tree. Facts are attributes; the message is one line that says what happened and what to do.

``retryable`` on the class tells the two retry loops (the hub wrapper and the queue) whether the same call may
succeed later without anybody's help.
"""

from collections.abc import Sequence


class PipelineError(Exception):
    """Anything foreseeable that this program reports in one line."""

    retryable: bool = False


class HubError(PipelineError):
    """The hub could not do what was asked."""


class HubUnavailable(HubError):
    """The hub, or the way to it, fails for now (network, 5xx, 429, an answer that is no JSON)."""

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        may_have_happened: bool = False,
        status: int | None = None,
    ) -> None:
        """``retry_after`` in s as the server asked; ``may_have_happened``: the request was sent, its answer lost;
        ``status`` of the answer, None without one. ``given_up``: it was tried as often as makes sense already."""
        super().__init__(message)
        self.retry_after = retry_after
        self.may_have_happened = may_have_happened
        self.status = status
        self.given_up = False


class HubRejected(HubError):
    """The hub understood and refused (4xx, or ``Success: false``): repeating the same call is of no use."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class HubForbidden(HubRejected):
    """401 or 403: the token is missing, wrong, expired or lacks the right. A person must act; work pauses."""


class HubNotFound(HubRejected):
    """404: the repo or file does not exist, or is invisible to this token."""


class BlobsLost(HubError):
    """The hub refused a commit whose blobs it may have dropped, and not all results are here to be sent again."""

    retryable = True


class IntegrityError(HubError):
    """Size or sha256 of a transfer differs from what the hub announced."""

    retryable = True


class MediaError(PipelineError):
    """A video could not be handled."""


class ProbeError(MediaError):
    """The file is no video that can be read: permanent until its source changes."""


class TranscodeError(MediaError):
    """ffmpeg failed on a file, after ``pictures`` of it were encoded."""

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        status: int | None = None,
        stderr: str = "",
        pictures: int = 0,
    ) -> None:
        super().__init__(message)
        self.pictures = pictures
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr


class EncoderStalled(TranscodeError):
    """ffmpeg made no progress for the stall limit and was ended; another try may work."""

    retryable = True


class NoEncoder(MediaError):
    """No AV1 encoder passed its trial, or ffmpeg/ffprobe is missing: this machine can't convert anything."""


class VerifyError(MediaError):
    """The output differs from what was planned; ``differences`` lists how."""

    def __init__(self, message: str, *, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


class StateError(PipelineError):
    """A shared state file, or a move within it, is not as it must be."""


class CorruptState(StateError):
    """A state file can't be understood."""


class IllegalTransition(StateError):
    """A queue item can't go from one status to the other."""


class AlreadyRunning(StateError):
    """Another process holds the lock of this program."""


class WorkspaceError(PipelineError):
    """The local work folder can't be used."""


class DiskFull(WorkspaceError):
    """Less free space than the work and the floor need."""

    retryable = True

    def __init__(self, message: str, *, needed: int = 0, free: int = 0) -> None:
        """``needed`` and ``free`` in bytes."""
        super().__init__(message)
        self.needed = needed
        self.free = free


class Stopped(PipelineError):
    """The program was asked to stop while this was under way; nothing failed."""

    retryable = True
