"""Whether a program runs is told by its lock: whatever pids say, to whoever asks."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import ROOT
from tests.patience import PATIENCE
from tools.report.checks import check_program
from tools.report.heading import Pulse, pulse, pulse_json, pulse_lines
from tools.state.liveness import Life, life_of, plate_path
from tools.state.singleton import Singleton

pytestmark = pytest.mark.another_user
NOW = 1_700_000_000.0


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that holds the processor's lock."""
    code = "from pathlib import Path; from tools.state.singleton import Singleton\n"
    code += f"lock = Singleton(Path({str(tmp_path)!r}), 'processor'); lock.acquire(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_who_holds_the_lock_runs_since_it_took_it(tmp_path: Path, holder: "subprocess.Popen[bytes]") -> None:
    life = life_of(tmp_path, "processor")
    assert life.running and f"pid {holder.pid} " in life.holder
    assert life.since is not None and abs(time.time() - life.since) < 60
    assert life_of(tmp_path, "monitor") == Life(False)


def test_killed_program_does_not_run_though_its_plate_stays_and_its_pid_lives(
    tmp_path: Path, holder: "subprocess.Popen[bytes]"
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait(PATIENCE)
    plate_path(tmp_path, "processor").write_text(json.dumps({"pid": os.getpid(), "host": os.uname().nodename}))
    assert life_of(tmp_path, "processor") == Life(False, died=True)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": 999999999, "host": "elsewhere"}', None]
)
def test_program_runs_whatever_its_plate_says(
    tmp_path: Path, holder: "subprocess.Popen[bytes]", content: bytes | None
) -> None:
    """A pid of another machine, or of another PID namespace, is not looked for."""
    plate = plate_path(tmp_path, "processor")
    plate.unlink() if content is None else plate.write_bytes(content)
    life = life_of(tmp_path, "processor")
    assert life.running and life.since is None


def test_asking_never_keeps_a_program_from_starting(tmp_path: Path) -> None:
    """The one who asks holds the lock for an instant; who starts in that instant waits for it."""
    Singleton(tmp_path, "monitor").acquire()  # makes the file
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            life_of(tmp_path, "processor")

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(50):
            lock = Singleton(tmp_path, "processor")
            lock.acquire()
            lock.release()
    finally:
        over.set()
        for asker in askers:
            asker.join()


def test_lock_that_may_not_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / ".monitor.lock").mkdir()
    assert life_of(tmp_path, "monitor").running is None
    assert check_program("monitor", Life(None), NOW).ok


@pytest.mark.parametrize(
    ("monitor", "answered", "said"),
    [
        (
            Life(True, NOW - 7200),
            NOW - 5,
            ["running since .* \\(2 h\\)", "not running", "last polled .* \\(5 s ago\\)"],
        ),
        (Life(True, None), NOW - 25, ["running$", "not running", "silent since .* \\(25 s\\)"]),
        (Life(False, died=True), NOW - 25, ["not running .*died", "not running", "last polled"]),
        (Life(None), None, ["can't be read", "not running", "has not answered yet"]),
    ],
)
def test_heading_says_who_runs_and_whether_the_hub_answers(
    monitor: Life, answered: float | None, said: list[str]
) -> None:
    lines = pulse_lines(Pulse({"monitor": monitor, "processor": Life(False)}, answered, expected=11, silence=20), NOW)
    assert [bool(re.search(pattern, line)) for pattern, line in zip(said, lines, strict=True)] == [True] * 3, lines


@pytest.mark.parametrize("content", [b"", b"[]", b'{"interval": "x", "last_check_epoch": [1]}', b"\xff"])
def test_heading_of_a_damaged_state_is_calm(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "monitor_state.json").write_bytes(content)
    seen = pulse(tmp_path)
    assert seen.answered is None and len(pulse_lines(seen, NOW)) == 3
    assert pulse_json(seen)["processor"] == {"running": False, "since": None}


def test_doctor_tells_a_program_that_died() -> None:
    assert not check_program("monitor", Life(False, died=True), NOW).ok
    assert check_program("monitor", Life(False), NOW).ok and check_program("monitor", Life(True, NOW), NOW).ok
