"""Names, rows and archives of scenes' pictures."""

import json

from tools.core.columns import features
from tools.core.frames import (
    FRAME_COLUMNS,
    Frame,
    Origin,
    duplicates,
    key_stem,
    row_bytes,
    rows_of,
    rows_text,
    with_rows,
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


def test_every_row_has_every_field_of_its_type_and_is_one_line() -> None:
    (row,) = rows_of(Origin("A/1.mp4", SHA), [_frame(1)])
    assert list(row) == [column.name for column in FRAME_COLUMNS]
    kinds = {"string": str, "int64": int, "float64": float}
    assert all(type(row[one["name"]]) is kinds[one["dtype"]] for one in features(FRAME_COLUMNS))
    assert json.loads(row_bytes(row)) == row and b"\n" not in row_bytes(row)


def test_rows_of_a_video_that_is_made_again_replace_the_old_and_others_stay() -> None:
    first = rows_of(Origin("A/1.mp4", SHA), [_frame(1), _frame(2)])
    second = rows_of(Origin("A/2.mp4", SHA), [_frame(1)])
    content = b"what somebody wrote\n" + rows_text(with_rows(b"", [("A_part01of01.tar", [*first, *second])]))
    again = rows_of(Origin("A/1.mp4", "1" * 64), [_frame(1)])
    lines = with_rows(content, [("A_part02of02.tar", again)])
    assert [line if line[0] != "{" else json.loads(line)["archive"] for line in lines] == [
        "what somebody wrote",
        "A_part01of01.tar",
        "A_part02of02.tar",
    ]
