"""What each command does with bad input: one line, status 1 or 2, nothing is changed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.programs import ROOT, environment, run_program
from tools import queue_processor
from tools.core.queue_item import QueueItem, Status
from tools.startup import version
from tools.state.progress import ProgressFile
from tools.state.singleton import Singleton
from tools.state.work_queue import WorkQueue

PENDING, RUNNING, DONE, FAILED, HELD = "等待", "处理", "完成", "失败", "暂缓"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        running.store.create("me/out", 1)
        place = running.root / "datasets" / "me" / "in" / DONE
        place.mkdir(parents=True)
        (place / "1.mp4").write_bytes(b"no video")
        os.utime(place / "1.mp4", (time.time() - 60,) * 2)  # the hub takes no file that may still be growing
        yield running


@pytest.fixture(scope="module")
def site(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """An environment, and its log folder with an item in each state."""
    top = tmp_path_factory.mktemp("site")
    states = {PENDING: Status.PENDING, RUNNING: Status.PROCESSING, DONE: Status.COMPLETED, FAILED: Status.FAILED}
    with WorkQueue(top / "log").transaction() as view:
        for folder, status in [*states.items(), (HELD, Status.PENDING)]:
            item = QueueItem(folder=folder, hash="f", file_count=1, total_size=9, added_time="2026-01-01T00:00:00")
            view.put(replace(item, status=status, held=folder == HELD))
    return environment(hub, top, UI_LANG="en"), top / "log"


def contents(log_dir: Path) -> dict[str, bytes]:
    """Of all files but the locks."""
    return {str(path): path.read_bytes() for path in log_dir.rglob("*") if path.is_file() and path.suffix != ".lock"}


BAD = [
    # A folder that does not exist, a pattern that matches nothing, two of them.
    *([f"--{verb}", "nobody"] for verb in ("retry", "cancel", "forget", "add", "hold", "release", "bump", "redo")),
    *([f"--{verb}", "x*", "y?"] for verb in ("retry", "cancel", "forget", "add", "hold", "release", "bump", "redo")),
    ["--priority", "3", "nobody"],
    ["--priority", "3", "x*", "y?"],
    ["--check", "nobody"],
    ["--why", "nobody"],
    # One that exists beside one that does not: nothing at all is done.
    ["--cancel", PENDING, "nobody"],
    ["--hold", PENDING, "x*"],
    ["--add", DONE, "nobody"],
    # One in the wrong state.
    ["--retry", PENDING],
    ["--retry", DONE],
    ["--cancel", DONE],
    ["--cancel", FAILED],
    ["--forget", PENDING],
    ["--forget", RUNNING],
    ["--hold", RUNNING],
    ["--hold", DONE],
    ["--release", PENDING],
    ["--bump", FAILED],
    ["--bump", RUNNING],
    ["--priority", "0", RUNNING],
    ["--frames-only", DONE],  # while FRAMES_REPO is empty
    ["--frames-only", DONE, "--frames-repo", "me/frames"],  # of which nothing is published
    ["--redo", DONE],  # of which nothing is published
    ["--resume"],
    # What makes no sense.
    ["--priority", PENDING],
    ["--priority", "10", PENDING],
    ["--priority", "-1", PENDING],
    ["--hold"],
    ["--hold", PENDING, "--bump", PENDING],
    ["--pause", "--resume"],
    ["--pause", "--now", "--after-video"],
    ["--now"],
    ["--after-video"],
    ["--hold", PENDING, "--now"],
    ["--dry-run"],
    ["--status", "--dry-run"],
    ["--redo"],
    ["--redo", DONE, "--preset", "99"],
    ["--redo", DONE, "--encoder", "libaom-av1"],
    ["--yes"],
    ["--mirror", "--yes"],  # while MIRROR is off
    ["--mirror", "--hold", PENDING],
    ["--if-settings-differ"],
    ["--notify-test"],
    ["--status", "--failde"],
]


_EACH = """
import json, os, sys, tempfile

sys.path.insert(0, sys.argv[1])
from tools import queue_processor

for line in sys.stdin:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
            sys.exit(queue_processor.main(json.loads(line)))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [(stream.seek(0), stream.read())[1] for stream in (out, err)]
    print(json.dumps([status, *said]), flush=True)
