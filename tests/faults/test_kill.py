"""kill -9 of both programs and SIGTERM at random moments: nothing lost, nothing done twice, nothing left behind."""

import hashlib
import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.media import make_clip
from tests.patience import until
from tests.programs import children_working_in, end, environment, run_program, start_program

VIDEOS = ["番剧/1.mp4", "番剧/2.mkv", "番剧/3.mp4", "B/1.mp4"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        for number, name in enumerate(VIDEOS):
            made = tmp_path / "clips" / name
            made.parent.mkdir(parents=True, exist_ok=True)
            make_clip(made, seconds=2 + number, subtitles=True)
        running.store.create("me/in", 1)
        yield running


def upload(hub: RunningHub, top: Path, folder: str) -> None:
    clips = top / "clips" / folder
    if clips.is_dir():
        for words in clips.glob("*.srt"):
            words.unlink()
        clips.rename(hub.root / "datasets" / "me" / "in" / folder)


def queue_up(env: dict[str, str], log_dir: Path) -> None:
    path = log_dir / "processing_queue.json"

    def is_queued() -> bool:
        assert run_program("modelscope_monitor.py", "--once", env=env).returncode == 0
        return path.exists() and sum(i["videos_total"] for i in json.loads(path.read_bytes())) == len(VIDEOS)

    until(is_queued, "the folders are queued")


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


def kill_loop(hub: RunningHub, tmp_path: Path, rounds: int, seed: int) -> None:
    """Both programs run and one of them, or both, are killed, again and again; half of it is uploaded meanwhile."""
    env = environment(hub, tmp_path, MAX_ATTEMPTS="100", BATCH_SIZE="2", PRESET="8", ENCODER="libsvtav1")
    log_dir, work_dir = tmp_path / "log", tmp_path / "work"
    chance = random.Random(seed)
    running: dict[str, subprocess.Popen[bytes]] = {}
    killed: Counter[str] = Counter()
    upload(hub, tmp_path, "番剧")
    try:
        for number in range(rounds):
            for name in {"modelscope_monitor.py", "queue_processor.py"} - running.keys():
                running[name] = start_program(name, env=env)
            time.sleep(chance.uniform(0.2, 8.0))
            if number >= rounds // 2:
                upload(hub, tmp_path, "B")
            victims = chance.choice([["queue_processor.py"], ["queue_processor.py"], sorted(running)])
            for name in victims if number != 1 else ["modelscope_monitor.py"]:
                kill(running.pop(name))
                killed[name] += 1
            check_after_kill(log_dir)
            if "queue_processor.py" not in running:
                until(lambda: not children_working_in(work_dir), "no orphan lives")
        assert len(killed) == 2, "each was killed"
    finally:
        for process in running.values():
            kill(process)
    upload(hub, tmp_path, "B")
    queue_up(env, log_dir)
    done = run_program("queue_processor.py", "--drain", env=env, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    check_published_once(hub)
    assert not list(work_dir.rglob("*")) and not list((log_dir / "journal").glob("*"))
    assert {item["status"] for item in json.loads((log_dir / "processing_queue.json").read_bytes())} == {"completed"}
    print(f"seed {seed}: killed {dict(killed)}")


def kill(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "it ended by itself"
    process.kill()
    process.wait()


def check_after_kill(log_dir: Path) -> None:
    for name in ("processing_queue.json", "monitor_state.json"):
        if (log_dir / name).exists():
            json.loads((log_dir / name).read_bytes())
    assert all(count == 1 for count in converted_so_far(log_dir).values()), "encoded twice"
    assert not list(log_dir.glob("*.damaged-*"))


def test_programs_killed_at_random_moments_publish_every_video_exactly_once(hub: RunningHub, tmp_path: Path) -> None:
    kill_loop(hub, tmp_path, rounds=5, seed=7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_long_kill_loop(hub: RunningHub, tmp_path: Path, seed: int) -> None:
    kill_loop(hub, tmp_path, rounds=15, seed=seed)


def test_ctrl_c_gives_everything_back_within_ten_seconds(hub: RunningHub, tmp_path: Path) -> None:
    """The other signals: tests/faults/test_stop.py."""
    env = environment(hub, tmp_path, PRESET="3", ENCODER="libsvtav1")
    upload(hub, tmp_path, "番剧")
    upload(hub, tmp_path, "B")
    queue_up(env, tmp_path / "log")
    process = start_program("queue_processor.py", env=env)
    try:
        until(lambda: any("svtav1" in line for line in children_working_in(tmp_path / "work")), "an encode begins")
        assert end(process, signal.SIGINT) == 0
        log = (tmp_path / "log" / "processing.log").read_text(encoding="utf-8")
        assert log.endswith(" processor stopped\n"), "ended by the guard for what does not end in time"
    finally:
        process.kill()
        process.wait()
    assert not children_working_in(tmp_path / "work")
    items = json.loads((tmp_path / "log" / "processing_queue.json").read_bytes())
    assert {item["status"] for item in items} == {"pending"}
    assert "error" not in (tmp_path / "log" / "processing.log").read_text(encoding="utf-8").lower()
