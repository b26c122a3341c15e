"""What somebody who runs this for months sees and types, through the real programs."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.media import make_clip
from tests.patience import until
from tests.programs import environment, run_program, running_program


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        (running.root / "datasets" / "me" / "in").mkdir(parents=True)
        yield running


@pytest.fixture
def inbox(hub: RunningHub) -> Path:
    return hub.root / "datasets" / "me" / "in"


def upload(inbox: Path, folder: str, *names: str, content: bytes | None = None, seconds: float = 1.0) -> None:
    """A folder that is new appears with all of its files."""
    place, aside = inbox / folder, inbox.parent.parent.parent / "aside"
    aside.mkdir()
    for number, name in enumerate(names):
        if content is None:
            make_clip(aside / name, seconds=seconds + number / 4)  # no two have the same content
        else:
            (aside / name).write_bytes(content)
    if place.exists():
        for name in names:
            (aside / name).rename(place / name)
        aside.rmdir()
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(place)


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
    until(lambda: "长片" in log_of(tmp_path) or not once(waits), lambda: log_of(tmp_path))
    assert "not queued" not in log_of(tmp_path), "its upload may go on"
    told = queue(waits)
    assert "长片: not quiet yet, " in told and " s left 长片：尚未稳定，还需 " in told
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
    until(lambda: items(tmp_path).keys() == {"坏", "空"} or not once(env), lambda: log_of(tmp_path))
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 1
    told = run_program("queue_processor.py", "--status", env=env).stdout
    assert "0 of 1 published, 1 can't be converted" in told and "1 个中已发布 0 个，1 个无法转换:" in told
    assert "Upload a better file; --retry changes nothing" in told and "failed: 2" in told
    shutil.rmtree(inbox / "坏")
    (inbox / "空" / "1.mp4").rename(inbox / "空" / "1.txt")
    until(lambda: items(tmp_path) == {} or not once(env), lambda: log_of(tmp_path))
    assert log_of(tmp_path).count("坏 is no longer in me/in: nothing to do") == 1
    assert log_of(tmp_path).count("空 holds no video any more: nothing to do") == 1
    upload(inbox, "坏", "1.mp4", content=b"no video at all" * 99)
    until(lambda: items(tmp_path) == {"坏": "pending"} or not once(env), lambda: log_of(tmp_path))


def test_edited_env_file_is_noticed_once_and_a_new_token_needs_no_restart(
    hub: RunningHub, inbox: Path, tmp_path: Path
) -> None:
    dotenv = tmp_path / "settings.env"
    env = environment(hub, tmp_path, ANIMATION_DOTENV=str(dotenv), CHECK_INTERVAL="300")
    upload(inbox, "番剧", "1.mp4")
    until(lambda: items(tmp_path) or not once(env), lambda: log_of(tmp_path))
    del env["MODELSCOPE_API_TOKEN"]
    dotenv.write_text("MODELSCOPE_API_TOKEN=wrong-token\nCRF=40\n")
    with running_program("queue_processor.py", env=env):
        refused = "PAUSED: the hub refused the token: put a new one into .env (MODELSCOPE_API_TOKEN)"
        until(lambda: refused in log_of(tmp_path), lambda: log_of(tmp_path))
        assert " CRF=40 " in log_of(tmp_path).partition("settings ")[2], "what counts is in the log"
        dotenv.write_text("MODELSCOPE_API_TOKEN=wrong-token\nCRF=45\nBATCH_SIZE=9999\n")
        until(lambda: "BATCH_SIZE='9999'" in log_of(tmp_path), lambda: log_of(tmp_path))
        dotenv.write_text(f"MODELSCOPE_API_TOKEN={hub.token}\nCRF=45\n")
        until(lambda: "completed" in items(tmp_path).values(), lambda: log_of(tmp_path))
        assert log_of(tmp_path).count("CRF=45 (now 40) counts after a restart") == 1
        assert hub.token not in log_of(tmp_path)


# --- orders -------------------------------------------------------------------------------------------------------


def order(env: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = run_program("queue_processor.py", *arguments, env=env)
    assert (done.stdout + done.stderr).count("\n") == 1, done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.another_user
def test_orders_take_names_and_patterns_and_do_nothing_at_all_if_one_is_wrong(
    hub: RunningHub, inbox: Path, tmp_path: Path
) -> None:
    env = environment(hub, tmp_path)
    for name in ("番剧A", "番剧B", "长片"):
        upload(inbox, name, "1.mp4", content=b"no video" * 99)
    until(lambda: len(items(tmp_path)) == 3 or not once(env), lambda: log_of(tmp_path))
    place = tmp_path / "log" / "processing_queue.json"
    before = place.read_bytes()
    for wrong in (
        ["--cancel", "番剧A", "nobody"],
        ["--cancel", "番剧A", "x*"],
        ["--retry", "番剧A"],
        ["--release", "番*"],
        ["--forget", "番剧A"],
        ["--resume"],
    ):
        assert order(env, *wrong)[0] == 1, wrong
    for wrong in (["--priority", "12", "番剧A"], ["--pause", "--resume"], ["--hold", "番剧A", "--bump", "番剧A"]):
        assert order(env, *wrong)[0] == 2, wrong
    assert "3 folders would be cancelled: " in order(env, "--cancel", "*", "--dry-run")[1]
    assert place.read_bytes() == before and not (tmp_path / "log" / "orders.json").exists()
    assert "2 folders cancelled" in order(env, "--cancel", "番剧?/", "番剧A")[1]
    assert "1 folder held" in order(env, "--hold", "*")[1], "what was cancelled is passed over"
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0, "what is held is not waited for"
    assert items(tmp_path) == {"番剧A": "failed", "番剧B": "failed", "长片": "pending"}
    assert "held" in run_program("queue_processor.py", "--status", env=env).stdout
    assert "2 folders requeued" in order(env, "--retry")[1]
    order(env, "--bump", "番剧B")
    assert order(env, "--release", "长片")[0] == 0
    told = queue(env)
    assert told.index("番剧B") < told.index("番剧A")
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 1
    started = [line for line in log_of(tmp_path).splitlines() if " started folder=" in line]
    assert len(started) == 3 and "番剧B" in started[0]


@pytest.mark.another_user
def test_what_was_forgotten_stays_out_until_it_changes(hub: RunningHub, inbox: Path, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    upload(inbox, "坏", "1.mp4", content=b"no video" * 99)
    until(lambda: items(tmp_path) or not once(env), lambda: log_of(tmp_path))
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 1
    assert order(env, "--forget", "坏")[0] == 0 and items(tmp_path) == {}
    once(env)
    assert items(tmp_path) == {}, "although the monitor had not seen that it failed"
    assert order(env, "--add", "坏", "nobody")[0] == 1 and items(tmp_path) == {}
    assert "1 folder queued" in order(env, "--add", "*")[1] and items(tmp_path) == {"坏": "pending"}
    assert order(env, "--add", "坏")[0] == 1, "it is queued already"
    order(env, "--cancel", "坏")
    order(env, "--forget", "坏")
    upload(inbox, "坏", "2.mp4", content=b"no video" * 98)
    until(lambda: items(tmp_path) == {"坏": "pending"} or not once(env), lambda: log_of(tmp_path))


def test_pause_by_hand_ends_what_runs_and_outlives_the_program(hub: RunningHub, inbox: Path, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    upload(inbox, "番剧", "1.mp4")
    until(lambda: items(tmp_path) or not once(env), lambda: log_of(tmp_path))
    assert order(env, "--pause", "night of the fair", "--now")[0] == 0
    with running_program("queue_processor.py", env=env):
        shown = "PAUSED: by --pause: night of the fair; --resume continues 已暂停：由 --pause 暂停：night of the fair"
        until(lambda: shown in run_program("queue_processor.py", "--status", env=env).stdout, lambda: log_of(tmp_path))
        assert items(tmp_path) == {"番剧": "pending"} and "started folder" not in log_of(tmp_path)
        assert order(env, "--resume")[0] == 0
        until(lambda: items(tmp_path) == {"番剧": "completed"}, lambda: log_of(tmp_path))


def encoder_in(folder: Path) -> int | None:
    """The process that encodes there."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if str(folder).encode() in line and b"libsvtav1" in line:
                return int(entry.name)
    return None


