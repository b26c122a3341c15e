"""Names, rows and archives of scenes' pictures."""

import base64
import json
import random
import zlib
from dataclasses import replace
from itertools import islice

import pytest

from tools.core.columns import features
from tools.core.frames import (
    FRAME_COLUMNS,
    MOST,
    About,
    Frame,
    Origin,
    completed,
    duplicates,
    key_stem,
    lack,
    lacked,
    last_part,
    may_have_pictures,
    member,
    new_names,
    row_bytes,
    rows_of,
    rows_text,
    samples_in,
    says_of_none,
    with_rows,
    without_pictures,
)

SHA = "0" * 64


def _frame(scene: int, digest: str = "0" * 16) -> Frame:
    return Frame(scene, scene * 24, float(scene), scene - 0.5, scene + 0.5, 320, 180, digest, SHA)


def test_no_key_has_a_dot_or_is_that_of_another_video_or_too_long_for_a_tar() -> None:
    paths = [
        "番剧A/第 1.5 集.mp4",
        "番剧A/第_1_5_集.mkv",
        "B/第 1.5 集.mp4",
        "…/.mp4",
        "A/" + "長" * 80 + ".mkv",
        "A/\ud800.mp4",
    ]
    keys = [rows_of(Origin(path, SHA), [_frame(4999)])[0]["key"] for path in paths]
    assert len(set(keys)) == len(keys)
    assert not any("." in key or "/" in key for key in keys)
    assert all(len(f"{key}.json".encode()) <= 100 for key in keys)
    assert key_stem(paths[0]).startswith("第_1_5_集-")


def test_near_duplicates_name_the_first_picture_that_looks_so() -> None:
    hashes = ["00000000000000ff", "0f0f0f0f0f0f0f0f", "00000000000000fe", "00000000000000f0", "0f0f0f0f0f0f0f0f"]
    assert duplicates(hashes) == [None, None, 0, 0, 1]
    rows = rows_of(Origin("A/1.mp4", SHA), [_frame(n + 1, digest) for n, digest in enumerate(hashes)])
    assert [row["duplicate_of"] for row in rows] == ["", "", rows[0]["key"], rows[0]["key"], rows[1]["key"]]


def test_near_duplicates_are_those_of_a_comparison_of_all_with_all() -> None:
    chance = random.Random(3)
    values = [chance.getrandbits(64) for _ in range(40)]
    for _ in range(400):
        value = chance.choice(values)
        for bit in chance.sample(range(64), chance.randint(0, 6)):
            value ^= 1 << bit
        values.append(value)
    found = duplicates([f"{value:016x}" for value in values])
    firsts: list[int] = []
    for number, value in enumerate(values):
        same = [place for place in firsts if (values[place] ^ value).bit_count() <= 4]
        assert found[number] == (same[0] if same else None)
        firsts += [number] if not same else []
    assert sum(one is not None for one in found) > 100


def test_what_is_told_of_pictures_comes_back_and_stays_small_however_many_there_are() -> None:
    chance = random.Random(5)
    frames = tuple(
        Frame(n + 1, n * 20, n * 0.834, n * 0.834, n * 0.834 + 0.5, 1920, 1080, f"{chance.getrandbits(64):016x}",
              f"{chance.getrandbits(256):064x}")
        for n in range(MOST)
    )  # fmt: skip
    text = About(MOST, frames).as_text()
    assert About.of_text(text) == About(MOST, frames) and len(text) < 100 * MOST
    assert About.of_text("") == About() and About.of_text(About(7).as_text()) == About(7)


def _told(value: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


ROW = [3, 72, 3.0, 2.5, 3.5, 320, 180, "0" * 16, SHA]


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "{}",
        '{"scenes": 1, "rows": []}',
        "é",
        _told(7),
        _told([1]),
        _told([MOST + 1, []]),
        _told([-1, []]),
        _told(["3", [ROW]]),
        _told([2, [ROW]]),
        _told([4, [ROW, ROW]]),
        _told([3, [ROW[:-1]]]),
        _told([3, [[*ROW, 1]]]),
        _told([3, [[*ROW[:2], 10**400, *ROW[3:]]]]),
        *(_told([3, [[*ROW[:place], value, *ROW[place + 1 :]]]]) for place, value in [
            (0, 0), (0, "3"), (0, True), (1, -1), (1, 1.5), (2, 2.0), (2, 4.0), (3, -1.0), (4, float("inf")),
            (4, "9"), (5, 1 << 40), (6, None), (7, "0" * 15), (7, "G" * 16), (8, "0" * 63), (8, SHA + "\n"), (8, 5),
        ]),
        base64.b64encode(zlib.compress(b"[" + b" " * (3 << 20) + b"0, []]")).decode(),
        base64.b64encode(zlib.compress(b"[0, []]")[:-3]).decode(),
    ],
)  # fmt: skip
def test_what_tells_nothing_of_pictures_is_refused(text: str) -> None:
    assert About.of_text(_told([3, [ROW]])).frames == (replace(_frame(3), begin=2.5, end=3.5),)
    with pytest.raises(ValueError):
        About.of_text(text)


