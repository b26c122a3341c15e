"""Runs a command that can't outlive its parent: ``python3 -I -S tied.py PARENT_PID PROGRAM ARGS…`` (Linux).

The kernel kills it when the thread that started it ends; since that thread waits for the command, this happens only
when the whole program dies, kill -9 included. Source: prctl(2), PR_SET_PDEATHSIG, which stays over execve.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        os._exit(143)  # the parent died before the line above took hold
    os.execvp(sys.argv[2], sys.argv[2:])
