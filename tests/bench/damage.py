"""Damaged files through the real converter: small clips, made and real, broken as files break and as attackers do it.

Each mutant is made from a seed and its number alone, so any one of them can be made again:
``.venv/bin/python3 -m tests.bench.damage SEED FIRST COUNT``. What is asked of each is in ``_judged``.
"""

import contextlib
import json
import logging
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.clips import real_folder
from tests.bench.measure import in_process
from tests.bench.table import Row
from tests.conversion import convert
from tests.media import SUBTITLES, make, picture, tone
from tools.core.errors import EncoderStalled, MediaError, PipelineError
from tools.media.converter import Conversion, FfmpegConverter, MachineOptions, OutputOptions
from tools.media.probe import SAFE_INPUT
from tools.runtime import child
from tools.runtime.spawn import Access

MUTANTS, SEED, SLICE = 2100, 20261126, 150
_STALL = 30.0  # s
_MAX_RSS = 1_500_000_000  # bytes of one encode
MOST_MEMORY = 3 << 30  # bytes of one child: the limit of a probe, which is the higher one
_LONGEST = 4 * _STALL + 240  # s: a busy encode may stall so long, and a small file be read for a minute, four times

_H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "6", "-bf", "2"]
_MADE: dict[str, list[str]] = {
    "h264.mp4": [*_H264, "-c:a", "aac", "-movflags", "faststart"],
    "fragments.mp4": [*_H264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "h264.mkv": [*_H264, "-c:a", "flac", "-c:s", "srt"],
    "h264.ts": [*_H264, "-c:a", "aac"],
    "h264.flv": [*_H264, "-c:a", "aac"],
    "hevc.mkv": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-c:a", "libopus"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"],
    "mpeg4.3gp": ["-c:v", "mpeg4", "-c:a", "aac"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"],
    "vp8.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"],
    "av1.mkv": ["-c:v", "libsvtav1", "-preset", "13", "-c:a", "libopus"],
    "theora.ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"],
    "mpeg2.m2ts": ["-c:v", "mpeg2video", "-c:a", "ac3"],
    "wmv2.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "rv20.rm": ["-c:v", "rv20", "-s", "176x144", "-c:a", "ac3"],
    "prores.mov": ["-c:v", "prores_ks", "-c:a", "pcm_s16le"],
    "mjpeg.mov": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"],
}
_REAL = (
    *("av1_ivf_named.mp4", "av1_tiny.mkv", "chapters_aac.mkv", "hdr10_rot_attach_chap.mkv", "odd_svq1_293x178.mov"),
    *("one_frame.mp4", "packed_bframes.avi", "rv10_ac3.rm", "sub_movtext.mp4", "sub_vobsub_pgs.mkv"),
)
# Larger ones, of which a moment is taken, packets as they are.
_MOMENTS = (
    *("anim_444.mkv", "bbb_vp8_1s.webm", "bbb_flv_360p.flv", "interlaced_h264.mp4", "mpeg1_mp2.mpg", "wmv2_mono.wmv"),
    *("bbb_firstpts10s_sar.mp4", "ts_2xac3_eng_es.ts"),
)


def clips(folder: Path) -> list[Path]:
    """Whole clips of half a second, small pictures, many codecs and containers; real ones if they are there."""
    folder.mkdir()
    words = folder.parent / "words.srt"
    words.write_text(SUBTITLES, encoding="utf-8")
    found = []
    for name, codecs in _MADE.items():
        subtitles = ["-i", str(words)] if "-c:s" in codecs else []
        found.append(make([*picture(0.5, "64x64"), *tone(0.5), *subtitles, *codecs], folder / name))
    real = real_folder()
    found += [real / name for name in _REAL if (real / name).exists()]
    for name in _MOMENTS:
        if (real / name).exists():
            found.append(make(["-i", f"file:{real / name}", "-map", "0", "-c", "copy", "-t", "0.3"], folder / name))
    return found


# --- how files break -------------------------------------------------------------------------------------------------


def _bits(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    for _ in range(chance.choice([1, 3, 10, 50])):
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)


def _bytes(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 60)):
        body[chance.randrange(len(body))] = chance.randrange(256)


