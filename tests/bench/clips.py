"""Real clips if they are there, else made ones; long enough to measure with."""

import json
import os
import subprocess
from pathlib import Path

from tests.media import ffmpeg, ffprobe, make, picture, tone

_SHARED = Path(os.environ.get("BENCH_CLIPS") or Path(__file__).resolve().parents[3] / "shared" / "media")
_REAL = ("sintel_480p_zh_ass.mkv", "bbb_720p_51.mp4")


def real_folder() -> Path:
    """Where the real clips are, if they are."""
    return _SHARED


def real_clips() -> list[Path]:
    """The real ones, of drawn and of computer animation; [] if they are not there."""
    return [path for name in _REAL if (path := _SHARED / name).exists()]


def long_clip(folder: Path, seconds: float = 30.0) -> tuple[Path, str]:
    """A clip of at least so many s, a real one repeated if there is one; and what it is, for the table."""
    found = real_clips()
    if not found:
        made = make([*picture(seconds, "848x480"), *tone(seconds), "-c:v", "libx264"], folder / "clip.mkv")
        return made, f"{seconds:.0f} s of a test picture, 848x480"
    repeats = int(seconds / _length(found[0]))
    arguments = ["-stream_loop", str(repeats), "-i", f"file:{found[0]}", "-map", "0:v", "-map", "0:a", "-c", "copy"]
    clip = make([*arguments, "-t", str(seconds + 1)], folder / "clip.mkv")
    return clip, f"{_length(clip):.0f} s of {found[0].name} (848x480, animation)"


def _length(path: Path) -> float:
    """s of a file by ffprobe."""
    done = subprocess.run(
        [ffprobe(), "-v", "error", "-show_entries", "format=duration", "-of", "json", f"file:{path}"],
        capture_output=True,
        check=True,
    )
    return float(json.loads(done.stdout)["format"]["duration"])


def short_clip(folder: Path) -> tuple[Path, str]:
    """A clip of a few s."""
    found = real_clips()
    if found:
        return found[-1], f"{_length(found[-1]):.0f} s of {found[-1].name} (animation)"
    made = make([*picture(6, "1280x720"), *tone(6), "-c:v", "libx264"], folder / "short.mkv")
    return made, "6 s of a test picture, 1280x720"


def different_copies(clip: Path, folder: Path, count: int) -> list[Path]:
    """Copies that play the same and differ in their bytes, by a title each."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for number in range(1, count + 1):
        arguments = ["-i", f"file:{clip}", "-map", "0", "-c", "copy", "-metadata", f"title={number:02}"]
        copies.append(make(arguments, folder / f"ep {number:02}.mkv"))
    return copies


__all__ = ["different_copies", "ffmpeg", "long_clip", "real_clips", "real_folder", "short_clip"]
