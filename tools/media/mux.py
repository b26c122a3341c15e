"""Encoded streams + source → the output: the one way in which a file gets its final form after the encoder ran.

ffmpeg's own run makes the output whole unless the plan has a muxer (see ``plan`` for which sources). Where mkvmerge
fails, or what it made is refused, ffmpeg puts the same streams together instead; what that loses is recorded.
"""

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tools.core.errors import TranscodeError, VerifyError
from tools.core.message import message
from tools.media.covers import access_to, covers_of
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions, encode_command
from tools.media.hdr10_plus import VALUES, NotTheSame, put_back
from tools.media.mkvmerge import Muxer, run_muxer
from tools.media.muxing import date_command, edit_command, encoded_streams, language_command, mux_job
from tools.media.pace import Pace, patiently
from tools.media.plan import Plan, carrying_as, make_plan
from tools.media.probe import probe
from tools.media.transcode import transcode
from tools.runtime.spawn import Access

ENCODED = "encoded.mkv"
"""Beside the output while it is made: the encoded streams."""
_SOURCE = "source.mkv"  # a link: mkvmerge takes some names for options, and some for lists of files


@dataclass(frozen=True, slots=True)
class Muxing:
    """What the programs run with."""

    encoder: Encoder
    options: OutputOptions
    stop: threading.Event
    stall_timeout: float  # s
    max_rss: int  # bytes


def mux(
    plan: Plan, source: Path, part: Path, muxing: Muxing, warnings: list[str], refused: VerifyError | None = None
) -> Plan:
    """Make ``part``; returns the plan by which it was made. Raises what ``transcode`` does, and ``refused`` (what is
    wrong with the ``part`` that was made so) if there is no other way."""
    if plan.muxer is None or (refused is not None and refused.of_encode):
        if refused is not None:
            raise refused
        if plan.muxer is None:
            _name_languages(plan, part, muxing)
        return plan
    try:
        if refused is not None:
            raise refused
        said = _by_mkvmerge(plan, plan.muxer, source, part, muxing)
    except (TranscodeError, VerifyError) as exc:
        other = replace(make_plan(plan.facts), languages=plan.languages, editor=plan.muxer if plan.languages else None)
        other = carrying_as(other, plan)
        if encoded_streams(other) != encoded_streams(plan) or exc.retryable:
            raise
        warnings.append(f"mkvmerge could not make the file, ffmpeg did: {exc}")
        _by_ffmpeg(other, source, part, muxing)
        _name_languages(other, part, muxing)
        return other
    warnings += [f"mkvmerge warned: {line}" for line in said[:3]]
    return plan


def with_hdr10_plus(plan: Plan, encoded: Path, muxing: Muxing, ffprobe: Path, pace: Pace) -> tuple[Plan, list[str]]:
    """Put the values of HDR10+ into ``encoded`` if the encode wrote them beside it; the plan, and what is to be said.

    Raises what ``transcode`` and ``probe`` do.
    """
    values = encoded.with_name(VALUES)
    if not plan.hdr10_plus or not values.exists():
        return plan, []
    try:
        count = put_back(encoded, values)
    except NotTheSame as exc:
        return replace(plan, hdr10_plus=False), [message(f"HDR10+ could not be kept: {exc}")]
    if count and plan.muxer is None:  # it is the output itself, and needs an index
        whole = encoded.with_name("whole.mkv")
        facts = patiently(lambda limit: probe(encoded, ffprobe, muxing.stop, limit=limit), encoded, pace, muxing.stop)
        _by_ffmpeg(replace(make_plan(facts), action="remux"), encoded, whole, muxing)
        whole.replace(encoded)
    return plan, []


def put_together(plan: Plan, source: Path, part: Path, muxing: Muxing) -> list[str]:
    """Make ``part`` of a ``source`` that keeps all its streams, and of what the plan adds; what there is to be said of
    it. Raises what ``transcode`` does."""
    if plan.muxer is not None:
        return [f"mkvmerge warned: {line}" for line in _by_mkvmerge(plan, plan.muxer, source, part, muxing)[:3]]
    _by_ffmpeg(plan, source, part, muxing)
    return []


def _by_mkvmerge(plan: Plan, muxer: Muxer, source: Path, part: Path, muxing: Muxing) -> list[str]:
    """What mkvmerge warned of."""
    folder = part.parent.resolve()
    access = access_to(plan, source, part)

    def run(command: list[str]) -> list[str]:
        return run_muxer(command, access, stall_timeout=muxing.stall_timeout, max_rss=muxing.max_rss, stop=muxing.stop)

    encoded = folder / ENCODED if encoded_streams(plan) else None
    if encoded is not None:
        run(edit_command(plan, muxer, encoded))
    link = folder / _SOURCE
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())
    label = muxing.encoder.label
    job = mux_job(plan, muxer, encoded, link, folder / part.name, label)
    for path, content in job.files.items():
        path.write_bytes(content)
    said = run([*job.command])
    if date := date_command(plan, muxer, folder / part.name):
        run(date)
    return said


def _name_languages(plan: Plan, part: Path, muxing: Muxing) -> None:
    """Tell a file that ffmpeg made the languages for which its muxer has no field."""
    if plan.editor is not None and plan.languages:
        run_muxer(
            language_command(plan, plan.editor, part.absolute()),
            Access(writes=(part.parent,)),
            stall_timeout=muxing.stall_timeout,
            max_rss=muxing.max_rss,
            stop=muxing.stop,
        )


def _by_ffmpeg(plan: Plan, source: Path, part: Path, muxing: Muxing) -> None:
    encoded = part.with_name(ENCODED) if encoded_streams(plan) else None
    with covers_of(plan, muxing.encoder, source, part, muxing.stop) as covers:
        transcode(
            encode_command(plan, muxing.encoder, muxing.options, source, part, covers, None, encoded),
            access=access_to(plan, source, part),
            duration=plan.facts.duration,
            stall_timeout=muxing.stall_timeout,
            max_rss=muxing.max_rss,
            stop=muxing.stop,
            on_progress=lambda progress: None,
        )


@contextlib.contextmanager
def own_folder(target: Path) -> Iterator[Path]:
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
