"""The programs as typed: bad input gives one clear line, and nothing is lost."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.media import make_clip
from tests.patience import PATIENCE, until
from tests.programs import ROOT, environment, run_program, start_program
from tools.state.history_reader import History
from tools.state.progress import ProgressFile


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        folder = running.root / "datasets" / "me" / "in" / "番剧"
        folder.mkdir(parents=True)
        make_clip(tmp_path / "clip.mp4").rename(folder / "1.mp4")
        yield running


def queue_up(env: dict[str, str]) -> None:
    while "番剧" not in run_program("modelscope_monitor.py", "--queue", env=env).stdout:
        assert run_program("modelscope_monitor.py", "--once", env=env).returncode == 0


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "log" / "processing.log").read_text(encoding="utf-8")


def problems(tmp_path: Path) -> list[str]:
    return [line for line in log_of(tmp_path).splitlines() if "error" in line.lower()]


@pytest.mark.another_user
def test_once_queue_status_drain_and_json(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    queue_up(env)
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    told = run_program("queue_processor.py", "--status", env=env).stdout
    assert "completed: 1" in told and "番剧" in told
    content = json.loads(run_program("queue_processor.py", "--status", "--json", env=env).stdout)
    pulse = {"monitor", "processor", "last_poll", "warnings"}
    of_bytes = {"reused", "source_gone", "version", "health", "eta", "gain", "slots"}
    assert set(content) == {"counts", "running", "paused", "items", "workers", "confined", "hub"} | of_bytes | pulse
    assert content["counts"]["completed"] == 1 and content["items"][0]["videos_done"] == 1
    assert (hub.root / "datasets/me/out/番剧/1.mkv").exists()
    assert hub.store.repo("me/out").is_private
    past = History(tmp_path / "log")
    (video,), polls = past.videos(), past.polls()
    assert (video.folder, video.video, video.outcome) == ("番剧", "1.mp4", "stored") and video.seconds["encode"] > 0
    assert video.encoder and video.width and video.bytes_out and video.source_codec
    assert polls and all(poll.answered for poll in polls) and sum(poll.queued for poll in polls) == 1
    assert problems(tmp_path) == []


def test_programs_run_as_modules(hub: RunningHub, tmp_path: Path) -> None:
    env = {**environment(hub, tmp_path), "PYTHONPATH": str(ROOT)}
    for module, arguments in (("modelscope_monitor", ["--once"]), ("queue_processor", ["--status"])):
        code = f"from tools.{module} import main; raise SystemExit(main({arguments}))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"INPUT_REPO": "me/nowhere"}, "me/nowhere"),
        ({"MODELSCOPE_API_TOKEN": "wrong-one"}, "MODELSCOPE_API_TOKEN"),
        ({"MODELSCOPE_API_TOKEN": ""}, "MODELSCOPE_API_TOKEN"),
        ({"FFMPEG": "/nonexistent/ffmpeg"}, "FFMPEG"),
        ({"ENCODER": "av1_nvenc"}, "no AV1 encoder works here"),
    ],
)
def test_what_a_person_must_mend_is_one_error_line_and_the_item_stays_pending(
    hub: RunningHub, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    env = environment(hub, tmp_path)
    queue_up(env)
    done = run_program("queue_processor.py", "--drain", env={**env, **changes})
    assert done.returncode == 1
    assert len(problems(tmp_path)) == 1 and said in problems(tmp_path)[0], log_of(tmp_path)
    assert "wrong-one" not in log_of(tmp_path) + done.stderr and "Traceback" not in done.stderr
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    assert (hub.root / "datasets/me/out/番剧/1.mkv").exists()


def test_monitor_of_an_unknown_repo_says_so_and_exits_1(hub: RunningHub, tmp_path: Path) -> None:
    done = run_program("modelscope_monitor.py", "--once", env=environment(hub, tmp_path, INPUT_REPO="me/nowhere"))
    assert done.returncode == 1 and "me/nowhere" in done.stderr and "Traceback" not in done.stderr


def test_hub_down_at_the_start_is_no_error_and_heals_by_itself(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path, MODELSCOPE_ENDPOINT="http://127.0.0.1:9")
    process = start_program("modelscope_monitor.py", env=env)
    try:
        until(lambda: (tmp_path / "log/processing.log").exists() and "retrying hub request" in log_of(tmp_path))
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert problems(tmp_path) == []


def test_renamed_folder_costs_no_download_no_encode_and_no_upload(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    queue_up(env)
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    (hub.root / "datasets/me/in/番剧").rename(hub.root / "datasets/me/in/番剧 第一季")
    before, encodes = len(hub.requests), log_of(tmp_path).count(" stored ")
    while "番剧 第一季" not in run_program("modelscope_monitor.py", "--queue", env=env).stdout:
        assert run_program("modelscope_monitor.py", "--once", env=env).returncode == 0
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    assert (hub.root / "datasets/me/out/番剧 第一季/1.mkv").read_bytes() == (
        hub.root / "datasets/me/out/番剧/1.mkv"
    ).read_bytes()
    asked = hub.requests[before:]
    assert not [line for line in asked if line.startswith("PUT") or ("mp4" in line and "tree" not in line)], asked
    assert log_of(tmp_path).count(" stored ") == encodes and "reused=1 saved_s=" in log_of(tmp_path)
    status = run_program("queue_processor.py", "--status", env=env).stdout
    assert "reused: 1 video had a result already" in status and "番剧: its only result" in status


@pytest.mark.another_user
@pytest.mark.parametrize(
    ("program", "plate"), [("modelscope_monitor.py", "monitor"), ("queue_processor.py", "processor")]
)
def test_second_program_says_who_holds_the_lock(hub: RunningHub, tmp_path: Path, program: str, plate: str) -> None:
    env = environment(hub, tmp_path)
    process = start_program(program, env=env)
    try:
        until((tmp_path / f"log/.{plate}.pid").exists)
        done = run_program(program, env=env)
        assert done.returncode == 1 and f"pid {process.pid}" in done.stderr and done.stderr.count("\n") == 1
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.another_user
def test_status_and_doctor_know_a_demo_by_its_log_folder_alone(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path, HUB_DIR=str(hub.root), LOG_DIR=str(tmp_path / "log/demo"))
    (hub.root / ".token").write_text(hub.token)
    queue_up(env)
    assert run_program("demo.py", "--note", env=env).returncode == 0
    assert hub.token not in (tmp_path / "log/demo/demo.env").read_text(encoding="utf-8")
    names = ("MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN", "INPUT_REPO", "OUTPUT_REPO", "HUB_DIR")
    typed = {name: value for name, value in env.items() if name not in names}
    told = run_program("queue_processor.py", "--status", env=typed)
    assert "番剧" in told.stdout and told.stderr == ""
    checked = run_program("doctor.py", env=typed).stdout
    for found in (f"{hub.endpoint} answers", "OK       token ", "OK       input repo   me/in", "me/out"):
        assert found in checked, checked


@pytest.mark.another_user
def test_other_output_repo_gets_everything_and_the_first_one_s_items_come_back(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    other = {**env, "OUTPUT_REPO": "me/second"}
    queue_up(env)
    assert run_program("queue_processor.py", "--cancel", "番剧", env=env).returncode == 0
    told = run_program("queue_processor.py", "--status", env=other)
    assert "cancelled: 1" in told.stdout and "me/in -> me/out" in told.stderr and "me/second" in told.stderr
    queue_up(other)
    assert run_program("queue_processor.py", "--drain", env=other).returncode == 0
    assert (hub.root / "datasets/me/second/番剧/1.mkv").exists()
    assert "completed: 1" in run_program("queue_processor.py", "--status", env=other).stdout
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    assert "cancelled: 1" in run_program("queue_processor.py", "--status", env=env).stdout
    assert log_of(tmp_path).count("settings name other datasets than before") == 2 and problems(tmp_path) == []


@pytest.mark.another_user
def test_second_program_of_other_settings_does_not_start(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    queue_up(env)
    process = start_program("modelscope_monitor.py", env=env)
    try:
        until((tmp_path / "log/.monitor.pid").exists)
        done = run_program("queue_processor.py", "--drain", env={**env, "INPUT_REPO": "me/other"})
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and f"pid {process.pid}" in done.stderr
        assert "me/in -> me/out" in done.stderr and "me/other -> me/out" in done.stderr
        assert "番剧" in run_program("modelscope_monitor.py", "--queue", env=env).stdout
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.another_user
def test_second_processor_in_the_same_work_folder_says_who_works_there_and_touches_nothing(
    hub: RunningHub, tmp_path: Path
) -> None:
    env = environment(hub, tmp_path)
    process = start_program("queue_processor.py", env=env)
    try:
        until(lambda: (tmp_path / "log/processing.log").exists() and "connected as" in log_of(tmp_path))
        kept = tmp_path / "work" / "videos" / "0123456789abcdef0123"
        kept.mkdir(parents=True)
        done = run_program("queue_processor.py", "--drain", env={**env, "LOG_DIR": str(tmp_path / "other")})
        assert done.returncode == 2 and f"pid {process.pid}" in done.stderr.splitlines()[-1], done.stderr
        assert f"WORK_DIR={tmp_path}/work" in done.stderr and kept.is_dir() and "Traceback" not in done.stderr
    finally:
        process.terminate()
        process.wait(PATIENCE)
    kept.rmdir()
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0


@pytest.mark.another_user
def test_state_files_are_nobody_else_s_to_write_whatever_the_umask(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    before = os.umask(0)
    try:
        queue_up(env)
        assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    finally:
        os.umask(before)
    wide = [path for path in [tmp_path / "log", *(tmp_path / "log").rglob("*")] if path.stat().st_mode & 0o022]
    assert wide == [] and (tmp_path / "log" / "processing_queue.json").stat().st_mode & 0o777 == 0o644


def test_full_disk_is_waited_for_and_said_once(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    queue_up(env)
    process = start_program("queue_processor.py", env={**env, "MIN_FREE_SPACE_GB": "900000"})
    try:
        until(lambda: (tmp_path / "log/processing.log").exists() and "not enough disk space" in log_of(tmp_path))
        for _ in range(5):  # several more tries
            before = ProgressFile(tmp_path / "log").read()["updated"]
            until(lambda before=before: ProgressFile(tmp_path / "log").read()["updated"] != before)  # type: ignore[misc]
        assert log_of(tmp_path).count("not enough disk space; waiting") == 1 and problems(tmp_path) == []
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0


@pytest.mark.another_user
def test_cancel_and_retry(hub: RunningHub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    queue_up(env)
    assert run_program("queue_processor.py", "--cancel", "nobody", env=env).returncode == 1
    assert run_program("queue_processor.py", "--cancel", "番剧/", env=env).returncode == 0
    assert "cancelled: 1" in run_program("queue_processor.py", "--status", env=env).stdout
    run_program("modelscope_monitor.py", "--once", env=env)
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    assert "cancelled: 1" in run_program("queue_processor.py", "--status", env=env).stdout, "not queued again"
    assert run_program("queue_processor.py", "--retry", env=env).returncode == 0
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    assert "completed: 1" in run_program("queue_processor.py", "--status", env=env).stdout


def test_status_of_ten_thousand_items_is_quick(hub: RunningHub, tmp_path: Path) -> None:
    from tools.core.queue_item import QueueItem
    from tools.state.work_queue import WorkQueue

    with WorkQueue(tmp_path / "log").transaction() as view:
        for number in range(10_000):
            name = f"番剧 {number}"
            view.put(QueueItem(folder=name, hash="h", file_count=3, total_size=9, added_time="2024-01-01T00:00:00"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = run_program("queue_processor.py", "--status", env=environment(hub, tmp_path))
    assert "pending: 10000" in done.stdout
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert spent < 5, "s of the processor; a guard against accidents, the bench measures"
