"""The supervisor: what dies is restarted and told, what ended for good stays ended, and nothing survives it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE, until
from tests.programs import ROOT, HubAddress, end, environment, run_program, start_program
from tools.runtime.private import FolderLock
from tools.state.liveness import life_of
from tools.state.singleton import Singleton

pytestmark = pytest.mark.another_user
NOBODY = HubAddress("http://127.0.0.1:9", "made-up-for-tests")


def both_run(log_dir: Path) -> bool:
    return all(life_of(log_dir, name).running for name in ("monitor", "processor"))


def log_of(log_dir: Path) -> str:
    path = log_dir / "processing.log"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def pid_of(log_dir: Path, program: str) -> int:
    """Of a program that holds its lock; its name plate is written just behind that."""

    def words() -> list[str]:
        return life_of(log_dir, program).holder.split()

    until(lambda: len(words()) > 1 and words()[1].isdecimal(), "its name plate is there")
    return int(words()[1])


def test_killed_program_is_restarted_with_its_cause_and_a_stop_ends_all_in_order(tmp_path: Path) -> None:
    log_dir = tmp_path / "log"
    supervisor = start_program("supervise.py", "monitor", "processor", env=environment(NOBODY, tmp_path))
    try:
        until(lambda: both_run(log_dir), "both run")
        killed = pid_of(log_dir, "processor")
        os.kill(killed, signal.SIGKILL)
        until(lambda: both_run(log_dir) and pid_of(log_dir, "processor") != killed, "it runs again")
        told = [line for line in log_of(log_dir).splitlines() if " supervisor " in line]
        assert (
            len(told) == 1
            and "WARNING supervisor processor died, restarting" in told[0]
            and "killed by SIGKILL, from a person" in told[0]
        )
        assert end(supervisor) == 0
    finally:
        supervisor.kill()
    assert not any(life_of(log_dir, name).running for name in ("monitor", "processor"))
    assert log_of(log_dir).count(" stopped\n") == 2


def test_programs_of_a_killed_supervisor_end_in_order(tmp_path: Path) -> None:
    log_dir = tmp_path / "log"
    supervisor = start_program("supervise.py", "monitor", "processor", env=environment(NOBODY, tmp_path))
    until(lambda: both_run(log_dir), "both run")
    supervisor.kill()
    supervisor.wait()
    until(lambda: log_of(log_dir).count(" stopped\n") == 2, "both end")


def test_program_that_was_asked_to_end_or_runs_elsewhere_stays_ended(tmp_path: Path) -> None:
    log_dir = tmp_path / "log"
    env = environment(NOBODY, tmp_path)
    supervisor = start_program("supervise.py", "monitor", env=env)
    until(lambda: bool(life_of(log_dir, "monitor").running), "it runs")
    os.kill(pid_of(log_dir, "monitor"), signal.SIGTERM)
    assert supervisor.wait(PATIENCE) == 0
    lock = Singleton(log_dir, "monitor")
    lock.acquire()
    assert run_program("supervise.py", "monitor", env=env, timeout=PATIENCE).returncode == 1
    assert " supervisor " not in log_of(log_dir)


def test_processor_whose_work_folder_another_one_holds_ends_for_good_with_one_line(tmp_path: Path) -> None:
    """Nothing but another WORK_DIR, or the end of the other one, helps it."""
    env = environment(NOBODY, tmp_path)
    Path(env["WORK_DIR"]).mkdir(mode=0o700)
    lock = FolderLock(Path(env["WORK_DIR"]), "processor")
    lock.acquire()
    done = run_program("supervise.py", "processor", env=env, timeout=60)
    lock.release()
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if "WORK_DIR" in line]
    assert len(told) == 1 and f"pid {os.getpid()}" in told[0] and "end that one first" in told[0]
    log = log_of(tmp_path / "log")
    assert " supervisor " not in log and log.count(" ERROR processor ended: ") == 1


_LOOP = """
import sys
from pathlib import Path
from tools.core import restarts
from tools.runtime import logs
from tools.supervise import Supervisor
restarts._FIRST_WAIT = restarts._LONGEST_WAIT = 0.01
logs.set_up("supervisor", Path(sys.argv[1]))
count = Path(sys.argv[1]) / "count"
code = "import sys; from pathlib import Path; p = Path(sys.argv[1]); n = len(p.read_bytes()) if p.exists() else 0; "
code += "p.write_bytes(b'x' * (n + 1)); sys.exit(2 if n == 8 else 3)"
command = [sys.executable, "-c", code, str(count)]
sys.exit(Supervisor({"monitor": (command, Path(sys.argv[1]))}, Path(sys.argv[1])).run())
"""


def test_crash_loop_is_one_error_and_wrong_settings_end_it_with_their_status(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LOOP, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    text = log_of(tmp_path)
    assert text.count("WARNING supervisor monitor died, restarting") == 8
    assert text.count("gave up without a line in the log: a bug, or") == 8 and "status" not in text
    assert "monitor died 5 times soon after its start" in text
    assert text.count("ERROR") == 2 and "ERROR supervisor monitor stays ended: a setting is wrong" in text
