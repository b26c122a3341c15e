"""Files beside the videos: which are carried over, whose bytes are moved, and that no video suffers from it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeConverter, MemoryHub
from tests.unit.test_engine import EXTENSIONS, Site
from tools.core.audit import audit
from tools.core.errors import HubRejected, HubUnavailable, IntegrityError
from tools.core.folder import RemoteFile, group_folders
from tools.core.queue_item import Status, entry_for
from tools.core.record import Published
from tools.core.sidecar import Carried, SidecarRules, plan_sidecars
from tools.hub.client import AddBlob, Operation, Progress

RULES = SidecarRules(frozenset({"*.ass", "*.ttf", "*.jpg"}), 1000)
ALL = SidecarRules(frozenset({"*"}), 1000)


@pytest.mark.parametrize(
    ("rules", "names", "taken"),
    [
        (RULES, ["1.ass", "2.ASS", "f.ttf", "n.nfo", "1.mp4"], ["1.ass", "2.ASS", "f.ttf"]),
        (ALL, ["n.nfo", "c.md5", "1.mp4", "metadata.jsonl", "sidecars.jsonl", "README.md"], ["n.nfo", "c.md5"]),
        (ALL, [".DS_Store", "Thumbs.db", "desktop.ini", "._1.ass", "~$notes.docx", ".hidden"], []),
        (ALL, ["2.mp4.aria2", "2.mp4.part", "2.mp4.!ut", "2.ass.!qB", "2.xltd", "f.ttf", "f.ttf.aria2"], []),
        (SidecarRules(), ["1.ass"], []),
    ],
)
def test_which_files_go_with_their_folder(rules: SidecarRules, names: list[str], taken: list[str]) -> None:
    assert [name for name in names if rules.take(RemoteFile(f"A/{name}", 5, "s"), set(names), EXTENSIONS)] == taken
    sizes = (0, 1000, 1001)
    found = [rules.take(RemoteFile("A/9.ass", size, "s"), names, EXTENSIONS) for size in sizes]
    assert found == [False, bool(rules.patterns), False]


def test_no_file_of_others_and_no_name_of_a_video_is_ever_taken() -> None:
    there = {path: RemoteFile(path, 5, sha256) for path, sha256 in {"A/1.ass": "old", "A/2.ass": "theirs"}.items()}
    there["A/3.ass"] = RemoteFile("A/3.ass", 5, "same")
    line = {"file_name": "1.ass", "source_path": "A/1.ass", "source_repo": "me/in", "sha256": "old", "size": 5}
    carried = Carried.parse(json.dumps(line).encode() + b"\nof somebody else\n", "A")
    names = {"1.ass": "new", "2.ass": "new", "3.ass": "same", "4.ass": "new", "v.jpg": "new"}
    files = [RemoteFile(f"A/{name}", 5, sha256) for name, sha256 in names.items()]
    todo, refused = plan_sidecars(files, there, carried, {"A/V.JPG"}, RULES, EXTENSIONS)
    assert [one.path for one in todo] == ["A/1.ass", "A/4.ass"] and refused == ["A/2.ass", "A/v.jpg"]
    written = carried.with_files(todo, "me/in").encode()
    assert written.startswith(b"of somebody else\n") and written.count(b"\n") == 3
    again = Carried.parse(written, "A")
    assert all(again.has(one) for one in todo) and again.encode() == written
    untold = [RemoteFile("A/4.ass", 5, "")]  # by a hub that does not tell digests, what is recorded counts
    at = {"A/4.ass": RemoteFile("A/4.ass", 5, "")}
    assert plan_sidecars(untold, at, again, (), RULES, EXTENSIONS) == ([], [])
    assert plan_sidecars(untold, at, Carried({}), (), RULES, EXTENSIONS)[1] == ["A/4.ass"]


class WatchedHub(MemoryHub):
    """Notes what is moved; holds nothing of ``inline`` contents until it is sent; refuses ``refused``."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.moved: list[tuple[str, str]] = []
        self.inline: set[str] = set()
        self.refused: set[str] = set()
        self.create_repo("me/out")

    def download(self, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        self.moved.append(("down", file.path))
        return super().download(repo, commit, file, target, progress)

    def store_blob(self, repo: str, source: Path, sha256: str, size: int, progress: Progress) -> None:
        self.moved.append(("up", source.read_bytes().decode()))
        self.inline.discard(sha256)
        super().store_blob(repo, source, sha256, size, progress)

    def lacks(self, repo: str, blobs: Sequence[tuple[str, int]]) -> set[str]:
        return super().lacks(repo, blobs) | {sha256 for sha256, _ in blobs if sha256 in self.inline}

    def commit(self, repo: str, operations: Sequence[Operation], message: str) -> str:
        for one in operations:
            if isinstance(one, AddBlob) and (one.path in self.refused or one.sha256 in self.inline):
                raise HubRejected(f"{one.path} is not welcome", status=400)
        return super().commit(repo, operations, message)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, WatchedHub(), FakeConverter(), sidecars=RULES)


