"""The exception tree, and the troubles that end a video job. Facts are attributes; the message is one line that says
what happened and what to do.

::

    PipelineError                expected and reported in one line
    ├─ HubError
    │  ├─ HubUnavailable *       network, 5xx, 429, an answer that is no JSON
    │  │  └─ CommitsGone *       a repo that had commits lists none
    │  ├─ HubRejected            other 4xx, or ``Success: false``
    │  │  ├─ HubForbidden        401, 403
    │  │  │  └─ HubFull          its storage, or what this account may have of it
    │  │  └─ HubNotFound         404
    │  ├─ BlobsLost *            a commit refused whose blobs the hub may have dropped
    │  └─ IntegrityError *       size or sha256 of a transfer differs
    ├─ MediaError
    │  ├─ ProbeError             the file is no video that can be read
    │  ├─ TranscodeError         ffmpeg failed on a file
    │  │  └─ EncoderStalled *    no progress for the stall limit
    │  ├─ VerifyError            the output differs from what was planned
    │  │  └─ PicturesDiffer      its pictures are not the source's, or worse than may be
    │  ├─ TooBig                 the result weighs more than it may
    │  └─ NoEncoder              this machine can't convert anything
    ├─ StateError
    │  ├─ CorruptState           a state file can't be understood
    │  ├─ IllegalTransition      a queue item can't make this move
    │  └─ AlreadyRunning         another process holds the lock
    ├─ WorkspaceError            the work folder can't be used
    │  ├─ DiskFull *
    │  └─ FilesGone *            what was there is not there any more, or not as it was written
    ├─ Unexpected *              a bug: counts against what was worked at
    ├─ Stopped *                 asked to stop; nothing failed
    ├─ MachineError *            this machine ended or hindered a program; the file may be fine
    │  └─ ReadTooSlow *          reading a file took longer than was allowed
    └─ FolderChanged             (processor.opening) the folder is not what was queued

    * retryable: the same call may succeed later without anybody's help. The two retry loops (the wrapper around the
      hub, and the queue) read it from the class.
"""

from collections.abc import Sequence
from enum import Enum


class PipelineError(Exception):
    """Anything expected that this program reports in one line."""

    retryable: bool = False


class HubError(PipelineError):
    """The hub could not do what was asked."""

    is_nothing_given: bool = False  # a download of which the last try brought not a byte


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
        super().__init__(message)
        self.retry_after = retry_after  # s, as the server asked
        self.may_have_happened = may_have_happened  # the request was sent, its answer lost
        self.status = status  # HTTP status of the answer; None without one
        self.given_up = False  # it was tried as often as makes sense already


LIMITED = frozenset({429, 503})
"""HTTP statuses that say: not now."""


class CommitsGone(HubUnavailable):
    """A repo that had commits lists none any more."""


class HubRejected(HubError):
    """The hub understood and refused (4xx, or ``Success: false``): repeating the same call is of no use."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class HubForbidden(HubRejected):
    """401 or 403: the token is missing, wrong, expired or lacks the right. A person must act; work pauses."""


class HubFull(HubForbidden):
    """The hub's storage is full, or the account's share of it: a person must act; nothing that was made is to blame."""


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
    """ffmpeg failed on a file."""

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
        self.pictures = pictures  # encoded before it failed
        self.argv = tuple(argv)
        self.status = status  # exit status; negative: the signal that ended it
        self.stderr = stderr  # its last lines


class EncoderStalled(TranscodeError):
    """ffmpeg made no progress for the stall limit and was ended; another try may work."""

    retryable = True


class TooBig(MediaError):
    """The result weighs more than MAX_SIZE_PERCENT lets it, whatever is done: WHEN_BIGGER says what becomes of it."""


class NoEncoder(MediaError):
    """No AV1 encoder passed its trial, or ffmpeg/ffprobe is missing: this machine can't convert anything."""


class VerifyError(MediaError):
    """The output differs from what was planned."""

    def __init__(self, message: str, *, differences: Sequence[str] = (), of_encode: bool = False) -> None:
        super().__init__(message)
        self.differences = tuple(differences)  # one line each
        self.of_encode = of_encode  # all of them may come from the encoded streams, whoever put them together


