"""Whose fault the end of a program, of a file operation or of a job is: the tables."""

import errno
import signal

import pytest

from tools.core.blame import BLAMES, OF_THE_HUB, Blame, is_short_of_memory, trouble_of_end, trouble_of_file
from tools.core.errors import Trouble
from tools.stages.video_job import OUTCOMES, Outcome


@pytest.mark.parametrize(
    ("case", "status", "said", "is_full", "trouble"),
    [
        ("well", 0, set(), False, None),
        ("well, whatever it complained about", 0, {errno.EIO}, False, None),
        ("it says that the file is broken", 1, set(), False, Trouble.MEDIA),
        ("the same, AVERROR_INVALIDDATA", 183, set(), False, Trouble.MEDIA),
        ("the same, and it names what damage brings about", 183, {errno.EIO, errno.ENOMEM}, False, Trouble.MEDIA),
        ("the same, and it names what no file does", 183, {errno.EMFILE, errno.EIO}, False, Trouble.MACHINE),
        ("the same on a full disk", 183, {errno.ENOSPC}, False, Trouble.DISK_FULL),
        ("killed, as for lack of memory", -signal.SIGKILL, set(), False, Trouble.MACHINE),
        ("a crash", -signal.SIGSEGV, set(), False, Trouble.MACHINE),
        ("killed although it said something", -signal.SIGKILL, {errno.ENOSPC}, False, Trouble.MACHINE),
        ("asked to end by a stranger", 255, set(), False, Trouble.MACHINE),
        ("killed below a shell", 137, set(), False, Trouble.MACHINE),
        ("no space", 1, {errno.ENOSPC}, False, Trouble.DISK_FULL),
        ("no space, by its status", 228, set(), False, Trouble.DISK_FULL),
        ("quota", 1, {errno.EDQUOT}, False, Trouble.DISK_FULL),
        ("quota, by its status", 134, set(), False, Trouble.DISK_FULL),
        ("a disk that takes no such file", 1, {errno.EFBIG}, False, Trouble.DISK_FULL),
        ("more than any result may have", 1, {errno.EFBIG}, True, Trouble.MEDIA),
        ("gone", 254, set(), False, Trouble.MACHINE),
        ("gone, by its words", 1, {errno.ENOENT}, False, Trouble.MACHINE),
        ("unreadable", 1, {errno.EACCES}, False, Trouble.MACHINE),
        ("read-only", 1, {errno.EROFS}, False, Trouble.MACHINE),
        ("I/O", 251, set(), False, Trouble.MACHINE),
        ("no handles", 1, {errno.EMFILE}, False, Trouble.MACHINE),
        ("no memory", 244, set(), False, Trouble.MACHINE),
    ],
)
def test_end_of_a_child(case: str, status: int, said: set[int], is_full: bool, trouble: Trouble | None) -> None:
    assert trouble_of_end(status, said, is_full=is_full) is trouble, case


@pytest.mark.parametrize(
    ("number", "trouble"),
    [
        (errno.ENOSPC, Trouble.DISK_FULL),
        (errno.EDQUOT, Trouble.DISK_FULL),
        (errno.EFBIG, Trouble.DISK_FULL),
        (errno.ENOENT, Trouble.FILES_GONE),
        (errno.ESTALE, Trouble.FILES_GONE),
        (errno.EACCES, Trouble.WORKSPACE),
        (errno.EROFS, Trouble.WORKSPACE),
        (errno.EIO, Trouble.WORKSPACE),
        (errno.EMFILE, Trouble.WORKSPACE),
        (errno.ENOMEM, Trouble.WORKSPACE),
        (None, Trouble.WORKSPACE),
    ],
)
def test_operation_on_a_local_file_is_never_the_video_s_fault(number: int | None, trouble: Trouble) -> None:
    assert trouble_of_file(number) is trouble
    assert BLAMES[trouble] is Blame.MACHINE and OUTCOMES[trouble] is Outcome.DEFERRED


def test_only_what_speaks_of_the_video_refuses_it() -> None:
    assert BLAMES.keys() == set(Trouble)
    refused = {trouble for trouble, outcome in OUTCOMES.items() if outcome is Outcome.REFUSED}
    assert refused == {trouble for trouble, blame in BLAMES.items() if blame is Blame.VIDEO} == {Trouble.MEDIA}
    assert all(OUTCOMES[trouble] is Outcome.DEFERRED for trouble in OF_THE_HUB)


def test_a_kill_is_what_a_lack_of_memory_looks_like() -> None:
    assert is_short_of_memory(-signal.SIGKILL)
    assert not is_short_of_memory(-signal.SIGSEGV) and not is_short_of_memory(1) and not is_short_of_memory(None)
