"""The gate: nothing is published whose pictures are not its source's.

Two checks, for which nothing is decoded: what they compare is written by the run that encodes the source, so that it is
what the encoder got, damaged or not, and by the run that decodes the result for verification. Thumbnails of both are
compared, picture by picture; they show whatever is wrong but a loss of detail. That is measured by a metric
(``tools.media.quality``) over pictures in full size, a few of each part (``tools.media.scored``).
"""

import contextlib
import logging
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tools.core.errors import EncoderStalled, MachineError, NoEncoder, PicturesDiffer
from tools.core.message import message
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions, picture_filters
from tools.media.facts import Facts
from tools.media.likeness import Difference, difference
from tools.media.meters import OFF
from tools.media.plan import Plan, StreamPlan, colour_range
from tools.media.quality import Meter, Metric, NotComparable, Running, Scores, score_pictures
from tools.media.scored import Pictures, choice, picture_size
from tools.media.thumbnails import HEIGHT, WIDTH, Thumbnails, encode_times, spread
from tools.runtime.once import Once
from tools.runtime.spawn import Access

log = logging.getLogger("animation.media")
_FILES = 4  # times a file of scored pictures that must fit on the disk: there are two, and others write there, too
_OF_ONE = 0.75  # share of the floor that each sample must have: a scene may be harder than the others
_said = Once()
# What goes with a VMAF of 40 and of 95: a scale for those who have no VMAF. Its lower end is below what fine grain has
# at CRF 30 (28 dB, 0.76, at a VMAF of 63 to 76), the upper is of real clips (docs/performance.md).
_SCALES: dict[Metric, tuple[float, float]] = {"vmaf": (40.0, 95.0), "xpsnr": (22.0, 39.0), "ssim": (0.60, 0.985)}


