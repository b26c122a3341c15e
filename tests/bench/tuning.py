"""What each option of SVT-AV1 gains or costs on real animation: size at equal VMAF, size at equal XPSNR, CPU.

Each variant is today's default with one thing changed, encoded at several CRFs. Two curves of bytes over a score are
compared where both have that score (the Bjøntegaard delta): −5 % means 5 % fewer bytes for the same score.

It takes half an hour of CPU. With TUNING_KEPT, a file, what is measured is kept there and not measured again, so that
the bench can be run in pieces; TUNINGS (regular expression) chooses variants.
"""

import json
import math
import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tests.bench.clips import ffmpeg, real_folder
from tests.bench.table import Row
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.media.encoding import encoder_arguments

_CRFS = (26, 35, 44)
_STEPS = 50  # of the range of scores that two curves share


@dataclass(frozen=True, slots=True)
class _Clip:
    """A piece of a real video, and what it stands for."""

    kind: str
    file: str
    start: float = 0.0  # s
    length: float = 2.0  # s
    filters: str = "null"


_CLIPS = (
    _Clip("2D flat", "anim_444.mkv", length=3.0),
    _Clip("dark", "elephants_test7_damaged_cut.mkv"),
    _Clip("3D texture", "sintel_480p_zh_ass.mkv", start=9.0),
    _Clip("3D", "bbb_720p_51.mp4"),
    _Clip("noise", "interlaced_h264.mp4", filters="bwdif=mode=send_frame"),
)
_LONG = _Clip("12 s of 3D", "sintel_480p_zh_ass.mkv", length=12.0)


@dataclass(frozen=True, slots=True)
class _Variant:
    """``parameters`` of SVT-AV1 that come after the default's, and so win; ``options`` of ffmpeg likewise."""

    name: str
    parameters: str = ""
    options: tuple[str, ...] = ()
    clips: Sequence[_Clip] = _CLIPS
    base: "_Variant | None" = None  # None: the default


def _preset(number: int) -> _Variant:
    return _Variant(f"preset {number}", options=("-preset", str(number)))


def _keyframes(seconds: float) -> tuple[str, ...]:
    return ("-g", str(round(seconds * 25)), "-preset", "10")


_DEFAULT = _Variant("the default")
_RARE = _Variant("a keyframe every 10 s, preset 10", options=_keyframes(10), clips=(_LONG,))
_VARIANTS = (
    *(_preset(number) for number in (4, 5, 7, 8, 9, 10)),
    _Variant("8 bits", options=("-pix_fmt", "yuv420p")),
    _Variant("variance boost off", "enable-variance-boost=0"),
    *(_Variant(f"variance boost, strength {number}", f"variance-boost-strength={number}") for number in (1, 3)),
    *(_Variant(f"variance boost, octile {number}", f"variance-octile={number}") for number in (3, 7)),
    _Variant("variance boost, curve 1", "variance-boost-curve=1"),
    *(_Variant(f"tune {number}", f"tune={number}") for number in (0, 2)),
    _Variant("quantisation matrices", "enable-qm=1"),
    _Variant("quantisation matrices from 0", "enable-qm=1:qm-min=0:chroma-qm-min=0"),
    _Variant("sharpness 1", "sharpness=1"),
    *(_Variant(f"ac-bias {number}", f"ac-bias={number}") for number in (0.5, 1.0)),
    _Variant("luminance-qp-bias 20", "luminance-qp-bias=20"),
    _Variant("qp-scale-compress-strength 2", "qp-scale-compress-strength=2"),
    *(_Variant(f"tf-strength {number}", f"tf-strength={number}") for number in (0, 1, 2)),
    _Variant("tf-strength 1, ac-bias 1", "tf-strength=1:ac-bias=1.0"),
    _Variant("film grain 8", "film-grain=8", clips=(_CLIPS[0], _CLIPS[4])),
    *(
        _Variant(f"a keyframe every {seconds:g} s", options=_keyframes(seconds), clips=(_LONG,), base=_RARE)
        for seconds in (1, 2, 5)
    ),
)


@dataclass(frozen=True, slots=True)
class _Point:
    """One encode: its bytes, both scores and the CPU s that it took."""

    size: int
    vmaf: float
    xpsnr: float
    cpu: float


def run() -> list[Row]:
    """One row per variant: over all its clips, and of each."""
    wanted = re.compile(os.environ.get("TUNINGS", ""))
    chosen = [variant for variant in _VARIANTS if wanted.search(variant.name)]
    with tempfile.TemporaryDirectory() as name:
        measured = _Measured(Path(name))
        # One core each, as many at a time as there are, whose results come in the order of the variants.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            jobs = [
                (one, clip, crf)
                for variant in chosen
                for one in (variant.base or _DEFAULT, variant)
                for clip in variant.clips
                for crf in _CRFS
            ]
            list(pool.map(lambda job: measured.point(*job), dict.fromkeys(jobs)))
        return [_row(variant, measured) for variant in chosen]


