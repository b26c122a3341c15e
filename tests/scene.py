"""A LOG_DIR as a busy week leaves it, made without any work: for the tests, benches and pictures of what people see.

Folders of all states, videos under way on two workers, failures with causes, weeks of history, a log; and names as a
stranger may choose them.
"""

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tools.core.folder import Folder
from tools.core.message import message
from tools.core.past import PollLine, VideoLine
from tools.core.queue_item import Quarantined, QueueItem, claim, new_item, settle
from tools.core.stability import Snapshot
from tools.state.history import HistoryWriter, Line, PauseBegan, PauseEnded
from tools.state.monitor_state import MonitorState, MonitorStateFile
from tools.state.progress import HubWork, JobProgress, ProgressFile, WorkerState
from tools.state.singleton import Singleton
from tools.state.work_queue import WorkQueue

TITLES = (
    *(
        "星空物语 第1季",
        "夏日庭院",
        "Cowboy Nebula",
        "鋼鉄の翼",
        "Bakery at Dusk",
        "월광 아래",
        "雨夜列車",
        "Paper Lanterns",
    ),
    *("深海电台", "Glass Orchard", "秋の台所", "Northbound"),
)
HOSTILE = (
    "<script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "safe\u202egpj.exe \u2066left\u2069",
    "長" * 85,  # 255 bytes
    "a&amp;b \"quoted\" 'single' %3Cb%3E",
)
"""Names of folders as a stranger may choose them."""
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What is there. ``hostile``: folders of ``HOSTILE`` beside the others."""

    folders: int = 200
    paused: str | None = None
    cluster: bool = True
    hostile: bool = False
    days: int = 9  # of history
    failed: int = 6


def make(log_dir: Path, scene: Scene, now: float | None = None) -> None:
    """Write all of it. The same each time but for ``now``, epoch s."""
    when, chance = time.time() if now is None else now, random.Random(7)
    log_dir.mkdir(parents=True, exist_ok=True)
    items = list(_items(scene, when, chance))
    with WorkQueue(log_dir).transaction() as view:
        for item in items:
            view.put(item)
    running = [item for item in items if item.status.value == "processing"]
    tell(log_dir, running, scene, when)
    folders = {item.folder: _snapshot(item, when) for item in items}
    state = MonitorState(folders=folders, last_check=when - 20, steady=1e5, head="c" * 40, interval=300.0)
    MonitorStateFile(log_dir).save(state)
    _remember(log_dir, items, scene, when, chance)
    _write_log(log_dir, items, when)


def _snapshot(item: QueueItem, now: float) -> Snapshot:
    folder = Folder(item.folder, item.hash, item.file_count, item.videos_total, item.total_size, now - 4000, False)
    return Snapshot(folder, now - 4000, 1e5 - 4000)


def _items(scene: Scene, now: float, chance: random.Random) -> Iterator[QueueItem]:
    names = [f"{TITLES[number * 7 % len(TITLES)]} S{number % 4 + 1:02} #{number:04}" for number in range(scene.folders)]
    names += HOSTILE if scene.hostile else ()
    running = (scene.folders // 2, scene.folders // 2 + 1)
    for number, name in enumerate(names):
        videos = chance.choice((1, 2, 12, 12, 13, 24, 26))
        size = int(videos * chance.uniform(0.25, 1.4) * 2**30)
        added = now - (len(names) - number + (len(names) if number >= scene.folders else 0)) * 1700
        item = new_item(Folder(name, f"{number:064x}", videos + 1, videos, size, added, False), added)
        if number < scene.folders // 2 or number >= scene.folders:
            yield _settled(item, number, added + 3000, scene, chance)
        elif number in running:
            done = min(5, videos - 1)
            taken = size * done // videos
            yield replace(claim(item, now - 5000), videos_done=done, bytes_in=taken, bytes_out=int(taken * 0.42))
        else:
            yield replace(item, held=number % 60 == 59)


def _settled(item: QueueItem, number: int, when: float, scene: Scene, chance: random.Random) -> QueueItem:
    claimed = claim(item, when - 2000)
    if number % max(1, scene.folders // 2 // max(1, scene.failed)) == 3 or number >= scene.folders:
        causes = (
            message("can't be read as a video: no stream in it"),
            message("no progress for 300 s"),
        )
        kind = number % 2
        path = f"{item.folder}/{item.folder[:40]} - 27.mkv"
        lost = Quarantined(path, causes[kind], "5" * 64, False, bool(kind))
        made = item.videos_total - 1
        claimed = replace(claimed, videos_done=made, bytes_in=item.total_size // 2, bytes_out=item.total_size // 5)
        return settle(claimed, when, (lost,))
    out = int(item.total_size * chance.uniform(0.28, 0.6))
    done = replace(claimed, videos_done=item.videos_total, bytes_in=item.total_size, bytes_out=out)
    return settle(done, when)


def tell(log_dir: Path, running: list[QueueItem], scene: Scene, now: float, percent: float = 42.0) -> None:
    """Write ``progress.json``: what runs now."""
    jobs, encoding = [], []
    for place, item in enumerate(running):
        for number in range(3):
            video = f"{item.folder}/{item.folder} - {6 + number:02}.mkv"
            worker = ("gpu-a", "cpu-b")[place] if scene.cluster else None
            if number == 2:
                jobs.append(JobProgress(folder=item.folder, video=video, stage="download", percent=63, speed=38e6,
                                        eta_s=21.0, worker=worker))  # fmt: skip
                continue
            encoding.append(video)
            jobs.append(JobProgress(
                folder=item.folder, video=video, stage="encode", percent=percent + 23 * number - 11 * place,
                fps=61.3 - 20 * place, speed=2.55 - 0.8 * place, eta_s=340.0 + 200 * number, attempt=1 + number * place,
                worker=worker,
            ))  # fmt: skip
    workers = [
        WorkerState(name="gpu-a", address="tls://10.0.0.5:1", slots=2, state="ready", encoding=tuple(encoding[:2]),
                    fps=122.6, last_seen=now - 1),
        WorkerState(name="cpu-b", address="tls://10.0.0.6:1", slots=2, state="ready", encoding=tuple(encoding[2:]),
                    fps=82.6, last_seen=now - 1),
    ]  # fmt: skip
    hub = [HubWork(kind="publish", about=running[0].folder, state="asking", since=now - 4)] if running else []
    file = ProgressFile(log_dir, ["network", "files"], 5.0, 2)
    file.write(now, scene.paused, jobs, workers if scene.cluster else (), hub)


def _remember(log_dir: Path, items: list[QueueItem], scene: Scene, now: float, chance: random.Random) -> None:
    writer = HistoryWriter(log_dir)
    over = [item for item in items if item.videos_done or item.quarantined][:400]
    lines: list[Line] = []
    for place, item in enumerate(over):
        ended = now - scene.days * _DAY * (1 - place / len(over)) - 30
        for number in range(min(item.videos_done, 26)):
            size = item.total_size // item.videos_total
            lines.append(_video(item, number, ended + number * 160 - 4200, size, scene, chance))
        for lost in item.quarantined:
            name = lost.path.rpartition("/")[2]
            lines.append(VideoLine(
                ended=ended, folder=item.folder, video=name, outcome="refused", trouble="corrupt", cause=lost.cause,
                bytes_in=item.total_size // item.videos_total,
            ))  # fmt: skip
    lines += [PauseBegan(now - 3 * _DAY, "the hub does not answer"), PauseEnded(now - 3 * _DAY + 9000)]
    lines += (PollLine(time=now - 300 * n, answered=True) for n in range(20))
    for line in lines:
        writer.add(line)
    writer.close(60)


def _video(item: QueueItem, number: int, ended: float, size: int, scene: Scene, chance: random.Random) -> VideoLine:
    width, height = chance.choice(((1920, 1080), (1280, 720)))
    encode = 1420 * 24 / (130 if height == 720 else 58) * chance.uniform(0.8, 1.2)
    return VideoLine(
        ended=ended, folder=item.folder, video=f"{item.folder[:60]} - {number + 1:02}.mkv", outcome="stored",
        worker=("gpu-a", "cpu-b")[number % 2] if scene.cluster else "", bytes_in=size,
        bytes_out=int(size * chance.uniform(0.25, 0.6)), duration_s=1420.0, frames=34080, width=width, height=height,
        source_codec=chance.choice(("h264", "hevc", "mpeg4")), encoder="libsvtav1 4.0", crf=30.0,
        quality={"vmaf": round(chance.uniform(94, 97), 2)}, kept=4, dropped=number % 5 == 0,
        warnings="1 stream dropped: data" if number % 5 == 0 else "",
        seconds={"waiting": 3.0, "download": 14.0, "encode": encode, "verify": 25.0, "upload": 9.0},
    )  # fmt: skip


def _write_log(log_dir: Path, items: list[QueueItem], now: float) -> None:
    lines = []
    for number, item in enumerate(items[:150]):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now - 20 * (150 - number)))
        if item.quarantined:
            lines.append(f"{when} ERROR processor 批次处理失败: folder={item.folder} cause={item.error}")
            lines.append(f"{when} WARNING processor download failed, will retry: folder={item.folder} attempt=1")
        else:
            lines.append(f"{when} INFO processor 批次处理成功: folder={item.folder} videos={item.videos_total}")
    lines += [
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))} ERROR processor unexpected error in a turn",
        "Traceback (most recent call last):",
        '  File "engine.py", line 1, in turn',
        "ValueError: <b>not markup</b>",
    ]
    (log_dir / "processing.log").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextlib.contextmanager
def both_running(log_dir: Path) -> Iterator[None]:
    """As if monitor and processor ran: their locks are held."""
    locks = [Singleton(log_dir, name, "1.0.0") for name in ("monitor", "processor")]
    for lock in locks:
        lock.acquire()
    try:
        yield
    finally:
        for lock in locks:
            lock.release()