class PicturesDiffer(VerifyError):
    """The pictures of the output are not the source's, or worse than may be; ``encoder`` made them.

    ``of_rate``: they are the source's, but so much worse that another encoder would hardly do better at this rate.
    """

    def __init__(self, message: str, *, encoder: str, time: float | None = None, of_rate: bool = False) -> None:
        super().__init__(message, differences=[message], of_encode=True)
        self.encoder = encoder
        self.of_rate = of_rate
        self.time = time  # s, where they differ first; None = in the whole


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
        super().__init__(message)
        self.needed = needed  # bytes
        self.free = free  # bytes


class FilesGone(WorkspaceError):
    """Somebody deleted or changed our local files: they are made or fetched again."""

    retryable = True


class MachineError(PipelineError):
    """This machine ended or hindered a program that worked on a file (a signal that was not ours, no memory, an I/O
    failure, a disk too slow). The file may be fine: it is retried, and given up only after as many attempts as others.
    """

    retryable = True

    def __init__(
        self, message: str, *, status: int | None = None, numbers: frozenset[int] = frozenset(), said: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status  # exit status of the program; negative: the signal that ended it
        self.numbers = numbers  # errors of the system that it named
        self.said = said  # by it, one line


class ReadTooSlow(MachineError):
    """Reading a file took longer than was allowed: a slow disk, a machine that stood still, or an odd file."""


class Stopped(PipelineError):
    """The program was asked to stop while this was under way; nothing failed."""

    retryable = True


class Unexpected(PipelineError):
    """An exception that nobody expected, a bug: counts against what was worked at, which is tried again for a while."""

    retryable = True

    @classmethod
    def of(cls, exc: BaseException) -> "Unexpected":
        return cls(f"unexpected {type(exc).__name__}: {exc}")


class Trouble(str, Enum):
    """What ended an attempt at a video other than success; a plain value, also in JSON and on its way from a worker.

    ``tools.core.blame`` says of whom each speaks.
    """

    HUB_UNAVAILABLE = "hub_unavailable"
    HUB_FORBIDDEN = "hub_forbidden"
    HUB_FULL = "hub_full"
    HUB_NOT_FOUND = "hub_not_found"
    HUB_TOO_LARGE = "hub_too_large"  # 413
    HUB_REJECTED = "hub_rejected"
    DISK_FULL = "disk_full"
    WORKSPACE = "workspace"
    FILES_GONE = "files_gone"
    NO_ENCODER = "no_encoder"
    MACHINE = "machine"
    WORKER_LOST = "worker_lost"
    MEDIA = "media"
    TRANSIENT = "transient"  # passes by itself, or did not
    PERMANENT = "permanent"  # expected by nobody in a job
    UNEXPECTED = "unexpected"
    STOPPED = "stopped"


_TROUBLES: tuple[tuple[type[PipelineError], Trouble], ...] = (
    (Stopped, Trouble.STOPPED),
    (Unexpected, Trouble.UNEXPECTED),
    (HubUnavailable, Trouble.HUB_UNAVAILABLE),
    (HubFull, Trouble.HUB_FULL),
    (HubForbidden, Trouble.HUB_FORBIDDEN),
    (HubNotFound, Trouble.HUB_NOT_FOUND),
    (HubRejected, Trouble.HUB_REJECTED),
    (DiskFull, Trouble.DISK_FULL),
    (FilesGone, Trouble.FILES_GONE),
    (WorkspaceError, Trouble.WORKSPACE),
    (StateError, Trouble.WORKSPACE),
    (NoEncoder, Trouble.NO_ENCODER),
    (MachineError, Trouble.MACHINE),
)
_TOO_LARGE = 413  # HTTP


def trouble_of(exc: BaseException) -> Trouble:
    """What an exception that ended an attempt is."""
    if not isinstance(exc, PipelineError):
        return Trouble.UNEXPECTED
    if isinstance(exc, HubRejected) and exc.status == _TOO_LARGE:
        return Trouble.HUB_TOO_LARGE
    for kind, trouble in _TROUBLES:
        if isinstance(exc, kind):
            return trouble
    if exc.retryable:
        return Trouble.TRANSIENT
    return Trouble.MEDIA if isinstance(exc, MediaError) else Trouble.PERMANENT
