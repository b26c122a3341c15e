"""Captions inside the pictures (CEA-608) become a track of text, with their times; what is none gets no track."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conversion import CONVERTER, convert
from tests.media import facts_of, ffmpeg, make, picture, tone

# Codes of channel 1. Source: ANSI/CTA-608-E, annex for pop-on captions.
LOAD, ROW_15, SHOW, ERASE, NOTHING = b"\x14\x20", b"\x14\x70", b"\x14\x2f", b"\x14\x2c", b"\0\0"
SHOWN, ERASED = 18, 40  # pictures


def captioned(folder: Path, container: str, pairs: dict[int, bytes]) -> Path:
    """Two seconds of H.264, 24/s, whose pictures carry these pairs of bytes (A/53), with a beep."""
    bare = folder / "bare.h264"
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "aud=1", "-pix_fmt", "yuv420p"]
    make([*picture(2, "160x120", "24"), *codec], bare)
    units = bare.read_bytes().split(b"\0\0\0\1\x09")
    made = b"".join(
        b"\0\0\0\1\x09" + unit[:1] + message(pairs.get(number, NOTHING)) + unit[1:]
        for number, unit in enumerate(units[1:])
    )
    (folder / "in.h264").write_bytes(made)
    inputs = ["-framerate", "24", "-i", str(folder / "in.h264"), *tone(2), "-map", "0", "-map", "1"]
    return make([*inputs, "-c:v", "copy", "-c:a", "aac"], folder / f"in.{container}")


def message(pair: bytes) -> bytes:
    """A picture's user data. Source: ATSC A/53 part 4, 6.2.3; ITU-T H.264, D.1.6."""
    odd = bytes(byte | (0x80 if byte.bit_count() % 2 == 0 else 0) for byte in pair)
    data = b"\xb5\x00\x31GA94\x03\x41\xff\xfc" + odd + b"\xff"
    return b"\0\0\0\1\x06\x04" + bytes([len(data)]) + data + b"\x80"


def said(text: str) -> dict[int, bytes]:
    letters = text.encode() + b" " * (len(text) % 2)
    codes = [LOAD, LOAD, ROW_15, ROW_15, *(letters[at : at + 2] for at in range(0, len(letters), 2))]
    return {**dict(enumerate(codes)), SHOWN: SHOW, SHOWN + 1: SHOW, ERASED: ERASE, ERASED + 1: ERASE}


@pytest.mark.parametrize("container", ["mkv", "ts", "mp4"])
def test_captions_become_a_track_of_text(container: str, tmp_path: Path) -> None:
    folder = tmp_path / "a [b],c;d 'e: f"  # nothing in a path means anything to a filter
    folder.mkdir()
    source = captioned(folder, container, said("LOOK OVER THERE"))
    assert [line for line in CONVERTER.plan(source).warnings() if "become a track of text" in line]
    report = convert(source, folder / "out.mkv")
    assert not [line for line in report.warnings if "captions" in line], report.warnings
    _, _, track = facts_of(folder / "out.mkv")["streams"]
    assert (track["codec_name"], track["tags"]["title"]) == ("ass", "Closed captions (CC1)")
    assert not track["disposition"]["default"] and not track["disposition"]["forced"]
    command = [ffmpeg(), "-v", "error", "-i", str(folder / "out.mkv"), "-map", "0:s", "-f", "srt", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "LOOK OVER THERE" in text
    found = re.search(r"00:00:(\S+) --> 00:00:(\S+)", text)
    assert found is not None
    times = [float(time.replace(",", ".")) for time in found.groups()]
    assert times == pytest.approx([SHOWN / 24, ERASED / 24], abs=0.1)


@pytest.mark.parametrize("content", ["nothing", "garbage"])
def test_pictures_that_might_have_captions_get_no_track_without_text(content: str, tmp_path: Path) -> None:
    garbage = {number: bytes([0x10 + number % 0x10, number * 37 % 128]) for number in range(48)}
    source = captioned(tmp_path, "mkv", garbage if content == "garbage" else {})
    report = convert(source, tmp_path / "out.mkv")
    assert report.frames == 48 and not [line for line in report.warnings if "captions" in line]
    if content == "nothing":
        assert [one["type"] for one in report.streams] == ["video", "audio"]
