"""Starts our children: ``python3 -I -S spawner.py SOCKET_FD``, one small process per program of ours.

A fork of this process costs a millisecond, a fork of the program around it (threads, 100 MB) would cost more and is not
safe. It has one thread and no secret in its environment. For each request it forks a watcher, which forks the child,
waits for it and reports how it ended; the child gives up its rights between fork and exec.

It ends when the other side of its socket is closed, so with its program, kill -9 included. The kernel kills the
watchers with it, and each child with its watcher. Source: prctl(2), PR_SET_PDEATHSIG, which stays over execve.

A request is a JSON object in one message, with four descriptors: the child's standard output, its standard error, a
pipe that tells ``errno N`` if the program could not be started and is closed by its start, and a pipe to which the
watcher tells ``pid N``, then ``status N`` (negative: ended by that signal), each on a line.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))

from tools.runtime import sandbox

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_CAP_SYS_NICE = 23
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # Source: the kernel's syscall tables
_IOPRIO_WHO_PROCESS = 1
_LONGEST_REQUEST = 1 << 20  # bytes

# What a program needs of a system besides its own files: libraries, time zone, fonts and drivers; devices of GPUs and
# what their libraries read about them.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store")
_SETTINGS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/etc/alternatives", "/etc/OpenCL", "/etc/vulkan")
_ABOUT = ("/sys", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems")
_DRIVER = ("/proc/driver/nvidia", "/proc/devices")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_CARDS = ("/dev/dri", "/dev/nvidia", "/dev/kfd", "/dev/mfx", "/dev/video")


def main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers leave no zombies
    me = os.getpid()
    while True:
        content, descriptors, _, _ = socket.recv_fds(requests, _LONGEST_REQUEST, 4)
        if not content:
            return
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        if os.fork() == 0:
            requests.close()
            try:
                _watch(json.loads(content), descriptors, me)
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(request: dict[str, Any], descriptors: list[int], spawner: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with(spawner)
    out, err, started, report = descriptors
    me = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            _become(request, out, err, me)
        except OSError as exc:
            os.write(started, b"errno %d\n" % (exc.errno or 1))
        finally:
            os._exit(127)
    for descriptor in (out, err, started):
        os.close(descriptor)
    os.write(report, b"pid %d\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(report, b"status %d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(request: dict[str, Any], out: int, err: int, watcher: int) -> None:
    os.setsid()
    _die_with(watcher)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(descriptor, number)
    sandbox.libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    sandbox.libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)  # refused to who is not root, who has it not
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["patient"]:
        _step_back(request["patient"])
    most = request["most"]
    if most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # then a write fails; the signal stays ignored
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    argv = request["argv"]
    if request["cage"]:
        sandbox.restrict_access(_rules(argv[0], request["reads"], request["writes"]))
        # Intel's driver shares the load of two engines among processes by memory and semaphores of System V.
        sandbox.refuse_calls(keeps_system_v=os.path.isdir("/dev/dri"))
    os.execve(argv[0], argv, request["env"])


def _step_back(patience: dict[str, int]) -> None:
    """Let everything else that wants a core, or the disk, have it first."""
    if patience["io"] and (number := _IOPRIO_SET.get(sandbox.machine())):
        sandbox.libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, patience["io"])
    if not patience["nice"]:
        return
    os.nice(patience["nice"])
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    # Where the kernel shares cores among sessions, it is the session's own niceness that counts: sched(7), autogroup.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as stream:
        stream.write(str(patience["nice"]))


def _rules(program: str, reads: list[str], writes: list[str]) -> list[tuple[str, int]]:
    rules = [(path, sandbox.RUN) for path in (*_SYSTEM, os.path.dirname(os.path.realpath(program)))]
    rules += [(path, sandbox.READ) for path in (*_SETTINGS, *_ABOUT, *_DRIVER, *reads)]
    rules += [(path, sandbox.DEVICE) for path in _DEVICES]
    rules += [(os.path.join("/dev", name), sandbox.DEVICE) for name in os.listdir("/dev") if _is_card(name)]
    return rules + [(path, sandbox.WRITE) for path in writes]


def _is_card(name: str) -> bool:
    return ("/dev/" + name).startswith(_CARDS)


def _die_with(parent: int) -> None:
    sandbox.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(143)  # it died before the line above took hold


if __name__ == "__main__":
    main()