def _row(variant: _Variant, measured: "_Measured") -> Row:
    told, cpu = [], []
    base = variant.base or _DEFAULT
    curves = [
        tuple([measured.point(one, clip, crf) for crf in _CRFS] for one in (base, variant)) for clip in variant.clips
    ]
    scores: dict[str, Callable[[_Point], float]] = {"VMAF": lambda one: one.vmaf, "XPSNR": lambda one: one.xpsnr}
    for name, score in scores.items():
        deltas = [_delta(before, after, score) for before, after in curves]
        each = ", ".join(f"{delta:+.1f}" for delta in deltas)
        told.append(f"{name} {mean(deltas):+.1f} % ({each})" if len(deltas) > 1 else f"{name} {deltas[0]:+.1f} %")
    for before, after in curves:
        cpu.append(sum(one.cpu for one in after) / sum(one.cpu for one in before))
    data = ", ".join(clip.kind for clip in variant.clips)
    return Row(variant.name, data, 1, f"{told[0]}; {told[1]}; CPU {mean(cpu):.2f} ×")


def _delta(before: Sequence[_Point], after: Sequence[_Point], score: Callable[[_Point], float]) -> float:
    """% of bytes that ``after`` takes more than ``before`` at equal scores; NaN if they share none."""
    curves = [sorted((score(one), math.log(one.size)) for one in points) for points in (before, after)]
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if low >= high:
        return math.nan
    at = [low + (high - low) * step / _STEPS for step in range(_STEPS + 1)]
    return 100 * (math.exp(mean(_through(curves[1], x) - _through(curves[0], x) for x in at)) - 1)


def _through(points: Sequence[tuple[float, float]], x: float) -> float:
    """The value at ``x`` of the polynomial through the points (Lagrange's)."""
    total = 0.0
    for here, value in points:
        others = [there for there, _ in points if there != here]
        total += value * math.prod((x - there) / (here - there) for there in others)
    return total


class _Measured:
    """Encodes and scores, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, os.environ.get("TUNING_KEPT")
        self._kept: dict[str, list[float]] = {}
        if self._file and Path(self._file).exists():
            lines = Path(self._file).read_text(encoding="utf-8").splitlines()
            self._kept = dict(json.loads(line) for line in lines)
        self._references = {clip: _reference(clip, folder) for clip in (*_CLIPS, _LONG)}
        converter = FfmpegConverter(OutputOptions())
        encoder = converter._chosen().encoders[0]
        self._default = encoder_arguments(encoder, converter.output, source=None, threads=1, stream=0)[1]

    def point(self, variant: _Variant, clip: _Clip, crf: int) -> _Point:
        arguments = self._arguments(variant, crf)
        key = " ".join((clip.file, f"{clip.start:g} {clip.length:g}", *arguments))
        if key not in self._kept:
            self._kept[key] = self._measure(self._references[clip], arguments)
            if self._file:
                with Path(self._file).open("a", encoding="utf-8") as file:
                    file.write(json.dumps((key, self._kept[key])) + "\n")
        size, *rest = self._kept[key]
        return _Point(int(size), *rest)

    def _arguments(self, variant: _Variant, crf: int) -> list[str]:
        given = list(self._default)
        for name, value in (("-crf", str(crf)), *zip(variant.options[::2], variant.options[1::2], strict=True)):
            given[given.index(f"{name}:v:0") + 1] = value
        if variant.parameters:
            given[given.index("-svtav1-params:v:0") + 1] += f":{variant.parameters}"
        return given

    def _measure(self, reference: Path, arguments: Sequence[str]) -> list[float]:
        descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".ivf")
        os.close(descriptor)
        result = Path(name)
        command = [ffmpeg(), "-hide_banner", "-nostdin", "-y", "-i", str(reference), *arguments, str(result)]
        cpu, said = _run(command)
        if "Error parsing" in said:
            raise RuntimeError(next(line for line in said.splitlines() if "Error parsing" in line))
        vmaf, xpsnr = _scores(result, reference)
        size = result.stat().st_size
        result.unlink()
        return [size, vmaf, xpsnr, cpu]


def _run(command: Sequence[str]) -> tuple[float, str]:
    """CPU s of a program, and what it wrote on standard error."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as one:
        assert one.stderr is not None
        said = one.stderr.read().decode("utf-8", "replace")
        _, status, used = os.wait4(one.pid, 0)
        one.returncode = os.waitstatus_to_exitcode(status)
    if one.returncode:
        raise RuntimeError(f"{' '.join(command)}: {said[-2000:]}")
    return _cpu(used), said


def _cpu(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime


def _reference(clip: _Clip, folder: Path) -> Path:
    """The piece without loss, as what is encoded and compared."""
    path = folder / f"{clip.kind}.mkv"
    prepare = f"{clip.filters},format=yuv420p"
    source = ["-ss", f"{clip.start:g}", "-t", f"{clip.length:g}", "-i", f"file:{real_folder() / clip.file}"]
    _run(
        [ffmpeg(), "-v", "error", "-nostdin", "-y", *source, "-map", "0:V:0", "-vf", prepare, "-c:v", "ffv1", str(path)]
    )
    return path


def _scores(result: Path, reference: Path) -> tuple[float, float]:
    """VMAF and XPSNR of the luma. About the width for the latter see ``quality``."""
    same = "format=yuv420p10le,settb=AVTB,setpts=N,split"
    even = "crop=trunc(iw/32)*32:ih,hflip"
    graph = f"[0:V:0]{same}[a][c];[1:V:0]{same}[b][d];[a][b]libvmaf;[c]{even}[e];[d]{even}[f];[e][f]xpsnr"
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-i", str(result), "-i", str(reference), "-lavfi", graph]
    said = _run([*command, "-f", "null", "-"])[1]
    vmaf, xpsnr = re.findall(r"VMAF score: ([\d.]+)", said), re.findall(r"XPSNR\s+y: ([\d.]+)", said)
    return float(vmaf[-1]), float(xpsnr[-1])
