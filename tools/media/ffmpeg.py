"""Which ffmpeg and which AV1 encoder: every candidate is tried with the options of a real run, the best one wins.

Being listed by ``ffmpeg -encoders`` means nothing (a build lists encoders of cards that are not there), and the place
on PATH neither (a distribution's build lacks the newer encoders).
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tools.core.errors import NoEncoder, PipelineError
from tools.media.choice import Trial, chosen, failures, not_used, ranked
from tools.media.complaints import Complaints, bare
from tools.media.encoders import BY_NAME, ENCODERS, Encoder, EncoderType
from tools.media.encoding import OutputOptions, encoder_arguments
from tools.media.installed import ASKED, INSTALL, find_ffmpegs, find_ffprobe, version_of
from tools.runtime.child import run
from tools.runtime.spawn import NOTHING

# SVT-AV1 shall say its version, whatever the environment asks of it. Source: its svt_log.c, SVT_LOG_INFO.
_TALKATIVE = {"SVT_LOG": "3"}


@dataclass(frozen=True, slots=True)
class MediaPrograms:
    """The programs in use."""

    ffprobe: Path
    encoders: tuple[Encoder, ...]  # all that work, best first; a file that one fails on goes to the next
    chosen: str = ""  # which is used, for people
    not_used: str = ""  # why not the others, for people

    @property
    def ffmpeg(self) -> Path:
        return self.encoders[0].ffmpeg


def try_encoders(options: OutputOptions, wanted_ffmpeg: str = "auto") -> list[Trial]:
    """Every encoder of every candidate, tried. Raises NoEncoder if there is no ffmpeg at all."""
    trials = []
    for ffmpeg in find_ffmpegs(wanted_ffmpeg):
        version, crops = version_of(ffmpeg), _crops(ffmpeg)
        wanted = ENCODERS if options.encoder == "auto" else (BY_NAME[options.encoder],)
        trials += [_try(ffmpeg, version, crops, entry, options) for entry in wanted]
    return trials


def choose(options: OutputOptions, wanted_ffmpeg: str = "auto") -> MediaPrograms:
    """The programs to use. Raises NoEncoder, which lists what was tried."""
    trials = try_encoders(options, wanted_ffmpeg)
    working = ranked(trials)
    if not working:
        raise NoEncoder(f"no AV1 encoder works here ({failures(trials)}): {INSTALL}")
    ffprobe = find_ffprobe([encoder.ffmpeg for encoder in working])
    return MediaPrograms(ffprobe, tuple(working), chosen(trials), not_used(trials))


def _crops(ffmpeg: Path) -> bool:
    """Whether this ffmpeg cuts pictures as the container says (since 7.1), and so has the option that turns it off."""
    picture = ["-apply_cropping", "codec", "-f", "lavfi", "-i", "color=black:s=64x64:r=25:d=0.04", "-f", "null", "-"]
    try:
        command: list[str | Path] = [ffmpeg, "-hide_banner", "-v", "error", "-nostdin", *picture]
        return run(command, access=NOTHING, limits=ASKED).status == 0
    except (OSError, PipelineError):
        return False


class _Answer:
    """What a trial says, each line read: a thread's warnings may come by the hundred in between."""

    def __init__(self) -> None:
        self.complaints = Complaints()
        self.svt_version: tuple[int, ...] = ()
        self.refused = False  # an option; builds that lack one only complain, and encode without it

    def line(self, line: str) -> None:
        self.complaints.line(line)
        self.refused = self.refused or "Error parsing option" in line
        if match := _SVT_BANNER.search(line):
            self.svt_version = tuple(int(part) for part in match.group(1).split("."))


_SVT_BANNER = re.compile(r"SVT-AV1\S* Encoder Lib v(\d+(?:\.\d+)*)")  # forks put their name behind SVT-AV1


def _try(ffmpeg: Path, version: str, crops: bool, entry: EncoderType, options: OutputOptions) -> Trial:
    """A few frames with the options of a real run; for SVT-AV1 first with the parameters that older builds lack."""
    reason = ""
    for modern in entry.generations:
        answer = _Answer()
        encoder = Encoder(name=entry.name, ffmpeg=ffmpeg, modern=modern, crops=crops)
        failed = _trial_run(encoder, options, answer)
        if not failed and _is_certain(entry, modern, answer):
            return Trial(ffmpeg, version, entry.name, True, "works", replace(encoder, svt_version=answer.svt_version))
        reason = reason or failed
    return Trial(ffmpeg, version, entry.name, False, reason or "refuses its options")


def _is_certain(entry: EncoderType, modern: bool, answer: _Answer) -> bool:
    """Whether the options were taken. That nothing was said against them counts only if something was heard at all."""
    if answer.refused:
        return False
    return bool(answer.svt_version) or not (modern and entry.modern_first)


def _trial_run(encoder: Encoder, options: OutputOptions, answer: _Answer) -> str:
    """Why it failed, "" if it did not."""
    before, arguments = encoder_arguments(encoder, options, source=None, threads=None, stream=0)
    picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=24:duration=0.5"]
    command: list[str | Path] = [encoder.ffmpeg, "-hide_banner", "-v", "warning", "-nostdin", *before, *picture]
    command += ["-frames:v", str(encoder.type.trial_frames), *arguments, "-f", "null", "-"]
    try:
        ended = run(command, access=NOTHING, limits=ASKED, on_complaint=answer.line, env=_TALKATIVE)
    except (OSError, PipelineError) as exc:
        return str(exc)
    if ended.status == 0:
        return ""
    return bare(answer.complaints.cause())[:200] or f"ended with status {ended.status} without a word"