@contextlib.contextmanager
def encoder_held(tmp_path: Path) -> Iterator[None]:
    """While it stands still in the midst of an encode."""
    until(lambda: encoder_in(tmp_path / "work"), lambda: log_of(tmp_path))
    pid = encoder_in(tmp_path / "work")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def running(env: dict[str, str]) -> list[str]:
    status = json.loads(run_program("queue_processor.py", "--status", "--json", env=env).stdout)
    return [job["stage"] for job in status["running"]]


def test_pause_finishes_the_video_in_the_encoder_or_ends_it(hub: RunningHub, inbox: Path, tmp_path: Path) -> None:
    env = environment(hub, tmp_path, MAX_CONCURRENT="1", PRESET="8")
    upload(inbox, "番剧", "1.mp4", "2.mp4", seconds=4)
    until(lambda: ("files=2" in log_of(tmp_path) and items(tmp_path)) or not once(env), lambda: log_of(tmp_path))
    with running_program("queue_processor.py", env=env):
        with encoder_held(tmp_path):
            assert order(env, "--pause", "--after-video")[0] == 0
            until(lambda: "paused by --pause how=video" in log_of(tmp_path), lambda: log_of(tmp_path))
        until(lambda: " stored video=" in log_of(tmp_path), lambda: log_of(tmp_path))
        until(lambda: running(env) == ["waiting"], lambda: str(running(env)))
        assert encoder_in(tmp_path / "work") is None and items(tmp_path) == {"番剧": "processing"}
        assert order(env, "--resume")[0] == 0
        with encoder_held(tmp_path):
            assert order(env, "--pause", "--now")[0] == 0
            until(lambda: encoder_in(tmp_path / "work") is None, lambda: log_of(tmp_path))
        until(lambda: running(env) == [], lambda: str(running(env)))
        assert log_of(tmp_path).count(" stored video=") == 1 and items(tmp_path) == {"番剧": "processing"}
        assert order(env, "--resume")[0] == 0
        until(lambda: items(tmp_path) == {"番剧": "completed"}, lambda: log_of(tmp_path))
    assert log_of(tmp_path).count(" stored video=") == 2 and log_of(tmp_path).count("attempt=1") >= 2


