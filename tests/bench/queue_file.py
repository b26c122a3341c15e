"""One durable change of a long queue, against the plain way; and ``--status`` against reading the file."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests import scene
from tests.bench.measure import ROOT
from tests.bench.table import Row, at_least, at_most, ratio
from tests.scene import Scene
from tools.core.folder import Folder
from tools.core.queue_item import claim, new_item, settle
from tools.state.work_queue import WorkQueue

_REPEATS = 7


def filled(log_dir: Path, items: int) -> WorkQueue:
    """A queue of so many items, every other one completed."""
    queue = WorkQueue(log_dir)
    with queue.transaction() as view:
        for number in range(items):
            folder = Folder(f"番剧 {number:05d}/Season 1", f"{number:064x}", 12, 12, 10**9 + number, None, False)
            item = new_item(folder, 1.7e9 + number)
            view.put(settle(claim(item, 1.7e9), 1.7e9) if number % 2 else item)
    return queue


def plainly(path: Path) -> float:
    """s of ``json.load``, ``json.dump(indent=2)`` and fsync."""
    began = time.perf_counter()
    with path.open(encoding="utf-8") as stream:
        content = json.load(stream)
    content[0]["attempts"] += 1
    with path.with_suffix(".plain").open("w", encoding="utf-8") as stream:
        json.dump(content, stream, ensure_ascii=False, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    return time.perf_counter() - began


def changed(queue: WorkQueue) -> float:
    """s of one transaction that changes one item."""
    began = time.perf_counter()
    with queue.transaction() as view:
        item = view.get("番剧 00000/Season 1")
        assert item is not None
        view.put(replace(item, attempts=item.attempts + 1))
    return time.perf_counter() - began


def run() -> list[Row]:
    """Warm: the object made the change before as well. Cold: an object that never saw the file."""
    rows = []
    for items in (10_000, 100_000):
        with tempfile.TemporaryDirectory() as top:
            queue = filled(Path(top), items)
            warm, cold, plain = [], [], []
            for _ in range(_REPEATS):
                plain.append(plainly(queue.path))
                warm.append(changed(queue))
                cold.append(changed(WorkQueue(Path(top))))
                changed(queue)
            for kind, values in (("warm", warm), ("cold", cold)):
                ratios = [p / v for p, v in zip(plain, values, strict=True)]
                ours, theirs = statistics.median(values), statistics.median(plain)
                shown = ratio(statistics.median(ratios), (1000 * theirs, 1000 * ours), "ms", (1, 0))
                rows.append(at_least(f"durable change, {kind}", f"{items:,} items", ratios, 4, "×", shown))
            if items == 10_000:
                rows += _status(Path(top), queue.path)
    return [*rows, _whole_status()]


def _timed(command: list[str], log_dir: Path) -> float:
    """s of a program, by the interpreter that runs this."""
    environment = {**os.environ, "LOG_DIR": str(log_dir)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


_STATUS = [str(ROOT / "tools/queue_processor.py"), "--status"]


def _whole_status() -> Row:
    """With a history, and half of the folders waiting for their estimates."""
    with tempfile.TemporaryDirectory() as top:
        scene.make(Path(top), Scene(folders=10_000))
        _timed(_STATUS, Path(top))
        times = [_timed(_STATUS, Path(top)) for _ in range(11)]
    return at_most("--status with history and estimates", "10,000 items, half waiting", times, 0.3, "s")


def _status(log_dir: Path, path: Path) -> list[Row]:
    """All by the interpreter that runs this; the first run of each, which writes bytecode, does not count."""
    read, parse = f"open({str(path)!r}, 'rb').read()", f"import json; json.load(open({str(path)!r}))"
    commands = [_STATUS, ["-c", read], ["-c", parse]]
    for command in commands:
        _timed(command, log_dir)
    ours, reading, parsing = (
        statistics.median(times)
        for times in zip(*([_timed(c, log_dir) for c in commands] for _ in range(15)), strict=True)
    )
    shown = ratio(ours / parsing, (1000 * ours, 1000 * parsing), "ms", (1, 0))
    what = "--status : an empty program and reading the file"
    bare = ratio(ours / reading, (1000 * ours, 1000 * reading), "ms", (1, 0))
    return [
        at_most(what, "10,000 items", [ours / parsing], 3, "×", shown),
        Row("--status : an empty program that reads the file's bytes without parsing", "10,000 items", 1, bare),
    ]
