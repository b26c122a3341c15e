"""Whose fault it is: the video's, this machine's, the account's, the hub's, or nobody knows.

Only what speaks of the video itself may have it given up at the first attempt. A child process that ended badly is
judged by how it ended and by what it said; ``docs/reliability.md`` has the whole table.
"""

import errno
import signal
from collections.abc import Collection, Mapping
from enum import Enum

from tools.core.errors import Trouble


class Blame(str, Enum):
    """Of whom a trouble speaks."""

    VIDEO = "video"
    MACHINE = "machine"
    ACCOUNT = "account"
    HUB = "hub"
    UNKNOWN = "unknown"
    NOBODY = "nobody"  # asked to stop


BLAMES: Mapping[Trouble, Blame] = {
    Trouble.HUB_UNAVAILABLE: Blame.HUB,
    Trouble.HUB_FORBIDDEN: Blame.ACCOUNT,
    Trouble.HUB_FULL: Blame.ACCOUNT,
    Trouble.HUB_NOT_FOUND: Blame.UNKNOWN,  # to a stranger, and to a token that expired, a private file does not exist
    Trouble.HUB_TOO_LARGE: Blame.UNKNOWN,  # the video's if the hub takes smaller ones
    Trouble.HUB_REJECTED: Blame.UNKNOWN,
    Trouble.DISK_FULL: Blame.MACHINE,
    Trouble.WORKSPACE: Blame.MACHINE,
    Trouble.FILES_GONE: Blame.MACHINE,
    Trouble.NO_ENCODER: Blame.MACHINE,
    Trouble.MACHINE: Blame.MACHINE,
    Trouble.WORKER_LOST: Blame.MACHINE,
    Trouble.MEDIA: Blame.VIDEO,
    Trouble.TRANSIENT: Blame.UNKNOWN,
    Trouble.PERMANENT: Blame.UNKNOWN,
    Trouble.UNEXPECTED: Blame.UNKNOWN,
    Trouble.STOPPED: Blame.NOBODY,
}
"""Of whom each trouble speaks, as far as it alone tells."""

OF_THE_HUB = frozenset(
    {
        Trouble.HUB_UNAVAILABLE,
        Trouble.HUB_FORBIDDEN,
        Trouble.HUB_FULL,
        Trouble.HUB_NOT_FOUND,
        Trouble.HUB_TOO_LARGE,
        Trouble.HUB_REJECTED,
    }
)
"""What a hub answered, or did not."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_THE_MACHINE = frozenset(
    {
        errno.ENOENT,
        errno.EIO,
        errno.ENOMEM,
        errno.EACCES,
        errno.ENFILE,
        errno.EMFILE,
        errno.EROFS,
        errno.ESTALE,
    }
)
NAMED_BY_PROGRAMS = _NO_ROOM | _OF_THE_MACHINE | {errno.EFBIG}
"""Errors of the system that are no file's fault, and that programs name when they fail."""
# Demuxers name these for damage as well: a length that leads beyond the end of the file, and one that no memory holds.
# Source: ffmpeg's matroskadec.c, ebml_read_num; mov.c, rmdec.c.
_MAY_BE_THE_FILE = frozenset({errno.EIO, errno.ENOMEM})
# Source: ffmpeg's main returns 255 after SIGTERM, SIGINT and the like, else the low byte of a negative error number.
_ASKED_TO_END = 255
_INVALID_DATA = 183  # AVERROR_INVALIDDATA
_OF_A_SHELL = range(129, 160)  # how a shell script (of somebody who wrapped ffmpeg) tells of a child's signal


def trouble_of_end(status: int, said: Collection[int], *, is_full: bool = False) -> Trouble | None:
    """What the end of a child is that we did not end; None if it ended well.

    ``status`` below 0: the signal. ``said``: the error numbers that it named. ``is_full``: a file that it made has all
    the bytes that it was allowed to have.
    """
    if status == 0:
        return None
    if status < 0 or status == _ASKED_TO_END:
        return Trouble.MACHINE
    numbers = {256 - status, *said}
    if numbers & _NO_ROOM:
        return Trouble.DISK_FULL
    if errno.EFBIG in numbers:
        return Trouble.MEDIA if is_full else Trouble.DISK_FULL
    if status == _INVALID_DATA and _MAY_BE_THE_FILE.issuperset(said):
        return Trouble.MEDIA
    by_signal = status in _OF_A_SHELL
    return Trouble.MACHINE if by_signal or numbers & _OF_THE_MACHINE else Trouble.MEDIA


def may_be_the_file(said: Collection[int]) -> bool:
    """Whether the errors that a program named while it read a file may mean that the file is damaged, after all."""
    return bool(said) and _MAY_BE_THE_FILE.issuperset(said)


def trouble_of_file(number: int | None) -> Trouble:
    """What a failed operation on a local file is, by its error number."""
    if number in _NO_ROOM or number == errno.EFBIG:
        return Trouble.DISK_FULL
    return Trouble.FILES_GONE if number in {errno.ENOENT, errno.ESTALE} else Trouble.WORKSPACE


def is_short_of_memory(status: int | None) -> bool:
    """Whether a child ended as the kernel ends one for lack of memory."""
    return status == -signal.SIGKILL
