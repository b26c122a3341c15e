"""Source file → verified Matroska file with AV1, and the report that goes into ``metadata.jsonl``."""

import contextlib
import copy
import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tools.core.blame import is_short_of_memory
from tools.core.concurrency import NO_NEED, Need, memory_for
from tools.core.errors import MachineError, NoEncoder, PicturesDiffer, TooBig, TranscodeError, VerifyError
from tools.core.frames import Origin
from tools.core.message import message
from tools.core.options import Options, Wanted, options_text
from tools.core.planning import Stage
from tools.media import ffmpeg
from tools.media.ahead import Ahead, Nobody, unless_refused
from tools.media.aim import Hints, Hit, Shot, aimed
from tools.media.beside import Beside, Ready, prepared, put_in
from tools.media.captions import captions_of
from tools.media.carried import HDR10_PLUS, dolby_vision_of, has, may_have_hdr10_plus
from tools.media.census import check_source
from tools.media.choice import warning_about
from tools.media.covers import access_to, covers_of
from tools.media.encoders import Encoder
from tools.media.encoding import MachineOptions, OutputOptions, deciding, encode_command, settings_text, wanted
from tools.media.facts import Facts
from tools.media.fallback import has_pictures, may_be_the_encoder
from tools.media.ffmpeg import MediaPrograms
from tools.media.frames import NEEDED, FrameOptions, FramesMade, Making, lacking
from tools.media.framing import Framing, Made
from tools.media.gate import Gate, measured
from tools.media.hdr10_plus import WRITER
from tools.media.inside import Inside
from tools.media.installed import find_ffmpegs, whence
from tools.media.memory import Memory
from tools.media.meters import OFF, meter_for
from tools.media.mkvmerge import Muxer, find_muxer
from tools.media.mux import ENCODED, Muxing, mux, own_folder, with_hdr10_plus
from tools.media.muxing import encoded_streams
from tools.media.pace import Pace, ReadLimit, patiently, pause, usual_limit
from tools.media.plan import Added, Plan, PlanAction, carrying_as, make_plan
from tools.media.probe import look_at_changes, probe
from tools.media.quality import Meter, Running
from tools.media.transcode import EncodeProgress, OnProgress, PicturesChange, failed_run, transcode
from tools.media.unframed import unframe
from tools.media.verify import Checking, is_of_encode, look_into, verify
from tools.runtime.child import ChildLimits, ChildOutgrew
from tools.runtime.files import copy_file, sha256_of, sync_file
from tools.runtime.limits import memory
from tools.runtime.once import Once

__all__ = [
    "Beside",
    "Conversion",
    "Converter",
    "EncodeProgress",
    "FfmpegConverter",
    "Held",
    "MachineOptions",
    "OutputOptions",
    "unheld",
]
log = logging.getLogger("animation.media")
_said = Once()
_FEWER = (2, 1)  # cores, after an encode with more outgrew the memory limit, or was killed


class Held(Protocol):
    """What a conversion enters for as long as its stage ``encode`` or ``verify`` lasts: a place among others.

    It gives the cores that it may use; None = any."""

    def __call__(self, stage: Stage, need: Need = NO_NEED) -> AbstractContextManager[int | None]: ...


