"""The kernel's sandboxes that need no rights: a process gives up access for itself and all that it starts.

Landlock takes away files, TCP, and signals to others; a seccomp filter takes away what Landlock does not know: all
sockets (UDP, those of tmux and Docker, which lie in the file system), who may do what with a file of ours anywhere
(chmod and its like; truncate, which Landlock knows since ABI 3), and what processes of one user share without files.
The standard library alone and little of that, since it runs between fork and exec. Source: the kernel's
Documentation/userspace-api/landlock.rst and seccomp_filter.rst, include/uapi/linux/{landlock,seccomp,audit,filter}.h.
"""

import ctypes
import errno
import os
import struct

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1 << 0
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK = 1 << 6, 1 << 7, 1 << 8, 1 << 9
MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = 1 << 10, 1 << 11, 1 << 12
_REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15  # since ABI 2, 3 and 5
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1  # since ABI 4
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1  # since ABI 6

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
WRITE = READ | WRITE_FILE | TRUNCATE | REMOVE_FILE | MAKE_REG
DEVICE = READ | WRITE_FILE | IOCTL_DEV
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""The rights that a rule for a file, not a folder, may have."""

libc = ctypes.CDLL(None, use_errno=True)
_POINTER = struct.calcsize("P")  # bytes


def machine() -> str:
    """By which numbers this process calls the kernel, named as by ``uname -m``; "" for a 32-bit program.

    One of those may run under a 64-bit kernel, whose name says nothing about it.
    """
    return os.uname().machine if _POINTER == 8 else ""


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_abi() -> int:
    """What this kernel offers: 0 nothing (too old, or forbidden), 1 files, 4 TCP, 6 signals and abstract sockets."""
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))))


def restrict_access(rules: list[tuple[str, int]]) -> None:
    """From now on only these paths (and what is below them) may be used, each with its rights; no TCP, no signals to
    others, no abstract sockets, as far as the kernel has that. Paths that are not there are skipped. Raises OSError.
    """
    version = landlock_abi()
    if version == 0:
        return
    known = (1 << (13 if version == 1 else 14 if version == 2 else 15 if version < 5 else 16)) - 1
    attributes = _RulesetAttr(
        known,
        _BIND_TCP | _CONNECT_TCP if version >= 4 else 0,
        _ABSTRACT_SOCKETS | _SIGNALS if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0))
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & known)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        beneath = _PathBeneath(rights, descriptor)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0))
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "landlock: " + os.strerror(number))
    return result


# --- calls -----------------------------------------------------------------------------------------------------------

# By ``machine()``: the kernel's name of the architecture, and its numbers of what is refused. Source: the kernel's
# arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl.
_ARCHITECTURES = {
    "x86_64": (
        0xC000003E,
        {
            **{"socket": 41, "truncate": 76, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94},
            **{"utime": 132, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197},
            **{"lremovexattr": 198, "fremovexattr": 199, "utimes": 235, "mq_open": 240, "mq_unlink": 241},
            **{"add_key": 248, "request_key": 249, "keyctl": 250, "fchownat": 260, "futimesat": 261, "fchmodat": 268},
            **{"utimensat": 280},
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            **{"setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15},
            **{"fremovexattr": 16, "truncate": 45, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55},
            **{"utimensat": 88, "mq_open": 180, "mq_unlink": 181, "socket": 198, "add_key": 217, "request_key": 218},
            **{"keyctl": 219},
        },
    ),
}
_EVERYWHERE = {
    "io_uring_setup": 425,  # it makes sockets too, without socket(2)
    **{"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469},
}
_SYSTEM_V = {
    "x86_64": {
        **{"shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66, "msgget": 68},
        **{"msgsnd": 69, "msgrcv": 70, "msgctl": 71, "semtimedop": 220},
    },
    "aarch64": {
        **{"msgget": 186, "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "semget": 190, "semctl": 191},
        **{"semtimedop": 192, "semop": 193, "shmget": 194, "shmctl": 195, "shmat": 196},
    },
}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}  # which getrlimit(3) needs, for the caller
_X32 = 0x40000000  # numbers of x86_64's other ABI begin here
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
# Offsets in struct seccomp_data; of the first argument the half that a process id has, on little-endian machines.
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST = 0, 4, 16


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def can_refuse_calls() -> bool:
    """Whether ``refuse_calls`` knows this machine's architecture, and this kernel takes filters from us."""
    if machine() not in _ARCHITECTURES:
        return False
    # Asked for a filter at no address: who knows filters tries to read it. Others (a kernel built without them, an
    # emulator) do not know the mode, and a container may forbid it.
    libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def refuse_calls(*, keeps_system_v: bool) -> None:
    """From now on no socket of any kind can be made, nothing about a file be changed but what is in it, no key of the
    kernel's be read, and no limit be set for another process; nor memory, semaphores and queues of System V be used,
    unless ``keeps_system_v``. Raises OSError.
    """
    if not can_refuse_calls():
        return
    architecture, numbers = _ARCHITECTURES[machine()]
    system_v = () if keeps_system_v else _SYSTEM_V[machine()].values()
    refused = sorted({*numbers.values(), *_EVERYWHERE.values(), *system_v})
    count = len(refused)
    steps = [
        (_LOAD, 0, 0, _AT_ARCHITECTURE),
        (_EQUAL, 0, count + 6, architecture),  # another one on the same machine: refused as a whole
        (_LOAD, 0, 0, _AT_NUMBER),
        (_AT_LEAST, count + 4, 0, _X32),
        *((_EQUAL, count + 3 - place, 0, number) for place, number in enumerate(refused)),
        (_EQUAL, 0, 2, _PRLIMIT[machine()]),
        (_LOAD, 0, 0, _AT_FIRST),
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(_Program(len(steps), program)), 0, 0))
