"""Pictures of H.264 that carry messages of ours (SEI)."""

from collections.abc import Callable
from pathlib import Path

from tests.media import make, picture, tone

T35, FILM_GRAIN = 4, 19
"""Types of payload. Source: ITU-T H.264, D.1."""


def film(folder: Path, container: str, message_of: Callable[[int], bytes]) -> Path:
    """Two seconds, 24 pictures per second, with a beep; ``message_of`` gives what the picture of a number carries."""
    bare = folder / "bare.h264"
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "aud=1", "-pix_fmt", "yuv420p"]
    make([*picture(2, "160x120", "24"), *codec], bare)
    units = bare.read_bytes().split(b"\0\0\0\1\x09")[1:]
    made = b"".join(b"\0\0\0\1\x09" + unit[:1] + message_of(number) + unit[1:] for number, unit in enumerate(units))
    (folder / "in.h264").write_bytes(made)
    inputs = ["-framerate", "24", "-i", str(folder / "in.h264"), *tone(2), "-map", "0", "-map", "1"]
    return make([*inputs, "-c:v", "copy", "-c:a", "aac"], folder / f"in.{container}")


def sei(kind: int, data: bytes) -> bytes:
    """One message; ``data`` must need no emulation prevention."""
    assert b"\0\0" not in data
    return b"\0\0\0\1\x06" + bytes([kind, len(data)]) + data + b"\x80"
