"""The pictures of a video that are scored, in full size: an output beside its thumbnails, of a run that decodes it.

Groups of a few that follow each other, since a metric may look at what moves: VMAF takes the smaller one of a picture's
differences to both of its neighbours, so that only the outer ones of a group can look livelier than they are. The
groups are spread over the whole, its first and its last pictures among them. Nothing is compressed: that would take
longer than to score them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.media.facts import Stream

TIME_BASE = 90000
"""Per second, of what is written beside a run's main work."""

GROUP = 3  # pictures
# How many there are: as a share of all, of small ones as many as have these bytes; in groups, and never more bytes.
_SHARE, _CHEAP = 0.04, 16_000_000
_FEWEST_GROUPS, _MOST_GROUPS, _MOST_BYTES = 3, 16, 400_000_000
_CROWDED, _AROUND = 1.1, 1_000_000  # times as many where pictures crowd; bytes of what is around them in the file
_EVER = 1e6  # s
_PLANAR = {"p010le": "yuv420p10le", "nv12": "yuv420p"}  # the same numbers, as the metrics take them


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that follow each other."""

    begin: float  # s after the first picture of the video
    end: float  # s; between the last of them and the next one

    def has(self, time: float) -> bool:
        return self.begin <= time < self.end


@dataclass(frozen=True, slots=True)
class Choice:
    """Which pictures of a video are scored."""

    groups: tuple[Group, ...]
    most: int  # pictures
    largest_file: int  # bytes that they take

    def expression(self, time: str) -> str:
        """For ffmpeg's filter ``select``; ``time``: the expression of a picture's time after the first one."""
        parts = (f"gte({time},{one.begin:.6f})*lt({time},{one.end:.6f})" for one in self.groups)
        return f"({'+'.join(parts)})*lt(selected_n,{self.most})"


def choice(times: Sequence[float], size: int) -> Choice:
    """Of a video that is shown at these times (s, sorted), whose pictures have ``size`` bytes each."""
    wanted = max(_SHARE * len(times), _CHEAP / size, GROUP * _FEWEST_GROUPS)
    count = max(1, min(int(wanted / GROUP), _MOST_GROUPS, int(_MOST_BYTES / (size * GROUP))))
    pictures = GROUP * count
    if len(times) <= pictures:
        groups = [Group(-1.0, times[-1] - times[0] + 1.0 if times else _EVER)]
    elif count == 1:  # of the largest: no room but for one picture of its begin, and others of its end
        groups = [_group(times, 0, 1), _group(times, len(times) - GROUP + 1, len(times))]
    else:
        step = (len(times) - GROUP) / (count - 1)
        firsts = [round(step * number) for number in range(count)]
        groups = [_group(times, first, first + GROUP) for first in firsts]
    most = int(pictures * _CROWDED)
    return Choice(tuple(groups), most, most * size + _AROUND)


def picture_size(stream: Stream, pix_fmt: str) -> int:
    """Bytes of a picture of a stream as it is encoded, at 4:2:0."""
    sizes = [shape.size for shape in stream.shapes]
    sizes.append((int(stream.facts.get("width") or 0), int(stream.facts.get("height") or 0)))
    pixels = max(width * height for width, height in sizes)
    return max(1, pixels * 3 // 2 * (2 if "10" in pix_fmt else 1))


def _group(times: Sequence[float], first: int, behind: int) -> Group:
    """Its edges lie between two pictures: the result's times may be rounded in another way."""
    begin = (times[first - 1] + times[first]) / 2 - times[0] if first else -1.0
    end = (times[behind - 1] + times[behind]) / 2 if behind < len(times) else times[-1] + 1.0
    return Group(begin, end - times[0])


@dataclass(frozen=True, slots=True)
class Pictures:
    """Those of a run's stream: an output beside its thumbnails."""

    path: Path  # nut, which keeps pictures as they are and their times
    pix_fmt: str  # of the encode
    choice: Choice

    def chain(self) -> list[str]:
        """Filters that choose them."""
        chosen = f"select='{self.choice.expression('(t-start_t)')}'"
        return [chosen, f"format={_PLANAR.get(self.pix_fmt, self.pix_fmt)}"]

    def output(self, label: str) -> list[str]:
        """Arguments for the output of what comes out of these filters."""
        asked = ["-map", f"[{label}]", "-c:v", "rawvideo", "-fps_mode", "passthrough"]
        return [*asked, "-enc_time_base", f"1:{TIME_BASE}", "-f", "nut", f"file:{self.path}"]

    @property
    def are_there(self) -> bool:
        """Whether a run has written them."""
        return self.path.exists()
