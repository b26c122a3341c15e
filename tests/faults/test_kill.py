"""kill -9 and SIGTERM at random moments: nothing lost, nothing done twice, nothing left behind."""

import hashlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.media import make_clip
from tests.programs import children_working_in, end, environment, run_program, start_program

VIDEOS = ["番剧/1.mp4", "番剧/2.mkv", "番剧/3.mp4", "B/1.mp4"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        top = running.root / "datasets" / "me" / "in"
        for number, name in enumerate(VIDEOS):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            made = make_clip(tmp_path / f"clip{number}{Path(name).suffix}", seconds=2 + number, subtitles=True)
            made.rename(top / name)
        yield running


def queue_up(env: dict[str, str], log_dir: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert run_program("modelscope_monitor.py", "--once", env=env).returncode == 0
        path = log_dir / "processing_queue.json"
        if path.exists() and sum(item["videos_total"] for item in json.loads(path.read_bytes())) == len(VIDEOS):
            return
        time.sleep(0.5)
    pytest.fail("the folders were not queued")


def converted_so_far(log_dir: Path) -> Counter[str]:
    events: Counter[str] = Counter()
    for path in (log_dir / "journal").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["event"] == "converted":
                events[entry["path"]] += 1
    return events


def check_published_once(hub: RunningHub) -> None:
    repo = hub.store.repo("me/out")
    source = hub.root / "datasets" / "me" / "in"
    output = hub.root / "datasets" / "me" / "out"
    changes = Counter(path for commit in repo.commits for path in commit.changes if path.endswith(".mkv"))
    assert changes == Counter(str(Path(name).with_suffix(".mkv")) for name in VIDEOS)
    for name in VIDEOS:
        metadata = (output / name).with_name("metadata.jsonl").read_text(encoding="utf-8").splitlines()
        record = next(entry for entry in map(json.loads, metadata) if entry["source_path"] == name)
        made = (output / name).with_suffix(".mkv").read_bytes()
        assert record["sha256"] == hashlib.sha256(made).hexdigest()
        assert record["source_sha256"] == hashlib.sha256((source / name).read_bytes()).hexdigest()


def kill_loop(hub: RunningHub, tmp_path: Path, kills: int, seed: int) -> None:
    env = environment(hub, tmp_path, MAX_ATTEMPTS="100", BATCH_SIZE="2", PRESET="8")
    log_dir, work_dir = tmp_path / "log", tmp_path / "work"
    queue_up(env, log_dir)
    chance = random.Random(seed)
    for _ in range(kills):
        process = start_program("queue_processor.py", "--drain", env=env)
        time.sleep(chance.uniform(0.5, 9.0))
        process.kill()
        process.wait()
        json.loads((log_dir / "processing_queue.json").read_bytes())
        deadline = time.monotonic() + 5
        while children_working_in(work_dir) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not children_working_in(work_dir), "an orphan lives"
        assert all(count == 1 for count in converted_so_far(log_dir).values()), "encoded twice"
    done = run_program("queue_processor.py", "--drain", env=env, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    check_published_once(hub)
    assert not list(work_dir.rglob("*")) and not list((log_dir / "journal").glob("*"))
    assert {item["status"] for item in json.loads((log_dir / "processing_queue.json").read_bytes())} == {"completed"}


def test_processor_killed_at_random_moments_publishes_every_video_exactly_once(hub: RunningHub, tmp_path: Path) -> None:
    kill_loop(hub, tmp_path, kills=6, seed=7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_long_kill_loop(hub: RunningHub, tmp_path: Path, seed: int) -> None:
    kill_loop(hub, tmp_path, kills=15, seed=seed)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_gives_everything_back_within_ten_seconds(hub: RunningHub, tmp_path: Path, signum: int) -> None:
    env = environment(hub, tmp_path, PRESET="2")
    queue_up(env, tmp_path / "log")
    process = start_program("queue_processor.py", env=env)
    try:
        deadline = time.monotonic() + 90
        while not any("-svtav1-params" in line for line in children_working_in(tmp_path / "work")):
            assert time.monotonic() < deadline, "no encode began"
            time.sleep(0.05)
        began = time.monotonic()
        assert end(process, signum) == 0
    finally:
        process.kill()
        process.wait()
    assert time.monotonic() - began < 10
    assert not children_working_in(tmp_path / "work")
    items = json.loads((tmp_path / "log" / "processing_queue.json").read_bytes())
    assert {item["status"] for item in items} == {"pending"}
    assert "error" not in (tmp_path / "log" / "processing.log").read_text(encoding="utf-8").lower()
