"""Does the time for a video stay the same in a long folder, in a long queue, with a long journal?"""

import json
import tempfile
from pathlib import Path

from tests.bench.measure import in_process
from tests.bench.plant import Plant
from tests.bench.table import Row, at_most
from tools.core.folder import Folder
from tools.core.queue_item import claim, new_item, settle
from tools.state.journal import Journal

_FLAT = 1.5  # times; a batch's commit, metadata and queue file are written whole, which a long folder pays for


def long_folder(folders: int, videos: int) -> float:
    """s a video for ``folders`` folders of ``videos`` videos each."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top))
        plant.put({f"番剧 {f:04}/ep {v:05}.mp4": b"%d %d" % (f, v) for f in range(folders) for v in range(videos)})
        return plant.run() / (folders * videos)


def long_queue(others: int) -> float:
    """s a video for 10 folders of 30 videos, behind so many items that are over."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top))
        done = [new_item(Folder(f"old {n}", f"{n:064x}", 12, 12, 10**9, None, False), 1.7e9 + n) for n in range(others)]
        over = [settle(claim(item, 1.7e9), 1.7e9) for item in done]
        plant.put({f"番剧 {f:04}/ep {v:05}.mp4": b"%d %d" % (f, v) for f in range(10) for v in range(30)}, over)
        return plant.run() / 300


def long_journal(lines: int) -> float:
    """s a video for one folder of 300 videos whose journal has so many lines of earlier attempts."""
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top))
        plant.put({f"A/ep {v:05}.mp4": b"%d" % v for v in range(300)})
        journal = Journal(Path(top) / "log", "A")
        journal.path.parent.mkdir(parents=True, exist_ok=True)
        old = {"event": "released", "path": "A/ep 00001.mp4", "sha256": "0" * 64, "time": 1.7e9, "cause": "stopped"}
        journal.path.write_text((json.dumps(old) + "\n") * lines, encoding="utf-8")
        return plant.run() / 300


def run() -> list[Row]:
    """10 → 10,000 videos a folder, 10 → 10,000 folders in the queue, 0 → 100,000 lines of journal."""
    rows = []
    many, one = in_process(long_folder, 30, 10).value, in_process(long_folder, 1, 10_000).value
    rows.append(_flat("a video in a folder of 10,000 : of 10", "300 in folders of 10; one folder of 10,000", many, one))
    short, long = in_process(long_queue, 10).value, in_process(long_queue, 10_000).value
    rows.append(_flat("a video with a queue of 10,000 : of 10", "10 folders of 30 videos", short, long))
    short, long = in_process(long_journal, 0).value, in_process(long_journal, 100_000).value
    rows.append(_flat("a video with a journal of 100,000 lines : none", "a folder of 300 videos", short, long))
    return rows


def _flat(what: str, data: str, before: float, after: float) -> Row:
    shown = f"{after / before:.2f} × ({1000 * after:.1f} : {1000 * before:.1f} ms)"
    return at_most(what, data + ", no encoding", [after / before], _FLAT, "×", shown)
