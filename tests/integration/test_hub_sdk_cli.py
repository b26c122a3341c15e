"""The official SDK and its command line against the embedded hub: what users type must work."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import RunningHub, running_hub
from tools.hub.modelscope_sdk import _partial_file

REPO = "me/shows"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def api(hub: RunningHub, tmp_path: Path) -> Any:
    from modelscope_hub import HubApi
    from modelscope_hub.config import HubConfig

    return HubApi(
        HubConfig(endpoint=hub.endpoint, token=hub.token, cache_dir=tmp_path / "cache", config_dir=tmp_path / "home")
    )


def folder_of_files(top: Path) -> dict[str, bytes]:
    files = {
        "番剧/第 1 话.mp4": b"\x00" * 200_000,
        "番剧/字幕.ass": "你好".encode(),
        "README.md": b"# hi\n",
        "空.mkv": b"",
    }
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    return files


def test_upload_list_download_delete(hub: RunningHub, api: Any, tmp_path: Path) -> None:
    assert api.whoami().username
    api.create_repo(REPO, "dataset", visibility="private")
    files = folder_of_files(tmp_path / "src")
    api.upload_folder(REPO, "dataset", str(tmp_path / "src"), commit_message="all", use_cache=False, disable_tqdm=True)
    api.upload_file(REPO, "dataset", b"one more", "more/x.txt", commit_message="one", disable_tqdm=True)
    listed = {entry.path: entry for entry in api.list_repo_files(REPO, "dataset", recursive=True)}
    for name, content in files.items():
        assert listed[name].size == len(content)
        assert (hub.root / "datasets" / REPO / name).read_bytes() == content
    api.download_repo(REPO, "dataset", local_dir=str(tmp_path / "got"))
    for name, content in files.items():
        assert (tmp_path / "got" / name).read_bytes() == content
    api.delete_files(REPO, "dataset", ["more/x.txt"], commit_message="gone")
    assert "more/x.txt" not in {entry.path for entry in api.list_repo_files(REPO, "dataset", recursive=True)}
    assert not (hub.root / "datasets" / REPO / "more/x.txt").exists()


def test_login_saves_what_the_next_client_uses(hub: RunningHub, tmp_path: Path) -> None:
    from modelscope_hub import HubApi
    from modelscope_hub.config import HubConfig

    home = tmp_path / "home"
    HubApi(HubConfig(endpoint=hub.endpoint, config_dir=home, cache_dir=tmp_path / "c", token="")).login(hub.token)
    assert HubApi(HubConfig(endpoint=hub.endpoint, config_dir=home, cache_dir=tmp_path / "c")).whoami().username


def test_command_line_uploads_and_downloads(hub: RunningHub, api: Any, tmp_path: Path) -> None:
    api.create_repo(REPO, "dataset", visibility="private")
    files = folder_of_files(tmp_path / "src")
    env = {**os.environ, "MODELSCOPE_ENDPOINT": hub.endpoint, "MODELSCOPE_API_TOKEN": hub.token}
    env |= {"MODELSCOPE_HOME": str(tmp_path / "home"), "MODELSCOPE_CACHE": str(tmp_path / "cache")}
    program = str(Path(sys.executable).with_name("modelscope"))
    up = [program, "upload", REPO, str(tmp_path / "src"), "--repo-type", "dataset", "--no-cache"]
    down = [program, "download", "--dataset", REPO, "--local_dir", str(tmp_path / "got")]
    for command in (up, down):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    for name, content in files.items():
        assert hashlib.sha256((tmp_path / "got" / name).read_bytes()).digest() == hashlib.sha256(content).digest()


def test_downloads_into_one_folder_share_no_partial_file_whatever_their_names(tmp_path: Path) -> None:
    names = ["1.mkv", "2.mkv", "x" * 255]
    partial = [_partial_file(tmp_path / name) for name in names]
    assert len(set(partial)) == len(names) and partial == [_partial_file(tmp_path / name) for name in names]
    for path in partial:
        path.touch()
