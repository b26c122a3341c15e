"""Captions inside the pictures (CEA-608) become a track of text, with their times; what is none gets no track."""

import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conversion import CONVERTER, convert
from tests.media import facts_of, ffmpeg
from tests.programs import ROOT
from tests.sei import T35, film, sei
from tools.media import captions
from tools.media.ahead import Nobody
from tools.media.caption_services import languages_in

# Codes of channel 1. Source: ANSI/CTA-608-E, annex for pop-on captions.
LOAD, ROW_15, SHOW, ERASE, NOTHING = b"\x14\x20", b"\x14\x70", b"\x14\x2f", b"\x14\x2c", b"\0\0"
SHOWN, ERASED = 18, 40  # pictures


def captioned(folder: Path, container: str, *fields: dict[int, bytes], since: int = 0) -> Path:
    """A film whose pictures carry these pairs of bytes (A/53), by field."""

    def of(number: int) -> bytes:
        pairs = enumerate(field.get(number, NOTHING) for field in fields)
        return message([(kind, odd(pair)) for kind, pair in pairs]) if number >= since else b""

    return film(folder, container, of)


def odd(pair: bytes) -> bytes:
    """With parity, as both fields have it."""
    return bytes(byte | (0x80 if byte.bit_count() % 2 == 0 else 0) for byte in pair)


def message(codes: Sequence[tuple[int, bytes]]) -> bytes:
    """A picture's user data, of (kind, two bytes). Source: ATSC A/53 part 4, 6.2.3; ITU-T H.264, D.1.6."""
    data = b"".join(bytes([0xFC + kind]) + pair for kind, pair in codes)
    return sei(T35, b"\xb5\x00\x31GA94\x03" + bytes([0x40 + len(codes)]) + b"\xff" + data + b"\xff")


def other(codes: dict[int, bytes], first: int) -> dict[int, bytes]:
    """Of another channel, whose codes begin with this byte."""
    return {at: bytes([first]) + pair[1:] if pair[0] == LOAD[0] else pair for at, pair in codes.items()}


def said(text: str) -> dict[int, bytes]:
    letters = text.encode() + b" " * (len(text) % 2)
    codes = [LOAD, LOAD, ROW_15, ROW_15, *(letters[at : at + 2] for at in range(0, len(letters), 2))]
    return {**dict(enumerate(codes)), SHOWN: SHOW, SHOWN + 1: SHOW, ERASED: ERASE, ERASED + 1: ERASE}


def test_result_that_captions_are_put_into_is_not_told_of_before(tmp_path: Path) -> None:
    begun = []

    class Told(Nobody):
        def begin(self, result: Path, sha256: str) -> None:
            begun.append(result)

    source = captioned(tmp_path, "mkv", said("LOOK"))
    made = convert(source, tmp_path / "out.mkv", CONVERTER.with_ahead(Told()))
    assert made.streams[-1]["title"] == "Closed captions (CC1)" and begun == []


