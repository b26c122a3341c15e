"""The embedded hub's plain folders, its history, and its hostile clients."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.hub_server import RunningHub, running_hub
from tests.patience import PATIENCE, until
from tests.programs import ROOT, run_program
from tools.hub_server import history
from tools.hub_server.store import HubStore

REPO = "me/shows"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        running.store.create(REPO, 5)
        yield running


def get(hub: RunningHub, path: str, token: bool = True, **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {hub.token}"} if token else {}
    headers |= more.pop("headers", {})
    return requests.get(f"{hub.endpoint}/api/v1/datasets/{path}", headers=headers, timeout=PATIENCE, **more)


def post(hub: RunningHub, path: str, content: Any, token: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {hub.token if token is None else token}"}
    return requests.post(f"{hub.endpoint}/api/v1/repos/datasets/{path}", json=content, headers=headers, timeout=60)


def listing(hub: RunningHub) -> dict[str, str]:
    content = get(hub, f"{REPO}/repo/tree?Revision=master&Recursive=True&PageSize=500").json()
    return {entry["Path"]: entry["Sha256"] for entry in content["Data"]["Files"] if entry["Type"] == "blob"}


def commit(hub: RunningHub, files: dict[str, bytes]) -> str:
    actions = [{"action": "create", "path": p, "type": "normal", "content": c.decode()} for p, c in files.items()]
    answer = post(hub, f"{REPO}/commit/master", {"commit_message": "m", "actions": actions})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["Data"]["oid"])


def test_file_copied_in_by_hand_is_listed_and_makes_a_commit_and_so_does_its_change_and_end(hub: RunningHub) -> None:
    path = hub.root / "datasets" / REPO / "番剧" / "1.mp4"
    path.parent.mkdir()
    path.write_bytes(b"one")
    until(lambda: listing(hub) == {"番剧/1.mp4": hashlib.sha256(b"one").hexdigest()})
    first = hub.store.repo(REPO).commits[-1].id
    path.write_bytes(b"two!")  # edited in place: the old blob is the same file on disk
    until(lambda: listing(hub) == {"番剧/1.mp4": hashlib.sha256(b"two!").hexdigest()})
    old = get(hub, f"{REPO}/repo", params={"Revision": first, "FilePath": "番剧/1.mp4"})
    assert old.status_code == 404, "content that is gone must not come as something else"
    path.unlink()
    until(lambda: listing(hub) == {})
    assert len(hub.store.repo(REPO).commits) == 3


def test_file_that_still_grows_is_not_served_half(hub: RunningHub) -> None:
    path = hub.root / "datasets" / REPO / "grows.mp4"
    with path.open("wb") as stream:
        for _ in range(15):
            stream.write(b"x" * 1000)
            stream.flush()
            time.sleep(0.1)
            assert listing(hub) == {}
    until(lambda: listing(hub) == {"grows.mp4": hashlib.sha256(b"x" * 15_000).hexdigest()})


def test_content_is_on_disk_once(hub: RunningHub) -> None:
    commit(hub, {"a/1.txt": b"same", "b/2.txt": b"same"})
    visible = hub.root / "datasets" / REPO / "a" / "1.txt"
    blob = hub.store.blobs.path(hashlib.sha256(b"same").hexdigest())
    assert visible.stat().st_ino == blob.stat().st_ino


def test_old_commit_keeps_its_listing_and_its_content(hub: RunningHub) -> None:
    first = commit(hub, {"a.txt": b"old"})
    commit(hub, {"a.txt": b"newer", "b.txt": b"b"})
    answer = get(hub, f"{REPO}/repo", params={"Revision": first, "FilePath": "a.txt"})
    assert answer.content == b"old"
    assert get(hub, f"{REPO}/repo", params={"Revision": "master", "FilePath": "a.txt"}).content == b"newer"


def test_history_is_there_after_a_restart_and_a_torn_last_line_never_was_a_commit(hub: RunningHub) -> None:
    commit(hub, {"a.txt": b"1"})
    second = commit(hub, {"a.txt": b"2"})
    log = hub.root / ".hub" / "repos" / REPO / "commits.jsonl"
    with log.open("ab") as stream:
        stream.write(b'{"id": "torn", "time": 1')
    again = HubStore(hub.root).repo(REPO)
    assert [one.id for one in again.commits][-1] == second and len(again.commits) == 2


def test_ranges(hub: RunningHub) -> None:
    commit(hub, {"a.txt": b"0123456789", "empty.txt": b""})
    url = f"{REPO}/repo?Revision=master&FilePath="
    part = get(hub, url + "a.txt", headers={"Range": "bytes=4-"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"456789", "bytes 4-9/10")
    assert get(hub, url + "a.txt", headers={"Range": "bytes=20-"}).status_code == 416
    assert get(hub, url + "empty.txt").content == b""


def test_private_dataset_does_not_exist_for_strangers_and_public_one_can_be_read(hub: RunningHub) -> None:
    hub.store.create("me/secret", 1)
    assert get(hub, "me/secret/commits", token=False).status_code == 404
    assert get(hub, "me/secret/commits").status_code == 200
    assert get(hub, f"{REPO}/commits", token=False).status_code == 200


def test_writes_need_the_token(hub: RunningHub) -> None:
    for path in (f"{REPO}/commit/master", f"{REPO}/info/lfs/objects/batch"):
        assert post(hub, path, {"actions": []}, token="wrong").status_code == 401
    url = f"{hub.endpoint}/api/v1/repos/datasets/{REPO}/blobs/{'0' * 64}/1"
    assert requests.put(url, data=b"x", timeout=60).status_code == 401


@pytest.mark.parametrize(
    "path", ["../../x", "/etc/x", "a/../../x", "a//b", "a/\n", "", ".git/config", ".hub/x", "a/./b", "x" * 300]
)
def test_path_that_leaves_the_dataset_is_refused_and_nothing_is_written(hub: RunningHub, path: str) -> None:
    before = sorted(str(p) for p in hub.root.rglob("*") if "blobs" not in p.parts and "incoming" not in p.parts)
    actions = [{"action": "create", "path": path, "type": "normal", "content": "x"}]
    answer = post(hub, f"{REPO}/commit/master", {"commit_message": "m", "actions": actions})
    assert answer.status_code == 400
    after = sorted(str(p) for p in hub.root.rglob("*") if "blobs" not in p.parts and "incoming" not in p.parts)
    assert before == after


def test_read_outside_the_dataset_is_refused(hub: RunningHub) -> None:
    for path in ("../../../.token", "/etc/passwd", ".."):
        assert get(hub, f"{REPO}/repo", params={"Revision": "master", "FilePath": path}).status_code == 404
    assert get(hub, "..%2F..%2F.hub/repo/tree").status_code == 404


def test_what_is_not_as_announced_is_refused(hub: RunningHub) -> None:
    headers = {"Authorization": f"Bearer {hub.token}"}
    url = f"{hub.endpoint}/api/v1/repos/datasets/{REPO}/blobs/{'0' * 64}/3"
    assert requests.put(url, data=b"abc", headers=headers, timeout=60).status_code == 422
    assert requests.put(url, data=b"abcd", headers=headers, timeout=60).status_code == 411
    many = [{"action": "create", "path": f"{n}", "type": "normal", "content": ""} for n in range(2001)]
    assert post(hub, f"{REPO}/commit/master", {"actions": many}).status_code == 422
    clash = [{"action": "create", "path": p, "type": "normal", "content": "x"} for p in ("a", "a/b")]
    assert post(hub, f"{REPO}/commit/master", {"actions": clash}).status_code == 400
    assert hub.store.repo(REPO).commits == []


# --- the program -----------------------------------------------------------------------------------------------------


def start(root: Path, **env: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, str(ROOT / "tools/local_hub.py"), "--root", str(root), "--port", "0"]
    clean = {k: v for k, v in os.environ.items() if k != "HUB_TOKEN"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean | env)
    assert process.stdout is not None
    with process.stdout as output:
        return process, output.readline()


def test_program_tells_where_its_token_is_but_not_the_token_and_ends_on_sigterm(tmp_path: Path) -> None:
    process, line = start(tmp_path)
    token = (tmp_path / ".token").read_text().strip()
    assert (tmp_path / ".token").stat().st_mode & 0o777 == 0o600
    assert "http://127.0.0.1:" in line and str(tmp_path / ".token") in line and token not in line
    endpoint = line.split()[2]
    until(lambda: requests.get(f"{endpoint}/openapi/v1/users/me", timeout=60).status_code == 401)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def test_port_that_is_taken_is_one_line_and_status_1(tmp_path: Path) -> None:
    process, line = start(tmp_path)
    try:
        port = line.split()[2].rpartition(":")[2]
        done = run_program("local_hub.py", "--root", str(tmp_path / "other"), "--port", port, env=dict(os.environ))
        assert done.returncode == 1 and port in done.stderr and done.stderr.count("\n") == 1
        assert run_program("local_hub.py", "--port", "99999", env=dict(os.environ)).returncode == 2
    finally:
        process.kill()
        process.wait()


def test_files_of_an_older_commit_are_found_without_going_through_all_commits_each_time(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder is fetched while others are uploaded beside it."""
    ids = [commit(hub, {f"A/{n}.txt": b"%d" % n}) for n in range(7)]
    counted: list[str] = []
    real = history.apply

    def apply(tree: dict[str, history.Entry], one: history.Commit) -> None:
        counted.append(one.id)
        real(tree, one)

    monkeypatch.setattr("tools.hub_server.store.apply", apply)
    for n in (0, 1, 2, 0, 1, 2):
        answer = get(hub, f"{REPO}/repo?Revision={ids[2]}&FilePath=A%2F{n}.txt")
        assert answer.content == b"%d" % n
    assert not counted
    assert get(hub, f"{REPO}/repo?Revision={ids[2]}&FilePath=A%2F3.txt").status_code == 404
    for number, one in enumerate(ids[:-1]):
        assert get(hub, f"{REPO}/repo?Revision={one}&FilePath=A%2F{number}.txt").content == b"%d" % number
    assert not counted
    for root in ("", "A"):
        assert get(hub, f"{REPO}/repo/tree?Revision={ids[2]}&Root={root}").json()["TotalCount"] == (3 if root else 1)
    assert counted == ids[:3], "a listing of another folder of the same commit goes through none of them again"
    for one in ids:
        get(hub, f"{REPO}/repo/tree?Revision={one}")
    assert len(hub.store.repo(REPO).old_trees) <= 4, "what nobody asks for any more is not remembered"


def test_second_hub_over_the_same_folder_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/local_hub.py"), "--root", str(tmp_path), "--port", "0"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None and first.stdout.readline().startswith("hub at ")
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1 and second.stderr.count("\n") == 1
        assert "a hub runs here already" in second.stderr and str(first.pid) in second.stderr
    finally:
        first.terminate()
        first.communicate(timeout=PATIENCE)
