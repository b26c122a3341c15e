"""The index of published results: found by content, rebuilt whatever is wrong with its file, quick and small."""

import sqlite3
from pathlib import Path

import pytest

from tools.core.errors import StateError
from tools.report.known import gone_from, known_json, known_lines
from tools.state.mirror_file import MirrorState
from tools.state.results import _FIND as FIND
from tools.state.results import RESULTS_FILE, Found, Known, ResultRow, ResultsFile, forgive, read_known

A, B, C, R, S, T = (letter * 64 for letter in "abc123")


def test_results_are_found_by_content_whatever_folder_they_are_in(tmp_path: Path) -> None:
    index = ResultsFile(tmp_path, "in -> out")
    index.put("A", "m1", [ResultRow(A, R, "o"), ResultRow(B, S, "p")])
    index.put("番剧 B", "m2", [ResultRow(A, R, "o", 60.0)])
    assert sorted(index.find(A)) == [Found("A", "o"), Found("番剧 B", "o")] and index.find(C) == []
    index.put("A", "m3", [ResultRow(A, R, "p")])
    assert sorted(index.find(A)) == [Found("A", "p"), Found("番剧 B", "o")] and index.find(B) == []
    assert ResultsFile(tmp_path, "in -> out").folders() == {"A": "m3", "番剧 B": "m2"}
    index.keep(["A"], "c1")
    assert index.find(A) == [Found("A", "p")] and index.commit == "c1"


def test_file_of_two_contents_is_of_neither(tmp_path: Path) -> None:
    index = ResultsFile(tmp_path, "in -> out")
    index.put("A", "m1", [ResultRow(A, R, "o")])
    index.put("B", "m2", [ResultRow(B, R, "o"), ResultRow(C, T, "o")])
    assert index.find(A) == index.find(B) == [] and index.find(C) == [Found("B", "o")]


def test_commit_of_ours_is_a_step_only_from_the_one_that_was_read(tmp_path: Path) -> None:
    index = ResultsFile(tmp_path, "in -> out")
    index.keep([], "c1")
    index.put("A", "m1", [], step=("c2", "c1"))
    assert index.commit == "c2"
    index.put("A", "m2", [], step=("c4", "c3"))
    assert index.commit == "c2", "what c3 changed was not read"


@pytest.mark.parametrize("content", [b"", b"no database" * 500, None])
def test_file_that_is_no_index_of_these_repos_is_built_anew(tmp_path: Path, content: bytes | None) -> None:
    other = ResultsFile(tmp_path, "in -> elsewhere")
    other.put("A", "m1", [ResultRow(A, R, "o")])
    other.refuse(B, "A/1.mp4", "cut", "build")
    if content is not None:
        (tmp_path / RESULTS_FILE).write_bytes(content)
        assert read_known(tmp_path).folders == {}
        forgive(tmp_path, [B])
    index = ResultsFile(tmp_path, "in -> out")
    assert index.find(A) == [] and index.commit == "" and index.refused(B, "build") is None


def test_damage_that_shows_later_is_an_error_once(tmp_path: Path) -> None:
    index = ResultsFile(tmp_path, "in -> out")
    index.put("A", "m1", [ResultRow(f"{n:064x}", f"{n:064x}", "o") for n in range(2000)])
    path = tmp_path / RESULTS_FILE
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    again = ResultsFile(tmp_path, "in -> out")
    with pytest.raises(StateError, match="is rebuilt"):
        for n in range(2000):
            again.find(f"{n:064x}")
    assert again.find(A) == [] and again.commit == ""


def test_refused_content_is_known_to_the_same_build_until_it_is_published_or_forgiven(tmp_path: Path) -> None:
    index = ResultsFile(tmp_path, "in -> out")
    index.refuse(A, "A/1.mp4", "cut", "build 1")
    assert index.refused(A, "build 1") == ("A/1.mp4", "cut") and index.refused(A, "build 2") is None
    forgive(tmp_path, [A, ""])
    assert index.refused(A, "build 1") is None
    index.refuse(A, "A/1.mp4", "cut", "build 1")
    index.put("A", "m1", [ResultRow(A, R, "o")])
    assert index.refused(A, "build 1") is None
    forgive(tmp_path / "nowhere", [A])
    assert not (tmp_path / "nowhere").exists()


def test_every_look_up_is_by_an_index(tmp_path: Path) -> None:
    ResultsFile(tmp_path, "in -> out").put("A", "m1", [])
    with sqlite3.connect(tmp_path / RESULTS_FILE) as base:
        plan = [row[3] for row in base.execute(f"EXPLAIN QUERY PLAN {FIND}", (b"",))]
    assert plan and not [step for step in plan if step.startswith("SCAN")], plan


def test_hundred_thousand_results_are_a_small_file(tmp_path: Path) -> None:
    index = ResultsFile(tmp_path, "in -> out")
    options = '{"crf":30.0,"encoder":"libsvtav1","guess_languages":0,"pix_fmt":"yuv420p10le","preset":6}'
    for folder in range(50):
        numbers = range(folder * 200, folder * 200 + 200)
        name = f"番剧 {folder} 第一季 [字幕组][1080p][HEVC]"
        index.put(name, "m" * 64, [ResultRow(f"{n:064x}", f"{n + 1 << 128:064x}", options, 100.0) for n in numbers])
    assert (tmp_path / RESULTS_FILE).stat().st_size < 5e6, "50 MB for ten times as many"


def test_status_tells_what_was_reused_and_what_has_no_source(tmp_path: Path) -> None:
    assert known_lines(read_known(tmp_path), set()) == []
    index = ResultsFile(tmp_path, "in -> out")
    index.put("A", "m1", [ResultRow(A, R, "o"), ResultRow(B, S, "o")])
    index.put("B", "m2", [ResultRow(A, R, "o", 3600.0), ResultRow(C, T, "o")])
    index.note_gone("B", ["3.mkv", "4.mkv"])
    known = read_known(tmp_path)
    assert known_lines(known, {"B"}) == [
        "reused: 1 video had a result already, 1:00:00 of work saved",
        "results whose source is gone, which stay (2 folders):",
        "    A: all 2 results",
        "    B: 3.mkv, 4.mkv",
    ]
    assert known_json(known, {"B"}) == {
        "reused": {"videos": 1, "seconds_saved": 3600},
        "source_gone": {"A": 2, "B": ["3.mkv", "4.mkv"]},
    }
    assert known_lines(known, None)[1:] == [
        "results whose source is gone, which stay (1 folder):",
        "    B: 3.mkv, 4.mkv",
    ]
    index.note_gone("B", [])
    assert known_json(read_known(tmp_path), {"A", "B"})["source_gone"] == {}


def test_folder_names_what_left_the_input_and_what_becomes_of_it() -> None:
    mirror = MirrorState(gone={"A/1.mkv": 5.0, "2.mkv": 6.0, "A/B/3.mkv": 7.0})
    known = Known(gone={"A": ["0.mkv", "1.mkv"], "C": ["9.mkv"]})
    assert gone_from("A", mirror, known) == [{"name": "0.mkv", "since": None}, {"name": "1.mkv", "since": 5.0}]
    assert gone_from(".", mirror, known) == [{"name": "2.mkv", "since": 6.0}]
