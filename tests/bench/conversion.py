"""The converter beside plain ffmpeg with the same arguments, in turns."""

import contextlib
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.clips import long_clip
from tests.bench.table import Row, at_most, ratio
from tools.core.concurrency import NO_NEED, Need
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.media.encoding import encode_command

_REPEATS = 3


def run() -> list[Row]:
    """At the default preset and CRF."""
    converter = FfmpegConverter(OutputOptions())
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        clip, data = long_clip(top)
        command = plain_command(converter, clip, top / "plain.mkv")
        plain, bare, whole = [], [], []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
            plain.append(time.perf_counter() - began)
            stages, took = _converted(converter, clip, top / "ours.mkv")
            whole.append(took)
            bare.append(took - stages["verify"])
    rows = []
    for what, ours, limit in (("", bare, 1.05), (" and verification", whole, 1.10)):
        ratios = [mine / its for mine, its in zip(ours, plain, strict=True)]
        shown = ratio(median(ratios), (median(ours), median(plain)), "s", (3, 1))
        rows.append(at_most(f"probe, encode{what} : plain ffmpeg", data, ratios, limit, "×", shown))
    return rows


def plain_command(converter: FfmpegConverter, clip: Path, target: Path) -> list[str]:
    """What the converter would run, in one ffmpeg."""
    encoder = converter._chosen().encoders[0]
    return encode_command(converter.plan(clip), encoder, converter.output, clip, target, [], None)


def _converted(converter: FfmpegConverter, clip: Path, target: Path) -> tuple[Counter[str], float]:
    """Wall s of each stage, and of all."""
    stages: Counter[str] = Counter()

    @contextlib.contextmanager
    def held(stage: str, need: Need = NO_NEED) -> Iterator[int | None]:
        began = time.perf_counter()
        yield None
        stages[stage] += time.perf_counter() - began  # type: ignore[assignment]

    began = time.perf_counter()
    converter.convert(clip, target, on_progress=lambda progress: None, stop=threading.Event(), held=held)
    return stages, time.perf_counter() - began
