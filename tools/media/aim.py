"""The CRF of a video by result, as ab-av1 finds it: samples are encoded by the arguments of the whole and compared with
the source, and the answer is interpolated (``tools.core.crf_search``). A short video is its own sample: it is encoded
whole, and again only if that missed by more than is worth it; what was encoded and scored so is the result.

A result that weighs more than it may is encoded again, by what was measured. A search that comes to nothing is no
failure: the fixed CRF is used, and the record says why. Source: ab-av1, src/command/crf_search.rs.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from tools.core.crf_search import REASONS, Answer, Goal, Probe, next_step, scaled, score_at, usual_start
from tools.core.errors import MachineError, MediaError, NoEncoder, TooBig
from tools.core.message import message
from tools.core.options import options_text
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions
from tools.media.facts import Stream
from tools.media.plan import Plan, can_keep_video
from tools.media.quality import Meter, NotComparable, Running, Sample, Scores, reference_of, score, score_in_one
from tools.media.sampler import Sampler
from tools.media.samples import can_be_sampled, is_short, parts_of
from tools.media.scored import picture_size
from tools.media.thumbnails import encode_times
from tools.runtime.child import ChildOutgrew
from tools.runtime.once import Once

log = logging.getLogger("animation.media")
_WORTH_IT = 85.0  # VMAF below which a smaller file is not worth it, whatever the gate lets pass
_TOLERANCE, _TOLERANCE_WHOLE = 0.5, 1.0  # VMAF; a second encode of a whole video must be worth it
_MOST_AGAIN = 2  # whole encodes more, of a video that is too big
_EVERY = 3  # pictures of which one is scored for a search: its mean is as good, at a third of the cost
# Of what is that short, s, and has as many bytes all pictures are scored, and the gate goes by that: 480p of 20 s.
_ALL_UP_TO, _ALL_BYTES = 20.0, 600_000_000
# Of a long whole that no seek leads into: s of a sample, s of video for each, how many, and their share at most.
_SAMPLE, _PER_SAMPLE, _FEWEST, _MOST, _ENDS, _SHARE = 1.5, 150.0, 4, 12, 2, 0.1
_said = Once()
Made = TypeVar("Made")
Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known elsewhere, and who is told. ``start``: the CRF of the latest video of the folder, None without one.
    ``known``: what ``found`` was told of this source before, if it was."""

    start: Callable[[], int | None] = field(default=lambda: None)
    known: Told | None = None
    found: Callable[[Told], None] = field(default=lambda told: None)


@dataclass(frozen=True, slots=True)
class Shot:
    """One video and one encoder, and what they are measured with."""

    plan: Plan
    encoder: Encoder
    options: OutputOptions
    source: Path
    encoded: Path  # where ``encode`` puts the whole; samples lie beside it
    meter: Meter | None
    size_of: Callable[[Path], int]  # bytes of the encoded pictures in a file; raises as ``patiently`` does
    running: Running
    threads: int | None
    hints: Hints


@dataclass(frozen=True, slots=True)
class Hit(Generic[Made]):
    """The encode that counts. ``told``: for the record, {} if nothing was aimed at; ``warnings``: a line for each;
    ``scores``: those of all its pictures, if they were measured."""

    made: Made
    options: OutputOptions  # with the CRF that it was made with
    told: Told = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    scores: Scores | None = None


@dataclass(slots=True)
class _Whole(Generic[Made]):
    """An encode of the whole, and what was measured of it."""

    crf: int
    made: Made
    scores: Scores | None = None  # of all its pictures
    miss: float = math.inf  # how far its score is from the target, if that was measured


def aimed(shot: Shot, encode: Callable[[OutputOptions], Made]) -> Hit[Made]:
    """Have the video encoded as the options want it. Raises what ``encode`` does, and TooBig."""
    if not shot.options.target_vmaf and not shot.options.max_size_percent:
        return Hit(encode(shot.options), shot.options)
    return _Aim(shot, encode).run()


