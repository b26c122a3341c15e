"""How much a video's pictures are like its source's: a metric of ffmpeg over samples, or over pictures that two runs
wrote → scores.

Both are read by one ffmpeg, the source's pictures go through the filters that were applied on purpose, both are brought
to one format and size, and pictures are paired by their times. The colour tags of both are made the same before they
are compared, so that no filter converts one of them on the way: the numbers are compared as they are.
"""

import math
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tools.core.errors import EncoderStalled, MachineError, MediaError
from tools.core.message import message
from tools.media.complaints import Complaints, bare
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions, picture_filters
from tools.media.facts import Facts, Stream
from tools.media.plan import Plan
from tools.media.probe import SAFE_INPUT
from tools.media.program import machine_fault, run_program
from tools.media.scored import Group
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildStalled
from tools.runtime.spawn import Access

Metric = Literal["vmaf", "xpsnr", "ssim"]
MODEL = "vmaf_v0.6.1"
"""Of VMAF; it is built into libvmaf."""
_LEAD = 1.0  # s before a sample that are decoded with it, so that a filter knows what came before
_PAD, _PAD_BEHIND = 0.1, 0.01  # s of the source around a sample, so that each picture of it finds its own
_EARLIER = 0.0007  # s; Matroska rounds to milliseconds, and ffmpeg pairs a picture with the last one not later than it
_APART = 0.0015  # s; what is further from its own time is paired with another picture
_RUN = 12  # pictures of neighbouring groups that are a sample: of fewer, one hard picture would be too much
_SMALLEST = 64  # pixels; libvmaf and XPSNR take nothing smaller, so it gets a border
_XPSNR_BLOCK = 32  # pixels; XPSNR takes the padding of a line for picture, and lines are aligned to 64 bytes
_QUIET = 300.0  # s; libvmaf says nothing before its end
_DISTORTED, _REFERENCE = "showinfo@distorted", "showinfo@reference"
# Its time has six digits, less than the number that it is made of: us, as ``settb=AVTB`` has it.
_SHOWN = re.compile(r"\[(showinfo@\w+) @ 0x[0-9a-f]+\] (?:\[info\] )?n: *\d+ pts: *(\S+) ")
_PRINT = "metadata=mode=print:file=-:direct=1"
FILTERS: dict[Metric, str] = {
    # A file of libvmaf's is the only way to its values picture by picture.
    "vmaf": f"libvmaf=model=version={MODEL}:log_fmt=csv:log_path=/dev/stdout:n_threads=2",
    "xpsnr": f"xpsnr,{_PRINT}",
    "ssim": f"ssim,{_PRINT}",
}
"""In the order of preference, the distorted pictures first."""


class NotComparable(MediaError):
    """No picture of the two could be paired, or the metric refuses them; says nothing about their quality."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of the reference, on the clock of its packets."""

    begin: float  # s
    length: float  # s


@dataclass(frozen=True, slots=True)
class Scores:
    """What a metric says of samples: VMAF 0 to 100; XPSNR in dB, luma counting six times chroma; SSIM 0 to 1, luma."""

    metric: Metric
    model: str  # of VMAF, "" for the others
    mean: float  # of all pictures
    low: float  # 5th percentile of them
    minimum: float
    samples: int
    seconds: float  # of video that was compared
    worst: float = field(default=0.0)  # mean of the worst sample

    def as_record(self) -> dict[str, Any]:
        """JSON-able, for ``metadata.jsonl``."""
        measured = {"mean": self.mean, "p5": self.low, "min": self.minimum, "seconds": self.seconds}
        rounded = {name: round(value, 4 if self.metric == "ssim" else 2) for name, value in measured.items()}
        return {"metric": self.metric, "model": self.model, **rounded, "samples": self.samples}

    def __str__(self) -> str:
        digits, unit = {"vmaf": (1, ""), "xpsnr": (1, " dB"), "ssim": (4, "")}[self.metric]
        return f"{self.metric.upper()} {self.mean:.{digits}f}{unit} (5th percentile {self.low:.{digits}f}{unit})"


