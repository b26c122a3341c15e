"""Which parts of a video stand for the whole, and the command that encodes one of them. Pure.

A sample is as long as the distance of keyframes, so that their share is that of the whole. It is cut by its pictures'
times, on the clock of the source's packets, which the encoded sample keeps: the two can be compared picture by picture.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from tools.media.encoders import Encoder
from tools.media.encoding import KEYFRAME_SECONDS, TIME_BASE, OutputOptions, encoder_arguments
from tools.media.facts import Stream
from tools.media.plan import Plan
from tools.media.quality import Reference, Sample

SHORT = 240.0
"""s; what is shorter is its own sample: four samples would be a sixth of it, and its encode is soon done anyway."""
_LASTS = float(KEYFRAME_SECONDS)
_ONE_FOR = 360.0  # s of video: 40 of an episode's 1440
_FEWEST, _MOST = 4, 12  # by two, videos of different scenes were off by up to 1.6 of VMAF, by four by half of that
_GRID = 2.0  # s between the places that a sample may begin at
_LEAD = 1.0  # s before a sample that are decoded with it: filters know what came before, and a seek may be off


@dataclass(frozen=True, slots=True)
class Part:
    """A sample, and how much of the source it is."""

    sample: Sample
    size: int  # bytes of the source's pictures in it


def is_short(stream: Stream) -> bool:
    """Whether samples of it would be too much of it."""
    return _duration(stream) < SHORT


def can_be_sampled(plan: Plan, stream: Stream) -> bool:
    """Whether parts of it can be encoded as they will be in the whole: not if its pictures or its clock change."""
    return len(stream.shapes) < 2 and not stream.has_even_times and not plan.facts.is_jumpy(stream)


def parts_of(stream: Stream) -> list[Part]:
    """Spread over the video, in order; each where the source's bitrate is that of its surroundings."""
    duration, begin = _duration(stream), stream.begin or 0.0
    count = max(_FEWEST, min(_MOST, round(duration / _ONE_FOR)))
    order = sorted(range(len(stream.times)), key=stream.times.__getitem__)
    times = [stream.times[place] for place in order]
    sums = [0, *accumulate(stream.sizes[place] for place in order)]

    def size(start: float, end: float) -> int:
        return sums[bisect_left(times, end)] - sums[bisect_left(times, start)]

    length = duration / count
    found = []
    for number in range(count):
        first = begin + number * length
        usual = size(first, first + length) / length * _LASTS
        places = [first + _GRID * step for step in range(int((length - _LASTS) / _GRID) + 1)]
        best = min(places, key=lambda start: abs(size(start, start + _LASTS) - usual))
        found.append(Part(Sample(round(best, 3), _LASTS), size(best, best + _LASTS)))
    return found


def whole_size(stream: Stream, parts: Sequence[Part], sizes: Sequence[int]) -> float:
    """Bytes that all its encoded pictures are expected to have, by those of the samples: as they are to the source's
    there, so is the whole to the source."""
    there = sum(part.size for part in parts)
    share = there / stream.bytes if there and stream.bytes else sum(p.sample.length for p in parts) / _duration(stream)
    return sum(sizes) / share


def sample_command(
    plan: Plan,
    stream: Stream,
    encoder: Encoder,
    options: OutputOptions,
    reference: Reference,
    sample: Sample,
    target: Path,
    threads: int | None,
) -> list[str | Path]:
    """Encodes the pictures of a sample, and nothing else, by the arguments of the whole encode."""
    end = sample.begin + sample.length
    before, own = encoder_arguments(
        encoder,
        options,
        source=stream,
        threads=threads,
        stream=0,
        filters=[*on_packets_clock(reference).filters, f"trim=start={sample.begin:.6f}:end={end:.6f}"],
        dolby_vision=plan.dolby_vision and stream is plan.main_video,
    )
    argv: list[str | Path] = [encoder.ffmpeg, "-hide_banner", "-nostdin", "-y", "-v", "repeat+level+info", "-nostats"]
    argv += ["-progress", "pipe:1", "-stats_period", "0.5", *before, "-copyts", *reference.guards]
    argv += ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{max(0.0, sample.begin - _LEAD):.6f}"]
    argv += ["-i", f"file:{reference.path}", "-map", f"0:{stream.index}", "-map_metadata", "-1", "-map_chapters", "-1"]
    argv += [*own, "-fps_mode:v:0", "passthrough", "-enc_time_base:v:0", TIME_BASE, "-fflags", "+bitexact"]
    return [*argv, "-f", "matroska", f"file:{target}"]


def on_packets_clock(reference: Reference) -> Reference:
    """The same without what sets times by the first picture that is read: that of a sample is not the file's."""
    return replace(reference, filters=tuple(one for one in reference.filters if not one.startswith("setpts=")))


def _duration(stream: Stream) -> float:
    return max(0.0, (stream.end or 0.0) - (stream.begin or 0.0))