def unheld(stage: Stage, need: Need = NO_NEED) -> AbstractContextManager[int | None]:
    """No places: whoever converts may begin each stage at once."""
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Conversion:
    """A verified result."""

    action: PlanAction
    duration_s: float  # s
    frames: int
    width: int  # pixels
    height: int
    encoder: str  # its name and version, "" if nothing was encoded
    settings: str  # the encoder's own arguments, "" if nothing was encoded
    streams: list[dict[str, Any]]  # one entry per source stream, with what became of it; index -1: from a file beside
    quality: Mapping[str, Any] | None
    sha256: str  # of the target
    size: int  # bytes, of the target
    warnings: tuple[str, ...] = field(default=())  # one line for each thing dropped or damaged
    options: str = ""  # what decided it, see ``tools.core.options``
    seconds: float = 0.0  # s that making and verifying it took, without waits for a place
    target: Mapping[str, Any] = field(default_factory=dict)  # what its encode was aimed at, see ``tools.media.aim``
    scenes: FramesMade | None = None  # pictures of its scenes, if they were asked for and could be made

    def as_record(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


class Converter(Protocol):
    """Makes verified results out of source files, several at a time, from any thread."""

    def prepare(self) -> str:
        """Make sure that it can convert; one line that says with what. Raises NoEncoder."""
        ...

    def version(self) -> str:
        """Of the program that encodes, as it names itself. Raises NoEncoder."""
        ...

    def wanted(self) -> Wanted:
        """The options in force."""
        ...

    def with_options(self, options: Options) -> "Converter":
        """One that works with these instead; of the others, all is as it is. Raises TypeError for an unknown name."""
        ...

    def with_beside(self, video: str, files: Sequence[Beside]) -> "Converter":
        """One that puts the subtitles and fonts that lie beside a source of this name into its result."""
        ...

    def with_hints(self, hints: Hints) -> "Converter":
        """One that begins its search for a CRF with what is known elsewhere, and tells what it came to."""
        ...

    def with_ahead(self, ahead: Ahead) -> "Converter":
        """One that tells ``ahead`` of a result that is whole before it is verified."""
        ...

    def with_frames(self, origin: Origin, target: Path) -> "Converter":
        """One that also makes pictures of a source's scenes, of which no failure is the conversion's: then it is a
        warning, and ``target`` an archive without any."""
        ...

    def frames_lack(self, names: Collection[str] = ()) -> frozenset[str]:
        """What the ffmpeg in use lacks of what all pictures need, and of these ``names``. Raises NoEncoder."""
        ...

    def frames_alone(
        self, source: Path, stop: threading.Event, held: Held = unheld
    ) -> tuple[FramesMade | None, list[str]]:
        """Only the pictures of ``with_frames``, of a file that is converted already; and warnings.

        Enters ``held`` for the stage "encode". Raises ProbeError, MachineError, NoEncoder, DiskFull, Stopped."""
        ...

    def convert(
        self,
        source: Path,
        target: Path,
        *,
        on_progress: Callable[[EncodeProgress], None],
        stop: threading.Event,
        threads: int | None = None,
        held: Held = unheld,
    ) -> Conversion:
        """Convert and verify; ``target`` appears whole or not at all. ``threads``: cores that the encoder is to use.

        Enters ``held`` for each stage. Raises ProbeError, VerifyError, TranscodeError (permanent), EncoderStalled,
        MachineError, NoEncoder, DiskFull, Stopped, and OSError for a file that can't be used.
        """
        ...


class FfmpegConverter:
    """The converter over ffmpeg and ffprobe. The constructor touches nothing; ``machine`` None = the defaults."""

    def __init__(
        self, output: OutputOptions, machine: MachineOptions | None = None, frames: FrameOptions | None = None
    ) -> None:
        self._frames = Framing(frames or FrameOptions())
        self.output = output
        self.machine = machine or MachineOptions()
        self._programs: MediaPrograms | None = None
        self._memory: Memory | None = None
        self._muxers: tuple[Muxer | None, str] | None = None
        self._pace = Pace()
        self._beside: tuple[str, tuple[Beside, ...]] = "", ()  # name of the source, and what lies beside it
        self._hints = Hints()
        self._ahead: Ahead = Nobody()
        self._lock = threading.Lock()

    def prepare(self) -> str:
        """Choose the programs, by trial encodes where it is not remembered what works (once)."""
        programs = self._chosen()
        return f"{programs.chosen}, ffprobe {whence(programs.ffprobe)}{programs.not_used}"

    def version(self) -> str:
        return self._chosen().version

    def wanted(self) -> Wanted:
        return wanted(self.output, None if self.machine.mkvmerge == "off" else self._muxer() is not None)

    def with_options(self, options: Options) -> "FfmpegConverter":
        if "crf" in options and "target_vmaf" not in options:
            options = {**options, "target_vmaf": 0.0}  # who names a CRF means that one
        output = replace(self.output, **options)  # type: ignore[arg-type]  # checked by the fields' names alone
        return self._but_for(output=output)

    def with_beside(self, video: str, files: Sequence[Beside]) -> "FfmpegConverter":
        return self._but_for(_beside=(video, tuple(files)))

    def with_hints(self, hints: Hints) -> "FfmpegConverter":
        return self._but_for(_hints=hints)

    def with_ahead(self, ahead: Ahead) -> "FfmpegConverter":
        return self._but_for(_ahead=ahead)

    def with_frames(self, origin: Origin, target: Path) -> "FfmpegConverter":
        return self._but_for(_frames=Framing(self._frames.options, origin, target))

    def _but_for(self, **attributes: object) -> "FfmpegConverter":
        """One like this, with other values of these attributes."""
        with self._lock:
            other = copy.copy(self)
        vars(other).update(attributes)
        return other

    def plan(self, source: Path, stop: threading.Event | None = None) -> Plan:
        """What would become of each stream. Raises ProbeError, MachineError."""
        programs = self._chosen()

        def look(limit: ReadLimit) -> Plan:
            facts = probe(source, programs.ffprobe, stop, limit=limit)
            if not programs.encoders[0].tells_changes:
                look_at_changes(facts, source, programs.ffprobe, stop, limit)
            return self._planned(facts, programs)

        return patiently(look, source, self._pace, stop)

    def convert(
        self,
        source: Path,
        target: Path,
        *,
        on_progress: Callable[[EncodeProgress], None],
        stop: threading.Event,
        threads: int | None = None,
        held: Held = unheld,
    ) -> Conversion:
        programs = self._chosen()
        refused: list[str] = []
        first: Encoder | None = None
        framed = ""  # why sound stays in its framing
        while True:
            try:
                plan = self.plan(source, stop)
                if framed:
                    plan = self._planned_framed(plan, framed, programs)
                made = self._made_of(plan, programs, source, target, on_progress, stop, threads, held, first)
                return replace(made, warnings=(*refused, *made.warnings))
            except NoEncoder:
                self._forget(programs)  # one that can't be started is not the one to use next time
                raise
            except PicturesDiffer as exc:
                if exc.of_rate:
                    raise
                left = programs.encoders[programs.encoders.index(first) if first else 0 :]
                # Two builds of an encoder have one label; whichever it was, it is not tried again.
                failed = next((one for one in left if one.label == exc.encoder), left[0])
                if (first := programs.after(failed)) is None:
                    raise
                log.warning("the result of an encoder is refused, the next one takes the file: %s", exc)
                refused.append(message(f"what {exc.encoder} made was refused, the next encoder took it: {exc}"))
                self._forget(programs)  # one that failed must pass its trial again
            except VerifyError as exc:
                if framed or not _is_of_unframed(plan, exc):
                    raise
                framed = "; ".join(exc.differences[:1])
                log.warning("the result with sound out of its framing is refused, it is encoded: %s", exc)

    def _planned_framed(self, plan: Plan, why: str, programs: MediaPrograms) -> Plan:
        """The plan in which no sound is taken out of its framing."""
        for kept in plan.kept("audio"):
            if kept.is_unframed:
                kept.source.stays_framed = why
        return carrying_as(self._planned(plan.facts, programs), plan)

    def _unframed(self, plan: Plan, programs: MediaPrograms, source: Path, folder: Path, stop: threading.Event) -> Plan:
        """The plan, with what could not be taken out of its framing encoded; the rest is in ``folder``."""
        muxer = self._muxer()
        if muxer is None or not any(kept.is_unframed for kept in plan.streams):
            return plan

        def take(limit: ReadLimit) -> None:
            unframe(plan, muxer, source, folder, self._checking(programs.encoders[0], programs.ffprobe, stop, limit))

        patiently(take, source, self._pace, stop)
        if not any(kept.is_unframed and kept.source.stays_framed for kept in plan.streams):
            return plan
        return carrying_as(self._planned(plan.facts, programs), plan)

    def _made_of(
        self,
        plan: Plan,
        programs: MediaPrograms,
        source: Path,
        target: Path,
        on_progress: OnProgress,
        stop: threading.Event,
        threads: int | None,
        held: Held,
        first: Encoder | None,
    ) -> Conversion:
        """Make and verify what was planned. ``first``: the encoder to begin with, None = the best."""
        check_source(plan, self.output.min_decoded_percent)
        with own_folder(target) as folder:
            part = folder / "result.mkv"
            encoded = folder / ENCODED if plan.muxer else part
            need = _need_of(plan, first or _encoder_for(plan.dolby_vision, programs), self.output)
            with held("encode", need) as cores:
                began = time.monotonic()
                threads = threads if cores is None else cores
                plan = self._unframed(plan, programs, source, folder, stop)
                warnings = self._said_of(plan)
                while True:  # each of the exceptions comes a few times at most
                    try:
                        made = self._make(plan, programs, source, encoded, on_progress, stop, threads, warnings, first)
                        break
                    except TooBig as exc:
                        if self.output.when_bigger != "remux":
                            raise
                        kept = self._planned(plan.facts, programs, keep_video=True)
                        plan, warnings = kept, self._said_of(kept)
                        warnings.append(message(f"the original video is kept: {exc}"))
                        encoded = folder / ENCODED if plan.muxer else part
                    except PicturesChange as exc:
                        plan = self._look_again(plan, source, stop)
                        warnings = self._said_of(plan)
                        if not any(len(video.shapes) > 1 for video in plan.facts.of("video")):
                            warnings.append(f"its pictures change on the way, the latest are {exc.said}")
                    except (TranscodeError, MachineError) as exc:
                        plan, warnings = _with_less(plan, warnings, exc)
                encoder, hit = made
                used, broken = hit.made
                warnings += hit.warnings
                muxing = Muxing(encoder, self.output, stop, self.machine.stall_timeout, self._max_rss())
                plan, said = with_hdr10_plus(plan, encoded, muxing, programs.ffprobe, self._pace)
                captions, also = captions_of(plan, programs.encoders[0].ffmpeg, source, folder, stop)
                warnings = _said_again(plan, replace(plan, has_read_captions=True), [*warnings, *said, *also])
                plan = replace(plan, has_read_captions=True)
                decided = deciding(plan, encoder, self.output, hit.told)
                plan = mux(plan, source, part, muxing, warnings)
                seconds = time.monotonic() - began
            by = Made(source, part, encoded, broken, encoder, hit.options, programs.ffprobe, stop, hit.scores)
            ahead = Nobody() if self._beside[1] or captions else self._ahead
            with held("verify") as cores, unless_refused(ahead):
                began = time.monotonic()
                by = replace(by, threads=cores)
                try:
                    result, damage, sha256 = self._verified(plan, by, ahead)
                except VerifyError as exc:
                    ahead.drop()
                    plan = mux(plan, source, part, muxing, warnings, refused=exc)
                    result, damage, sha256 = self._verified(plan, by, ahead)
                quality = self._measured(plan, by, warnings)
                added: tuple[Added, ...] = ()
                if self._beside[1] or captions:
                    result, sha256, added = self._put_in(result, sha256, by, muxing, warnings, captions)
                frames = self._frames.made(plan, source, folder, self._making(encoder.ffmpeg, stop), warnings)
                seconds += time.monotonic() - began
            part.replace(target)
        settings = settings_text(plan, encoder, hit.options, used)
        label = encoder.label if plan.action == "transcode" else ""
        report = _report(plan, result, label, settings, sha256, target.stat().st_size, [*warnings, *damage])
        report = replace(report, quality=quality)
        report.streams.extend(map(_entry_of, added))
        told = hit.told if plan.action == "transcode" or not plan.is_video_kept else {"bigger": "remux"}
        return replace(report, options=options_text(decided), seconds=round(seconds, 3), target=told, scenes=frames)

    def _said_of(self, plan: Plan) -> list[str]:
        """What is to be said before anything is made. Raises VerifyError."""
        return [*plan.warnings(), *check_source(plan, self.output.min_decoded_percent)]

    def _look_again(self, plan: Plan, source: Path, stop: threading.Event) -> Plan:
        """The plan for pictures that change, which the encode found out. Raises as ``plan`` does."""

        def look(limit: ReadLimit) -> None:
            look_at_changes(plan.facts, source, self._chosen().ffprobe, stop, limit)

        patiently(look, source, self._pace, stop)
        return carrying_as(self._planned(plan.facts, self._chosen()), plan)

    def _planned(self, facts: Facts, programs: MediaPrograms, *, keep_video: bool = False) -> Plan:
        guess = bool(self.output.guess_languages)
        plan = make_plan(facts, self._muxer(), guess_languages=guess, keep_video=keep_video)
        video = plan.main_video
        if not any(kept.source is video and kept.action == "encode" for kept in plan.streams):
            return plan
        dolby_vision = bool(dolby_vision_of(video)) and _encoder_for(True, programs).has_dolby_vision
        hdr10_plus = may_have_hdr10_plus(video) and _encoder_for(dolby_vision, programs).tells_changes
        return replace(plan, dolby_vision=dolby_vision, hdr10_plus=hdr10_plus)

    def _muxer(self) -> Muxer | None:
        with self._lock:
            if self._muxers is None:
                self._muxers = find_muxer(self.machine.mkvmerge)
                if self._muxers[0] is None and self.machine.mkvmerge != "off":
                    log.warning("not all of a Matroska file can be kept: %s", self._muxers[1])
            return self._muxers[0]

    def _verified(self, plan: Plan, of: Made, ahead: Ahead) -> tuple[Facts, list[str], str]:
        """Facts, warnings and sha256 of a result, which is on the disk then. ``ahead`` is told of it meanwhile. Raises
        what ``verify`` does."""

        def look(limit: ReadLimit) -> tuple[Facts, list[str]]:
            checking = replace(self._checking(of.encoder, of.ffprobe, of.stop, limit), threads=of.threads)
            gate = self._gate(plan, of)
            try:
                found, damage = verify(plan, of.source, of.part, of.broken, checking, gate.of_check(of.scores))
                gate.judge(found)
                return found, damage
            except VerifyError as exc:
                if exc.of_encode and plan.muxer:
                    exc.of_encode = is_of_encode(plan, of.encoded, of.part, checking)
                raise

        def digested() -> str:
            sha256 = sha256_of(of.part, of.stop)
            ahead.begin(of.part, sha256)
            return sha256

        with ThreadPoolExecutor(2) as beside:
            synced, sha256 = beside.submit(sync_file, of.part), beside.submit(digested)
            made, damage = patiently(look, of.part, self._pace, of.stop)
            synced.result()
            return made, damage, sha256.result()

    def _gate(self, plan: Plan, of: Made) -> Gate:
        return Gate(plan, of.encoder, of.options, of.part.parent)

    def _measured(self, plan: Plan, of: Made, warnings: list[str]) -> dict[str, Any] | None:
        """How good the pictures of a verified result are, None if that was not measured. Raises PicturesDiffer."""
        if plan.action != "transcode" or self.output.quality_metric == OFF:
            return None
        if (meter := self._meter(self.output.quality_metric, of.encoder)) is None:
            return None
        running = Running(of.stop, self.machine.stall_timeout, self._max_rss())
        gate, is_damaged = self._gate(plan, of), bool(of.broken)
        scores = measured(gate, meter, running, warnings, is_damaged=is_damaged, known=of.scores)
        return scores.as_record() if scores else None

    def _meter(self, wanted: str, encoder: Encoder) -> Meter | None:
        """The metric that is wanted, of the ffmpeg that encodes if that has it; None if no ffmpeg has."""
        with self._lock:
            memory = self._memory or Memory(None)
        others = [one for one in find_ffmpegs(self.machine.ffmpeg) if one != encoder.ffmpeg]
        meter = meter_for(wanted, [encoder.ffmpeg, *others], memory)
        if meter is None and _said.is_news(wanted):
            log.warning("no ffmpeg here has QUALITY_METRIC=%s; quality is not measured", wanted)
        return meter

    def _put_in(
        self,
        result: Facts,
        sha256: str,
        of: Made,
        muxing: Muxing,
        warnings: list[str],
        captions: tuple[Added, ...],
    ) -> tuple[Facts, str, tuple[Added, ...]]:
        """Put what lies beside the source into the verified result; facts and sha256 of what there is then."""
        full = of.part.with_name("full.mkv")

        def put(limit: ReadLimit) -> tuple[Facts | None, list[str], Ready]:
            checking = self._checking(of.encoder, of.ffprobe, of.stop, limit)
            ready = prepared(*self._beside, of.part.parent, checking)
            ready = replace(ready, tracks=(*captions, *ready.tracks))
            return *put_in(ready, result, of.part, full, self._muxer(), muxing, checking), ready

        facts, said, ready = patiently(put, of.part, self._pace, of.stop)
        warnings += said
        if facts is None:
            return result, sha256, ()
        sync_file(full)
        full.replace(of.part)
        return facts, sha256_of(of.part, of.stop), ready.tracks

    def _checking(self, encoder: Encoder, ffprobe: Path, stop: threading.Event, limit: ReadLimit) -> Checking:
        return Checking(
            encoder=encoder,
            ffprobe=ffprobe,
            stop=stop,
            min_percent=self.output.min_decoded_percent,
            stall_timeout=self.machine.stall_timeout,
            max_rss=self._max_rss(),
            limit=limit,
        )

    def look_into(self, path: Path, stop: threading.Event) -> tuple[Facts, str]:
        """What is in a file, and what its decoders complain about, see ``tools.media.verify``."""
        programs = self._chosen()

        def look(limit: ReadLimit) -> tuple[Facts, str]:
            return look_into(path, self._checking(programs.encoders[0], programs.ffprobe, stop, limit))

        return patiently(look, path, self._pace, stop)

    def frames_lack(self, names: Collection[str] = ()) -> frozenset[str]:
        return lacking(self._chosen().encoders[0].ffmpeg).intersection((*NEEDED, *names))

    def frames_alone(
        self, source: Path, stop: threading.Event, held: Held = unheld
    ) -> tuple[FramesMade | None, list[str]]:
        programs, target, warnings = self._chosen(), self._frames.target, list[str]()
        assert target is not None  # of ``with_frames``
        with own_folder(target) as folder, held("encode"):
            making = self._making(programs.encoders[0].ffmpeg, stop)
            return self._frames.made(self.plan(source, stop), source, folder, making, warnings), warnings

    def _making(self, ffmpeg: Path, stop: threading.Event) -> Making:
        return Making(ffmpeg, self._frames.options, stop, self._max_rss())

    def _max_rss(self) -> int:
        return self.machine.max_encode_rss or memory() * 3 // 4

    def _chosen(self) -> MediaPrograms:
        with self._lock:
            if self._programs is None:
                self._memory = self._memory or Memory(self.machine.memory)
                self._programs = ffmpeg.choose(self.output, self.machine.ffmpeg, self._memory)
                if warning := warning_about(self._programs.encoders[0]):
                    log.warning(warning)
            return self._programs

    def _forget(self, programs: MediaPrograms) -> None:
        """Choose anew next time, by trials, unless another thread has done so already."""
        with self._lock:
            if self._programs is programs and self._memory is not None:
                self._memory.forget()
                self._programs = None

    def _make(
        self,
        plan: Plan,
        programs: MediaPrograms,
        source: Path,
        part: Path,
        on_progress: OnProgress,
        stop: threading.Event,
        threads: int | None,
        warnings: list[str],
        first: Encoder | None,
    ) -> tuple[Encoder, Hit[tuple[int | None, int]]]:
        """Write ``part`` by the best encoder that manages this file; returns it and its encode: the threads, and how
        many pictures are damaged."""
        if plan.action == "copy":
            copy_file(source, part, stop)
            return programs.encoders[0], Hit((threads, 0), self.output)
        if plan.muxer and not encoded_streams(plan):  # all of it comes straight from the source
            return programs.encoders[0], Hit((threads, 0), self.output)
        encoder = first or _encoder_for(plan.dolby_vision, programs)

        def encode(options: OutputOptions) -> tuple[int | None, int]:
            return self._encode(plan, encoder, options, source, part, on_progress, stop, threads)

        if plan.action != "transcode":
            return encoder, Hit(encode(self.output), self.output)
        running = Running(stop, self.machine.stall_timeout, self._max_rss())
        while True:
            is_sought = self.output.target_vmaf or self.output.max_size_percent
            meter = self._meter("auto", encoder) if is_sought else None
            size_of = partial(self._video_bytes, programs.ffprobe, stop)
            shot = Shot(plan, encoder, self.output, source, part, meter, size_of, running, threads, self._hints)
            try:
                return encoder, aimed(shot, encode)
            except (TranscodeError, MachineError) as exc:
                limits = ChildLimits(timeout=usual_limit(source.stat().st_size), rss=self._max_rss())
                may = may_be_the_encoder(encoder, exc, partial(has_pictures, plan, encoder, source, limits, stop))
                if not may or plan.dolby_vision or (following := programs.after(encoder)) is None:
                    raise
                warnings.append(f"{encoder.label} failed on this file, the next encoder took it: {exc}")
                self._forget(programs)  # one that failed must pass its trial again
                encoder = following

    def _video_bytes(self, ffprobe: Path, stop: threading.Event, path: Path) -> int:
        """Of its encoded pictures. Raises as ``patiently`` does."""

        def look(limit: ReadLimit) -> int:
            return probe(path, ffprobe, stop, limit=limit).of("video")[0].bytes

        return patiently(look, path, self._pace, stop)

    def _encode(
        self,
        plan: Plan,
        encoder: Encoder,
        options: OutputOptions,
        source: Path,
        part: Path,
        on_progress: OnProgress,
        stop: threading.Event,
        threads: int | None,
    ) -> tuple[int | None, int]:
        """Run ffmpeg, with fewer threads after it outgrew the memory limit or was killed, as the kernel does where
        memory is short; returns threads and damaged pictures."""
        limit = self._max_rss()
        with covers_of(plan, encoder, source, part, stop) as covers:
            for attempt in (threads, *(fewer for fewer in _FEWER if threads is None or fewer < threads)):
                command = encode_command(plan, encoder, options, source, part, covers, attempt)
                gate = Gate(plan, encoder, options, part.parent)
                command += gate.of_encode(shutil.disk_usage(part.parent).free - self.machine.min_free_space)
                plan.main_video.inside = Inside() if encoder.tells_changes else None
                command += self._frames.scanned(plan, encoder, part.parent)
                try:
                    broken = transcode(
                        command,
                        access=self._frames.access(gate.access(access_to(plan, source, part))),
                        duration=plan.facts.duration,
                        stall_timeout=self.machine.stall_timeout,
                        max_rss=limit,
                        stop=stop,
                        on_progress=on_progress,
                        expects_changes=any(video.shapes or video.is_looked_at for video in plan.facts.of("video")),
                        inside=plan.main_video.inside,
                    )
                    return attempt, broken
                except ChildOutgrew as exc:
                    ended: Exception = exc
                except MachineError as exc:
                    if not is_short_of_memory(exc.status):
                        raise
                    ended = exc
                    pause(stop)
        if isinstance(ended, MachineError):
            raise ended
        raise TranscodeError(f"the encode {ended}, more than MAX_ENCODE_RSS allows, even with one thread")


def _is_of_unframed(plan: Plan, exc: VerifyError) -> bool:
    """Whether a result may be refused for sound that was taken out of its framing."""
    ours = ("audio ", "it does ")  # … not decode in full: damage that is not there any more after an encode
    return any(one.is_unframed for one in plan.streams) and any(said.startswith(ours) for said in exc.differences)


def _encoder_for(dolby_vision: bool, programs: MediaPrograms) -> Encoder:
    """The best, or the best that keeps Dolby Vision if there is one that does."""
    encoder: Encoder | None = programs.encoders[0]
    while dolby_vision and encoder is not None and not encoder.has_dolby_vision:
        encoder = programs.after(encoder)
    return encoder or programs.encoders[0]


def _with_less(plan: Plan, warnings: list[str], exc: TranscodeError | MachineError) -> tuple[Plan, list[str]]:
    """The plan without what its pictures carry, at which the encoder may have failed, and what is to be said then.

    Raises the exception itself if that is nothing."""
    less = None
    if plan.hdr10_plus and WRITER in failed_run(exc).get("stderr", ""):
        less, what = replace(plan, hdr10_plus=False), "HDR10+" if has(plan.main_video, HDR10_PLUS) else ""
    elif plan.dolby_vision:
        less, what = replace(plan, dolby_vision=False), "Dolby Vision"
    if less is None:
        raise exc
    return less, _said_again(plan, less, [*warnings, *([message(f"{what} could not be kept: {exc}")] if what else [])])


def _said_again(plan: Plan, now: Plan, warnings: list[str]) -> list[str]:
    """The warnings of a plan that is another one now, or about which more is known."""
    before = set(plan.warnings())
    return [*now.warnings(), *(line for line in warnings if line not in before)]


def _need_of(plan: Plan, encoder: Encoder, output: OutputOptions) -> Need:
    if plan.action != "transcode":
        return NO_NEED
    facts = plan.main_video.facts
    width, height = int(facts.get("width") or 0), int(facts.get("height") or 0)
    work = (plan.facts.duration or 0.0) * width * height
    return Need(memory_for(width, height, output.preset), encoder.is_hardware, work)


def _entry_of(added: Added) -> dict[str, Any]:
    """Of a track that comes from a file beside the source."""
    return {
        "index": -1,
        "type": "subtitle",
        "codec": added.codec,
        "source_codec": added.source_codec or added.codec,
        "action": "copy",
        "language": added.language or None,
        "title": added.name,
    }


def _report(
    plan: Plan, made: Facts, encoder: str, settings: str, sha256: str, size: int, warnings: list[str]
) -> Conversion:
    video = made.of("video")[0]
    return Conversion(
        action=plan.action,
        duration_s=round(made.end, 3),
        frames=video.packets,
        width=int(video.facts.get("width") or 0),
        height=int(video.facts.get("height") or 0),
        encoder=encoder,
        settings=settings,
        streams=[
            {
                "index": one.source.index,
                "type": one.source.kind,
                "codec": one.codec if one.is_kept else None,
                "source_codec": one.source.codec,
                "action": one.action,
                "language": one.source.tag("language") or None,
                "title": one.source.tag("title") or None,
            }
            for one in plan.streams
        ],
        quality=None,
        sha256=sha256,
        size=size,
        warnings=tuple(warnings),
    )
