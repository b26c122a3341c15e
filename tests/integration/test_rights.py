"""As whom the suite runs what it starts, and what the programs say where they may not read or write.

The programs run without root's rights here whoever runs the suite, so nor can root write into a folder that is closed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.integration.test_deploy import copy_project
from tests.integration.test_programs import log_of, problems, queue_up
from tests.media import ffmpeg, make_clip, picture
from tests.programs import ROOT, environment, run_program
from tests.rights import SYS_NICE, capabilities, whoami
from tools.core.queue_item import QueueItem
from tools.state.work_queue import WorkQueue

pytestmark = pytest.mark.another_user


# --- the suite ---------------------------------------------------------------------------------------------------


def test_what_the_suite_starts_has_no_right_to_real_time_threads() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        sets = ("Eff", "Prm", "Inh", "Amb", *(["Bnd"] if os.geteuid() == 0 else []))
        assert [name for name in sets if SYS_NICE in capabilities(name, sleeper.pid)] == []
    finally:
        sleeper.kill()
        sleeper.wait()
    attempt = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    assert "PermissionError" in subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True).stderr
    assert whoami().endswith("without real-time threads")


def test_no_thread_of_an_encoder_is_a_real_time_one() -> None:
    command = [ffmpeg(), "-v", "quiet", "-nostdin", *picture(60, "640x360"), "-c:v", "libsvtav1", "-f", "null", "-"]
    encoder = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    policies: dict[int, int] = {}  # of each thread
    try:
        while len(policies) < 12:  # ffmpeg alone has fewer
            assert encoder.poll() is None, policies
            policies |= dict(_policies(encoder.pid))
            time.sleep(0.05)
    finally:
        encoder.kill()
        encoder.wait()
    assert set(policies.values()) == {os.SCHED_OTHER}


def _policies(pid: int) -> Iterator[tuple[int, int]]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            yield int(task.name), os.sched_getscheduler(int(task.name))
        except ProcessLookupError:
            continue  # ended meanwhile


def test_program_run_without_rights_has_none() -> None:
    done = without_rights("cat", "/proc/self/status", env=os.environ)
    masks = dict(line.split(":\t") for line in done.stdout.splitlines() if line.startswith("Cap"))
    assert int(masks["CapEff"], 16) == int(masks["CapPrm"], 16) == 0


# --- the programs ------------------------------------------------------------------------------------------------


def without_rights(*command: str | Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.rights", *command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tool(name: str, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return without_rights(sys.executable, ROOT / "tools" / name, *arguments, env=env)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        folder = running.root / "datasets" / "me" / "in" / "番剧"
        folder.mkdir(parents=True)
        make_clip(tmp_path / "clip.mp4").rename(folder / "1.mp4")
        yield running


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A log folder with one item, that everybody may read and nobody write."""
    log_dir = tmp_path / "log"
    with WorkQueue(log_dir).transaction() as view:
        view.put(QueueItem(folder="番剧", hash="h", file_count=1, total_size=9, added_time="2024-01-01T00:00:00"))
    (log_dir / ".processing_queue.json.lock").unlink()
    log_dir.chmod(0o555)
    yield log_dir
    log_dir.chmod(0o755)


def test_folder_that_may_only_be_read_is_enough_to_look_and_nothing_else(
    hub: RunningHub, closed: Path, tmp_path: Path
) -> None:
    env = environment(hub, tmp_path)
    before = sorted(closed.iterdir())
    for name, question in (("queue_processor.py", "--status"), ("modelscope_monitor.py", "--queue")):
        told = tool(name, question, env=env)
        assert told.returncode == 0 and "番剧" in told.stdout and told.stderr == ""
    for name, order in (
        ("queue_processor.py", ["--cancel", "番剧"]),
        ("queue_processor.py", ["--retry"]),
        ("queue_processor.py", ["--drain"]),
        ("modelscope_monitor.py", ["--once"]),
    ):
        refused = tool(name, *order, env=env)
        assert refused.returncode == 1 and refused.stdout == "" and refused.stderr.count("\n") == 1, refused.stderr
        assert "Permission denied" in refused.stderr and f"{closed} belongs to " in refused.stderr
    assert sorted(closed.iterdir()) == before


def test_work_folder_that_may_not_be_written_is_one_error_line_and_costs_no_attempt(
    hub: RunningHub, tmp_path: Path
) -> None:
    env = environment(hub, tmp_path)
    queue_up(env)
    (tmp_path / "work").mkdir()
    (tmp_path / "work").chmod(0o555)
    done = tool("queue_processor.py", "--drain", env=env)
    (tmp_path / "work").chmod(0o755)
    assert done.returncode == 1 and "Traceback" not in log_of(tmp_path) + done.stderr
    assert len(problems(tmp_path)) == 1 and f"WORK_DIR={tmp_path}/work: can't write into it" in problems(tmp_path)[0]
    status = json.loads(run_program("queue_processor.py", "--status", "--json", env=env).stdout)
    assert [(item["status"], item["attempts"]) for item in status["items"]] == [("pending", 0)]


@pytest.mark.parametrize("name", ["videos", "hub_cache"])
def test_what_another_user_left_in_the_work_folder_is_noticed_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name).chmod(0o555)
    code = "import sys, pathlib; from tools.stages.workspace import Workspace; Workspace(pathlib.Path(sys.argv[1]), 0)"
    done = without_rights(sys.executable, "-c", f"{code}.prepare()", tmp_path, env=os.environ)
    assert "WorkspaceError: can't use WORK_DIR=" in done.stderr and f"{tmp_path / name} belongs to" in done.stderr


def test_start_where_the_log_folder_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    (project / "log").chmod(0o555)
    env = {**os.environ, "MODELSCOPE_API_TOKEN": "not-a-token", "UI_LANG": "en"}
    done = without_rights("bash", project / "start_monitoring.sh", "--foreground", env=env)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"can't write to {project}/log: it is read-only" in done.stderr


def test_set_up_leaves_nothing_that_locks_another_user_out(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    done = without_rights("bash", project / "start_monitoring.sh", "--setup-only", env=os.environ)
    assert done.returncode == 0, done.stderr
    assert list((project / "log").iterdir()) == []
