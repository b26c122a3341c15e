"""What ``--status`` says first, its colours, and that its JSON is what docs/status.md says."""

import argparse
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config import ROOT, Settings
from tools import queue_questions, status_command
from tools.core.eta import Eta
from tools.core.past import Sums, VideoLine
from tools.core.queue_item import Quarantined, QueueItem, Status, local_time
from tools.report.glance import gain_lines, health_line, outlook_lines, problems
from tools.report.heading import Pulse
from tools.report.live import watch
from tools.report.outlook import Outlook
from tools.report.paint import PLAIN, Paint
from tools.report.waiting import waiting_line
from tools.state.history import HistoryWriter
from tools.state.liveness import Life
from tools.state.mirror_file import Held, MirrorFile, MirrorState
from tools.state.monitor_state import MonitorState
from tools.state.progress import HubWork, JobProgress, ProgressFile, WorkerState
from tools.state.singleton import Singleton
from tools.state.work_queue import Gain, WorkQueue

NOW = time.mktime((2026, 1, 5, 12, 0, 0, 0, 0, -1))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_health_is_the_worst_first_by_the_programs_own_intervals() -> None:
    life = {"monitor": Life(True), "processor": Life(True)}
    progress = {"updated": NOW, "interval": 1.0, "paused": None}
    counts = {"failed": 0}
    seen = Pulse(life, NOW - 15, expected=11, silence=20)
    assert health_line(problems(seen, progress, counts, {"/": 100.0}, NOW), PLAIN) == "OK: everything works"
    # A monitor that polls each second and was silent for 25 s has stalled.
    found = problems(replace(seen, answered=NOW - 25), progress, {"failed": 2}, {"/": 5.0}, NOW)
    said = health_line(found, PLAIN)
    assert said.startswith("CRITICAL: monitor stalled") and "2 items failed" in said and "disk low" in said


def test_done_is_a_time_with_a_range_or_unknown() -> None:
    eta = Eta(NOW + 3600, NOW + 1800, NOW + 86400)
    assert outlook_lines(Outlook(eta), 3, NOW) == ["Done: about 13:00, between 12:30 and 01-06 12:00"]
    assert "if resumed now" in outlook_lines(Outlook(eta, is_held=True), 3, NOW)[0]
    assert "unknown" in outlook_lines(Outlook(None), 3, NOW)[0]
    assert outlook_lines(Outlook(eta), 0, NOW) == []


def test_gain_is_told_also_if_it_is_none() -> None:
    measured = VideoLine(ended=NOW, folder="A", video="1", outcome="stored", quality={"vmaf": 95.0})
    assert gain_lines(Gain(2, 4096, 1024), [measured]) == [
        "Saved: 3.0 KiB (75%) of 4.0 KiB in 2 videos",
        "Quality: vmaf 95.0 on average of the last 1 video",
    ]
    whole = replace(measured, quality={"vmaf": 98.0, "vmaf_p5": 93.0, "vmaf_min": 90.5, "ssim": 0.99})
    assert gain_lines(Gain(2, 4096, 1024), [whole])[1:] == [
        "Quality: ssim 0.9900 on average of the last 1 video",
        "Quality: vmaf 98.0 (min 90.5, p5 93.0) on average of the last 1 video",
    ]
    aimed = replace(measured, crf=33.0, quality={"predicted": 95.2})
    assert gain_lines(Gain(2, 4096, 1024, 1), [aimed, replace(aimed, crf=30.0)])[1:] == [
        "Bigger than MAX_SIZE_PERCENT, whatever was tried: 1 video",
        "CRF: 32 on average of the last 2 videos, 30 to 33",
        "Quality: predicted 95.2 on average of the last 2 videos",
    ]
    assert gain_lines(Gain(3, 8192, 2048), [], Sums(stored=1, bytes_in=4096, bytes_out=1024)) == [
        "Saved: 6.0 KiB (75%) of 8.0 KiB in 3 videos",
        "Saved in this run: 3.0 KiB (75%) of 4.0 KiB in 1 video",
    ]
    assert gain_lines(Gain(3, 8192, 2048), [], Sums()) == ["Saved: 6.0 KiB (75%) of 8.0 KiB in 3 videos"]
    assert gain_lines(Gain(1, 1024, 2048), []) == ["Grown: by 1.0 KiB (100%) from 1.0 KiB in 1 video"]
    assert gain_lines(Gain(0, 0, 0), []) == []


