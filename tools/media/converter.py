"""Source file → verified Matroska file with AV1, and the report that goes into ``metadata.jsonl``."""

import contextlib
import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tools.core.errors import NoEncoder, TranscodeError
from tools.core.planning import Stage
from tools.media import ffmpeg
from tools.media.census import check_source, largest_result
from tools.media.choice import warning_about
from tools.media.complaints import Complaints
from tools.media.encoders import Encoder
from tools.media.encoding import MachineOptions, OutputOptions, cover_command, encode_command, settings_text
from tools.media.facts import Facts
from tools.media.ffmpeg import MediaPrograms
from tools.media.plan import Plan, PlanAction, make_plan
from tools.media.probe import probe
from tools.media.transcode import EncodeProgress, OnProgress, failure, transcode
from tools.media.verify import Checking, verify
from tools.runtime.child import ChildLimits, ChildOutgrew, run
from tools.runtime.files import sha256_of, sync_file
from tools.runtime.spawn import Access

__all__ = [
    "Conversion",
    "Converter",
    "EncodeProgress",
    "FfmpegConverter",
    "Held",
    "MachineOptions",
    "OutputOptions",
    "unheld",
]
Held = Callable[[Stage], AbstractContextManager[None]]
"""What a conversion enters for as long as its stage ``encode`` or ``verify`` lasts: a place among others."""
log = logging.getLogger("animation.media")
_COVER_TIMEOUT = 60.0  # s
_FEWER = (2, 1)  # cores, after an encode with more outgrew the memory limit


def unheld(stage: Stage) -> AbstractContextManager[None]:
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
    streams: list[dict[str, Any]]  # one entry per source stream, with what became of it
    quality: Mapping[str, Any] | None
    sha256: str  # of the target
    size: int  # bytes, of the target
    warnings: tuple[str, ...] = field(default=())  # one line for each thing dropped or damaged

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
        NoEncoder, DiskFull, Stopped.
        """
        ...


class FfmpegConverter:
    """The converter over ffmpeg and ffprobe. The constructor touches nothing; ``machine`` None = the defaults."""

    def __init__(self, output: OutputOptions, machine: MachineOptions | None = None) -> None:
        self.output = output
        self.machine = machine or MachineOptions()
        self._programs: MediaPrograms | None = None
        self._lock = threading.Lock()

    def prepare(self) -> str:
        """Choose the programs by trial encodes (once)."""
        programs = self._chosen()
        return f"{programs.chosen}, ffprobe {programs.ffprobe}{programs.not_used}"

    def version(self) -> str:
        return ffmpeg.version_of(self._chosen().ffmpeg)

    def plan(self, source: Path, stop: threading.Event | None = None) -> Plan:
        """What would become of each stream. Raises ProbeError."""
        programs = self._chosen()
        return make_plan(probe(source, programs.ffprobe, stop, ffmpeg=programs.ffmpeg))

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
        plan = make_plan(probe(source, programs.ffprobe, stop, ffmpeg=programs.ffmpeg))
        warnings = [*plan.warnings(), *check_source(plan, self.output.min_decoded_percent)]
        with _own_folder(target) as folder:
            part = folder / "result.mkv"
            with held("encode"):
                encoder, used, broken = self._make(plan, programs, source, part, on_progress, stop, threads, warnings)
            checking = Checking(
                encoder=encoder,
                ffprobe=programs.ffprobe,
                stop=stop,
                min_percent=self.output.min_decoded_percent,
                stall_timeout=self.machine.stall_timeout,
                max_rss=self._max_rss(),
            )
            with held("verify"):
                made, damage = verify(plan, source, part, broken, checking)
                sync_file(part)
                sha256 = sha256_of(part, stop)
            part.replace(target)
        settings = settings_text(plan, encoder, self.output, used)
        label = encoder.label if plan.action == "transcode" else ""
        return _report(plan, made, label, settings, sha256, target.stat().st_size, [*warnings, *damage])

    def _max_rss(self) -> int:
        return self.machine.max_encode_rss or _machine_memory() * 3 // 4

    def _chosen(self) -> MediaPrograms:
        with self._lock:
            if self._programs is None:
                self._programs = ffmpeg.choose(self.output, self.machine.ffmpeg)
                if warning := warning_about(self._programs.encoders[0]):
                    log.warning(warning)
            return self._programs

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
    ) -> tuple[Encoder, int | None, int]:
        """Write ``part`` by the best encoder that manages this file; returns it, its threads, damaged pictures."""
        if plan.action == "copy":
            shutil.copyfile(source, part)
            return programs.encoders[0], threads, 0
        for encoder in programs.encoders:
            try:
                return encoder, *self._encode(plan, encoder, source, part, on_progress, stop, threads)
            except TranscodeError as exc:
                # A software encoder that has begun fails for the file's sake: the next one would, too.
                if exc.retryable or encoder is programs.encoders[-1] or not (encoder.is_hardware or exc.pictures == 0):
                    raise
                warnings.append(f"{encoder.label} failed on this file, the next encoder took it: {exc}")
                if encoder.is_hardware:
                    with self._lock:
                        self._programs = None  # a hardware encoder that failed must pass its trial again
        raise NoEncoder("no encoder is left")

    def _encode(
        self,
        plan: Plan,
        encoder: Encoder,
        source: Path,
        part: Path,
        on_progress: OnProgress,
        stop: threading.Event,
        threads: int | None,
    ) -> tuple[int | None, int]:
        """Run ffmpeg, with fewer threads after it outgrew the memory limit; returns threads and damaged pictures."""
        limit = self._max_rss()
        with _covers(plan, encoder, source, part, stop) as covers:
            for attempt in (threads, *(fewer for fewer in _FEWER if threads is None or fewer < threads)):
                command = encode_command(plan, encoder, self.output, source, part, covers, attempt)
                try:
                    broken = transcode(
                        command,
                        access=_access(plan, source, part),
                        duration=plan.facts.duration,
                        stall_timeout=self.machine.stall_timeout,
                        max_rss=limit,
                        stop=stop,
                        on_progress=on_progress,
                    )
                    return attempt, broken
                except ChildOutgrew as exc:
                    outgrown = exc
        raise TranscodeError(f"the encode {outgrown}, more than MAX_ENCODE_RSS allows, even with one thread")


@contextlib.contextmanager
def _covers(plan: Plan, encoder: Encoder, source: Path, part: Path, stop: threading.Event) -> Iterator[list[Path]]:
    """Cover pictures as files beside the output while it is made."""
    paths = []
    try:
        for number, kept in enumerate(plan.kept("cover")):
            path = part.with_name(f"{part.name}.cover{number}")
            paths.append(path)
            command = cover_command(encoder, source, kept.source, path)
            said = Complaints()
            limits = ChildLimits(timeout=_COVER_TIMEOUT)
            access = _access(plan, source, path)
            ended = run(command, access=access, limits=limits, stop=stop, on_complaint=said.line)
            if ended.status != 0 or not path.exists():
                what = f"cover art of stream {kept.source.index} can't be read: ffmpeg"
                raise failure(what, command, ended, said)
        yield paths
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _access(plan: Plan, source: Path, made: Path) -> Access:
    """What a program needs that makes a file of the source."""
    return Access(reads=(source,), writes=(made.parent,), largest_file=largest_result(plan.facts.size))


@contextlib.contextmanager
def _own_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target in which it is made: the only one that the programs may write to."""
    # Not the target's name with something added: that may have 255 bytes already.
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    folder = target.with_name(f".{digest}.part")
    shutil.rmtree(folder, ignore_errors=True)  # a crash left it
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
