"""A folder of 12 equal clips whose download, encode and upload take about the same time.

Once simulated, every stage exactly 1 s; once as a user runs it: the processor as a program, ffmpeg, the embedded hub on
a link that is throttled so that each transfer takes about as long as the conversion of a clip alone.
"""

import re
import shutil
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.bench.clips import different_copies, short_clip
from tests.bench.measure import serving
from tests.bench.plant import Plant, SlowHub
from tests.bench.table import Row, at_least, at_most, ratio
from tests.conversion import convert
from tests.fakes import FakeConverter
from tests.hub_server import TOKEN
from tests.programs import HubAddress, environment, run_program
from tools.core.folder import Folder
from tools.core.queue_item import new_item
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.state.work_queue import WorkQueue

_CLIPS, _STAGE = 12, 1.0  # s
_REPEATS = 3
_PRESET = 10  # a clip of some seconds then takes a few to encode


def run() -> list[Row]:
    """The ideal is (n + 2) / n of the slowest stage's own total."""
    simulated = [_simulated() for _ in range(_REPEATS)]
    rows = _rows("12 videos, each stage 1 s (simulated)", simulated, [_STAGE * _CLIPS] * _REPEATS, 3 * _STAGE * _CLIPS)
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        clip, data = short_clip(top)
        clips = different_copies(clip, top / "A", _CLIPS)
        alone, size = _alone(clips[0], top)
        # The clips are equal, so one of them tells the rates at which a transfer takes as long as its conversion.
        rates = (clips[0].stat().st_size / alone, size / alone)
        real = [_real(clips, rates, top / str(number)) for number in range(_REPEATS)]
        rows += _rows(f"12 × {data}, preset {_PRESET}", real, [alone * _CLIPS] * _REPEATS, 3 * alone * _CLIPS)
    return rows


def _rows(data: str, walls: list[float], slowest: list[float], sequential: float) -> list[Row]:
    ideal = [(_CLIPS + 2) / _CLIPS * total for total in slowest]
    ratios = [wall / best for wall, best in zip(walls, ideal, strict=True)]
    wall = statistics.median(walls)
    shown = ratio(statistics.median(ratios), (wall, statistics.median(ideal)), "s", (3, 1))
    gains = [sequential / one for one in walls]
    gain = ratio(statistics.median(gains), (sequential, wall), "s")
    return [
        at_most("a folder, end to end : the ideal", data, ratios, 1.10, "×", shown),
        at_least("the same: faster than the stages one after the other", data, gains, 2.3, "×", gain),
    ]


def _simulated() -> float:
    with tempfile.TemporaryDirectory() as top:
        plant = Plant(Path(top), hub=SlowHub(_STAGE), converter=FakeConverter(seconds=_STAGE))
        plant.put({f"A/ep {number:02}.mp4": b"%d" % number for number in range(_CLIPS)})
        return plant.run()


def _alone(clip: Path, top: Path) -> tuple[float, int]:
    """s that a clip's conversion takes with nothing beside it, verification included, and the bytes of its result."""
    converter = FfmpegConverter(OutputOptions(preset=_PRESET))
    converter.prepare()
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        convert(clip, top / "alone.mkv", converter)
        times.append(time.perf_counter() - began)
    return statistics.median(times), (top / "alone.mkv").stat().st_size


def _real(clips: list[Path], rates: tuple[float, float], top: Path) -> float:
    """s from the claim to the settled item, by the processor's own log."""
    dataset = top / "hub" / "datasets" / "me"
    shutil.copytree(clips[0].parent, dataset / "in" / "A")
    (dataset / "out").mkdir()
    size = sum(clip.stat().st_size for clip in clips)
    with WorkQueue(top / "log").transaction() as view:
        view.put(new_item(Folder("A", "", len(clips), len(clips), size, None, False), time.time()))
    down, up = map(str, rates)
    with serving("tests.bench.slow_hub", "--root", str(top / "hub"), "--down", down, "--up", up) as port:
        env = environment(HubAddress(f"http://127.0.0.1:{port}", TOKEN), top, PRESET=str(_PRESET))
        env.pop("CHECK_INTERVAL")  # as by default
        run_program("queue_processor.py", "--drain", env=env, timeout=3600).check_returncode()
    item = WorkQueue(top / "log").read().get("A")
    assert item is not None and item.videos_done == len(clips), item
    return _between(top / "log" / "processing.log", " started folder=A", "folder completed")


def _between(log: Path, first: str, last: str) -> float:
    when = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        for mark in (first, last):
            if mark in line:
                when[mark] = datetime.fromisoformat(re.sub(r" (?=\d\d:)", "T", line[:19]))
    return (when[last] - when[first]).total_seconds()
