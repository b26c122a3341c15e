"""The dataset card: what it says, and whose card is never touched."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.fakes import FakeClock, FakeConverter, MemoryHub
from tests.unit.test_engine import Site
from tools.core.card import CARD, card, frames_card, license_in, may_begin, may_write
from tools.core.columns import COLUMNS
from tools.core.errors import HubRejected
from tools.core.frames import FRAME_COLUMNS
from tools.hub.client import AddBytes, Operation
from tools.processor.output_card import OutputCard

STUB = """---
license: Apache License 2.0
---
数据集文件元信息以及数据文件，请浏览“数据集文件”页面获取。

当前数据集卡片使用的是默认模版，数据集的贡献者未提供更加详细的数据集介绍，\
但是您可以通过如下GIT Clone命令，或者ModelScope SDK来下载数据集

#### 下载方法 
:modelscope-code[]{type="sdk"}
:modelscope-code[]{type="git"}
"""
OURS = card("me/out", "me/in", "https://www.modelscope.cn/")


@pytest.mark.parametrize(
    ("case", "content", "may"),
    [
        ("none", None, True),
        ("empty", b"", True),
        ("the hub's stub", STUB.encode(), True),
        ("by Windows", STUB.replace("\n", "\r\n").encode(), True),
        ("the front matter alone", b"---\nlicense: mit\n---\n", True),
        ("ours", OURS, True),
        ("ours, of another version", card("me/out", "me/other", "http://h"), True),
        ("ours with a word added", OURS.replace(b"Every video", b"Every single video"), False),
        ("ours with a line after it", OURS + b"See also my other dataset.\n", False),
        ("the stub with words of a person", STUB.encode() + "这是我的数据集\n".encode(), False),
        ("the stub with configs", STUB.replace("license", "configs: []\nlicense").encode(), False),
        ("a person's", b"# My videos\n", False),
        ("no text at all", b"\xff\xfe\x00", False),
    ],
)
def test_card_is_written_only_where_no_work_of_a_person_is_lost(case: str, content: bytes | None, may: bool) -> None:
    assert may_write(content) is may, case


def test_license_that_somebody_chose_stays() -> None:
    assert license_in(STUB.encode()) == "Apache License 2.0"
    made = card("me/out", "me/in", "http://h", license_in(STUB.encode()))
    assert license_in(made) == "Apache License 2.0" and license_in(None) == ""
    assert license_in(b"---\nlicense: [a, {b: c}]\n---\n") == "", "only a name"


def test_card_names_every_column_and_loads_all_folders_as_one_split() -> None:
    front, body = OURS.decode().removeprefix("---\n").split("---\n", 1)
    said = yaml.safe_load(front)
    (config,) = said["configs"]
    assert config["data_files"] == [{"split": "train", "path": "**/metadata.jsonl"}]
    features = [one["name"] for one in said["dataset_info"][0]["features"]]
    assert features == [column.name for column in COLUMNS]
    for column in COLUMNS:
        assert f"| `{column.name}` | " in body and column.about and column.about_zh


def shown(site: Site) -> bytes | None:
    head = site.hub.head("me/out")
    return site.hub.read_file("me/out", head.commit_id, CARD) if head else None


@pytest.fixture
def site(tmp_path: Path) -> Site:
    hub = MemoryHub(FakeClock())
    hub.create_repo("me/out")
    site = Site(tmp_path, hub, FakeConverter(), endpoint="http://h")
    site.put({f"{folder}/1.mp4": folder.encode() for folder in "ABC"}, "A")
    return site


def test_card_goes_with_the_first_commit_and_never_over_a_persons(site: Site) -> None:
    site.run()
    assert shown(site) == card("me/out", "me/in", "http://h") and site.hub.commits_of("me/out") == 1
    assert [OutputCard("me/out", repo, "http://h").operations(site.hub) for repo in "ab"] == [[], []], (
        "two inputs of one output do not write over each other's"
    )
    site.hub.commit("me/out", [AddBytes(CARD, b"# My own words\n")], "by a person")
    site.put({}, "B")
    site.run()
    assert shown(site) == b"# My own words\n" and "1.mkv" in site.published("B")


@pytest.mark.parametrize("is_new", [True, False])
def test_card_that_a_person_writes_between_our_reading_and_our_commit_is_put_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    take, theirs = site.hub.commit, b"# My own words\n"
    if not is_new:
        site.hub.put("me/out", {"notes.txt": b"n"}, "a repo with commits")

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        if any(one.path == CARD for one in operations):
            monkeypatch.setattr(site.hub, "commit", take)
            site.hub.put("me/out", {CARD: theirs}, "by a person")
        return take(repo, operations, message)

    monkeypatch.setattr(site.hub, "commit", commit)
    site.put({}, "B", "C")
    site.run()
    assert shown(site) == theirs and all("1.mkv" in site.published(folder) for folder in "ABC")


def test_card_that_the_hub_refuses_is_told_once_and_no_video_waits_for_it(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = site.hub.commit

    def commit(repo: str, operations: Sequence[Operation], message: str) -> str:
        if any(one.path == CARD for one in operations):
            raise HubRejected("no such files here", status=400)
        return take(repo, operations, message)

    monkeypatch.setattr(site.hub, "commit", commit)
    site.put({}, "B", "C")
    site.run()
    assert all("1.mkv" in site.published(folder) for folder in "ABC") and shown(site) is None
    assert [r.levelname for r in caplog.records if "dataset card" in r.getMessage()] == ["WARNING"]


def test_card_of_frames_says_what_loaders_read_and_explains_every_field() -> None:
    made = frames_card("me/frames", "me/in", "http://h/").decode()
    _, front, body = made.split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    assert config["data_files"] == [{"split": "train", "path": "**/*.tar"}]
    rows = [line for line in body.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{one.name}` | {one.kind} | {one.about} | {one.about_zh} |" for one in FRAME_COLUMNS]
    assert "http://h/datasets/me/in" in body and all(one.about and one.about_zh for one in FRAME_COLUMNS)
    assert may_begin(None) and may_begin(STUB.encode()) and not may_begin(made.encode()) and not may_begin(OURS)
