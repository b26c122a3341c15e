"""Videos that hang the encoder, or kill the whole processor: real programs, a real ffmpeg but for those videos."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conversion import stand_in
from tests.hub_server import RunningHub, running_hub
from tests.media import make_clip
from tests.programs import children_working_in, environment, run_program

GOOD = ["A/1.mp4", "B/1.mp4"]
POISON = "A/2.mov"  # told by its extension, which its local name keeps
STALL, INTERVAL = 2.0, 1.0  # s


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        for name in [*GOOD, POISON]:
            target = running.root / "datasets" / "me" / "in" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            make_clip(tmp_path / f"clip{target.suffix}", seconds=0.5).rename(target)
        yield running


def site(hub: RunningHub, top: Path, deed: str, others: str = ":", **more: str) -> dict[str, str]:
    """The environment of programs whose ffmpeg does ``deed`` where it is to encode the poison, both folders queued.

    The moment at which it does so is a line of ``top``/deeds. Other encodes do ``others`` first."""
    poison = f"*source.mov*svtav1*) date +%s.%N >>{top}/deeds; {deed} ;;"
    ffmpeg = stand_in(top, f'case "$*" in {poison} *svtav1*) {others} ;; esac')
    limits = {"STALL_TIMEOUT": str(STALL), "CHECK_INTERVAL": str(INTERVAL), "MAX_ATTEMPTS": "2"}
    env = environment(hub, top, FFMPEG=str(ffmpeg), CAGE="off", ENCODER="libsvtav1", **limits, **more)
    while sum(item["file_count"] for item in items(top).values()) < len(GOOD) + 1:  # the hub may take them one by one
        assert run_program("modelscope_monitor.py", "--once", env=env).returncode == 0
    return env


def items(top: Path) -> dict[str, dict[str, Any]]:
    path = top / "log" / "processing_queue.json"
    return {item["folder"]: item for item in json.loads(path.read_bytes())} if path.exists() else {}


def deeds(top: Path) -> list[float]:
    path = top / "deeds"
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def check_all_but_the_poison_is_published_once(hub: RunningHub, top: Path, cause: str) -> None:
    (quarantined,) = items(top)["A"]["quarantined"]
    assert quarantined["path"] == POISON and cause in quarantined["cause"], quarantined
    assert {folder: item["status"] for folder, item in items(top).items()} == {"A": "failed", "B": "completed"}
    commits = hub.store.repo("me/out").commits
    changes = Counter(path for commit in commits for path in commit.changes if path.endswith(".mkv"))
    assert changes == Counter(str(Path(name).with_suffix(".mkv")) for name in GOOD)
    assert not children_working_in(top / "work") and not list((top / "work").rglob("*"))


def test_video_that_hangs_the_encoder_is_ended_by_the_stall_limit_and_quarantined_in_the_end(
    hub: RunningHub, tmp_path: Path
) -> None:
    env = site(hub, tmp_path, 'exec -a "stuck $*" sleep 600')
    assert run_program("queue_processor.py", "--drain", env=env).returncode == 1
    check_all_but_the_poison_is_published_once(hub, tmp_path, "no progress")
    first, second = deeds(tmp_path)
    assert second - first >= STALL + INTERVAL, "a retry is never immediate"
    log = (tmp_path / "log" / "processing.log").read_text(encoding="utf-8")
    assert [line.split()[2] for line in log.splitlines() if "error" in line.lower()] == ["ERROR"]
    assert "批次处理失败" in log and "tried 2 times" in items(tmp_path)["A"]["quarantined"][0]["cause"]


def test_video_that_kills_the_processor_each_time_is_quarantined_and_takes_no_other_with_it(
    hub: RunningHub, tmp_path: Path
) -> None:
    """With several encodes at a time the others die as often as it, unless they are tried apart."""
    env = site(
        hub,
        tmp_path,
        f"sleep 0.4; kill -9 $(grep -om1 '[0-9]*' {tmp_path}/log/.processor.pid | head -1); sleep 600",
        "sleep 1",
        MAX_CONCURRENT="3",
    )
    ends: list[int] = []
    while len(ends) < 4 and (not ends or ends[-1] < 0):
        ends.append(run_program("queue_processor.py", "--drain", env=env).returncode)
    assert ends == [-signal.SIGKILL, -signal.SIGKILL, 1]
    check_all_but_the_poison_is_published_once(hub, tmp_path, "died 2 times in a row")
    first, second = deeds(tmp_path)
    assert second - first >= INTERVAL, "a retry is never immediate"
