"""Which ffmpeg and which AV1 encoder: every candidate is tried with the options of a real run, the best one wins.

Being listed by ``ffmpeg -encoders`` means nothing (a build lists encoders of cards that are not there), and the place
on PATH neither (a distribution's build lacks the newer encoders).
"""

import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.core.errors import EncoderStalled, NoEncoder, PipelineError
from tools.media.encoding import Encoder, OutputOptions, encoder_arguments
from tools.runtime.child import ChildLimits, run

PREFERENCE = ("av1_nvenc", "av1_qsv", "av1_vaapi", "libsvtav1", "libaom-av1")
_TRIAL_TIME = 60.0  # s; a trial takes well under one
_INSTALL = "install one (Debian, Ubuntu: apt install ffmpeg), or give its path as FFMPEG"


@dataclass(frozen=True, slots=True)
class Trial:
    """One encoder of one ffmpeg: whether it works here, or why not."""

    ffmpeg: Path
    version: str
    encoder: str
    works: bool
    reason: str
    usable: Encoder | None = None


@dataclass(frozen=True, slots=True)
class MediaPrograms:
    """The programs in use. ``encoders``: all that work, best first; a file that one fails on goes to the next."""

    ffprobe: Path
    encoders: tuple[Encoder, ...]

    @property
    def ffmpeg(self) -> Path:
        return self.encoders[0].ffmpeg


def find_ffmpegs(setting: str) -> list[Path]:
    """Every ffmpeg that could be used: the setting's alone where one is set, else PATH's and the bundled one."""
    if setting != "auto":
        found = shutil.which(setting)
        if found is None:
            raise NoEncoder(f"FFMPEG={setting!r} is no program that can be run: {_INSTALL}")
        return [Path(found)]
    candidates = [Path(found)] if (found := shutil.which("ffmpeg")) else []
    # Its own look-up would start the program, with our environment and so the token.
    bundle = importlib.util.find_spec("imageio_ffmpeg")
    if bundle is not None and bundle.origin is not None:
        binaries = sorted(Path(bundle.origin).parent.glob("binaries/ffmpeg-*"))
        candidates += [path for path in binaries if os.access(path, os.X_OK)]
    if not candidates:
        raise NoEncoder(f"no ffmpeg found: {_INSTALL}")
    return list(dict.fromkeys(candidates))


def find_ffprobe(ffmpegs: Sequence[Path]) -> Path:
    """ffprobe beside an ffmpeg in use, or on PATH. Raises NoEncoder."""
    for folder in [path.resolve().parent for path in ffmpegs]:
        if (folder / "ffprobe").exists():
            return folder / "ffprobe"
    found = shutil.which("ffprobe")
    if found is None:
        raise NoEncoder(f"no ffprobe found: {_INSTALL}")
    return Path(found)


def try_encoders(options: OutputOptions, wanted_ffmpeg: str = "auto") -> list[Trial]:
    """Every encoder of every candidate, tried. Raises NoEncoder if there is no ffmpeg at all."""
    trials = []
    for ffmpeg in find_ffmpegs(wanted_ffmpeg):
        version, crops = version_of(ffmpeg), _crops(ffmpeg)
        wanted = PREFERENCE if options.encoder == "auto" else (options.encoder,)
        trials += [_try(ffmpeg, version, crops, name, options) for name in wanted]
    return trials


def choose(options: OutputOptions, wanted_ffmpeg: str = "auto") -> MediaPrograms:
    """The programs to use. Raises NoEncoder, which lists what was tried."""
    trials = try_encoders(options, wanted_ffmpeg)
    working = [trial.usable for trial in trials if trial.usable is not None]
    if not working:
        tried = "; ".join(f"{trial.encoder} of {trial.ffmpeg}: {trial.reason}" for trial in trials)
        raise NoEncoder(f"no AV1 encoder works here ({tried}): {_INSTALL}")
    working.sort(key=lambda encoder: (PREFERENCE.index(encoder.name), [-part for part in encoder.svt_version]))
    return MediaPrograms(find_ffprobe([encoder.ffmpeg for encoder in working]), tuple(working))


def version_of(ffmpeg: Path) -> str:
    """As it names itself."""
    try:
        lines: list[str] = []
        run([ffmpeg, "-hide_banner", "-version"], limits=ChildLimits(timeout=_TRIAL_TIME), on_line=lines.append)
    except (OSError, PipelineError) as exc:
        return f"can't be run: {exc}"
    match = re.match(r"ffmpeg version (\S+)", lines[0]) if lines else None
    return match.group(1) if match else "unknown"


def _crops(ffmpeg: Path) -> bool:
    """Whether this ffmpeg cuts pictures as the container says (since 7.1), and so has the option that turns it off."""
    picture = ["-apply_cropping", "codec", "-f", "lavfi", "-i", "color=black:s=64x64:r=25:d=0.04", "-f", "null", "-"]
    try:
        command: list[str | Path] = [ffmpeg, "-hide_banner", "-v", "error", "-nostdin", *picture]
        return run(command, limits=ChildLimits(timeout=_TRIAL_TIME)).status == 0
    except (OSError, PipelineError):
        return False


def _try(ffmpeg: Path, version: str, crops: bool, name: str, options: OutputOptions) -> Trial:
    """A few frames with the options of a real run; for SVT-AV1 first with the parameters that older builds lack."""
    reason = ""
    for modern in (True, False) if name == "libsvtav1" else (True,):
        encoder = Encoder(name=name, ffmpeg=ffmpeg, modern=modern, crops=crops)
        works, output = _trial_run(encoder, options)
        if works:
            encoder = replace(encoder, svt_version=_svt_version(output))
            return Trial(ffmpeg, version, name, True, "works", encoder)
        reason = reason or _last_line(output)
    return Trial(ffmpeg, version, name, False, reason)


def _trial_run(encoder: Encoder, options: OutputOptions) -> tuple[bool, str]:
    before, arguments = encoder_arguments(encoder, options, source=None, threads=None, stream=0)
    picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=24:duration=0.5"]
    command: list[str | Path] = [
        encoder.ffmpeg,
        "-hide_banner",
        "-v",
        "warning",
        "-nostdin",
        *before,
        *picture,
        "-frames:v",
        "8" if encoder.is_hardware else "2",
    ]
    try:
        ended = run([*command, *arguments, "-f", "null", "-"], limits=ChildLimits(timeout=_TRIAL_TIME))
    except (OSError, PipelineError, EncoderStalled) as exc:
        return False, str(exc)
    # Older builds only complain about a parameter that they lack, and encode without it.
    return ended.status == 0 and "Error parsing option" not in ended.stderr, ended.stderr


def _svt_version(output: str) -> tuple[int, ...]:
    match = re.search(r"SVT-AV1 Encoder Lib v(\d+(?:\.\d+)*)", output)
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and "Svt[" not in line]
    return lines[0][:200] if lines else "failed without a word"
