"""What a person notices of a machine that converts with all its cores: ``--status``, a poll, and a key in tmux.

Everything as it is run by default, on an embedded hub, with as many encodes at a time as the machine takes. What is
late is compared with nothing: these are the seconds themselves.
"""

import contextlib
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.bench.clips import different_copies, long_clip
from tests.bench.measure import Busy, serving
from tests.bench.table import Row, at_most
from tests.hub_server import TOKEN
from tests.programs import HubAddress, environment, run_program, running_program
from tools.core.folder import Folder
from tools.core.queue_item import new_item
from tools.state.work_queue import WorkQueue

_CLIPS, _SECONDS, _PRESET = 6, 120, "4"
_LOOKS, _POLLS, _KEYS = 15, 20, 15
_INTERVAL = 2.0  # s between polls
_PATIENCE = 300.0  # s until encodes must run


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        clip, data = long_clip(top, _SECONDS)
        different_copies(clip, top / "hub" / "datasets" / "me" / "in" / "A", _CLIPS)
        (top / "hub" / "datasets" / "me" / "out").mkdir()
        with serving("tests.bench.slow_hub", "--root", str(top / "hub")) as port:
            hub = HubAddress(f"http://127.0.0.1:{port}", TOKEN)
            env = environment(hub, top, PRESET=_PRESET, MONITOR_INTERVAL=f"{_INTERVAL:g}")
            env.pop("CHECK_INTERVAL")  # as by default
            size = clip.stat().st_size * _CLIPS
            with WorkQueue(top / "log").transaction() as view:
                view.put(new_item(Folder("A", "", _CLIPS, _CLIPS, size, None, False), time.time()))
            with running_program("queue_processor.py", env=env), running_program("modelscope_monitor.py", env=env):
                _wait_for_encodes(top / "log" / "progress.json")
                busy, began = Busy(), time.monotonic()
                late = _late_polls(top / "log" / "monitor_state.json")
                looks = [_took_status(env) for _ in range(_LOOKS)]
                keys = _keys(top)
                share = statistics.median(busy.shares(began, time.monotonic()))
    data = f"{_CLIPS} × {data}, preset {_PRESET}, cores {100 * share:.0f} % busy"
    return [
        at_most("--status beside it", data, looks, 0.5, "s"),
        at_most("the same: the longest", data, [max(looks)], 0.5, "s"),
        at_most("a poll is late by", data, late, 0.5, "s"),
        at_most("a key in tmux until it shows", data, keys, 0.2, "s"),
        at_most("the same: the longest", data, [max(keys)], 0.2, "s"),
    ]


def _wait_for_encodes(progress: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            jobs = json.loads(progress.read_text())["jobs"]
            if any(job["stage"] == "encode" and job["fps"] for job in jobs):
                return
        time.sleep(0.2)
    raise AssertionError("no encode began")


def _took_status(env: dict[str, str]) -> float:
    began = time.monotonic()
    run_program("queue_processor.py", "--status", env=env).check_returncode()
    return time.monotonic() - began


def _late_polls(state: Path) -> list[float]:
    """s by which each poll's time is past the one before and the interval; a poll itself takes some of it."""
    times: list[float] = []
    while len(times) <= _POLLS:
        with contextlib.suppress(OSError, ValueError):
            seen = float(json.loads(state.read_text())["last_check_epoch"])
            if not times or seen != times[-1]:
                times.append(seen)
        time.sleep(0.05)
    return [after - before - _INTERVAL for before, after in pairwise(times)]


def _keys(top: Path) -> list[float]:
    with _terminal(top / "tmux") as tmux:
        took = []
        for number in range(_KEYS):
            word = f"k{number:03}"
            began = time.monotonic()
            subprocess.run([*tmux, "send-keys", word], check=True)
            while word not in subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True).stdout:
                time.sleep(0.005)
            took.append(time.monotonic() - began)
    return took


@contextlib.contextmanager
def _terminal(socket: Path) -> Iterator[list[str]]:
    """A tmux of its own, in which a program echoes what is typed."""
    tmux = [shutil.which("tmux") or "tmux", "-S", str(socket), "-f", "/dev/null"]
    subprocess.run([*tmux, "new-session", "-d", "cat"], check=True)
    try:
        yield tmux
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
