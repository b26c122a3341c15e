"""What scene frames cost beside an encode without them, and beside the naive way: an encode, a pass of a detector, and
one seek for each scene.

The clip is made of different real ones, and converted in pieces, each with and without frames in turns, in a process of
its own. MEASURE_WITH: a command that each of these is run under."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.clips import ffmpeg, real_folder
from tests.bench.measure import ROOT, Used, memory_of
from tests.bench.table import Row, at_most, ratio
from tests.media import make
from tools.core.frames import Origin
from tools.media.converter import FfmpegConverter, OutputOptions

_OF = (
    *("sintel_480p_zh_ass.mkv", "bbb_720p_51.mp4", "bbb_flv_360p.flv", "mpeg1_mp2.mpg", "wmv2_mono.wmv"),
    *("sub_movtext.mp4", "interlaced_h264.mp4", "anim_444.mkv", "bbb_mpeg2_1080.ts", "rv10_ac3.rm"),
)
_PIECES, _SECONDS = 10, 31  # s of each
_SIZE = "scale=848:480:force_original_aspect_ratio=decrease,pad=848:480:-1:-1,setsar=1,fps=24,format=yuv420p"


def run() -> list[Row]:
    """[] without the real clips."""
    if not all((real_folder() / name).exists() for name in _OF):
        return []
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        pieces = _pieces(top)
        sides: dict[str, list[Used]] = {"off": [], "on": []}
        extra = 0.0
        for number, piece in enumerate(pieces):
            for side in ("off", "on") if number % 2 else ("on", "off"):
                sides[side].append(_measured("converted", str(piece), str(top / "out.mkv"), side == "on"))
            extra += _measured("by_hand", str(piece), str(top), sides["on"][-1].value["times"]).value["wall"]
    off, on = (sum(used.value["wall"] for used in sides[side]) for side in ("off", "on"))
    memory = [max(used.value["peak"] for used in sides[side]) / 1e6 for side in ("off", "on")]
    scenes = sum(len(used.value["times"]) for used in sides["on"])
    data = f"{_PIECES * _SECONDS} s of {len(_OF)} real clips, 848x480, {scenes} scenes"
    naive = off + extra
    return [
        at_most("frames : none, wall", data, [on / off], 1.15, "×", ratio(on / off, (on, off), "s", (3, 1))),
        at_most(
            "frames : none, memory", data, [memory[1] / memory[0]], 1.3, "×",
            ratio(memory[1] / memory[0], (memory[1], memory[0]), "MB", (2, 0)),
        ),
        Row("the naive way : none, wall", data, 1, ratio(naive / off, (naive, off), "s", (3, 1))),
    ]  # fmt: skip


def _pieces(top: Path) -> list[Path]:
    """One clip of all, over and over, cut where its keyframes are."""
    parts = [top / f"part {number}.mkv" for number in range(len(_OF))]
    encode = ["-an", "-sn", "-c:v", "libx264", "-preset", "veryfast", "-crf", "16"]
    for part, name in zip(parts, _OF, strict=True):
        make(["-i", str(real_folder() / name), "-map", "0:V:0", "-vf", _SIZE, *encode], part)
    listed = top / "list.txt"
    listed.write_text("".join(f"file '{part}'\n" for part in parts * 5), encoding="utf-8")
    cut = ["-f", "segment", "-segment_time", str(_SECONDS), "-reset_timestamps", "1"]
    whole = ["-f", "concat", "-safe", "0", "-i", str(listed), "-t", str(_PIECES * _SECONDS)]
    keys = ["-force_key_frames", f"expr:gte(t,n_forced*{_SECONDS})"]
    make([*whole, *encode, *keys, *cut], top / "piece %02d.mkv")
    return sorted(top.glob("piece *.mkv"))[:_PIECES]


def _measured(function: str, *arguments: Any) -> Used:
    under = shlex.split(os.environ.get("MEASURE_WITH", ""))
    command = [*under, sys.executable, "-m", "tests.bench.measure", __name__, function, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, stdin=subprocess.DEVNULL)
    return Used(**json.loads(done.stdout))


def converted(clip: str, target: str, with_frames: bool) -> dict[str, Any]:
    """Wall s of a conversion, bytes of memory of all its processes at their most, and when its pictures are."""
    converter = FfmpegConverter(OutputOptions())
    converter.prepare()
    if with_frames:
        converter = converter.with_frames(Origin("a.mkv", "0" * 64), Path(target).with_suffix(".tar"))
    stop, peak = threading.Event(), [0]
    watch = threading.Thread(target=_watch, args=(stop, peak))
    watch.start()
    began = time.perf_counter()
    made = converter.convert(Path(clip), Path(target), on_progress=lambda progress: None, stop=threading.Event())
    wall = time.perf_counter() - began
    stop.set()
    watch.join()
    times = [] if made.scenes is None else [frame.time for frame in made.scenes.frames]
    return {"wall": wall, "peak": peak[0], "times": times}


def _watch(stop: threading.Event, peak: list[int]) -> None:
    while not stop.wait(0.2):
        peak[0] = max(peak[0], sum(map(_memory, _tree(os.getpid()))))


def _memory(pid: int) -> int:
    with contextlib.suppress(OSError):
        return memory_of(pid)
    return 0  # it ended


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    with contextlib.suppress(OSError):  # it ended
        yield pid
        for listed in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in listed.read_text().split():
                yield from _tree(int(child))


def by_hand(clip: str, folder: str, times: list[float]) -> dict[str, Any]:
    """Wall s of a pass of ffmpeg's detector, and of one seek for each of these pictures."""
    head = [ffmpeg(), "-nostdin", "-v", "error", "-y"]
    began = time.perf_counter()
    subprocess.run([*head, "-i", clip, "-vf", "scale=320:180,scdet", "-f", "null", "-"], check=True)
    for number, when in enumerate(times):
        picture = ["-frames:v", "1", "-c:v", "libwebp", "-quality", "90", f"{folder}/{number}.webp"]
        subprocess.run([*head, "-ss", str(when), "-i", clip, *picture], check=True)
    return {"wall": time.perf_counter() - began}