def test_outside_of_active_hours_a_video_is_fetched_and_waits(hub: RunningHub, inbox: Path, tmp_path: Path) -> None:
    in_two_days = time.strftime("%a", time.localtime(time.time() + 2 * 86400))
    env = environment(hub, tmp_path, ACTIVE_HOURS=in_two_days, NICE="19", IONICE="idle", DOWNLOAD_LIMIT="50MB")
    upload(inbox, "番剧", "1.mp4")
    until(lambda: items(tmp_path) or not once(env), lambda: log_of(tmp_path))
    with running_program("queue_processor.py", env=env):
        until(lambda: running(env) == ["waiting"], lambda: log_of(tmp_path))
        told = run_program("queue_processor.py", "--status", env=env).stdout
        assert "PAUSED: outside of ACTIVE_HOURS until " in told and "work resumes by itself" in told
        until(lambda: list((tmp_path / "work").rglob("source*")), lambda: log_of(tmp_path))
    assert "ACTIVE_HOURS are over, encodes under way are suspended: until=" in log_of(tmp_path)
    assert " encoding " not in log_of(tmp_path) and " stored " not in log_of(tmp_path)
    assert f" ACTIVE_HOURS={in_two_days} " in log_of(tmp_path) and " DOWNLOAD_LIMIT=50000000 " in log_of(tmp_path)