def watched(site: Site) -> WatchedHub:
    assert isinstance(site.hub, WatchedHub)
    return site.hub


FILES = {"A/1.mp4": b"1", "A/1.ass": b"text", "A/f.ttf": b"font", "A/n.nfo": b"n", "A/.DS_Store": b"d"}


def names_of_last_commit(site: Site) -> int:
    return site.hub.commits_of("me/out")


def again(site: Site, files: dict[str, bytes]) -> None:
    """The folder changes, as the monitor sees it, and is done again."""
    commit = site.hub.put(site.input_repo, files)
    folder = group_folders(site.hub.list_files(site.input_repo, commit), EXTENSIONS)["A"]
    with site.queue().transaction() as view:
        entry = entry_for(view.get("A"), folder, 1.0)
        assert entry is not None
        view.put(entry)
    site.run()


def test_they_go_with_the_videos_in_one_commit_and_what_the_hub_holds_is_not_moved(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site.put(FILES, "A")
    font = next(f for f in site.hub.list_folder("me/in", site.hub.recent("me/in")[0], "A") if f.name == "f.ttf")
    watched(site).inline = {font.sha256}
    site.run()
    out = site.published("A")
    assert {"1.mkv", "1.ass", "f.ttf", "metadata.jsonl", "sidecars.jsonl"} == set(out) and out["1.ass"] == b"text"
    assert site.hub.commits_of("me/out") == 1 and len(out["metadata.jsonl"].splitlines()) == 1
    assert [move for move in watched(site).moved if "mp4" not in move[1] and "av1" not in move[1]] == [
        ("down", "A/f.ttf"),
        ("up", "font"),
    ]
    assert "sidecars=2" in caplog.text and site.item("A").status is Status.COMPLETED
    assert not list((site.top / "work").rglob("*"))


def test_change_of_one_alone_carries_it_over_and_converts_nothing(site: Site) -> None:
    site.put(FILES, "A")
    site.run()
    again(site, {"A/1.ass": b"corrected", "A/2.ass": b"new"})
    out = site.published("A")
    assert (out["1.ass"], out["2.ass"]) == (b"corrected", b"new") and site.hub.commits_of("me/out") == 2
    assert site.converter.encoded == [b"1"] and site.item("A").status is Status.COMPLETED
    assert len(out["sidecars.jsonl"].splitlines()) == 3
    again(site, {"A/n.nfo": b"no sidecar"})
    assert site.hub.commits_of("me/out") == 2, "nothing to carry over"


def test_those_of_a_video_are_put_into_it_and_their_change_converts_nothing_but_by_order(site: Site) -> None:
    site.mux_subtitles = True
    site.put(FILES | {"A/2.mp4": b"2"}, "A")
    site.run()
    out = site.published("A")
    assert (out["1.mkv"], out["2.mkv"], out["1.ass"]) == (b"av1:1.ass+f.ttf+1", b"av1:2", b"text")
    again(site, {"A/1.ass": b"corrected"})
    assert sorted(site.converter.encoded) == [b"1", b"2"] and site.published("A")["1.ass"] == b"corrected"


def test_result_with_subtitles_of_its_folder_stands_for_no_copy_of_the_video_in_another(site: Site) -> None:
    site.mux_subtitles = True
    site.put(FILES, "A")
    site.run()
    site.put({"B/9.mp4": b"1"}, "B")
    site.run()
    assert site.published("B")["9.mkv"] == b"av1:1", "without A's text"
    site.put({"C/8.mp4": b"1"}, "C")
    site.run()
    assert site.converter.encoded == [b"1", b"1"] and site.published("C")["8.mkv"] == b"av1:1", "that of B"


def test_other_input_repo_takes_no_sidecar_s_place_even_if_it_has_one_of_that_name(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.put(FILES, "A")
    site.run()
    site.input_repo = "you/in"
    site.put({"A/2.mp4": b"2", "A/1.ass": b"yours", "A/f.ttf": b"font"}, "A")
    site.run()
    out = site.published("A")
    assert (out["1.ass"], out["2.mkv"]) == (b"text", b"av1:2") and "A/1.ass" in caplog.text
    again(site, {"A/1.ass": b"corrected"})
    assert site.published("A")["1.ass"] == b"text"
    site.input_repo = "me/in"
    again(site, {"A/1.ass": b"corrected"})
    assert site.published("A")["1.ass"] == b"corrected", "its own may change it"


def test_one_that_the_hub_refuses_keeps_back_no_video_and_no_other_one(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.put(FILES, "A")
    watched(site).refused = {"A/1.ass"}
    site.run()
    out = site.published("A")
    assert {"1.mkv", "f.ttf"} <= set(out) and "1.ass" not in out
    assert site.converter.encoded == [b"1"] and site.item("A").status is Status.COMPLETED
    assert "is not welcome" in caplog.text and "批次处理失败" in caplog.text


@pytest.mark.parametrize("trouble", [IntegrityError("other bytes"), HubUnavailable("storage is gone", status=503)])
def test_one_that_can_not_be_fetched_keeps_back_no_video_and_pauses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    site.put(FILES, "A")
    site.max_attempts = 2
    real = MemoryHub.download
    failed = 0

    def download(hub: MemoryHub, repo: str, commit: str, file: RemoteFile, target: Path, progress: Progress) -> str:
        nonlocal failed
        if file.name == "1.ass" and (isinstance(trouble, IntegrityError) or failed < 3):
            failed += 1
            raise trouble
        return real(hub, repo, commit, file, target, progress)

    monkeypatch.setattr(MemoryHub, "download", download)
    text = next(f for f in site.hub.list_folder("me/in", site.hub.recent("me/in")[0], "A") if f.name == "1.ass")
    watched(site).inline = {text.sha256}
    site.run()
    out, passed = site.published("A"), isinstance(trouble, HubUnavailable)
    assert {"1.mkv", "f.ttf"} <= set(out) and ("1.ass" in out) == passed
    assert site.item("A").status is Status.COMPLETED and "PAUSED" not in caplog.text
    assert ("批次处理失败" in caplog.text) == (not passed), "an outage loses none"


@pytest.mark.parametrize("what", ["none", "missing", "differs", "gone"])
def test_audit_knows_them_from_strangers(site: Site, what: str) -> None:
    site.put(FILES, "A")
    site.run()
    changes: dict[str, Callable[[], str]] = {
        "none": lambda: "",
        "missing": lambda: site.hub.put("me/out", {"A/1.ass": None}),
        "differs": lambda: site.hub.put("me/out", {"A/1.ass": b"of another"}),
        "gone": lambda: site.hub.put("me/in", {"A/1.ass": None}),
    }
    changes[what]()
    into, out = ([*site.hub.list_files(repo, site.hub.recent(repo)[0])] for repo in ("me/in", "me/out"))
    results = {file.path: file for file in out}
    texts = site.published("A")
    published = Published.parse(texts["metadata.jsonl"], "me/in")
    carried = Carried.parse(texts["sidecars.jsonl"], "A")
    found = audit("A", into, results, published, (), EXTENSIONS, carried=carried, rules=RULES)
    expected = {"none": ((), (), ()), "missing": (("A/1.ass",), (), ()), "differs": ((), ("A/1.ass",), ())}
    assert (found.missing, found.differs, found.without_source) == expected.get(what, ((), (), ("A/1.ass",)))
    assert found.sidecars == (1 if what == "gone" else 2) and found.is_right == (what == "none")