@pytest.mark.parametrize(("container", "channel"), [("mkv", "CC1"), ("ts", "CC1"), ("mp4", "CC2")])
def test_captions_become_a_track_of_text(container: str, channel: str, tmp_path: Path) -> None:
    folder = tmp_path / "a [b],c;d 'e: f"  # nothing in a path means anything to a filter
    folder.mkdir()
    codes = said("LOOK OVER THERE")
    source = captioned(folder, container, codes if channel == "CC1" else other(codes, 0x1C))
    assert [line for line in CONVERTER.plan(source).warnings() if "become a track of text" in line]
    report = convert(source, folder / "out.mkv")
    assert not [line for line in report.warnings if "captions" in line], report.warnings
    _, _, track = facts_of(folder / "out.mkv")["streams"]
    assert (track["codec_name"], track["tags"]["title"]) == ("ass", f"Closed captions ({channel})")
    assert not track["disposition"]["default"] and not track["disposition"]["forced"]
    command = [ffmpeg(), "-v", "error", "-i", str(folder / "out.mkv"), "-map", "0:s", "-f", "srt", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "LOOK OVER THERE" in text
    found = re.search(r"00:00:(\S+) --> 00:00:(\S+)", text)
    assert found is not None
    times = [float(time.replace(",", ".")) for time in found.groups()]
    assert times == pytest.approx([SHOWN / 24, ERASED / 24], abs=0.1)


def test_both_fields_become_tracks_also_if_they_begin_late(tmp_path: Path) -> None:
    first, second = ({at + 4: pair for at, pair in said(text).items()} for text in ("LOOK OVER THERE", "MIRA ALLI"))
    source = captioned(tmp_path, "mkv", first, other(second, 0x15), since=4)
    assert not [line for line in CONVERTER.plan(source).warnings() if "captions" in line]  # no sign of any
    report = convert(source, tmp_path / "out.mkv")
    assert not [line for line in report.warnings if "captions" in line], report.warnings
    tracks = [one["title"] for one in report.streams if one["type"] == "subtitle"]
    assert tracks == ["Closed captions (CC1)", "Closed captions (CC3)"]
    command = [ffmpeg(), "-v", "error", "-i", str(tmp_path / "out.mkv"), "-map", "0:s:1", "-f", "srt", "-"]
    assert "MIRA ALLI" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_language_of_captions_is_that_of_the_descriptor(tmp_path: Path) -> None:
    source = captioned(tmp_path, "ts", said("LOOK OVER THERE"))
    packets = bytearray(source.read_bytes())
    for at in range(0, len(packets), 188):
        if packets[at + 5 : at + 6] == b"\x02" and packets[at + 1] & 0x40:  # the table of the streams
            packets[at : at + 188] = with_descriptor(bytes(packets[at : at + 188]))
    source.write_bytes(packets)
    assert languages_in(source) == {"CC1": "es"}
    convert(source, tmp_path / "out.mkv")
    assert facts_of(tmp_path / "out.mkv")["streams"][2]["tags"]["language"] == "spa"


def with_descriptor(packet: bytes) -> bytes:
    """The packet with a caption_service_descriptor for the first stream: Spanish in field 1 of line 21."""
    table = bytearray(packet[5 : 8 + int.from_bytes(packet[6:8], "big") % 4096 - 4])
    told = b"\x86\x07\xc1spa\x7e\x3f\xff"
    at = 12 + int.from_bytes(table[10:12], "big") % 4096
    length = int.from_bytes(table[at + 3 : at + 5], "big") + len(told)
    table[at + 3 : at + 5] = length.to_bytes(2, "big")
    table[at + 5 : at + 5] = told
    table[1:3] = (int.from_bytes(table[1:3], "big") + len(told)).to_bytes(2, "big")
    whole = packet[:5] + bytes(table) + crc(bytes(table))
    return whole + b"\xff" * (188 - len(whole))


def crc(data: bytes) -> bytes:
    """Source: ISO/IEC 13818-1, annex A."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = value << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if value >> 31 else 0)
    return value.to_bytes(4, "big")


@pytest.mark.usefixtures("uncaged")
def test_crash_at_captions_costs_them_and_not_the_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = captioned(tmp_path, "mkv", said("LOOK OVER THERE"))
    monkeypatch.setattr(captions, "caption_command", lambda *places: ["/bin/sh", "-c", "kill -SEGV $$"])
    report = convert(source, tmp_path / "out.mkv")
    told = [line for line in report.warnings if "captions inside the pictures are not kept" in line]
    assert len(told) == 1 and "SIGSEGV" in told[0]
    assert [one["type"] for one in report.streams] == ["video", "audio"]


@pytest.mark.parametrize("content", ["nothing", "garbage"])
def test_pictures_that_might_have_captions_get_no_track_without_text(content: str, tmp_path: Path) -> None:
    garbage = {number: bytes([0x10 + number % 0x10, number * 37 % 128]) for number in range(48)}
    source = captioned(tmp_path, "mkv", garbage if content == "garbage" else {})
    report = convert(source, tmp_path / "out.mkv")
    told = [line for line in report.warnings if "captions inside the pictures" in line]
    assert report.frames == 48 and len(told) == (content == "garbage"), told
    assert [one["type"] for one in report.streams] == ["video", "audio"]


def test_channels_that_ffmpeg_does_not_tell_apart_or_read_are_named(tmp_path: Path) -> None:
    """CC2 beside CC1, CC4 alone, and a service of CEA-708."""
    first = {**said("ONE"), **{at + 22: pair for at, pair in other(said("TWO"), 0x1C).items() if at < SHOWN}}
    fourth = other(said("FOUR"), 0x1D)

    def of(number: int) -> bytes:
        service = [(3, b"\x03\x22"), (2, b"EN")] if number == 9 else []
        pairs = [(0, first.get(number, NOTHING)), (1, fourth.get(number, NOTHING))]
        return message([*((kind, odd(pair)) for kind, pair in pairs), *service])

    report = convert(film(tmp_path, "mkv", of), tmp_path / "out.mkv")
    assert [one["title"] for one in report.streams if one["type"] == "subtitle"] == ["Closed captions (CC1)"]
    assert [line for line in report.warnings if "captions" in line] == [
        "stream 0: captions of CC2 are in the track of another channel: ffmpeg does not tell them apart",
        "stream 0: captions inside the pictures that ffmpeg can't read are not kept: CC4, CEA-708 service 1",
    ]


REAL = ROOT.parent / "shared" / "cases" / "captions_608.mkv"
CODES = b"GA94\x03"


@pytest.mark.skipif(not REAL.exists(), reason="the small real files are not beside the checkout")
def test_captions_of_a_real_file_that_begin_after_its_first_pictures_are_read(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    *first, rest = REAL.read_bytes().split(CODES, 4)  # the first three are nobody's, what they began the fourth begins
    source.write_bytes(b"GA95\x03".join(first) + CODES + rest[:3] + b"\x94\x20" + rest[5:])
    assert not [line for line in CONVERTER.plan(source).warnings() if "captions" in line], "no sign of any"
    report = convert(source, tmp_path / "out.mkv")
    assert [one["title"] for one in report.streams if one["type"] == "subtitle"] == ["Closed captions (CC1)"]
    command = [ffmpeg(), "-v", "error", "-i", str(tmp_path / "out.mkv"), "-map", "0:s", "-f", "srt", "-"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "LOOK OVER THERE" in shown and "00:00:00,5" in shown and not [w for w in report.warnings if "captions" in w]


@pytest.mark.skipif(not REAL.exists(), reason="the small real files are not beside the checkout")
def test_real_captions_that_are_garbage_cost_a_word_and_not_the_film(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    before, *messages = REAL.read_bytes().split(CODES)
    dice = random.Random(1)
    broken = [one[:3] + bytes([dice.randrange(1, 256), dice.randrange(1, 256)]) + one[5:] for one in messages]
    source.write_bytes(CODES.join([before, *broken]))
    report = convert(source, tmp_path / "out.mkv")
    told = [line for line in report.warnings if "captions" in line]
    assert report.frames == 96 and len(told) == 1 and "stream 0: captions" in told[0], (told, report.streams)
