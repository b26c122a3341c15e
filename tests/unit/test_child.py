"""Children end: by themselves, by limits, and with us."""

import contextlib
import fcntl
import io
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.patience import PATIENCE, until
from tests.programs import ROOT, children_working_in
from tools.core.errors import Stopped
from tools.runtime.child import (
    ChildLimits,
    ChildOutgrew,
    ChildStalled,
    ChildTimeout,
    CpuTime,
    is_stalled,
    run,
    suspend_patient,
)
from tools.runtime.spawn import Access, Spawned, set_patience

pytestmark = pytest.mark.another_user

IOPRIO_GET = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
PYTHON = [sys.executable, "-c"]
ACCESS = Access(reads=(Path(sys.base_prefix), Path(sys.prefix)))  # a Python may lie anywhere


def test_status_lines_and_the_end_of_standard_error_come_back() -> None:
    seen: list[str] = []
    code = "import sys; print('a'); print('b'); sys.stderr.write('x\\n' * 500 + 'last\\n'); sys.exit(3)"
    ended = run([*PYTHON, code], access=ACCESS, limits=ChildLimits(timeout=PATIENCE), on_line=seen.append)
    assert (ended.status, seen) == (3, ["a", "b"])
    assert ended.stderr == "x … repeated 500 times\nlast"