@pytest.mark.parametrize(
    ("stream", "environ", "expected"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_alone(stream: io.StringIO, environ: dict[str, str], expected: bool) -> None:
    assert (Paint(stream, environ)("red", "x") != "x") is expected


# --- the JSON --------------------------------------------------------------------------------------------------------

OPEN = ("eta.folders", "source_gone", "items[].redo")
"""Objects whose keys are names of folders, or another page's matter."""


def paths(value: Any, path: str = "") -> Iterator[str]:
    if path in OPEN:
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield from (found for inner in value for found in paths(inner, path + "[]"))
    else:
        yield path


def documented() -> set[str]:
    cells = [line.split(" | ")[0] for line in (ROOT / "docs/status.md").read_text(encoding="utf-8").splitlines()]
    return {name for cell in cells if cell.startswith("| `") for name in re.findall(r"`([^`]+)`", cell)}


def settings_for(log_dir: Path, **more: str) -> Settings:
    return Settings.load({"LOG_DIR": str(log_dir), "ACTIVE_HOURS": "00:00-24:00", **more})


def test_json_has_the_fields_of_its_page_and_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    bad = (Quarantined("A/1.mp4", "cut", "0", True, True),)
    base = QueueItem(folder="A", hash="h", file_count=1, total_size=10, added_time=local_time(now), videos_total=1)
    with WorkQueue(tmp_path).transaction() as view:
        view.put(replace(base, status=Status.FAILED, quarantined=bad))
        view.put(replace(base, folder="B", status=Status.PROCESSING))
        view.put(replace(base, folder="C"))
        view.put(replace(base, folder="D", held=True))
    hub = [HubWork(kind="open", about="C", state="asking")]
    job = JobProgress(folder="B", video="B/1.mp4", stage="encode")
    worker = WorkerState(name="w", address="x", slots=1, state="ready", encoding=("B/1.mp4",))
    ProgressFile(tmp_path, ["files"]).write(now, None, [job], [worker], hub)
    writer = HistoryWriter(tmp_path)
    stored = VideoLine(ended=now, folder="A", video="2", outcome="stored", bytes_in=10, seconds={"encode": 60.0})
    writer.add(replace(stored, warnings="a subtitle was dropped"))  # before the processor was started
    writer.add(replace(stored, ended=now + 60, video="3", bytes_out=4))
    writer.close(30)
    processor = Singleton(tmp_path, "processor")
    processor.acquire()
    held = Held(videos=1, files=1, of_videos=2, of_files=2, percent=10.0, digest="d")
    gone = MirrorState(gone={"A/3.mkv": now}, taken=[(now, 1, 2)], held=held, waits="the input is empty")
    MirrorFile(tmp_path).save(gone)
    parsed = argparse.Namespace(json=True, watch=False, all=False, failed=False)
    assert status_command.run(parsed, settings_for(tmp_path, MIRROR="1")) == 0
    processor.release()
    content = json.loads(capsys.readouterr().out)
    assert content["gain"]["run"] == {"videos": 1, "bytes_in": 10, "bytes_out": 4, "saved_percent": 60}
    assert content["version"] == 1 and content["health"]["level"] == "CRITICAL"
    assert content["eta"]["folders"].keys() == {"B", "C"} and content["eta"]["queue"]["latest"] > now
    assert content["mirror"] == {"waiting": 1, "taken_today": 2, "held": held.text(), "waits": "the input is empty"}
    assert content["warnings"] == [{"text": "a subtitle was dropped", "videos": 1, "folder": "A", "video": "2"}]
    there, known = set(paths(content)), documented()
    leaves = {name for name in known if not any(other.startswith((f"{name}.", f"{name}[")) for other in known - {name})}
    sometimes = {"items[].redo", "items[].videos_bigger", "items[].scenes", "items[].frames"}
    assert sorted(there - known) == []
    assert sorted(leaves - {name.removesuffix("[]") for name in there} - there - sometimes) == []


def test_why_tells_when_a_folder_is_done_and_what_became_of_its_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    item = QueueItem(folder="A", hash="h", file_count=2, total_size=20, added_time=local_time(now), videos_total=2)
    with WorkQueue(tmp_path).transaction() as view:
        view.put(item)
    writer = HistoryWriter(tmp_path)
    done = VideoLine(ended=now, folder="A", video="2.mp4", outcome="stored", bytes_in=2048, bytes_out=1024)
    writer.add(replace(done, seconds={"encode": 60.0}))
    writer.add(replace(done, video="1.mp4", outcome="failed", cause="no progress for 300 s", attempt=2))
    writer.close(30)
    parsed = argparse.Namespace(coverage=False, check=None, why="A")
    assert queue_questions.run(parsed, settings_for(tmp_path)) == 0
    said = capsys.readouterr().out
    assert re.search(r"Done: about \d\d", said) and "2.mp4: converted" in said and "2.0 KiB became 1.0 KiB" in said
    assert re.search(r"1\.mp4: attempt 2 failed .*: no progress for 300 s", said)


def test_status_waits_for_nothing_heavy(tmp_path: Path) -> None:
    """A package that takes long to import belongs to what works, not to what is looked at each second."""
    command = [sys.executable, "-X", "importtime", str(ROOT / "tools/queue_processor.py"), "--status"]
    done = subprocess.run(command, env={"LOG_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=120)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "sqlite3" in loaded and done.returncode == 0
    heavy = {"rich", "tqdm", "requests", "starlette", "prometheus_client", "modelscope", "ffmpeg", "dask", "filelock"}
    assert loaded & (heavy | {"asyncio", "multiprocessing", "ssl"}) == set()


def test_watched_text_is_asked_for_again_until_somebody_ends_it() -> None:
    shown: list[float] = []

    def pass_time(seconds: float) -> None:
        shown.append(seconds)
        if len(shown) == 2:
            raise KeyboardInterrupt

    asked: list[str] = []

    def text() -> str:
        asked.append("x")
        return "\033[32mOK\033[0m"

    watch(text, pass_time)
    assert len(asked) == 2


def test_monitor_says_when_it_polls_and_what_it_waits_for() -> None:
    state = MonitorState(last_check=NOW)
    waiting = {"A": 5.0, "B": 65.0, "C": 70.0, "D": 3700.0}
    line = waiting_line(state, waiting, NOW, 12.4)
    assert line == "Last poll 12:00, next in 12 s. 4 folders not quiet yet: A 00:05, B 01:05, C 01:10 …"
    assert waiting_line(None, {}, NOW, 3.0) == "Last poll never, next in 3 s."
