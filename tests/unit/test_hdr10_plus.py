"""Values of HDR10+ go into the pictures that they are of: before the frame that is shown, behind those that are not."""

from pathlib import Path

import pytest

from tools.media.hdr10_plus import NotTheSame, obus, put_back, rewritten, values_in, with_obu

TEMPORAL, SEQUENCE, HEADER, METADATA, FRAME = b"\x12\0", b"\x0a\1s", b"\x1a\1h", b"\x2a\2\1x", b"\x32\2fr"
VALUES = b"\x2a\x09\x04\xb5\x00\x3c\x00\x01\x04\x01\x80"
OTHER = b"\x2a\x06\x04\xb5\x00\x3b\x00\x80"  # Dolby Vision's


def ivf(path: Path, units: list[bytes], step: int = 3750) -> Path:
    head = b"DKIF\0\0\x20\0AV01" + bytes(4) + (90000).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(8)
    times = (step * number for number in range(len(units)))
    frames = (
        len(unit).to_bytes(4, "little") + time.to_bytes(8, "little") + unit
        for time, unit in zip(times, units, strict=True)
    )
    path.write_bytes(head + b"".join(frames))
    return path


def element(which: str, content: bytes) -> bytes:
    return bytes.fromhex(which) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def block(time: int, content: bytes, track: int = 1) -> bytes:
    return bytes([0x80 | track]) + time.to_bytes(2, "big", signed=True) + b"\x80" + content


def matroska(path: Path, clusters: list[tuple[int, list[bytes]]]) -> Path:
    """``clusters``: (time, elements)."""
    made = b"".join(
        element("1f43b675", element("bf", b"crc!") + element("e7", bytes([time])) + b"".join(inner))
        for time, inner in clusters
    )
    parts = element("114d9b74", b"seek") + element("1549a966", b"info") + made + element("1c53bb6b", b"cues")
    path.write_bytes(element("1a45dfa3", b"ebml") + element("18538067", parts))
    return path


@pytest.mark.parametrize(
    ("unit", "made"),
    [
        (FRAME, VALUES + FRAME),
        (TEMPORAL + SEQUENCE + FRAME, TEMPORAL + SEQUENCE + VALUES + FRAME),
        (SEQUENCE + FRAME + FRAME + OTHER + FRAME, SEQUENCE + FRAME + FRAME + OTHER + VALUES + FRAME),
        (FRAME + HEADER, FRAME + VALUES + HEADER),  # one that is there already is shown
        (FRAME + b"\x30rest", FRAME + VALUES + b"\x30rest"),  # the last may have no size
        (b"\x36\x00\x02fr", VALUES + b"\x36\x00\x02fr"),  # with an extension
    ],
)
def test_values_stand_before_the_frame_that_is_shown(unit: bytes, made: bytes) -> None:
    assert with_obu(unit, VALUES) == made and with_obu(unit, b"") == unit


def test_what_is_no_frame_gets_no_values() -> None:
    for unit in (b"", SEQUENCE, b"\x32\xff\xff\xff", b"\x32\x7f", b"\x32", b"\x36", b"\xb2\1x"):
        with pytest.raises(NotTheSame):
            with_obu(unit, VALUES)
        assert list(obus(unit)) == [] or unit == SEQUENCE


def test_only_values_of_hdr10_plus_are_taken(tmp_path: Path) -> None:
    units = [TEMPORAL + SEQUENCE + OTHER + VALUES + FRAME, TEMPORAL + METADATA + FRAME]
    assert list(values_in(ivf(tmp_path / "v.ivf", units))) == [(0.0, VALUES), (pytest.approx(41.667, abs=0.01), b"")]
    (tmp_path / "no.ivf").write_bytes(b"")
    with pytest.raises(NotTheSame):
        list(values_in(tmp_path / "no.ivf"))


def test_each_picture_gets_its_own(tmp_path: Path) -> None:
    values = [VALUES[:-2] + bytes([number]) + b"\x80" for number in range(3)]
    given = ivf(tmp_path / "v.ivf", [TEMPORAL + values[0] + FRAME, TEMPORAL + FRAME, TEMPORAL + values[2] + FRAME])
    sound = element("a3", block(7, b"sound", track=2))
    film = [
        (10, [element("a3", block(0, SEQUENCE + FRAME)), sound, element("a3", block(42, FRAME))]),
        (90, [element("a0", element("a1", block(3, FRAME + FRAME)) + element("9b", b"\x2a"))]),
    ]
    encoded = matroska(tmp_path / "e.mkv", film)
    assert put_back(encoded, given) == 2
    seen: list[tuple[int, bytes]] = []
    rewritten(encoded, tmp_path / "again.mkv", lambda time, unit: seen.append((time, unit)) or unit)  # type: ignore[func-returns-value]
    assert seen == [(10, SEQUENCE + values[0] + FRAME), (52, FRAME), (93, FRAME + values[2] + FRAME)]
    content = encoded.read_bytes()
    assert sound in content and element("1549a966", b"info") in content
    assert not any(gone in content for gone in (b"seek", b"cues", b"crc!"))
    assert (tmp_path / "again.mkv").read_bytes() == content


@pytest.mark.parametrize("times", [[0, 42], [0, 42, 83, 125], [0, 42, 99]])
def test_other_pictures_get_nothing(times: list[int], tmp_path: Path) -> None:
    given = ivf(tmp_path / "v.ivf", [TEMPORAL + VALUES + FRAME] * 3)
    encoded = matroska(tmp_path / "e.mkv", [(0, [element("a3", block(time, FRAME)) for time in times])])
    before = encoded.read_bytes()
    with pytest.raises(NotTheSame):
        put_back(encoded, given)
    assert encoded.read_bytes() == before and {path.name for path in tmp_path.iterdir()} == {"v.ivf", "e.mkv"}


def test_a_file_that_can_not_be_read_is_left_as_it_is(tmp_path: Path) -> None:
    given = ivf(tmp_path / "v.ivf", [TEMPORAL + VALUES + FRAME])
    whole = matroska(tmp_path / "e.mkv", [(0, [element("a3", block(0, FRAME))])]).read_bytes()
    for content in (b"\0" + whole, whole[:40] + b"\0" * 40, whole[:-30]):
        (tmp_path / "e.mkv").write_bytes(content)
        with pytest.raises(NotTheSame):
            put_back(tmp_path / "e.mkv", given)