def test_wait_takes_a_report_beyond_the_first_1024_files() -> None:
    """Our own side alone: the watcher's report is played by a pipe."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2048:
        pytest.skip("this process may not open as many files")
    reads, writes = os.pipe()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        report = fcntl.fcntl(reads, fcntl.F_DUPFD, 1024)
        child = Spawned(os.getpid(), io.BytesIO(), io.BytesIO(), report)
        assert child.wait(0.001) is None
        os.write(writes, b"status 7\n")
        assert child.wait() == 7
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(reads)
        os.close(writes)


def test_every_line_of_standard_error_passes_whole_and_what_is_kept_has_the_first_and_the_last() -> None:
    seen: list[str] = []
    word = "''.join(chr(97 + n // 26 ** p % 26) for p in range(3))"
    code = (
        f"import sys; [print({word}, file=sys.stderr) for n in range(1000)]; print('y' * 9000 + 'end', file=sys.stderr)"
    )
    ended = run([*PYTHON, code], access=ACCESS, limits=ChildLimits(timeout=PATIENCE), on_complaint=seen.append)
    assert len(seen) == 1001 and seen[0] == "aaa" and seen[-1] == "y" * 9000 + "end"
    kept = ended.stderr.splitlines()
    assert kept[0] == "aaa" and kept[-1].endswith("yend") and len(kept) < 100


@pytest.mark.parametrize(("is_patient", "said"), [(True, "10 3"), (False, "0 0")])
def test_patient_child_lets_everything_else_go_first(is_patient: bool, said: str) -> None:
    seen: list[str] = []
    code = f"import os; print(os.nice(0) - {os.nice(0)}, os.sched_getscheduler(0))"
    run(
        [*PYTHON, code],
        access=replace(ACCESS, is_patient=is_patient),
        limits=ChildLimits(timeout=PATIENCE),
        on_line=lambda line: seen.append(line),
    )
    assert seen == [said]


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("stops", [False, True])
def test_patient_child_stands_still_for_as_long_as_wanted_and_no_limit_counts(stops: bool, tmp_path: Path) -> None:
    code = f"import time; time.sleep(0.2); print('end of {tmp_path}')"
    seen: list[str] = []
    stop = threading.Event()
    ended: list[int | str] = []
    patient = replace(ACCESS, is_patient=True)

    def work() -> None:
        try:
            limits = ChildLimits(stall=1.0)
            ended.append(run([*PYTHON, code], access=patient, limits=limits, stop=stop, on_line=seen.append).status)
        except Stopped:
            ended.append("stopped")

    thread = threading.Thread(target=work)
    suspend_patient(True)
    try:
        thread.start()
        until(lambda: children_named(code))
        pid = children_named(code)[0]
        until(lambda: state_of(pid) == "T")
        since = time.monotonic()
        until(lambda: time.monotonic() - since > 2)
        assert state_of(pid) == "T" and not ended, "the limit has not ended it"
        if stops:
            stop.set()
            until(lambda: ended)
    finally:
        suspend_patient(False)
        thread.join()
    assert ended == (["stopped"] if stops else [0]) and (stops or seen == [f"end of {tmp_path}"])


def children_named(code: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and code.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_patience_is_as_the_settings_have_it() -> None:
    seen: list[str] = []
    code = f"import ctypes, os; print(os.nice(0) - {os.nice(0)}, ctypes.CDLL(None).syscall({IOPRIO_GET}, 1, 0))"
    set_patience(5, "idle")
    try:
        for access in (replace(ACCESS, is_patient=True), ACCESS):
            run([*PYTHON, code], access=access, limits=ChildLimits(timeout=PATIENCE), on_line=seen.append)
    finally:
        set_patience(10, "auto")
    assert seen[0] == f"5 {3 << 13}" and seen[1].split()[0] == "0" and seen[1] != f"0 {3 << 13}"


def test_stalled_child_s_last_words_are_kept() -> None:
    code = "import sys, time; print('stuck', file=sys.stderr, flush=True); time.sleep(60)"
    with pytest.raises(ChildStalled) as caught:
        run([*PYTHON, code], access=ACCESS, limits=ChildLimits(stall=0.7))
    assert caught.value.stderr == "stuck"


def test_child_without_progress_is_ended_by_the_stall_limit() -> None:
    with pytest.raises(ChildStalled):
        run(["sleep", "infinity"], access=ACCESS, limits=ChildLimits(stall=0.5))


def test_child_that_only_burns_cpu_is_given_more_time_and_then_ended() -> None:
    with pytest.raises(ChildStalled) as caught:
        run([sys.executable, "-c", "while True: pass"], access=ACCESS, limits=ChildLimits(stall=1.0))
    assert int(str(caught.value).split()[-2]) >= 4


@pytest.mark.parametrize(
    ("quiet", "used", "stalled"),
    [
        (300, CpuTime(0, 0), False),
        (301, CpuTime(0, 0), True),
        (301, CpuTime(2.9, 0), True),  # it only polls
        (301, CpuTime(300, 0), False),
        (1199, CpuTime(9000, 0), False),  # many threads
        (1201, CpuTime(9000, 0), True),
        (1201, CpuTime(100, 1100), False),  # it gets a twelfth of the CPU that it wants
        (14399, CpuTime(1200, 13200), False),
        (14412, CpuTime(1201, 13211), True),
        (301, CpuTime(0, 3600), False),  # it gets none
        (302, CpuTime(0, 0.9), True),  # it had to wait when it started, then it sleeps
    ],
)
def test_child_hangs_if_it_sleeps_or_burns_the_cpu_that_it_wants_not_if_it_gets_little(
    quiet: float, used: CpuTime, stalled: bool
) -> None:
    assert is_stalled(quiet, 300, used) is stalled


def test_time_in_which_this_program_was_frozen_ends_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    real, frozen = time.monotonic, 0.0

    class Clock:
        """Each look at it comes an hour after the one before."""

        @staticmethod
        def monotonic() -> float:
            nonlocal frozen
            frozen += 3600
            return real() + frozen

    monkeypatch.setattr("tools.runtime.child.time", Clock)
    limits = ChildLimits(timeout=60, stall=60)
    assert run(["sleep", "0.5"], access=ACCESS, limits=limits).status == 0


def test_child_that_makes_progress_is_left_alone() -> None:
    code = "import time\nfor n in range(16): print(n, flush=True); time.sleep(0.2)"
    assert run([*PYTHON, code], access=ACCESS, limits=ChildLimits(stall=2.5), on_line=lambda line: True).status == 0


def test_child_that_ignores_sigterm_and_its_own_child_are_killed(tmp_path: Path) -> None:
    mark = str(tmp_path / "grandchild")
    code = f"trap '' TERM; (exec -a {mark} sleep 77) & exec sleep 60"
    with pytest.raises(ChildTimeout):
        run(["bash", "-c", code], access=ACCESS, limits=ChildLimits(timeout=0.7))
    assert children_working_in(tmp_path) == []


def test_stop_ends_the_child() -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        run(["sleep", "60"], access=ACCESS, limits=ChildLimits(), stop=stop)


def test_memory_above_the_limit_ends_the_child() -> None:
    code = "import time; block = b'x' * 300_000_000; time.sleep(60)"
    with pytest.raises(ChildOutgrew):
        run([*PYTHON, code], access=ACCESS, limits=ChildLimits(rss=150_000_000, timeout=PATIENCE))


def test_child_sees_no_token_and_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELSCOPE_API_TOKEN", "HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "hf_token", "SMTP_PASSWORD"):
        monkeypatch.setenv(name, "hush")
    seen: list[str] = []
    code = "import os, sys; print('hush' in str(os.environ), sys.stdin.read() == '')"
    run([*PYTHON, code], access=ACCESS, limits=ChildLimits(timeout=PATIENCE), on_line=seen.append)
    assert seen == ["False True"]


def test_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from tools.runtime.child import *; from tools.runtime.spawn import NOTHING; "
        f"run(['bash', '-c', 'exec -a {tmp_path}/x sleep 88'], access=NOTHING, limits=ChildLimits())"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    until(lambda: any(line.startswith(str(tmp_path)) for line in children_working_in(tmp_path)))
    parent.kill()
    parent.wait()
    until(lambda: not children_working_in(tmp_path), "no orphan lives")
