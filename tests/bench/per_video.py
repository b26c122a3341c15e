"""What a video costs beside the bare ffmpeg commands that encode it and decode its result; how soon a start works."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from tests.bench.clips import ffmpeg, long_clip, real_clips
from tests.bench.conversion import plain_command
from tests.bench.measure import jiffies
from tests.bench.table import Row, at_most, told
from tests.media import make, picture, tone
from tools.media import program
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.runtime.child import ChildLimits, Ended
from tools.runtime.child import run as run_child
from tools.runtime.spawn import NOTHING

ROOT = Path(__file__).resolve().parents[2]
_EPISODE = 24 * 60.0  # s
_SMALL = ["-vf", "scale=160:-2", "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac"]


def run() -> list[Row]:
    """Rows of one picture, clips of 6 and 10 s, an episode; and of a second start. VIDEOS: some of them, by name;
    QUALITY_METRIC=off: without the gate, which ``tests.bench.quality`` measures."""
    chosen = (os.environ.get("VIDEOS") or "picture 6 10 episode start").split()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        one = make([*picture(0.04, "352x288", "25"), "-frames:v", "1", "-c:v", "libx264"], top / "one.mkv")
        metric = os.environ.get("QUALITY_METRIC", "auto")
        usual = FfmpegConverter(OutputOptions(quality_metric=metric))
        if "picture" in chosen:
            rows += _rows(usual, one, "one picture, 352x288", 5)
        for seconds, repeats in ((6, 5), (10, 2)):
            if str(seconds) in chosen:
                rows += _rows(usual, *_clip(top, seconds), repeats)
        if "episode" in chosen:
            episode, quick = make(_looped(top), top / "episode.mkv"), FfmpegConverter(replace(usual.output, preset=13))
            rows += _rows(quick, episode, "24 min, 160 pixels wide, a clip looped, preset 13", 1)
        if "start" in chosen:
            rows += [_second_start(one, top), *_children()]
    return rows


def _clip(top: Path, seconds: int) -> tuple[Path, str]:
    whole, what = long_clip(top, 12.0)
    clip = make(["-i", f"file:{whole}", "-map", "0", "-c", "copy", "-t", str(seconds)], top / f"{seconds}.mkv")
    return clip, f"{seconds} s{what[what.index(' of') :]}"


def _looped(top: Path) -> list[str]:
    source = ["-i", f"file:{real_clips()[0]}"] if real_clips() else [*picture(20, "848x480"), *tone(20)]
    small = make([*source, "-map", "0:v", "-map", "0:a", *_SMALL], top / "small.mkv")
    return ["-stream_loop", "-1", "-i", f"file:{small}", "-map", "0", "-c", "copy", "-t", str(_EPISODE)]


def _rows(converter: FfmpegConverter, clip: Path, what: str, repeats: int) -> list[Row]:
    """Wall and CPU of this program and of the two bare commands, in turns."""
    what += "" if converter.output.quality_metric == "auto" else f", QUALITY_METRIC={converter.output.quality_metric}"
    encode = plain_command(converter, clip, clip.with_name("plain.mkv"))
    decode = [ffmpeg(), "-v", "error", "-nostdin", "-i", str(clip.with_name("plain.mkv")), "-f", "null", "-"]
    bare, decoded, ours, beyond = [], [], [], []
    for _ in range(repeats):
        bare.append(_used(lambda: _call(encode)))
        decoded.append(_used(lambda: _call(decode)))
        with _main_work() as spent:
            ours.append(_used(lambda: _convert(converter, clip)))
        beyond.append(ours[-1][0] - sum(spent))
    ratios = [mine[0] / encoded[0] for mine, encoded in zip(ours, bare, strict=True)]
    sides = f"{_both(ours)}; bare encode {_both(bare)}, decode {_both(decoded)}"
    shown = f"{median(beyond):.2f} s (wall and CPU of all: {sides})"
    rows = [at_most("a video, beside its encode and the decode of the result", what, beyond, 0.4, "s", shown)]
    if what.startswith("6 s"):
        rows.append(at_most("probe, encode and verification : plain ffmpeg", what, ratios, 1.08, "×"))
    return rows


@contextlib.contextmanager
def _main_work() -> Iterator[list[float]]:
    """Wall s of the encode and of the decode of the result, as the converter runs them: two encodes of the same clip
    differ by more than all that stands beside them."""
    spent: list[float] = []

    def run(argv: Sequence[str | os.PathLike[str]], **rest: Any) -> Ended:
        began = time.perf_counter()
        ended = run_child(argv, **rest)
        if "-progress" in argv:
            spent.append(time.perf_counter() - began)
        return ended

    with mock.patch.object(program, "run", run):
        yield spent


def _second_start(clip: Path, top: Path) -> Row:
    """The first start finds out what the machine can encode, the second remembers."""
    env = {**os.environ, "LOG_DIR": str(top / "log")}
    (top / "log").mkdir()
    command = [sys.executable, str(ROOT / "tools/convert.py"), "--plan", str(clip)]
    first, *later = [_used(lambda: _call(command, env))[0] for _ in range(6)]
    shown = f"{median(later):.2f} s (the first {first:.2f} s)"
    return at_most("tools/convert.py, second start, until the plan is made", "one picture", later, 0.4, "s", shown)


def _children() -> list[Row]:
    """Ways to start a program that ends when we are killed; ours also confines it."""
    ours = "a child, through the spawner, confined"
    held = "import ctypes, os; ctypes.CDLL(None).prctl(1, 9); os.execvp('true', ['true'])"
    ways: dict[str, Callable[[], object]] = {
        ours: lambda: run_child(["true"], access=NOTHING, limits=ChildLimits(timeout=60)),
        "a child, through a Python start, not confined": lambda: _call([sys.executable, "-I", "-S", "-c", held]),
    }
    if shutil.which("setpriv"):
        ways["a child, through setpriv, not confined"] = lambda: _call(["setpriv", "--pdeathsig", "KILL", "true"])
    rows = []
    for name, start in ways.items():
        start()
        took = [1000 * _used(start)[0] for _ in range(50)]
        rows.append(at_most(name, "true(1)", took, 10, "ms") if name == ours else told(name, "true(1)", took, "ms"))
    return rows


def _call(command: Sequence[str], env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=env)


def _convert(converter: FfmpegConverter, clip: Path) -> None:
    target = clip.with_name("ours.mkv")
    converter.convert(clip, target, on_progress=lambda progress: None, stop=threading.Event())
    target.unlink()


def _used(work: Callable[[], object]) -> tuple[float, float]:
    """Wall s, and CPU s of the whole machine, which must be quiet: nobody waits for the children of our spawner."""
    wall, busy = time.perf_counter(), _busy()
    work()
    return time.perf_counter() - wall, _busy() - busy


def _busy() -> float:
    total, idle = jiffies()
    return (total - idle) / os.sysconf("SC_CLK_TCK")


def _both(used: Sequence[tuple[float, float]]) -> str:
    return f"{median(one[0] for one in used):.2f}/{median(one[1] for one in used):.2f} s"
