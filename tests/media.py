"""Tiny clips made by ffmpeg, and what is in a file."""

import json
import shutil
import subprocess
from pathlib import Path

SUBTITLES = "1\n00:00:00,100 --> 00:00:00,600\n你好\n"


def ffmpeg() -> str:
    """The bundled ffmpeg, or PATH's."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe() or shutil.which("ffmpeg"))


def make(arguments: list[str], target: Path) -> Path:
    """Run ffmpeg with these arguments into ``target``."""
    command = [ffmpeg(), "-v", "error", "-nostdin", "-y", *arguments, f"file:{target}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


def picture(seconds: float = 1.0, size: str = "320x180", rate: str = "24") -> list[str]:
    """Input arguments of a moving test picture."""
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"]


def tone(seconds: float = 1.0) -> list[str]:
    """Input arguments of a sine tone."""
    return ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]


def make_clip(target: Path, *, seconds: float = 1.0, subtitles: bool = False) -> Path:
    """H.264 with AAC, and subtitles where asked, in the container of the name."""
    arguments = [*picture(seconds), *tone(seconds)]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    if subtitles:
        words = target.with_suffix(".srt")
        words.write_text(SUBTITLES, encoding="utf-8")
        arguments += ["-i", str(words)]
        codecs += ["-c:s", "mov_text" if target.suffix == ".mp4" else "srt"]
    return make([*arguments, *codecs], target)


def streams_of(path: Path) -> dict[str, list[str]]:
    """Codec names by kind, in order; covers count as attachments."""
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-of", "json", f"file:{path}"],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    found: dict[str, list[str]] = {}
    for stream in json.loads(done.stdout)["streams"]:
        kind = "attachment" if stream.get("disposition", {}).get("attached_pic") else stream["codec_type"]
        found.setdefault(kind, []).append(stream.get("codec_name", "unknown"))
    return found
