"""A season of 24 videos: published for the first time, which is what a new name cost, too; and renamed on the hub.

The real converter against the embedded hub; bytes are those of downloads and uploads of files. And the index of
results: its size and a look-up in it with 100,000 results.
"""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.clips import different_copies
from tests.bench.table import Row, at_most, told
from tests.hub_server import RunningHub, running_hub
from tests.media import make, picture, tone
from tools.core.folder import RemoteFile, group_folders
from tools.core.queue_item import Status, new_item
from tools.core.reuse import Rule
from tools.hub.client import Progress
from tools.hub.modelscope_client import ModelScopeHub
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.processor.build import ProcessorOptions, build
from tools.runtime.clock import SystemClock
from tools.state.results import RESULTS_FILE, ResultRow, ResultsFile
from tools.state.work_queue import WorkQueue

_VIDEOS, _PRESET = 24, 12
_RESULTS, _FOLDERS = 100_000, 4000


@dataclass
class Moved:
    """Bytes of files that went either way."""

    down: int = 0
    up: int = 0


class CountingHub(ModelScopeHub):
    """Counts what moves."""

    moved = Moved()

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        self.moved.down += file.size
        return super().download(repo, commit, file, target, progress)

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        self.moved.up += size if self.lacks(repo, [(sha256, size)]) else 0
        super().store_blob(repo, source, sha256, size, progress)


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        clip = make([*picture(2, "640x360"), *tone(2), "-c:v", "libx264"], top / "clip.mkv")
        clips = different_copies(clip, top / "clips", _VIDEOS)
        rows = []
        with running_hub(top / "hub") as server:
            for rule, folder, text in (
                (Rule.OFF, "Frieren S01", "published for the first time; renamed, it cost the same"),
                (Rule.SAME_SETTINGS, "葬送的芙莉莲 第一季", "renamed"),
            ):
                wall, moved = _season(server, clips, folder, top, rule)
                about = f"{_VIDEOS} × 2 s of a test picture, 640x360, preset {_PRESET}"
                rows.append(told(f"a season {text}: wall", about, [wall], "s"))
                rows.append(told("the same: downloaded and uploaded", about, [(moved.down + moved.up) / 1e6], "MB"))
        return rows + _index(top)


def _season(server: RunningHub, clips: list[Path], folder: str, top: Path, rule: Rule) -> tuple[float, Moved]:
    """s from the claim to the settled item, and what moved; the same videos under another name each time."""
    dataset = server.root / "datasets" / "me"
    for old in (dataset / "in").glob("*"):
        shutil.rmtree(old)
    shutil.copytree(clips[0].parent, dataset / "in" / folder)
    (dataset / "out").mkdir(exist_ok=True)
    hub = CountingHub(server.endpoint, server.token, cache_dir=top / "cache")
    hub.moved = Moved()
    files: list[RemoteFile] = []
    while len(files) < _VIDEOS:  # the hub takes a second to see that they are whole
        time.sleep(0.5)
        head = hub.head("me/in")
        files = hub.list_folder("me/in", head.commit_id, folder) if head else []
    log_dir = top / "log"
    with WorkQueue(log_dir).transaction() as view:
        view.put(new_item(group_folders(files, frozenset({"mkv"}))[folder], time.time()))
    options = ProcessorOptions(
        input_repo="me/in",
        output_repo="me/out",
        log_dir=log_dir,
        work_dir=top / "work",
        check_interval=1.0,
        stable_time=1.0,
        extensions=frozenset({"mkv"}),
        slots=2,
        threads=1,
        reuse=rule,
    )
    engine = build(options, hub, FfmpegConverter(OutputOptions(preset=_PRESET)), SystemClock()).engine
    began = time.monotonic()
    while (item := WorkQueue(log_dir).read().get(folder)) is None or item.status is not Status.COMPLETED:
        assert item is None or item.status is not Status.FAILED, item
        engine.turn(0.2)
    took = time.monotonic() - began
    engine.close(5)
    assert (item.videos_done, item.videos_reused) == (_VIDEOS, _VIDEOS if rule is not Rule.OFF else 0), item
    return took, hub.moved


def _index(top: Path) -> list[Row]:
    index = ResultsFile(top / "index", "in -> out")
    options = '{"crf":30.0,"encoder":"libsvtav1","guess_languages":0,"pix_fmt":"yuv420p10le","preset":6}'
    each = _RESULTS // _FOLDERS
    for number in range(_FOLDERS):
        some = range(number * each, (number + 1) * each)
        rows = [ResultRow(f"{n:064x}", f"{n + 1 << 128:064x}", options) for n in some]
        index.put(f"番剧 {number} 第一季 [字幕组][1080p]", "m" * 64, rows)
    times = []
    for n in range(0, _RESULTS, 997):
        began = time.perf_counter()
        assert index.find(f"{n:064x}")
        times.append((time.perf_counter() - began) * 1000)
    size = (top / "index" / RESULTS_FILE).stat().st_size / 1e6
    about = f"{_RESULTS} results in {_FOLDERS} folders"
    return [
        at_most("index of results: size", about, [size], 50, "MB"),
        at_most("index of results: one look-up", about, times, 1, "ms"),
    ]
