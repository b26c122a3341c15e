"""The real converter on one file, as tests use it."""

import threading
from pathlib import Path

import pytest

from tools.core.errors import MediaError
from tools.media.ahead import Nobody
from tools.media.converter import Conversion, FfmpegConverter, OutputOptions
from tools.media.framing import Made
from tools.media.plan import Plan

CONVERTER = FfmpegConverter(OutputOptions(preset=12))


def convert(source: Path, target: Path, converter: FfmpegConverter = CONVERTER) -> Conversion:
    """Converted and verified, or the converter's own exception."""
    return converter.convert(source, target, on_progress=lambda progress: None, stop=threading.Event())


def stand_in(folder: Path, rule: str) -> Path:
    """An ffmpeg that is the real one but for ``rule``, bash that may read ``$*`` and exit; trials stay real.

    It starts a program outside its own folder, so it works only for children that are not confined: ``uncaged``, or
    CAGE=off for a program.
    """
    program = folder / "ffmpeg"
    program.write_text(
        f"""#!/bin/bash
real={CONVERTER._chosen().ffmpeg}
case "$*" in *lavfi*|*-version*) exec "$real" "$@" ;; esac
{rule}
exec "$real" "$@"
"""
    )
    program.chmod(0o755)
    return program


def refusal(source: Path, target: Path, converter: FfmpegConverter = CONVERTER) -> str:
    """Why the file was refused for good, nothing left behind."""
    with pytest.raises(MediaError) as caught:
        convert(source, target, converter)
    assert not caught.value.retryable and "\n" not in str(caught.value)
    assert not target.exists() and not [path for path in target.parent.iterdir() if path.name.endswith(".part")]
    return str(caught.value)


def verified(plan: Plan, source: Path, result: Path, converter: FfmpegConverter = CONVERTER) -> list[str]:
    """Warnings about a result that somebody else made; raises VerifyError."""
    programs, stop = converter._chosen(), threading.Event()
    made = Made(source, result, result, 0, programs.encoders[0], converter.output, programs.ffprobe, stop)
    return converter._verified(plan, made, Nobody())[1]
