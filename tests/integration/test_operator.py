"""What somebody who runs this for months sees and types, through the real programs."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.media import make_clip
from tests.programs import environment, run_program, start_program


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        (running.root / "datasets" / "me" / "in").mkdir(parents=True)
        yield running


@pytest.fixture
def inbox(hub: RunningHub) -> Path:
    return hub.root / "datasets" / "me" / "in"


def upload(inbox: Path, folder: str, *names: str, content: bytes | None = None) -> None:
    place = inbox / folder
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        if content is None:
            shutil.copy(make_clip(inbox.parent.parent.parent / "clip.mp4"), place / name)
        else:
            (place / name).write_bytes(content)


def wait_for(condition: Callable[[], object], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def log_of(tmp_path: Path) -> str:
    place = tmp_path / "log" / "processing.log"
    return place.read_text(encoding="utf-8") if place.exists() else ""


def once(env: dict[str, str]) -> str:
    done = run_program("modelscope_monitor.py", "--once", env=env)
    assert done.returncode == 0, done.stderr
    return done.stderr


def queue(env: dict[str, str]) -> str:
    return run_program("modelscope_monitor.py", "--queue", env=env).stdout


def items(tmp_path: Path) -> dict[str, str]:
    place = tmp_path / "log" / "processing_queue.json"
    found = json.loads(place.read_text(encoding="utf-8")) if place.exists() else []
    return {item["folder"]: item["status"] for item in found}


@pytest.mark.another_user
def test_folder_without_a_video_and_one_that_is_not_quiet_are_named(
    hub: RunningHub, inbox: Path, tmp_path: Path
) -> None:
    upload(inbox, "盘", "disc.ISO", "extra.zip", "notes", content=b"x")
    upload(inbox, "长片", "1.mp4", "1.nfo", content=b"x")
    waits = environment(hub, tmp_path, MIN_FOLDER_STABLE_TIME="600")
    wait_for(lambda: "长片" in log_of(tmp_path) or not once(waits), lambda: log_of(tmp_path))
    assert "not queued" not in log_of(tmp_path), "its upload may go on"
    told = queue(waits)
    assert "长片: not quiet yet 尚未稳定, " in told and " s left 还需 " in told
    assert "盘: holds no video (.iso, .zip): not queued" in told
    ready = environment(hub, tmp_path)
    summary = once(ready).splitlines()[-1]
    assert "polled once repo=me/in folders=2 queued=1 not_quiet_yet=0 no_video=1 pending=1" in summary
    once(ready)
    assert log_of(tmp_path).count("holds no video (.iso, .zip): not queued folder=盘") == 1, "once, over restarts too"
    assert "长片: not quiet" not in queue(ready)


@pytest.mark.another_user
def test_failed_folder_that_was_deleted_on_the_hub_settles_by_itself(
    hub: RunningHub, inbox: Path, tmp_path: Path
) -> None:
    env = environment(hub, tmp_path)
    upload(inbox, "坏", "1.mp4", content=b"no video at all" * 99)
    upload(inbox, "空", "1.mp4", content=b"neither is this" * 99)
    wait_for(lambda: items(tmp_path).keys() == {"坏", "空"} or not once(env), lambda: log_of(tmp_path))
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 1
    told = run_program("queue_processor.py", "--status", env=env).stdout
    assert "0 of 1 published, 1 can't be converted 已发布 0 个，1 个无法转换:" in told
    assert "Upload a better file; --retry changes nothing" in told and "failed: 2" in told
    shutil.rmtree(inbox / "坏")
    (inbox / "空" / "1.mp4").rename(inbox / "空" / "1.txt")
    wait_for(lambda: items(tmp_path) == {} or not once(env), lambda: log_of(tmp_path))
    assert log_of(tmp_path).count("坏 is no longer in me/in: nothing to do") == 1
    assert log_of(tmp_path).count("空 holds no video any more: nothing to do") == 1
    upload(inbox, "坏", "1.mp4", content=b"no video at all" * 99)
    wait_for(lambda: items(tmp_path) == {"坏": "pending"} or not once(env), lambda: log_of(tmp_path))


def test_edited_env_file_is_noticed_once_and_a_new_token_needs_no_restart(
    hub: RunningHub, inbox: Path, tmp_path: Path
) -> None:
    dotenv = tmp_path / "settings.env"
    env = environment(hub, tmp_path, ANIMATION_DOTENV=str(dotenv), CHECK_INTERVAL="300")
    upload(inbox, "番剧", "1.mp4")
    wait_for(lambda: items(tmp_path) or not once(env), lambda: log_of(tmp_path))
    del env["MODELSCOPE_API_TOKEN"]
    dotenv.write_text("MODELSCOPE_API_TOKEN=wrong-token\nCRF=40\n")
    process = start_program("queue_processor.py", env=env)
    try:
        refused = "PAUSED: the hub refused the token: put a new one into .env (MODELSCOPE_API_TOKEN); work resumes by"
        wait_for(lambda: refused in log_of(tmp_path), lambda: log_of(tmp_path))
        assert " CRF=40 " in log_of(tmp_path).partition("settings ")[2], "what counts is in the log"
        dotenv.write_text("MODELSCOPE_API_TOKEN=wrong-token\nCRF=45\nBATCH_SIZE=9999\n")
        wait_for(lambda: "BATCH_SIZE='9999'" in log_of(tmp_path), lambda: log_of(tmp_path))
        dotenv.write_text(f"MODELSCOPE_API_TOKEN={hub.token}\nCRF=45\n")
        wait_for(lambda: "completed" in items(tmp_path).values(), lambda: log_of(tmp_path))
        assert log_of(tmp_path).count("CRF=45 (now 40) counts after a restart") == 1
        assert hub.token not in log_of(tmp_path)
    finally:
        process.terminate()
        assert process.wait(10) == 0
