"""The gate: nothing is published whose pictures are not its source's.

Two checks. Thumbnails of both are compared, picture by picture: those of the source are made in the run that encodes
it, those of the result in the run that decodes it for verification, so that nothing is decoded for it, and the source's
are the very pictures that the encoder got, damaged or not. They show whatever is wrong but a loss of detail. That is
measured by a metric (``tools.media.quality``) over samples that are decoded once more, or for a short video over all.
"""

import logging
import math
from collections.abc import Sequence
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
from tools.media.quality import Meter, Metric, NotComparable, Running, Sample, Scores, reference_of, score, score_in_one
from tools.media.thumbnails import HEIGHT, WIDTH, Thumbnails, encode_times, spread
from tools.runtime.once import Once

log = logging.getLogger("animation.media")
_SHORT = 20.0  # s of a video that is read whole
_SAMPLE = 1.5  # s
_PER_SAMPLE, _FEWEST, _MOST = 150.0, 4, 12  # s of video for each sample, and how many there are
_AT_MOST, _ENDS = 0.1, 2  # share of a video that they are together, with fewer then; the begin and the end always
# Pictures that are scored, as a share of all and at least. Of VMAF: at 1080p it takes longer for a picture than SVT-AV1
# does at preset 10, and all of a short clip took as long as its encode (docs/performance.md).
_SCORED, _FEWEST_SCORED = 0.01, 36
_OF_ONE = 0.75  # share of the floor that each sample must have: a scene may be harder than the others
_said = Once()
# What goes with a VMAF of 40 and of 95: a scale for those who have no VMAF. Its lower end is below what fine grain has
# at CRF 30 (28 dB, 0.76, at a VMAF of 63 to 76), the upper is of real clips (docs/performance.md).
_SCALES: dict[Metric, tuple[float, float]] = {"vmaf": (40.0, 95.0), "xpsnr": (22.0, 39.0), "ssim": (0.60, 0.985)}


@dataclass(frozen=True, slots=True)
class Gate:
    """The checks of one conversion."""

    plan: Plan
    source: Path
    encoder: Encoder
    options: OutputOptions
    folder: Path  # in which the result is made

    def of_encode(self) -> list[str]:
        """More outputs of the run that encodes: the source's thumbnails."""
        return [argument for _, one, _ in self._pairs() for argument in one.arguments()]

    def of_check(self) -> list[Thumbnails]:
        """More outputs of the run that decodes the result: its thumbnails, if there are those of the source."""
        return [other for _, one, other in self._pairs() if one.are_there]

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

    def measure(
        self,
        made: Facts,
        result: Path,
        meter: Meter,
        running: Running,
        *,
        is_damaged: bool,
        known: Scores | None = None,
    ) -> Scores:
        """How good the main video is. Raises PicturesDiffer if that is less than the floor, and what ``score`` does.

        ``is_damaged``: whether pictures of the source are; which ones differs between two decodes. ``known``: what the
        search for its CRF measured of all pictures of this encode."""
        scores = known
        if scores is None or scores.metric != meter.metric:
            scores = self._scores(made, result, meter, running)
        floor = floor_on(meter.metric, self.options.quality_floor)
        if scores.mean < floor or (scores.worst < _OF_ONE * floor and not is_damaged):
            raise PicturesDiffer(
                message(f"the pictures are worse than QUALITY_FLOOR allows: {scores}; lower CRF or QUALITY_FLOOR"),
                encoder=self.encoder.label,
                of_rate=not self.encoder.is_hardware,
            )
        return scores

    def _scores(self, made: Facts, result: Path, meter: Meter, running: Running) -> Scores:
        stream = self.plan.main_video
        reference = reference_of(self.plan, stream, self.source, self.encoder, self.options)
        times = encode_times(self.plan.facts, stream, keeps_clock=self._keeps_clock)
        if is_scored_whole(times):
            return score(result, reference, (), replace(meter, every=every_of(len(times), 1.0)), running)
        samples = samples_of(times[0], times[-1])
        share = sum(one.length for one in samples) / (times[-1] - times[0])
        meter = replace(meter, every=every_of(len(times), share))
        first = next((ours.taken()[0].time for _, ours, _ in self._pairs() if ours.taken()), times[0])
        later = 0.0 if self._keeps_clock else self.plan.facts.start
        if reference.can_seek:
            own = [Sample(one.begin + later, one.length) for one in samples]
            shift = min(made.of("video")[0].times, default=0.0) - first - later
            try:
                scores = score(result, reference, own, meter, running, shift=shift)
                if scores.worst >= floor_on(meter.metric, self.options.quality_floor):
                    return scores
            except NotComparable:
                pass
        # A seek may lead elsewhere than it says: what is read from its beginning is certain.
        from_first = [Sample(one.begin - first, one.length) for one in samples]
        return score_in_one(result, reference, from_first, meter, running)

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


def is_scored_whole(times: Sequence[float]) -> bool:
    """Whether a video that is shown at these times (s, sorted) is read whole to be scored."""
    return not times or times[-1] - times[0] <= _SHORT


def samples_of(first: float, last: float) -> list[Sample]:
    """Parts of a video that is shown between these times (s), spread evenly, its begin and its end among them."""
    length = last - first
    count = min(_MOST, max(_ENDS, min(_FEWEST, int(_AT_MOST * length / _SAMPLE)), round(length / _PER_SAMPLE)))
    step = (length + 0.001 - _SAMPLE) / (count - 1)
    return [Sample(first + step * number, _SAMPLE) for number in range(count)]


def every_of(pictures: int, share: float) -> int:
    """Of how many pictures one is scored, of a video that has so many and of which that share is read."""
    return max(1, int(pictures * share / max(_FEWEST_SCORED, _SCORED * pictures)))


def _coarser(crf: float) -> float:
    """How much more noise is wanted: at CRF 55 as little as at 30, at 63 three times as much was seen."""
    return 1 + 4 * max(0.0, crf - 52) / (63 - 52)


def floor_on(metric: Metric, floor: float) -> float:
    """What a metric has to say at least where VMAF has to say ``floor``."""
    (low, high), (begin, end) = _SCALES["vmaf"], _SCALES[metric]
    return begin + (floor - low) * (end - begin) / (high - low) if floor else -math.inf


def measured(
    gate: Gate,
    made: Facts,
    result: Path,
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
        return gate.measure(made, result, meter, running, is_damaged=is_damaged, known=known)
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