def _cut(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    del body[chance.randrange(len(body)) :]


def _beheaded(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    del body[: chance.randrange(1, max(2, len(body) // 2))]


def _hole(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    at, size = chance.randrange(len(body)), chance.choice([16, 512, 4096])
    size = len(body[at : at + size])
    body[at : at + size] = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)


def _taken_out(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(body))
    del body[at : at + chance.choice([1, 188, 4096])]


def _swapped(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    first, second, third = sorted(chance.randrange(len(body) + 1) for _ in range(3))
    body[first:third] = body[second:third] + body[first:second]


def _repeated(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(body))
    part = body[at : at + chance.choice([188, 2048, 20_000])]
    body[at:at] = part * chance.choice([1, 1, 5])


def _spliced(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    at, start = chance.randrange(len(body)), chance.randrange(len(other))
    body[at : at + 500] = other[start : start + chance.randrange(5000)]


def _head(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 6)):
        body[chance.randrange(min(len(body), 400))] = chance.randrange(256)


def _numbers(body: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    """Sizes, counts and times blown up, mostly in the index."""
    end = chance.random() < 0.3  # where many containers keep it
    for _ in range(chance.randrange(1, 9)):
        at = chance.randrange(min(len(body), 3000))
        at = len(body) - 1 - at if end else at
        width = len(body[at : at + 4])
        body[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"])[
            :width
        ]


Break = Callable[[bytearray, Sequence[bytes], random.Random], None]
BREAKS: tuple[Break, ...] = (
    *(_bits, _bytes, _cut, _beheaded, _hole, _taken_out, _swapped, _repeated, _spliced, _head, _numbers),
)


def mutant(contents: Sequence[bytes], seed: int, number: int) -> tuple[int, str, bytes]:
    """(which clip, how it was broken, the broken bytes); the same for the same seed, number and clips."""
    chance = random.Random(f"{seed}/{number}")
    which = number % len(contents)
    chosen = [chance.choice(BREAKS)]
    if chance.random() < 0.2:
        chosen.append(chance.choice(BREAKS))
    body = bytearray(contents[which])
    for one in chosen:
        one(body, contents, chance)
        body = body or bytearray(b"\0")
    return which, "+".join(one.__name__.strip("_") for one in chosen), bytes(body)


# --- what is asked of each -------------------------------------------------------------------------------------------


class Attack:
    """Takes mutants through one converter; ``ended`` counts how, ``faults`` says what must not be.

    That each comes to an end, the converter's own limits see to, which know how busy the machine is; ``longest`` is for
    the table of a bench on one that is not.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed = seed
        self.clips = clips(folder / "clips")
        self.ended: Counter[str] = Counter()
        self.faults: list[str] = []
        self.longest = 0.0
        self.slowest = ""
        self._contents = [path.read_bytes() for path in self.clips]
        self._work = folder / "work"
        self._work.mkdir()
        self._folder, self._outside = folder, sorted(folder.rglob("*"))
        machine = MachineOptions(stall_timeout=_STALL, max_encode_rss=_MAX_RSS)
        self._converter = FfmpegConverter(OutputOptions(preset=13), machine)
        self._converter.prepare()

    def one(self, number: int) -> None:
        """One mutant, to its end."""
        which, how, content = mutant(self._contents, self.seed, number)
        source, target = self._work / f"source{self.clips[which].suffix}", self._work / "result.mkv"
        source.write_bytes(content)
        name = f"mutant {self.seed}/{number} ({self.clips[which].name}, {how})"
        began = time.monotonic()
        try:
            self.ended[self._judged(source, target, name)] += 1
        except Exception as exc:
            self.faults.append(f"{name}: {type(exc).__name__}: {exc}")
            self.ended["fault"] += 1
        took = time.monotonic() - began
        if took > self.longest:
            self.longest, self.slowest = took, name
        if left := [path.name for path in self._work.iterdir() if path not in {source, target}]:
            self.faults.append(f"{name}: left behind {left}")
        for path in self._work.iterdir():
            path.unlink()
        if (there := sorted(self._folder.rglob("*"))) != self._outside:
            self.faults.append(f"{name}: left behind {[path for path in there if path not in self._outside]}")

    def _judged(self, source: Path, target: Path, name: str) -> str:
        """How it ended. A damaged file is refused for good with one line, or what came out of it has every picture
        that a plain decoder gives; the machine is never blamed, and what hangs is ended."""
        try:
            made = convert(source, target, self._converter)
        except EncoderStalled:
            if target.exists():
                self.faults.append(f"{name}: a stalled encode left its result")
            return "stalled"  # ended by its limit: to be tried again, and given up in the end
        except MediaError as exc:
            if exc.retryable or target.exists() or "\n" in str(exc) or not str(exc):
                self.faults.append(f"{name}: refused badly: {exc!r}")
            return "refused"
        except PipelineError as exc:
            self.faults.append(f"{name}: {type(exc).__name__}: {exc}")
            return "fault"
        self._compare(source, target, made, name)
        return "converted"

    def _compare(self, source: Path, target: Path, made: Conversion, name: str) -> None:
        kept = [one["index"] for one in made.streams if one["type"] == "video" and one["codec"]]
        before = [self._decoded(source, f"0:{index}") for index in kept]
        after = [self._decoded(target, f"0:V:{number}") for number in range(len(kept))]
        for index, had, has in zip(kept, before, after, strict=True):
            if has < had:
                self.faults.append(f"{name}: stream {index} decodes to {had} pictures, {has} were published")
        others = [one["index"] for one in made.streams if one["type"] == "video" and not one["codec"]]
        for index in others:
            if lost := self._decoded(source, f"0:{index}"):
                self.faults.append(f"{name}: stream {index} of {lost} pictures is not there")

    def _decoded(self, path: Path, stream: str) -> int:
        """How many pictures a plain ffmpeg gets out of a stream."""
        lines: list[str] = []
        head: list[str | Path] = [
            self._converter._chosen().ffmpeg,
            "-nostdin",
            "-v",
            "quiet",
            *SAFE_INPUT,
            "-i",
            f"file:{path}",
        ]
        tail = ["-map", stream, "-fps_mode", "passthrough", "-f", "framecrc", "-"]
        child.run(
            [*head, *tail],
            access=Access(reads=(path,)),
            limits=child.ChildLimits(timeout=_LONGEST, rss=_MAX_RSS),
            on_line=lines.append,
        )
        return sum(not line.startswith("#") for line in lines)


class Memory:
    """Watches how much memory the programs that the converter starts have at most; ``most`` bytes of one of them."""

    def __init__(self, every: float = 0.05) -> None:
        self.most = 0
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            pending = [os.getpid()]
            while pending:
                pid = pending.pop()
                with contextlib.suppress(OSError, StopIteration):
                    for task in Path(f"/proc/{pid}/task").iterdir():
                        pending += map(int, (task / "children").read_text().split())
                    status = Path(f"/proc/{pid}/status").read_text()
                    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
                    if pid != os.getpid():
                        self.most = max(self.most, int(peak.split()[1]) * 1024)


def attack(seed: int, first: int, count: int) -> dict[str, Any]:
    """So many mutants, beginning with that number, and what came of them."""
    logging.getLogger("animation").addHandler(logging.NullHandler())  # else warnings go to standard error
    with tempfile.TemporaryDirectory() as name:
        taken = Attack(Path(name), seed)
        began = time.monotonic()
        with Memory() as memory:
            for number in range(first, first + count):
                taken.one(number)
        took = time.monotonic() - began
    return {
        "ended": dict(taken.ended),
        "faults": taken.faults,
        "longest": taken.longest,
        "slowest": taken.slowest,
        "memory": memory.most,
        "took": took,
    }


def run() -> list[Row]:
    """All mutants, in slices."""
    parts = [in_process(attack, SEED, first, min(SLICE, MUTANTS - first)).value for first in range(0, MUTANTS, SLICE)]
    return rows(parts)


def rows(parts: Sequence[dict[str, Any]]) -> list[Row]:
    """What the slices found, as a table."""
    ended: Counter[str] = Counter()
    for part in parts:
        ended.update(part["ended"])
    faults = [fault for part in parts for fault in part["faults"]]
    for fault in faults:
        print(fault, file=sys.stderr)
    data = f"{ended.total()} mutants of {len(_MADE)} made and {len(_REAL) + len(_MOMENTS)} real clips, seed {SEED}"
    shown = ", ".join(f"{count} {how}" for how, count in sorted(ended.items()))
    longest, memory = max(part["longest"] for part in parts), max(part["memory"] for part in parts)
    return [
        Row("damaged files: tracebacks, hangs, lost pictures", data, 1, f"{len(faults)} ({shown})", "0", not faults),
        Row("the same: longest", data, 1, f"{longest:.0f} s", f"≤ {_LONGEST:.0f} s", longest <= _LONGEST),
        Row(
            "the same: memory of the largest child",
            data,
            1,
            f"{memory / 1e6:.0f} MB",
            f"≤ {MOST_MEMORY / 1e6:.0f} MB",
            memory <= MOST_MEMORY,
        ),
    ]


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(attack(*(int(word) for word in sys.argv[1:4]))))
