"""The real programs under random kills, stops, hub restarts, hub faults, damaged files and new uploads, for as long as
``SOAK_MINUTES`` says (default 30; ``SOAK_SEED`` the run):
``SOAK_MINUTES=60 bash tests/run.sh -n 0 -m slow -s -k soak``.

What was done and found is printed at the end as JSON.
"""

import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import TOKEN
from tests.media import make, make_clip
from tests.patience import until
from tests.programs import ROOT, children_working_in, end, start_program
from tools.hub_server.store import HubStore

PROGRAMS = {"processor": "queue_processor.py", "monitor": "modelscope_monitor.py"}
BACKLOG = 8  # folders that wait at most: no more is uploaded until some are done


@dataclass(slots=True)
class Soak:
    """One run: what is alive, what was uploaded (path → sha256 of each content it had), what was done how often."""

    top: Path
    chance: random.Random
    port: int = 0
    share: float = 0.08
    alive: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    contents: dict[str, list[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    clips: list[Path] = field(default_factory=list)
    slowest_stop: float = 0.0
    uploads: int = 0

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MODELSCOPE", "TMUX", "SOAK"))}
        return {
            **kept,
            "MODELSCOPE_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "MODELSCOPE_API_TOKEN": TOKEN,
            "MODELSCOPE_HOME": str(self.top / "home"),
            **{"INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out", "ANIMATION_DOTENV": str(self.top / "none")},
            **{"MONITOR_INTERVAL": "1", "MIN_FOLDER_STABLE_TIME": "3", "CHECK_INTERVAL": "0.5", "STALL_TIMEOUT": "20"},
            **{"PRESET": "13", "BATCH_SIZE": "2", "MAX_CONCURRENT": "2", "MAX_ATTEMPTS": "100"},
            **{"MIN_FREE_SPACE_GB": "0.1", "LOG_DIR": str(self.top / "log"), "WORK_DIR": str(self.top / "work")},
        }

    # --- programs ----------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        if name == "hub":
            command = [sys.executable, "-m", "tests.faults.flaky_hub", str(self.top / "hub"), str(self.port)]
            command += [str(self.chance.randrange(10**6)), str(self.share)]
            self.alive[name] = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            self.alive[name] = start_program(PROGRAMS[name], env=self.environment())

    def kill(self, name: str) -> None:
        self.alive[name].kill()
        self.alive.pop(name).wait()
        self.done[f"kill -9 {name}"] += 1

    def stop(self, name: str) -> None:
        if time.monotonic() - self.born(name) < 3:
            return  # a signal during the first imports ends it as any program: nothing was begun
        began = time.monotonic()
        assert end(self.alive.pop(name), self.chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])) == 0
        self.slowest_stop = max(self.slowest_stop, time.monotonic() - began)
        self.done[f"stop {name}"] += 1

    def born(self, name: str) -> float:
        fields = Path(f"/proc/{self.alive[name].pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.monotonic() - (uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK"))

    def keep_alive(self) -> None:
        for name in ("hub", "monitor", "processor"):
            if name in self.alive:
                assert self.alive[name].poll() is None, f"the {name} ended by itself: {self.log()[-2000:]}"
            elif name != "hub" or self.chance.random() < 0.4:  # the hub may stay away for a while
                self.start(name)

    # --- what happens ------------------------------------------------------------------------------------------------

    def upload(self, path: str, source: Path) -> None:
        """A file of its own content, put into the dataset in one step as a finished upload."""
        target = self.top / "hub" / "datasets" / "me" / "in" / path
        self.uploads += 1  # each of another size: one of equal name and size is the same by the fingerprint
        made = self.top / f"upload{target.suffix}"
        if source.suffix == ".mp4" or source.suffix == ".mkv":
            make(
                [
                    "-i",
                    str(source),
                    "-map",
                    "0",
                    "-c",
                    "copy",
                    "-metadata",
                    f"title={self.chance.random()}{'x' * self.uploads}",
                ],
                made,
            )
        else:
            made.write_bytes(source.read_bytes() + self.chance.randbytes(8))
            self.broken.add(path)
        self.contents.setdefault(path, []).append(hashlib.sha256(made.read_bytes()).hexdigest())
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)

    def new_folder(self) -> None:
        if sum(item["status"] in {"pending", "processing"} for item in self.queue()) >= BACKLOG:
            return
        name = f"番剧 {self.done['new folders']}" + self.chance.choice(["", "/Season 1", " [1080p] #%s"])
        for number in range(self.chance.randint(1, 5)):
            clip = self.chance.choice(self.clips)
            self.upload(f"{name}/{number}{clip.suffix}", clip)
        self.done["new folders"] += 1

    def new_version(self) -> None:
        """Another content of a video, or one more beside it."""
        path = self.chance.choice(sorted(self.contents))
        if path in self.broken:
            return
        if self.chance.random() < 0.5:
            path = path.replace(".mp4", "b.mp4").replace(".mkv", "b.mkv")
        self.upload(path, self.chance.choice([clip for clip in self.clips if clip.suffix == Path(path).suffix]))
        self.done["changed folders"] += 1

    def damage(self) -> None:
        """Half of a state file, while nobody writes it; both programs must be able to go on from there."""
        self.kill("processor")
        self.kill("monitor")
        path = self.top / "log" / self.chance.choice(["processing_queue.json", "monitor_state.json"])
        if path.exists():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            self.done[f"damage {path.name}"] += 1
        self.keep_alive()
        until(lambda: _is_json(path), f"{path} is restored")

    def something(self) -> None:
        kinds: list[tuple[int, Callable[[], None]]] = [
            (6, lambda: self.kill("processor")),
            (3, lambda: self.stop("processor")),
            (2, lambda: self.kill("monitor")),
            (2, lambda: self.stop("monitor")),
            (2, lambda: self.kill("hub")),
            (8, self.new_folder),
            (2, self.new_version),
            (1, self.damage),
        ]
        (chosen,) = self.chance.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
        if set(self.alive) == {"hub", "monitor", "processor"}:
            chosen()

    # --- what must hold ----------------------------------------------------------------------------------------------

    def queue(self) -> list[dict[str, Any]]:
        path = self.top / "log" / "processing_queue.json"
        found: list[dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else []
        return found

    def log(self) -> str:
        path = self.top / "log" / "processing.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def check_now(self) -> None:
        self.queue()
        if "processor" not in self.alive:

            def orphans() -> list[str]:
                return [line for line in children_working_in(self.top / "work") if "queue_processor" not in line]

            until(lambda: not orphans(), orphans)
        for journal in (self.top / "log" / "journal").glob("*.jsonl"):
            events = Counter(
                re.findall(r'"event": "converted", "path": "(.*?)", "sha256": "(.*?)"', journal.read_text())
            )
            assert all(count == 1 for count in events.values()), f"encoded again: {events}"

    def is_settled(self) -> bool:
        wanted = {path.rpartition("/")[0] for path in self.contents}
        items = {item["folder"]: item for item in self.queue()}
        records = self.records()
        return (
            wanted == set(items)
            and all(item["status"] in {"completed", "failed"} for item in items.values())
            and all(records.get(path, {}).get("source_sha256") == self.contents[path][-1] for path in self.good())
        )

    def good(self) -> list[str]:
        return [path for path in self.contents if path not in self.broken]

    def records(self) -> dict[str, dict[str, Any]]:
        found = {}
        for path in (self.top / "hub/datasets/me/out").rglob("metadata.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                found[record["source_path"]] = record
        return found

    def check_end(self) -> dict[str, Any]:
        """Everything that was promised; returns the figures."""
        records, output = self.records(), self.top / "hub/datasets/me/out"
        for path in self.good():
            made = output / Path(path).with_name(records[path]["file_name"])
            assert records[path]["source_sha256"] == self.contents[path][-1], path
            assert records[path]["sha256"] == hashlib.sha256(made.read_bytes()).hexdigest(), path
        quarantined = {q["path"] for item in self.queue() for q in item["quarantined"]}
        assert quarantined == self.broken and not self.broken & records.keys()
        commits = HubStore(self.top / "hub").repo("me/out").commits
        changes = Counter(path for commit in commits for path, change in commit.changes.items() if change)
        published = 0
        for path in self.good():
            times = changes[str(Path(path).with_name(records[path]["file_name"]))]
            assert 1 <= times <= len(self.contents[path]), f"{path} was committed {times} times"
            published += times
        assert not list((self.top / "work").rglob("*")) and not list((self.top / "log/journal").glob("*"))
        assert not children_working_in(self.top / "work")
        return {
            "done": dict(sorted(self.done.items())),
            "hub_faults": dict(Counter(self.fault_kinds())),
            "videos": len(self.contents),
            "contents": sum(map(len, self.contents.values())),
            "published": published,
            "commits": len(commits),
            "quarantined": len(quarantined),
            "log_lines": len(self.log().splitlines()),
            "slowest_stop_s": round(self.slowest_stop, 1),
            "error_lines": self.error_lines(),
        }

    def error_lines(self) -> dict[str, int]:
        """What a person would find by ``grep -i error``: nothing but what was made to happen."""
        lines = [line for line in self.log().splitlines() if "error" in line.lower()]
        kinds = {"batch with a broken video": "批次处理失败", "damaged file": "was damaged"}
        found = {name: sum(text in line for line in lines) for name, text in kinds.items()}
        assert sum(found.values()) == len(lines), [line for line in lines if not any(t in line for t in kinds.values())]
        return found

    def fault_kinds(self) -> list[str]:
        notes = self.top / "faults.log"
        return [line.split()[0] for line in notes.read_text().splitlines()] if notes.exists() else []


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    run = Soak(tmp_path, random.Random(int(os.environ.get("SOAK_SEED", "1"))))
    for number in range(4):
        for suffix in (".mp4", ".mkv"):
            run.clips.append(
                make_clip(tmp_path / f"clip{number}{suffix}", seconds=1 + number, subtitles=number % 2 == 0)
            )
    (tmp_path / "broken.avi").write_bytes(run.chance.randbytes(50_000))
    run.clips.append(tmp_path / "broken.avi")
    with socket.create_server(("127.0.0.1", 0)) as free:
        run.port = free.getsockname()[1]
    try:
        yield run
    finally:
        for process in run.alive.values():
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_soak(soak: Soak) -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "30"))
    began = time.monotonic()
    soak.start("hub")
    for _ in range(3):
        soak.new_folder()
    while time.monotonic() < began + 60 * minutes:
        time.sleep(soak.chance.uniform(0.5, 6))
        soak.something()
        soak.check_now()
        soak.keep_alive()
    if "hub" in soak.alive:
        soak.kill("hub")
    soak.share = 0.0
    soak.start("hub")

    def open_items() -> list[Any]:
        return [item for item in soak.queue() if item["status"] not in {"completed", "failed"}]

    def is_settled() -> bool:
        soak.keep_alive()
        return soak.is_settled()

    until(is_settled, open_items, patience=900)
    settled = time.monotonic()
    for name in ("processor", "monitor"):
        while soak.born(name) > time.monotonic() - 3:
            time.sleep(0.2)
        soak.stop(name)
    figures = soak.check_end()
    figures |= {"minutes": round((settled - began) / 60, 1), "settled_after_s": round(settled - began - 60 * minutes)}
    print("\n" + json.dumps(figures, ensure_ascii=False, indent=1))