class _Aim(Generic[Made]):
    def __init__(self, shot: Shot, encode: Callable[[OutputOptions], Made]) -> None:
        self._shot, self._encode = shot, encode
        self._stream = shot.plan.main_video
        options = shot.options
        self._largest = self._stream.bytes * options.max_size_percent / 100 if options.max_size_percent else None
        self._now: _Whole[Made] | None = None  # the latest whole encode
        self._before: _Whole[Made] | None = None  # of a short video the one before it that came nearest: set aside
        self._probes: list[Probe] = []
        self._warnings: list[str] = []
        self._unmeasured = ""  # why the whole could not be scored, if so
        self._meter = shot.meter if shot.meter is not None and shot.meter.metric == "vmaf" else None

    def run(self) -> Hit[Made]:
        shot = self._shot
        answer, cause = self._answer() if shot.options.target_vmaf else (None, "")
        if cause:
            _say(cause)
        crf = round(shot.options.crf) if answer is None else answer.crf
        if answer is not None and not answer.fits:
            self._give_up(answer.size)
        if not self._is_made(crf):
            self._whole(shot.options if answer is None else replace(shot.options, crf=float(crf)))
        size = self._fitted(crf, answer)
        assert self._now is not None
        crf = self._now.crf
        told: dict[str, Any] = {}
        if shot.options.target_vmaf:
            told |= {"vmaf": shot.options.target_vmaf, "crf": crf}
            told |= {"not_found": cause} if answer is None else _expected(answer, crf, self._probes)
        told |= {"video_size": size, "source_video_size": self._stream.bytes} if size else {}
        told |= {"fitted": True} if self._warnings else {}
        told |= {"bigger": "keep"} if self._is_big(size) else {}
        options = replace(shot.options, crf=shot.options.crf if round(shot.options.crf) == crf else float(crf))
        return Hit(self._now.made, options, told, tuple(self._warnings), self._now.scores)

    def _answer(self) -> tuple[Answer | None, str]:
        """The CRF that is aimed at, or why there is none."""
        shot, known = self._shot, self._shot.hints.known
        if self._meter is None:
            return None, "this machine has no ffmpeg with VMAF, so TARGET_VMAF does nothing: the fixed CRF is used"
        if known is not None and (answer := _remembered(known, self._key())) is not None:
            return answer, ""
        is_whole = is_short(self._stream)
        if not is_whole and not can_be_sampled(shot.plan, self._stream):
            return None, "a video's pictures or its clock change on the way: the fixed CRF is used for it"
        start = shot.hints.start()
        target = shot.options.target_vmaf
        goal = self._goal(target, _TOLERANCE_WHOLE if is_whole else _TOLERANCE, is_whole=is_whole)
        measure = self._measured_whole if is_whole else self._sampler().probe
        answer, cause = self._search(goal, usual_start(target) if start is None else start, measure)
        if answer is not None:
            shot.hints.found({"by": self._key(), **asdict(answer)})
        return answer, cause

    def _search(self, goal: Goal, start: int, measure: Callable[[int], Probe]) -> tuple[Answer | None, str]:
        while True:
            step = next_step(goal, self._probes, start)
            if step is None:
                told = ", ".join(f"{probe.score:.1f} at CRF {probe.crf}" for probe in self._probes)
                return None, f"no CRF was found for TARGET_VMAF ({told}): the fixed CRF is used"
            if isinstance(step, Answer):
                return step, ""
            try:
                self._probes.append(measure(step))
            except NoEncoder:
                raise
            except (MediaError, MachineError, ChildOutgrew) as exc:  # the whole encode shows what is to blame
                return None, f"no CRF was found for TARGET_VMAF: {exc}"

    def _goal(self, target: float | None, tolerance: float = _TOLERANCE, *, is_whole: bool = False) -> Goal:
        options = self._shot.options
        return Goal(
            target=target,
            low=options.crf_min,
            high=options.crf_max,
            tolerance=tolerance,
            largest=self._largest,
            floor=max(_WORTH_IT, options.quality_floor) if self._meter is not None else 0.0,
            is_whole=is_whole,
        )

    def _key(self) -> str:
        """What an answer holds for."""
        return f"{self._shot.encoder.label} {options_text(asdict(self._shot.options))}"

    def _sampler(self) -> Sampler:
        shot, meter = self._shot, self._meter
        assert meter is not None
        reference = reference_of(shot.plan, self._stream, shot.source, shot.encoder, shot.options)
        return Sampler(
            plan=shot.plan,
            stream=self._stream,
            encoder=shot.encoder,
            options=shot.options,
            reference=reference,
            folder=shot.encoded.parent,
            meter=replace(meter, every=_EVERY),
            size_of=shot.size_of,
            running=shot.running,
            threads=shot.threads,
        )

    # --- whole encodes -----------------------------------------------------------------------------------------------

    def _whole(self, options: OutputOptions) -> None:
        now, before = self._now, self._before
        if now is not None and now.miss < math.inf and (before is None or now.miss <= before.miss):
            self._shot.encoded.replace(self._aside)
            self._before = now
        self._now = None  # one that fails leaves nothing
        self._now = _Whole(round(options.crf), self._encode(options))

    def _is_made(self, crf: int) -> bool:
        """Whether the latest whole encode, or the one set aside, which is the latest then, has this CRF."""
        if self._before is not None and self._before.crf == crf:
            self._aside.replace(self._shot.encoded)
            self._now, self._before = self._before, None
        return self._now is not None and self._now.crf == crf

    @property
    def _aside(self) -> Path:
        return self._shot.encoded.with_name("before.mkv")

    def _measured_whole(self, crf: int) -> Probe:
        """Of a short video: encoded whole, and compared with the source."""
        self._whole(replace(self._shot.options, crf=float(crf)))
        assert self._now is not None
        score = self._score()
        self._now.miss = abs(score - self._shot.options.target_vmaf)
        return Probe(crf, score, max(1, self._shot.size_of(self._shot.encoded)))

    def _size(self) -> int:
        """Bytes of the pictures of the latest whole encode; 0 if nobody can tell. What that is a sign of, the check of
        the result finds out, and it knows whose fault it is."""
        try:
            return max(1, self._shot.size_of(self._shot.encoded))
        except NoEncoder:
            raise
        except (MediaError, MachineError) as exc:
            _say(f"the size was not measured: {exc}")
            return 0

    def _score(self) -> float:
        """Of the whole that was encoded last, by samples if it is long. Raises what ``score`` does."""
        shot, meter = self._shot, self._meter
        if meter is None:
            return 0.0
        reference = reference_of(shot.plan, self._stream, shot.source, shot.encoder, shot.options)
        if self._now is not None and _is_scored_whole(self._stream, reference.pix_fmt):
            self._now.scores = score(shot.encoded, reference, (), meter, shot.running)
            return self._now.scores.mean
        meter = replace(meter, every=_EVERY)
        if is_short(self._stream):
            return score(shot.encoded, reference, (), meter, shot.running).mean
        if can_be_sampled(shot.plan, self._stream) and reference.can_seek:
            samples = [part.sample for part in parts_of(self._stream)]
            try:
                scores = score(shot.encoded, reference, samples, meter, shot.running, shift=self._shift())
                if scores.worst >= shot.options.quality_floor:
                    return scores.mean
            except NotComparable:
                pass
        # A seek may lead elsewhere than it says: what is read from its beginning is certain.
        times = encode_times(shot.plan.facts, self._stream, keeps_clock=True)
        if not times:
            raise NotComparable(message("the pictures could not be compared: none could be paired"))
        from_first = [Sample(one.begin - times[0], one.length) for one in samples_of(times[0], times[-1])]
        return score_in_one(shot.encoded, reference, from_first, meter, shot.running).mean

    def _shift(self) -> float:
        """s that ffmpeg moves times by if it makes the output whole: its first packet is at 0 then."""
        return 0.0 if self._shot.plan.muxer else -self._shot.plan.facts.start

    def _fitted(self, crf: int, answer: Answer | None) -> int:
        """Encode again what weighs too much, at a CRF that is expected to fit; bytes of the pictures that count, 0 if
        nobody asked."""
        if self._largest is None:
            return self._size() if self._shot.options.target_vmaf else 0
        size = self._size()
        for _ in range(_MOST_AGAIN):
            if size <= self._largest or (answer is not None and not answer.fits):
                break
            step = self._smaller(crf, size)
            if step is None or step <= crf:
                break
            self._whole(replace(self._shot.options, crf=float(step)))
            crf, before, size = step, size, self._size()
            percent = 100 * before / max(1, self._stream.bytes)
            self._warnings.append(message(f"encoded again at CRF {crf}: the video was {percent:.0f} % of its source's"))
        if size > self._largest:
            self._give_up(size)
        return size

    def _smaller(self, crf: int, size: int) -> int | None:
        """The CRF at which a video that weighs ``size`` at ``crf`` should fit; None if none does, or nobody knows."""
        if not self._probes:
            try:
                self._probes.append(Probe(crf, self._score(), size))
            except (MediaError, MachineError) as exc:  # the encode is good, whatever became of the meter
                self._unmeasured = str(exc)
                _say(f"the quality was not measured: {exc}")
                return None
        measured = Probe(crf, score_at(self._probes, crf), size)
        self._probes = scaled(self._probes, measured)
        step = next_step(replace(self._goal(None), target=None), self._probes, crf)
        return step.crf if isinstance(step, Answer) else step

    def _is_big(self, size: int) -> bool:
        return self._largest is not None and size > self._largest

    def _give_up(self, size: float) -> None:
        """It can't be as small as it may be: keep it, or raise."""
        percent = 100 * size / max(1, self._stream.bytes)
        if self._shot.options.when_bigger == "refuse" or self._can_remux():
            raise TooBig(message(f"as AV1 the video would be {percent:.0f} % of its source's, see MAX_SIZE_PERCENT"))
        line = message(f"the video is {percent:.0f} % of its source's: it can't be smaller and look alike")
        if self._unmeasured:
            line = message(
                f"the video is {percent:.0f} % of its source's: its quality was not measured: {self._unmeasured}"
            )
        self._warnings = [*(one for one in self._warnings if not one.startswith("the video is ")), line]

    def _can_remux(self) -> bool:
        return self._shot.options.when_bigger == "remux" and can_keep_video(self._shot.plan.facts)