"""
"""Starts Python once, and the program in a process of its own for each line of arguments."""


def test_bad_input_is_one_line_and_changes_nothing(site: tuple[dict[str, str], Path]) -> None:
    """Each in a process of its own, beside which the state files are looked at."""
    env, log_dir = site
    before, command = contents(log_dir), [sys.executable, "-c", _EACH, str(ROOT)]
    with subprocess.Popen(command, env=env, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as each:
        assert each.stdin is not None and each.stdout is not None
        for arguments in BAD:
            print(json.dumps(arguments), file=each.stdin, flush=True)
            check_refusal(arguments, *json.loads(each.stdout.readline()))
            assert contents(log_dir) == before, arguments


def check_refusal(arguments: list[str], status: object, out: str, err: str) -> None:
    said = [line for line in err.splitlines() if not line.startswith((" ", "usage:"))]
    assert status in (1, 2) and len(said) == 1 and not out, (arguments, status, out, err)
    assert said[0].startswith("queue_processor.py: "), (arguments, err)


def test_order_to_a_program_of_another_version_changes_nothing(site: tuple[dict[str, str], Path]) -> None:
    env, log_dir = site
    for running, status in (("0.9.0", 1), (version(), 0)):
        lock = Singleton(log_dir, "processor", running)
        lock.acquire()
        try:
            before = contents(log_dir)
            done = run_program("queue_processor.py", "--hold", PENDING, "--dry-run", env=env)
            assert done.returncode == status and contents(log_dir) == before, done
            assert status == 0 or done.stderr == (
                f"queue_processor.py: the processor that runs is version 0.9.0, this is {version()}: restart it first\n"
            )
        finally:
            lock.release()


def test_orders_without_a_running_program_count_at_its_next_start(site: tuple[dict[str, str], Path]) -> None:
    env, log_dir = site
    assert run_program("queue_processor.py", "--hold", PENDING, env=env).returncode == 0
    assert run_program("queue_processor.py", "--pause", "night", env=env).returncode == 0
    status = json.loads(run_program("queue_processor.py", "--status", "--json", env=env).stdout)
    assert {item["folder"] for item in status["items"] if item.get("held")} == {PENDING, HELD}
    assert json.loads((log_dir / "orders.json").read_bytes())["pause"]["reason"] == "night"
    assert status["paused"] == "by --pause: night", "it is told although no program has seen it"
    (log_dir / "progress.json").write_text('{"paused": "by --pause: night"}')
    assert run_program("queue_processor.py", "--resume", env=env).returncode == 0
    assert ProgressFile(log_dir).read()["paused"] is None, "nor its end"


def test_dataset_that_does_not_exist_is_named_as_its_setting_by_every_command(
    site: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    env = site[0] | {"INPUT_REPO": "me/nobody", "LOG_DIR": str(tmp_path)}
    done = run_program("modelscope_monitor.py", "--once", env=env)
    told = "ERROR monitor INPUT_REPO=me/nobody does not exist, or this token can't see it INPUT_REPO=me/nobody 不存在"
    assert done.returncode == 1 and told in done.stderr, "in both languages, as what a person must act on is"
    for question in ("--coverage", "--mirror"):
        done = run_program("queue_processor.py", question, env=env)
        assert done.returncode == 1 and "me/nobody does not exist, or this token can't see it\n" in done.stderr, done


def test_why_of_a_video_tells_of_its_folder(
    site: tuple[dict[str, str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in site[0].items():
        monkeypatch.setenv(name, value)
    for asked, folder in ((f"{FAILED}/1.mp4", FAILED), (FAILED, FAILED)):
        assert queue_processor.main(["--why", asked]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert shown[0] == asked and any("attempts 0" in line for line in shown)
        assert (f"  a video; what is known of its folder, {folder}:" in shown) == (asked != folder)
    assert queue_processor.main(["--why", f"{FAILED}/1.txt"]) == 0 and "VIDEO_EXTENSIONS" in capsys.readouterr().out
    assert queue_processor.main(["--why", "nobody/1.mp4"]) == 1


GOOD = [
    ["--hold", PENDING],
    ["--hold", "等?"],
    ["--release", HELD],
    ["--bump", PENDING, HELD],
    ["--priority", "9", "*"],
    ["--cancel", "*"],
    ["--retry"],
    ["--retry", FAILED],
    ["--forget", DONE, "失*"],
    ["--add", DONE],  # although it is settled
    ["--add", "*"],
    ["--pause", "night", "--now"],
]


def test_dry_run_says_what_would_be_done_and_changes_nothing(
    site: tuple[dict[str, str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env, log_dir = site
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    before = contents(log_dir)
    for arguments in GOOD:
        assert queue_processor.main([*arguments, "--dry-run"]) == 0, arguments
        out, err = capsys.readouterr()
        assert "would be" in out and out.count("\n") == 1 and not err, (arguments, out, err)
        assert contents(log_dir) == before, arguments
    assert queue_processor.main(["--add", "完*"]) == 0
    items = {item.folder: item for item in WorkQueue(log_dir).read().items()}
    assert items[DONE].status is Status.PENDING and items[DONE].hash != "f", "as it is on the hub now"
    assert [name for name, item in items.items() if item.status is Status.COMPLETED] == []