def test_no_archive_gets_the_name_of_one_that_is_there() -> None:
    there: set[str] = set()
    for expected in ("A_part01of02.tar", "A_part02of02.tar", "A_part03of03.tar"):
        name, piece = islice(new_names("A", last_part("A", there) + 1, 2, there), 2)
        assert name == expected and piece == name.replace(".tar", "-2.tar")
        there.add(name)
    there = {"A_part999999of999999.tar", "A_part1000001of1000001-2.tar"}  # numbers that somebody else gave
    for _ in range(3):
        names = set(islice(new_names("A", last_part("A", there) + 1, 2, there), 3))
        assert len(names) == 3 and not names & there
        there |= names


def test_pictures_are_missed_only_where_nothing_says_why_there_are_none() -> None:
    assert may_have_pictures({}) and may_have_pictures({"warnings": "1 stream dropped"})
    assert not may_have_pictures({"reused_from": "A/1.mkv"})
    assert not may_have_pictures({"warnings": "1 stream dropped\nno frames: it shows no picture"})


def test_record_comes_to_say_once_and_in_one_line_why_there_is_no_picture() -> None:
    assert without_pictures({}, "it\nis \ud800") == {"warnings": "no frames: it is ?"}
    record = without_pictures({"size": 1, "warnings": "1 stream dropped"}, "no frames: black")
    assert record == {"size": 1, "warnings": "1 stream dropped\nno frames: black"} and says_of_none(record)
    assert len(without_pictures({"warnings": ""}, "x" * 9999)["warnings"]) == 500
    assert completed({"size": 1}, {**record, "size": 2}) == {"size": 1, "warnings": "no frames: black"}
    strange: list[object] = [None, 7, ["no frames: 1"], "no picture"]
    for warnings in strange:
        assert completed({"size": 1}, {"warnings": warnings}) == {"size": 1}
    assert completed(record, {"warnings": "no frames: another"}) == record


def test_what_an_ffmpeg_lacked_is_no_last_word_and_goes_from_the_record_once_another_looked() -> None:
    record = without_pictures({"warnings": "1 stream dropped"}, lack({"zscale", "tonemap"}))
    assert record == {"warnings": "1 stream dropped\nframes were not made: they need an ffmpeg with tonemap, zscale"}
    assert may_have_pictures(record) and lacked(record) == {"tonemap", "zscale"} and not lacked({"warnings": None})
    assert completed(record, {}) == {"warnings": "1 stream dropped"}
    assert lacked(completed(record, {"warnings": "a note\n" + lack({"libwebp"})})) == {"libwebp"}
    final = completed(record, {"warnings": "no frames: black"})
    assert final == {"warnings": "1 stream dropped\nno frames: black"} and not may_have_pictures(final)


def test_every_row_has_every_field_of_its_type_and_is_one_line() -> None:
    (row,) = rows_of(Origin("A/1.mp4", SHA), [_frame(1)])
    assert list(row) == [column.name for column in FRAME_COLUMNS]
    kinds = {"string": str, "int64": int, "float64": float}
    assert all(type(row[one["name"]]) is kinds[one["dtype"]] for one in features(FRAME_COLUMNS))
    assert json.loads(row_bytes(row)) == row and b"\n" not in row_bytes(row)


def test_lines_end_where_json_lines_end_whatever_is_in_their_texts() -> None:
    """U+2028 and the like end a line for Python, not for JSON Lines."""
    ours = rows_of(Origin("A/1\u2028\x85\x1d.mp4", SHA), [_frame(1)])
    stranger = json.dumps({"text": "one\u2028two\x85three"}, ensure_ascii=False)
    table = rows_text([stranger, *with_rows(b"", [("A_part01of01.tar", ours)])])
    assert rows_text(with_rows(table, [])) == table
    assert len(with_rows(table, [("A_part02of02.tar", ours)])) == 2


def test_archive_with_a_member_of_negative_size_is_refused() -> None:
    head = bytearray(b"".join(member("1.json", b"{}"))[:512])
    head[124:136] = (-512).to_bytes(12, "big", signed=True)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    with pytest.raises(ValueError, match="negative"):
        next(samples_in(lambda offset: bytes(head), 1 << 20))


def test_rows_of_a_video_that_is_made_again_replace_the_old_and_others_stay() -> None:
    first = rows_of(Origin("A/1.mp4", SHA), [_frame(1), _frame(2)])
    second = rows_of(Origin("A/2.mp4", SHA), [_frame(1)])
    strange = "what somebody wrote\u2028 in \x85 one line"
    content = strange.encode() + b"\n" + rows_text(with_rows(b"", [("A_part01of01.tar", [*first, *second])]))
    again = rows_of(Origin("A/1.mp4", "1" * 64), [_frame(1)])
    lines = with_rows(content, [("A_part02of02.tar", again)])
    assert [line if line[0] != "{" else json.loads(line)["archive"] for line in lines] == [
        strange,
        "A_part01of01.tar",
        "A_part02of02.tar",
    ]
