"""Tiny clips made by ffmpeg, and what is in a file."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

from tools.media.installed import find_ffprobe

SUBTITLES = "1\n00:00:00,100 --> 00:00:00,600\n你好\n"


def ffmpeg() -> str:
    """The bundled ffmpeg, or PATH's."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe() or shutil.which("ffmpeg"))


def ffprobe() -> str:
    """The one that the programs use."""
    return str(find_ffprobe([Path(ffmpeg())]))


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


def flash(at: float = 0.5, seconds: float = 1.5) -> list[str]:
    """Input arguments of a black picture that turns white at ``at`` s."""
    return ["-f", "lavfi", "-i", f"color=black:s=320x180:r=24:d={seconds},drawbox=c=white:t=fill:enable='gte(t,{at})'"]


def beep(at: float = 0.5, seconds: float = 1.5) -> list[str]:
    """Input arguments of silence that turns into a tone at ``at`` s."""
    return ["-f", "lavfi", "-i", f"aevalsrc='if(gte(t,{at}),0.5*sin(5529*t),0)':d={seconds}:s=44100"]


def flash_before_beep(path: Path) -> float:
    """Seconds from the flash to the tone, as a player shows them."""
    graph = "[0:V:0]scale=16:16,format=gray,signalstats,metadata=print:file=-[v];"
    graph += "[0:a:0]aresample=44100,silencedetect=noise=-25dB:d=0.05[a]"
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-i", f"file:{path}", "-filter_complex", graph]
    done = subprocess.run([*command, "-map", "[v]", "-map", "[a]", "-f", "null", "-"], capture_output=True, text=True)
    shown = None
    for line in done.stdout.splitlines():
        if match := re.search(r"pts_time:([-\d.]+)", line):
            shown = float(match.group(1))
        if (match := re.search(r"YAVG=([\d.]+)", line)) and float(match.group(1)) > 120:
            break
    heard = re.search(r"silence_end: ([\d.]+)", done.stderr)
    assert shown is not None and heard is not None, done.stderr[-500:]
    return float(heard.group(1)) - shown


def facts_of(path: Path) -> dict[str, Any]:
    """What ffprobe tells: format, streams, chapters."""
    command = [ffprobe(), "-v", "error", "-show_format", "-show_streams", "-show_chapters", "-of", "json"]
    done = subprocess.run([*command, f"file:{path}"], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def times_of(path: Path) -> list[float]:
    """Sorted times of the pictures of the first video stream, s."""
    command = [ffprobe(), "-v", "error", "-select_streams", "V:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0"]
    done = subprocess.run([*command, f"file:{path}"], capture_output=True, check=True, text=True)
    return sorted(float(line.split(",")[0]) for line in done.stdout.splitlines() if line.strip(", "))


def bitmap_subtitles(path: Path) -> Path:
    """A PGS file with one white bar, made by hand: ffmpeg can't turn text into pictures."""

    def segment(seconds: float, kind: int, body: bytes) -> bytes:
        return b"PG" + struct.pack(">IIBH", int(seconds * 90000), 0, kind, len(body)) + body

    width, height = 32, 16
    runs = (bytes([0, 0x80 | width, 1]) + b"\0\0") * height
    window = struct.pack(">BBHHHH", 1, 0, 20, 100, width, height)
    shape = struct.pack(">HBB", 0, 0, 0xC0) + struct.pack(">I", len(runs) + 4)[1:] + struct.pack(">HH", width, height)
    shown = struct.pack(">HHBHBBBB", 320, 180, 0x10, 0, 0x80, 0, 0, 1) + struct.pack(">HBBHH", 0, 0, 0, 20, 100)
    parts = [(0.2, 0x16, shown), (0.2, 0x17, window), (0.2, 0x14, bytes([0, 0, 1, 235, 128, 128, 255]))]
    parts += [(0.2, 0x15, shape + runs), (0.2, 0x80, b"")]
    parts += [
        (0.8, 0x16, struct.pack(">HHBHBBBB", 320, 180, 0x10, 1, 0, 0, 0, 0)),
        (0.8, 0x17, window),
        (0.8, 0x80, b""),
    ]
    path.write_bytes(b"".join(segment(*part) for part in parts))
    return path


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
        [ffprobe(), "-v", "error", "-show_streams", "-of", "json", f"file:{path}"],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    found: dict[str, list[str]] = {}
    for stream in json.loads(done.stdout)["streams"]:
        kind = "attachment" if stream.get("disposition", {}).get("attached_pic") else stream["codec_type"]
        found.setdefault(kind, []).append(stream.get("codec_name", "unknown"))
    return found
