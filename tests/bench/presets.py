"""What the preset changes for encodes at a time: memory of one, and how long two take with a core each.

The pictures are those of a real clip, scaled; what an encode takes depends on their size, hardly on what they show.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.clips import short_clip
from tests.bench.table import Row
from tests.media import make
from tools.core.concurrency import memory_for
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.media.encoding import encoder_arguments

_SIZES = ("1280x720", "1920x1080")
_PRESETS = (4, 6, 8, 10)
_FRAMES = 240  # what is held grows until an encoder has seen as much as it looks ahead


def run() -> list[Row]:
    """SIZES and PRESETS, of the pictures and of the encoder, for a part of it."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        clip, data = short_clip(Path(name))
        for size in os.environ.get("SIZES", " ".join(_SIZES)).split():
            scaled = [
                "-stream_loop",
                "-1",
                "-i",
                f"file:{clip}",
                "-map",
                "0:v:0",
                "-vf",
                f"scale={size.replace('x', ':')}",
                "-frames:v",
            ]
            source = make([*scaled, str(_FRAMES), "-c:v", "libx264", "-crf", "18"], Path(name) / f"{size}.mkv")
            for preset in os.environ.get("PRESETS", " ".join(map(str, _PRESETS))).split():
                rows.append(_row(source, int(preset), f"{_FRAMES} pictures of {data}, {size}"))
    return rows


def _row(source: Path, preset: int, data: str) -> Row:
    width, height = (int(part) for part in source.stem.split("x"))
    cores = len(os.sched_getaffinity(0))
    alone, _ = _encode([_command(source, preset, cores)])
    both, peak = _encode([_command(source, preset, 1)] * cores)
    planned = memory_for(width, height, preset)
    shown = (
        f"{peak / 1e6:.0f} MB each (planned with {planned / 1e6:.0f}), {both / cores / alone:.2f} × one after the other"
    )
    return Row(f"{cores} encodes with a core each, preset {preset}", data, 1, shown)


def _command(source: Path, preset: int, cores: int) -> list[str]:
    converter = FfmpegConverter(OutputOptions(preset=preset))
    encoder = converter._chosen().encoders[0]
    arguments = encoder_arguments(encoder, converter.output, source=None, threads=cores, stream=0)[1]
    return [str(encoder.ffmpeg), "-v", "error", "-nostdin", "-i", str(source), *arguments, "-f", "null", "-"]


def _encode(commands: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Wall s of all of them side by side, and the most bytes that one of them took."""
    peaks: list[int] = []

    def encode(command: Sequence[str]) -> None:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
            _, status, used = os.wait4(one.pid, 0)
            one.returncode = os.waitstatus_to_exitcode(status)
        assert one.returncode == 0
        peaks.append(used.ru_maxrss * 1024)

    threads = [threading.Thread(target=encode, args=(command,)) for command in commands]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, max(peaks)