@dataclass(frozen=True, slots=True)
class Meter:
    """A metric that an ffmpeg was seen to have, and how it is used."""

    ffmpeg: Path
    metric: Metric
    model: str = ""
    every: int = 1  # of VMAF: of so many pictures one is scored, which costs that much less

    @property
    def filter(self) -> str:
        is_thinned = self.metric == "vmaf" and self.every > 1
        return FILTERS[self.metric] + (f":n_subsample={self.every}" if is_thinned else "")


@dataclass(frozen=True, slots=True)
class Reference:
    """A source's pictures as its encoder gets them."""

    path: Path
    index: int  # of the stream
    filters: tuple[str, ...]
    pix_fmt: str  # of the encode; both are brought to it
    guards: tuple[str, ...]  # how the source is to be read, as in its encode
    front: tuple[str, ...] = ()  # of the whole command, as in its encode
    can_seek: bool = True  # whether its clock is one that a seek can be trusted with


@dataclass(frozen=True, slots=True)
class Running:
    """What a run may take."""

    stop: threading.Event
    stall_timeout: float  # s
    max_rss: int  # bytes


def reference_of(plan: Plan, stream: Stream, source: Path, encoder: Encoder, options: OutputOptions) -> Reference:
    """The pictures of a stream that the plan encodes."""
    guards = (*SAFE_INPUT, *(("-apply_cropping", "codec") if encoder.crops else ()))
    even = any(video.has_even_times for video in plan.facts.of("video"))
    return Reference(
        path=source,
        index=stream.index,
        filters=tuple(picture_filters(plan, stream)),
        pix_fmt=encoder.type.pix_fmt(options.pix_fmt),
        guards=guards,
        front=("-copyts", "-start_at_zero") if even else (),
        can_seek=not even and _has_plain_clock(plan.facts, stream),
    )


def _has_plain_clock(facts: Facts, stream: Stream) -> bool:
    seekable = facts.container in {"matroska", "webm", "mov", "mpegts"}
    return seekable and len(stream.shapes) < 2 and not facts.is_jumpy(stream) and stream.has_times


def score(
    distorted: Path,
    reference: Reference,
    samples: Sequence[Sample],
    meter: Meter,
    running: Running,
    *,
    shift: float = 0.0,
) -> Scores:
    """What the metric says of ``distorted``'s first video, with a seek in both files for each sample.

    ``samples`` (): both files whole, paired from their first pictures on. ``shift``: s, the time of a picture in
    ``distorted`` less its time in the reference. Raises NotComparable, MachineError, NoEncoder, EncoderStalled,
    Stopped.
    """
    if not samples:
        return _scores(meter, [_run(distorted, reference, _whole([]), meter, running)])
    return _scores(meter, [_run(distorted, reference, _sought(sample, shift), meter, running) for sample in samples])


def score_in_one(
    distorted: Path, reference: Reference, samples: Sequence[Sample], meter: Meter, running: Running
) -> Scores:
    """As ``score``, but both files are read from their beginning, so that no seek can go wrong; ``samples`` begin at
    0 with their first pictures."""
    scored = _run(distorted, reference, _whole(samples), meter, running)
    parts = [[(t, value) for t, value in scored if one.begin <= t <= one.begin + one.length] for one in samples]
    return _scores(meter, [part for part in parts if part] or [scored])