@dataclass(frozen=True, slots=True)
class Gate:
    """The checks of one conversion."""

    plan: Plan
    encoder: Encoder
    options: OutputOptions
    folder: Path  # in which the result is made

    def of_encode(self, room: int) -> list[str]:
        """More outputs of the run that encodes: of the source, thumbnails and the pictures that are scored. ``room``:
        bytes that may be taken of the disk; if that is too little, no picture is scored."""
        asked = []
        for place, one, _ in self._pairs():
            ours, _ = self._scored(place)
            if ours is not None:
                _clear(ours.path.parent)
            if ours is not None and room >= _FILES * ours.choice.largest_file:
                ours.path.parent.mkdir()
                one = replace(one, scored=ours)
            asked += one.arguments()
        return asked

    def access(self, of_encode: Access) -> Access:
        """With room for what ``of_encode`` writes."""
        chosen = [ours.choice.largest_file for place, *_ in self._pairs() if (ours := self._scored(place)[0])]
        return replace(of_encode, largest_file=max(of_encode.largest_file, *chosen, 0))

    def of_check(self, known: Scores | None) -> list[Thumbnails]:
        """More outputs of the run that decodes the result: the same of it, as far as there are those of the source.
        ``known`` as in ``measure``."""
        is_known = known is not None and self.options.quality_metric in ("auto", known.metric)
        asked = []
        for place, one, other in self._pairs():
            ours, others = self._scored(place)
            if ours is not None and ours.are_there and not is_known:
                other = replace(other, scored=others)
            asked += [other] if one.are_there else []
        return asked

    def judge(self, made: Facts) -> None:
        """Compare the thumbnails of both; ``made``: the result. Raises PicturesDiffer."""
        for place, ours, others in self._pairs():
            source = ours.taken()
            if not source:
                continue
            video = made.of("video")[place].facts
            width, height = int(video.get("width") or 0), int(video.get("height") or 0)
            smaller = math.sqrt(max(1.0, width / WIDTH) * max(1.0, height / HEIGHT))
            result = [one.later(made.start) for one in others.taken()]
            if found := difference(source, result, smaller, _coarser(self.options.crf)):
                raise PicturesDiffer(_told(found), time=found.time, encoder=self.encoder.label)

    def measure(self, meter: Meter, running: Running, *, is_damaged: bool, known: Scores | None = None) -> Scores:
        """How good the main video is. Raises PicturesDiffer if that is less than the floor, and what ``score_pictures``
        does.

        ``is_damaged``: whether pictures of the source are, so that some may look like nothing. ``known``: what the
        search for its CRF measured of all pictures of this encode."""
        scores = known
        if scores is None or scores.metric != meter.metric:
            scores = self._measured(meter, running)
        floor = floor_on(meter.metric, self.options.quality_floor)
        if scores.mean < floor or (scores.worst < _OF_ONE * floor and not is_damaged):
            raise PicturesDiffer(
                message(f"the pictures are worse than QUALITY_FLOOR allows: {scores}; lower CRF or QUALITY_FLOOR"),
                encoder=self.encoder.label,
                of_rate=not self.encoder.is_hardware,
            )
        return scores

    def _measured(self, meter: Meter, running: Running) -> Scores:
        for place, *_ in self._pairs():
            ours, others = self._scored(place)
            if ours and others and ours.are_there and others.are_there:
                scores = score_pictures(others.path, ours.path, ours.pix_fmt, ours.choice.groups, meter, running)
                shutil.rmtree(ours.path.parent)
                return scores
        raise NotComparable(message("there was no room for the pictures that are scored: make room in WORK_DIR"))

    def _scored(self, place: int) -> tuple[Pictures, Pictures] | tuple[None, None]:
        """(of the source, of the result) of the main video, which alone is scored."""
        stream = self.plan.kept("video")[place].source
        if stream is not self.plan.main_video:
            return None, None
        pix_fmt = self.encoder.type.pix_fmt(self.options.pix_fmt)
        times = encode_times(self.plan.facts, stream, keeps_clock=self._keeps_clock)
        chosen = choice(times, picture_size(stream, pix_fmt))
        # Not beside the result: a file there that is larger than a result may be tells of one that was cut.
        source, result = (self.folder / "scored" / f"{name}.nut" for name in ("source", "result"))
        return Pictures(source, pix_fmt, chosen), Pictures(result, pix_fmt, chosen)

    def _pairs(self) -> list[tuple[int, Thumbnails, Thumbnails]]:
        """(place among the result's videos, of the source, of the result) for each video that is encoded."""
        if self.options.quality_metric == OFF:
            return []
        videos = enumerate(self.plan.kept("video"))
        return [(place, *self._pair(place, kept)) for place, kept in videos if kept.action == "encode"]

    def _pair(self, place: int, kept: StreamPlan) -> tuple[Thumbnails, Thumbnails]:
        stream = kept.source
        filters = picture_filters(self.plan, stream)
        if filters:  # what they do depends on what they are to make
            filters.append(f"format={self.encoder.type.pix_fmt(self.options.pix_fmt)}")
        times = encode_times(self.plan.facts, stream, keeps_clock=self._keeps_clock)
        parts, first = spread(times), times[0] if times else 0.0
        full = colour_range(stream) == "pc"
        return (
            Thumbnails(f"0:{stream.index}", self.folder, f"source{place}", filters, parts, full, first),
            Thumbnails(f"0:V:{place}", self.folder, f"result{place}", (), parts, full),
        )

    @property
    def _keeps_clock(self) -> bool:
        return bool(self.plan.muxer or self.plan.added)


def _clear(place: Path) -> None:
    """Remove what an encode left that broke off: some of the pictures, or whatever a file made it write there."""
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        place.unlink()


def _coarser(crf: float) -> float:
    """How much more noise is wanted: at CRF 55 as little as at 30, at 63 three times as much was seen."""
    return 1 + 4 * max(0.0, crf - 52) / (63 - 52)


def floor_on(metric: Metric, floor: float) -> float:
    """What a metric has to say at least where VMAF has to say ``floor``."""
    (low, high), (begin, end) = _SCALES["vmaf"], _SCALES[metric]
    return begin + (floor - low) * (end - begin) / (high - low) if floor else -math.inf


def measured(
    gate: Gate,
    meter: Meter,
    running: Running,
    warnings: list[str],
    *,
    is_damaged: bool,
    known: Scores | None,
) -> Scores | None:
    """``Gate.measure``, but trouble of this machine does not count against the video: it is said, and None is returned.
    Raises PicturesDiffer, Stopped."""
    try:
        return gate.measure(meter, running, is_damaged=is_damaged, known=known)
    except (MachineError, EncoderStalled, NoEncoder, NotComparable) as exc:
        said = message(f"the quality was not measured: {exc}")
        if _said.is_news(type(exc).__name__):
            log.warning(said)
        warnings.append(said)
        return None


def _told(found: Difference) -> str:
    at = _clock(found.time)
    if found.is_missing:
        return message(f"the pictures differ from the source's: none has a time that the source's have, from {at} on")
    if found.is_of_time:
        return message(f"the pictures differ from the source's at {at}: they stand at another time")
    return message(f"the pictures differ from the source's at {at}")


def _clock(seconds: float) -> str:
    """``12:31``; hours if there are some."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