def _is_scored_whole(stream: Stream, pix_fmt: str) -> bool:
    """Whether all pictures of its encode are scored."""
    if not stream.times:
        return True
    is_small = len(stream.times) * picture_size(stream, pix_fmt) <= _ALL_BYTES
    return is_small and max(stream.times) - min(stream.times) <= _ALL_UP_TO


def samples_of(first: float, last: float) -> list[Sample]:
    """Parts of a video that is shown between these times (s), spread evenly, its begin and its end among them."""
    length = last - first
    count = min(_MOST, max(_ENDS, min(_FEWEST, int(_SHARE * length / _SAMPLE)), round(length / _PER_SAMPLE)))
    step = (length + 0.001 - _SAMPLE) / (count - 1)
    return [Sample(first + step * number, _SAMPLE) for number in range(count)]


def _expected(answer: Answer, crf: int, probes: list[Probe]) -> dict[str, Any]:
    """``predicted`` is the score, and ``predicted_size`` the bytes, at the CRF that the search came to."""
    at = answer.score if crf == answer.crf or not probes else score_at(probes, crf)
    told: dict[str, Any] = {"predicted": round(at, 2), "predicted_size": round(answer.size), "probes": answer.probes}
    told |= {"begin": answer.begin} if answer.begin is not None else {}
    return told | {"reason": answer.reason if crf == answer.crf else "size"}


def _remembered(known: Told, key: str) -> Answer | None:
    """An answer that was noted, if it is one to the same question. Whoever can write there could write anything."""
    try:
        if known.get("by") != key or known["reason"] not in REASONS:
            return None
        crf, probes = int(known["crf"]), int(known["probes"])
        return Answer(crf, float(known["score"]), float(known["size"]), probes, known["reason"])
    except (KeyError, TypeError, ValueError):
        return None


def _say(cause: str) -> None:
    """Once each, whatever its numbers: the next thousand videos would say the same."""
    if _said.is_news(re.sub(r"\d+", "", cause.partition("(")[0])):
        log.warning("%s", cause)
