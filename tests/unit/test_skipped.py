"""Why a file of the input is skipped, by its path."""

import pytest

from tools.core.skipped import why_skipped


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("A/1.mp4", ""),
        ("1.MKV", ""),
        ("A/../1.mp4", "rename it"),
        ("A/" + "x" * 256 + ".mp4", "rename it"),
        ("A/._1.mp4", "macOS"),
        ("__MACOSX/A/1.mp4", "macOS"),
        ("A/.DS_Store", "system"),
        ("A/~$list.docx", "system"),
        ("A/1.mp4.aria2", "half of a download"),
        ("A/1.mp4.part", "half of a download"),
        ("A/notes.txt", ".txt is not in VIDEO_EXTENSIONS"),
        ("A/README", "README is not in VIDEO_EXTENSIONS"),
    ],
)
def test_reason_by_the_path(path: str, says: str) -> None:
    told = why_skipped(path, frozenset({"mp4", "mkv"}))
    assert says in told and bool(told) is bool(says)
