"""Small pictures of a video, an output of its own beside others of a run that decodes it anyway.

Of a short video all pictures, of a long one parts that are spread evenly, with the first and the last seconds. The
coding noise of a picture is gone when it is so small; what else is wrong with it is still there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tools.media.facts import Facts, Stream
from tools.media.likeness import Thumbnail
from tools.media.scored import TIME_BASE, Pictures

WIDTH, HEIGHT = 64, 36  # pixels at most
MOST = 3000  # pictures of one video, 3.5 kB each
_LIMIT = 2 * MOST  # of a video whose pictures crowd where they are taken
_PART = 1.0  # s of each part of a long video
_EDGE = 2.0  # s of its beginning and of its end


@dataclass(frozen=True, slots=True)
class Spread:
    """Which pictures of a long video: its edges, and a part after each step."""

    length: float  # s from the first picture to the last
    step: float  # s

    def expression(self, time: str) -> str:
        """For ffmpeg's filter ``select``; ``time``: the expression of a picture's time after the first one."""
        edges = f"lt({time},{_EDGE:g})+gte({time},{self.length - _EDGE:.3f})"
        parts = f"lt(mod({time},{self.step:.3f}),{_PART:g})"
        return f"({edges}+{parts})*lt(selected_n,{_LIMIT})"  # a list of parts could be too long for it


def spread(times: Sequence[float]) -> Spread | None:
    """Which pictures of a video that is shown at these times (s, sorted); None: all."""
    if len(times) <= MOST:
        return None
    length = times[-1] - times[0]
    per_second = len(times) / max(1e-3, length)
    parts = max(1.0, (MOST - 2 * _EDGE * per_second) / (_PART * per_second))
    return Spread(length, length / parts)


def encode_times(facts: Facts, stream: Stream, *, keeps_clock: bool) -> list[float]:
    """When the pictures of a stream are shown, on the clock of its encode, sorted. ``keeps_clock``: with -copyts."""
    if facts.is_jumpy(stream):  # ffmpeg joins the parts
        steps = (after - before for before, after in pairwise(stream.times))
        usual = 1 / (stream.rate or 25.0)
        joined = [0.0]
        for step in steps:
            joined.append(joined[-1] + (step if abs(step) < 1.0 else usual))
        return sorted(joined)
    begin = stream.times[0] if stream.has_even_times and stream.times else 0.0 if keeps_clock else facts.start
    return sorted(time - begin for time in stream.times)


@dataclass(slots=True)
class Thumbnails:
    """Those of one stream of a run's first file."""

    stream: str  # ffmpeg's specifier
    folder: Path  # where the files go
    name: str  # of them, letters and digits alone: no two of a folder and of a run have the same
    filters: Sequence[str]  # what the pictures go through
    spread: Spread | None  # which pictures; None: all
    full_range: bool  # what the numbers of the pictures mean; none of them is changed
    first: float | None = None  # s, time of the first picture; None: as ffmpeg finds it
    scored: Pictures | None = None  # some in full size, which come out of the same filters

    def arguments(self) -> list[str]:
        """Outputs of its own."""
        # Without accurate_rnd each line that is summed up is rounded down: of 4096 the colours lost 7 of 255.
        size = f"scale=w='min(iw,{WIDTH})':h='min(ih,{HEIGHT})':flags=area+accurate_rnd"
        levels = "pc" if self.full_range else "tv"
        chain = self._chosen()
        chain += [
            f"{size}:in_range={levels}:out_range={levels}",
            "format=yuv420p",
            f"split[{self.name}a][{self.name}b]",
        ]
        given = f"[{self.stream}]{','.join([*self.filters, ''])}"
        if self.scored is None:
            graph = given + ",".join(chain)
        else:
            small, full, out = (f"[{self.name}{letter}]" for letter in "cde")
            graph = f"{given}split{small}{full};{small}{','.join(chain)};{full}{','.join(self.scored.chain())}{out}"
        asked = ["-y", "-filter_complex", graph]
        for letter, kind, path in (("a", "rawvideo", self._pictures), ("b", "framecrc", self._times)):
            asked += ["-map", f"[{self.name}{letter}]", "-c:v", "rawvideo", "-fps_mode", "passthrough"]
            asked += ["-enc_time_base", f"1:{TIME_BASE}", "-f", kind, f"file:{path}"]
        return [*asked, *(self.scored.output(f"{self.name}e") if self.scored else [])]

    def line(self, line: str) -> None:
        """It has files of its own."""

    @property
    def are_there(self) -> bool:
        """Whether a run has made them."""
        return self._times.exists() and self._pictures.exists()

    def taken(self) -> list[Thumbnail]:
        """Those of the last run, in its order; [] if it made none."""
        found: list[Thumbnail] = []
        width = height = 0
        try:
            lines = self._times.open(encoding="utf-8", errors="replace")
            stream = self._pictures.open("rb")
        except FileNotFoundError:
            return []
        with lines, stream:
            for line in lines:  # source: ffmpeg's framehash.c and framecrcenc.c
                if line.startswith("#dimensions 0: "):
                    width, height = (int(side) for side in line.split()[-1].split("x"))
                elif not line.startswith("#") and width:
                    if len(found) >= _LIMIT:
                        break
                    _, _, pts, _, size, *_ = (cell.strip() for cell in line.split(","))
                    found.append(Thumbnail.of(int(pts) / TIME_BASE, width, height, stream.read(int(size))))
        return found

    def _chosen(self) -> list[str]:
        if self.spread is None:
            return []
        after = "t-start_t" if self.first is None else f"t-{self.first:.6f}"
        return [f"select='{self.spread.expression(f'({after})')}'"]

    @property
    def _pictures(self) -> Path:
        return self.folder / f"{self.name}.yuv"

    @property
    def _times(self) -> Path:
        return self.folder / f"{self.name}.times"