# --- questions ----------------------------------------------------------------------------------------------------


@pytest.mark.another_user
def test_what_is_published_is_made_again_with_other_settings_beside_its_sidecars_and_looked_into(
    hub: RunningHub, inbox: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    for name, content in (("1.chs.ass", b"[Script Info]\n"), ("f.ttf", b"font"), ("1.nfo", b"no")):
        (aside / name).write_bytes(content)
    make_clip(aside / "1.mkv")
    aside.rename(inbox / "番剧甲")
    env = environment(hub, tmp_path, MIN_FOLDER_STABLE_TIME="0", PRESET="12")
    until(lambda: once(env) and items(tmp_path), str)

    def drain() -> list[dict[str, Any]]:
        done = run_program("queue_processor.py", "--drain", "--concurrent", "1", env=env)
        assert done.returncode == 0, done.stderr
        out = hub.root / "datasets" / "me" / "out" / "番剧甲"
        assert {file.name for file in out.iterdir()} >= {"1.mkv", "1.chs.ass", "f.ttf"} and not (out / "1.nfo").exists()
        return [json.loads(line) for line in (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]

    def ask(*arguments: str, status: int = 0) -> str:
        done = run_program("queue_processor.py", *arguments, env=env)
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    (first,) = drain()
    assert "0 folders would be queued" in ask("--redo", "--if-settings-differ")
    assert "1 folder would" in ask("--redo", "番剧*", "--target-vmaf", "90", "--dry-run")
    assert "--redo takes CRF" in ask("--redo", "番剧甲", "--encoder", "libaom-av1", status=2)
    assert "nothing" in ask("--redo", "乙*", status=1) and items(tmp_path) == {"番剧甲": "completed"}
    assert "1 folder queued" in ask("--redo", "番剧甲", "--crf", "55")
    (second,) = drain()
    assert json.loads(second["options"]) == json.loads(first["options"]) | {"crf": 55.0}
    assert second["sha256"] != first["sha256"] and second["file_name"] == first["file_name"]
    listed = ask("--redo", "--if-settings-differ")
    assert "1 of 1 video made otherwise: crf" in listed and items(tmp_path) == {"番剧甲": "completed"}
    assert "in=1 out=1 quarantined=0 sidecars=2" in ask("--check", "--deep", "2", "--all")
    env["FRAMES_REPO"] = "me/frames"
    assert "1 folder queued" in ask("--frames-only", "番剧*")
    assert drain() == [second], "nothing is encoded again"
    frames = hub.root / "datasets" / "me" / "frames" / "番剧甲"
    assert {file.name for file in frames.iterdir()} == {"metadata.jsonl", "番剧甲_part01of01.tar"}
    assert "Scene frames: " in ask("--status")
    record = hub.root / "datasets" / "me" / "out" / "番剧甲" / "metadata.jsonl"
    record.write_text(json.dumps(second | {"frames": 1}) + "\n", encoding="utf-8")
    until(lambda: "damaged=1" in run_program("queue_processor.py", "--check", "--deep", env=env).stdout, str)
    assert re.search(r"pictures: \d+ instead of 1\b", ask("--check", "--deep", status=1))


def test_coverage_puts_every_folder_under_one_heading_and_why_explains_one(
    hub: RunningHub, inbox: Path, tmp_path: Path
) -> None:
    env = environment(hub, tmp_path)
    for name in ("A", "B/Season 1", "坏"):
        upload(inbox, name, "1.mp4", content=b"no video" * 99)
    upload(inbox, "盘", "disc.iso", content=b"x")
    until(lambda: len(items(tmp_path)) == 3 or not once(env), lambda: log_of(tmp_path))
    order(env, "--cancel", "A")
    order(env, "--hold", "B*")
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 1
    upload(inbox, "新", "1.mp4", content=b"x")

    def covered() -> dict[str, list[str]]:
        done = run_program("queue_processor.py", "--coverage", "--json", env=env)
        content = json.loads(done.stdout)
        assert done.returncode == 1, "one failed"
        return {heading: found["folders"] for heading, found in content["headings"].items() if found["count"]}

    until(lambda: "not quiet yet" in covered(), lambda: str(covered()))
    assert covered() == {
        "cancelled": ["A"],
        "held": ["B/Season 1"],
        "failed": ["坏"],
        "no video": ["盘"],
        "not quiet yet": ["新"],
    }
    told = run_program("queue_processor.py", "--coverage", env=env).stdout
    assert "5  in all, in me/in; 1 need a person" in told and "1  no video 没有视频" in told
    order(env, "--forget", "A", "坏")
    done = run_program("queue_processor.py", "--coverage", env=env)
    assert done.returncode == 0 and "2  settled before" in done.stdout
    why = run_program("queue_processor.py", "--why", "B/Season 1/", env=env).stdout
    assert "unchanged for" in why and "held by --hold" in why and "priority 1 " in why
    assert "done before, or forgotten" in run_program("queue_processor.py", "--why", "A", env=env).stdout
    assert order(env, "--why", "Season")[1].rstrip().endswith("您要找的可能是 B/Season 1")


def test_result_whose_source_was_deleted_is_said_once_and_checked(hub: RunningHub, inbox: Path, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    upload(inbox, "番剧", "1.mp4", "2.mp4")
    # The hub may commit one after the other.
    until(lambda: ("files=2" in log_of(tmp_path) and items(tmp_path)) or not once(env), lambda: log_of(tmp_path))
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    done = run_program("queue_processor.py", "--check", env=env)
    assert done.returncode == 0 and "videos=2 published=2 quarantined=0 missing=0" in done.stdout
    (inbox / "番剧" / "2.mp4").unlink()
    until(lambda: "pending" in items(tmp_path).values() or not once(env), lambda: log_of(tmp_path))
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    run_program("queue_processor.py", "--drain", env=env)
    assert log_of(tmp_path).count("output still has files whose source is gone: folder=番剧 results=2.mkv") == 1
    upload(inbox, "番剧", "3.mp4", content=b"not done yet")
    until(lambda: "pending" in items(tmp_path).values() or not once(env), lambda: log_of(tmp_path))
    done = run_program("queue_processor.py", "--check", "番*", env=env)
    assert done.returncode == 1 and "番剧: in=2 out=1 quarantined=0" in done.stdout
    assert "missing 缺少: 番剧/3.mp4" in done.stdout and "其源文件已不在: 番剧/2.mkv" in done.stdout
    assert order(env, "--check", "nobody")[0] == 1
    (inbox / "番剧" / "3.mp4").unlink()
    before = log_of(tmp_path).count("files=1 ")
    until(lambda: log_of(tmp_path).count("files=1 ") > before or not once(env), lambda: log_of(tmp_path))
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    assert order(env, "--mirror", "--yes")[0] == 2, "the setting is off"
    env |= {"MIRROR": "1", "MIN_FOLDER_STABLE_TIME": "0"}
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    output = inbox.parent / "out" / "番剧"
    assert (output / "2.mkv").exists() and "1 of 2 videos and 1 of 2 files left the input" in log_of(tmp_path)
    assert "MIRROR_MAX_PERCENT=10" in run_program("queue_processor.py", "--status", env=env).stdout
    shown = run_program("queue_processor.py", "--mirror", env=env)
    assert shown.returncode == 0 and "番剧\n  2.mkv\n" in shown.stdout and (output / "2.mkv").exists()
    assert "confirmed" in run_program("queue_processor.py", "--mirror", "--yes", env=env).stdout
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 0
    assert not (output / "2.mkv").exists() and (output / "1.mkv").exists()
    assert "2.mkv" not in (output / "metadata.jsonl").read_text(encoding="utf-8")
    assert run_program("queue_processor.py", "--check", env=env).returncode == 0
