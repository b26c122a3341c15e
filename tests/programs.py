"""Running the programs as a user does: as files, with an environment of their own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.hub_server import RunningHub
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent


class HubAddress(NamedTuple):
    """What a program must know of a hub that another process serves."""

    endpoint: str
    token: str


def environment(hub: RunningHub | HubAddress, top: Path, **more: str) -> dict[str, str]:
    """Everything that a program reads, pointing into ``top`` and at the test's hub."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MODELSCOPE", "TMUX"))}
    return {
        **kept,
        "MODELSCOPE_ENDPOINT": hub.endpoint,
        "MODELSCOPE_API_TOKEN": hub.token,
        "MODELSCOPE_HOME": str(top / "home"),
        "INPUT_REPO": "me/in",
        "OUTPUT_REPO": "me/out",
        "MONITOR_INTERVAL": "1",
        "MIN_FOLDER_STABLE_TIME": "0",
        "CHECK_INTERVAL": "0.2",
        "PRESET": "12",
        "TARGET_VMAF": "off",
        "MAX_SIZE_PERCENT": "off",
        "MIN_FREE_SPACE_GB": "0.1",
        "LOG_DIR": str(top / "log"),
        "WORK_DIR": str(top / "work"),
        "ANIMATION_DOTENV": str(top / "none"),
        "PYTHONFAULTHANDLER": "1",
        **more,
    }


def run_program(
    name: str, *arguments: str, env: Mapping[str, str], timeout: float = PATIENCE, cwd: str = "/"
) -> subprocess.CompletedProcess[str]:
    """A program to its end."""
    command = [sys.executable, str(ROOT / "tools" / name), *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@contextlib.contextmanager
def running_program(name: str, *arguments: str, env: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A program in the background, which ends in order afterwards."""
    process = start_program(name, *arguments, env=env)
    try:
        yield process
        assert end(process) == 0
    finally:
        process.kill()
        process.wait()


def start_program(name: str, *arguments: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A program in the background, its output thrown away."""
    command = [sys.executable, str(ROOT / "tools" / name), *arguments]
    return subprocess.Popen(command, env=env, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def children_working_in(folder: Path) -> list[str]:
    """Command lines of running processes that name a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if str(folder) in line and state not in "ZX":
                found.append(line)
    return found


def end(process: subprocess.Popen[bytes], signum: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
    """Signal and wait; returns the exit status. A program that does not end in time writes a traceback of each of its
    threads to its standard error."""
    process.send_signal(signum)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait(timeout)
        raise