def score_pictures(
    distorted: Path, reference: Path, pix_fmt: str, groups: Sequence[Group], meter: Meter, running: Running
) -> Scores:
    """As ``score``, of pictures that a run wrote of each file (``tools.media.scored``), on clocks that start with their
    first ones. ``pix_fmt``: of the encode."""
    way = replace(_whole([]), of_distorted=_OURS)
    scored = _run(distorted, Reference(reference, 0, (), pix_fmt, _OURS), way, meter, running)
    parts = [[(t, value) for t, value in scored if one.has(t)] for one in groups]
    scores = _scores(meter, [part for part in parts if part] or [scored])
    values = [value for _, value in scored]
    count = max(1, len(values) // _RUN)
    edges = [len(values) * number // count for number in range(count + 1)]
    return replace(scores, worst=min(math.fsum(values[a:b]) / (b - a) for a, b in pairwise(edges)))


_OURS = (*SAFE_INPUT[:2], "-format_whitelist", "nut")


@dataclass(frozen=True, slots=True)
class _Way:
    """How the pictures of a sample are reached: options before each file, filters behind what makes them alike."""

    front: tuple[str, ...] = ()
    of_distorted: tuple[str, ...] = ()
    of_reference: tuple[str, ...] = ()
    distorted: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()


def _sought(sample: Sample, shift: float) -> _Way:
    begin, end = sample.begin, sample.begin + sample.length
    seek = ("-noaccurate_seek", "-seek_timestamp", "1", "-ss")
    return _Way(
        front=("-copyts",),
        of_distorted=(*seek, f"{max(0.0, begin + shift - _PAD):.6f}"),
        of_reference=(*seek, f"{max(0.0, begin - _LEAD):.6f}"),
        distorted=(f"setpts=PTS-{shift:.6f}/TB", f"trim=start={begin:.6f}:end={end:.6f}"),
        reference=(f"trim=start={begin - _PAD:.6f}:end={end + _PAD_BEHIND:.6f}",),
    )


def _whole(samples: Sequence[Sample]) -> _Way:
    return _Way(
        distorted=("setpts=PTS-STARTPTS", *_chosen(samples, 0.0)),
        reference=("setpts=PTS-STARTPTS", *_chosen(samples, _PAD)),
    )


def _chosen(samples: Sequence[Sample], pad: float) -> list[str]:
    parts = [f"between(t,{one.begin - pad:.6f},{one.begin + one.length + pad:.6f})" for one in samples]
    return [f"select='{'+'.join(parts)}'"] if parts else []


_Scored = list[tuple[float, float]]
"""(time in s, value), picture by picture."""


def _run(distorted: Path, reference: Reference, way: _Way, meter: Meter, running: Running) -> _Scored:
    alike = [f"format={reference.pix_fmt}", "setparams=range=tv:colorspace=bt709", "settb=AVTB"]
    # Whole pairs of pixels: a size that is odd would be rounded down.
    last = [f"pad=max(ceil(iw/2)*2\\,{_SMALLEST}):max(ceil(ih/2)*2\\,{_SMALLEST})"]
    if meter.metric == "xpsnr":  # hflip copies what crop only frames
        last += [f"crop=trunc(iw/{_XPSNR_BLOCK})*{_XPSNR_BLOCK}:ih", "hflip"]
    one = [*alike, *way.distorted, f"{_DISTORTED}=checksum=0", *last]
    other = [*reference.filters, *alike, *way.reference, f"{_REFERENCE}=checksum=0", f"setpts=PTS-{_EARLIER}/TB", *last]
    graph = f"[0:V:0]{','.join(one)}[a];[1:{reference.index}]{','.join(other)}[b];[a][b]{meter.filter}[c]"
    argv: list[str | Path] = [meter.ffmpeg, "-hide_banner", "-nostdin", "-v", "repeat+level+info", "-nostats"]
    argv += [*reference.front, *way.front]
    argv += [*SAFE_INPUT, *way.of_distorted, "-i", f"file:{distorted}"]
    argv += [*reference.guards, *way.of_reference, "-i", f"file:{reference.path}"]
    argv += ["-filter_complex", graph, "-map", "[c]", "-f", "null", "-"]
    heard = _Heard(meter.metric)
    access = Access(reads=(distorted, reference.path), is_patient=True)
    limits = ChildLimits(stall=max(_QUIET, running.stall_timeout), rss=running.max_rss)
    try:
        ended = run_program(
            argv,
            access=access,
            limits=limits,
            stop=running.stop,
            on_line=heard.line,
            on_complaint=heard.complaint,
        )
    except ChildStalled as exc:
        raise EncoderStalled(f"comparing the pictures made {exc}", stderr=exc.stderr) from exc
    except ChildOutgrew as exc:
        raise MachineError(f"comparing the pictures {exc}") from exc
    if fault := machine_fault("ffmpeg", ended, heard.complaints):
        raise fault
    missing = set(range(0, len(heard.times), meter.every)).difference(heard.values)
    scored = heard.scored()
    if ended.status != 0 or not scored or missing:
        cause = bare(heard.complaints.cause())[:200]
        raise NotComparable(message(f"the pictures could not be compared: {cause or 'none could be paired'}"))
    return scored


class _Heard:
    """What a run says: the metric's values on its standard output, complaints on the other, and the pictures' times."""

    def __init__(self, metric: Metric) -> None:
        self.values: dict[int, float] = {}  # by the picture's number
        self.complaints = Complaints()
        self.times: list[float] = []  # s
        self._others: list[float] = []  # s, of the reference
        self._has_no_motion_at_first = metric == "vmaf"
        self._column = -1
        self._planes: dict[str, float] = {}
        self._next = 0  # number of a picture
        self._take: Callable[[str], bool] = {"vmaf": self._vmaf, "xpsnr": self._xpsnr, "ssim": self._ssim}[metric]

    def line(self, line: str) -> bool:
        return self._take(line)

    def complaint(self, line: str) -> bool:
        """Whether it is one; showinfo's lines, which the others stand among, tell the times."""
        if shown := _SHOWN.match(line):
            (self.times if shown[1] == _DISTORTED else self._others).append(_float(shown[2]) * 1e-6)
            return False
        if "[info]" in line or "[warning]" in line or not line.strip():
            return False
        self.complaints.line(line)
        return True

    def scored(self) -> _Scored:
        """Those that were paired with the picture of their own time, as far as times are known."""
        others = sorted(self._others)
        # The first has none before it, and VMAF takes it for one that does not move: 4 less than it is worth.
        first = 1 if self._has_no_motion_at_first and len(self.times) > 1 else 0

        def is_own(time: float) -> bool:
            place = bisect_right(others, time + _EARLIER)
            return math.isnan(time) or (place > 0 and time - others[place - 1] < _APART)

        # After the last picture the filter goes on with it as long as the source has some.
        there = range(first, len(self.times))
        found = [(self.times[number], value) for number, value in self.values.items() if number in there]
        return [one for one in found if is_own(one[0])]

    def _vmaf(self, line: str) -> bool:
        cells = line.split(",")
        if "vmaf" in cells:
            self._column = cells.index("vmaf")
        elif 0 <= self._column < len(cells) and cells[0].isdecimal():
            self._next = int(cells[0])
            self._add(_float(cells[self._column]))
            return True
        return False

    def _xpsnr(self, line: str) -> bool:
        name, _, value = line.partition("=")
        if name.startswith("lavfi.xpsnr.xpsnr."):
            self._planes[name[-1]] = min(100.0, _float(value))  # equal pictures have inf
            if len(self._planes) == 3:
                self._add((6 * self._planes["y"] + self._planes["u"] + self._planes["v"]) / 8)
                self._planes = {}
        return True

    def _ssim(self, line: str) -> bool:
        name, _, value = line.partition("=")
        if name == "lavfi.ssim.Y":
            self._add(_float(value))
        return True

    def _add(self, value: float) -> None:
        if not math.isnan(value):
            self.values[self._next] = value
        self._next += 1


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _scores(meter: Meter, parts: Sequence[_Scored]) -> Scores:
    values = sorted(value for part in parts for _, value in part)
    return Scores(
        metric=meter.metric,
        model=meter.model,
        mean=math.fsum(values) / len(values),
        low=values[int(0.05 * (len(values) - 1))],
        minimum=values[0],
        samples=len(parts),
        seconds=math.fsum(map(_lasts, parts)),
        worst=min(math.fsum(value for _, value in part) / len(part) for part in parts),
    )


def _lasts(part: _Scored) -> float:
    """s, with that of the last picture."""
    times = [time for time, _ in part]
    return (times[-1] - times[0]) * len(times) / (len(times) - 1) if len(times) > 1 else 0.0
