"""Hostile clients of the embedded hub: it answers, goes on, and shows or writes nothing that it must not."""

import hashlib
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.hub_server import RunningHub, running_hub
from tests.patience import PATIENCE, until
from tools.hub_server.http_timeouts import TimeoutProtocol

REPO = "me/shows"
BLOB = f"/api/v1/repos/datasets/{REPO}/blobs/"
COMMIT = f"/api/v1/repos/datasets/{REPO}/commit/master"


class Impatient(TimeoutProtocol):
    head_timeout = 0.6
    idle_timeout = 0.9


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub"), protocol=Impatient) as running:
        yield running


@pytest.fixture
def hub(running: RunningHub, tmp_path: Path) -> RunningHub:
    running.renew(tmp_path / "hub")
    running.store.create(REPO, 5)
    return running


def raw(hub: RunningHub, sent: bytes, wait: float = 60) -> bytes:
    """Bytes as they are, and all that comes back."""
    with dial(hub) as connection:
        connection.settimeout(wait)
        connection.sendall(sent)
        return listen(connection)


def dial(hub: RunningHub) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(hub.endpoint).port or 0), timeout=PATIENCE)


def listen(connection: socket.socket) -> bytes:
    got = b""
    try:
        while piece := connection.recv(65536):
            got += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return got


def is_well(hub: RunningHub) -> bool:
    answer = requests.get(f"{hub.endpoint}/api/v1/datasets/{REPO}/commits", timeout=60)
    return answer.status_code == 200 and answer.json()["Success"] is True


def send(hub: RunningHub, path: str, body: bytes, token: str | None = None, method: str = "POST") -> requests.Response:
    headers = {"Authorization": f"Bearer {hub.token if token is None else token}"}
    return requests.request(method, hub.endpoint + path, data=body, headers=headers, timeout=60)


TRAVERSALS = [
    "/api/v1/datasets/me/shows/repo?Revision=master&FilePath=../../../.token",
    "/api/v1/datasets/me/shows/repo?Revision=master&FilePath=..%2f..%2f.hub%2frepos%2fme%2fshows%2frepo.json",
    "/api/v1/datasets/me/shows/repo?Revision=master&FilePath=%2fetc%2fpasswd",
    "/api/v1/datasets/me/shows/repo?Revision=../../x&FilePath=a",
    "/api/v1/datasets/me/shows/repo/tree?Revision=master&Root=../..",
    "/api/v1/datasets/me/..%2f..%2f.hub/repo?Revision=master&FilePath=repos",
    "/api/v1/datasets/%2e%2e/%2e%2e/repo?Revision=master&FilePath=.token",
    "/api/v1/datasets/../../../.token",
    "/datasets/me/shows/resolve/master/../../../../.token",
    "/datasets/me/shows/resolve/master/%2e%2e/%2e%2e/%2e%2e/.token",
    "/datasets/me/shows/resolve/master/..%c0%af..%c0%af.token",
    "/api/v1/datasets/me/.hub/repo/tree?Revision=master",
    "/api/v1/datasets/me/shows%00/repo/tree?Revision=master",
    "//etc/passwd",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_path_that_climbs_out_shows_nothing(hub: RunningHub, path: str) -> None:
    (hub.root / ".token").write_text("the-secret-of-the-hub")
    answer = raw(hub, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split()[1])
    assert 400 <= status < 500, answer[:200]
    assert b"the-secret" not in answer and b"visibility" not in answer and b"root:" not in answer


def test_writes_without_or_with_a_wrong_token_leave_nothing(hub: RunningHub) -> None:
    before = sorted(str(path) for path in hub.root.rglob("*"))
    action = {"action": "create", "path": "a", "type": "normal", "content": "x"}
    body = json.dumps({"commit_message": "m", "actions": [action]}).encode()
    for token in ("", "wrong", hub.token + "x", hub.token[:-1]):
        assert send(hub, COMMIT, body, token).status_code == 401
        assert send(hub, f"{BLOB}{hashlib.sha256(b'x').hexdigest()}/1", b"x", token, "PUT").status_code == 401
        assert send(hub, f"/api/v1/repos/datasets/{REPO}/info/lfs/objects/batch", b"{}", token).status_code == 401
        assert send(hub, "/api/v1/datasets", b"Owner=me&Name=other", token).status_code == 401
    assert sorted(str(path) for path in hub.root.rglob("*")) == before


def test_body_that_lies_about_its_size_or_never_ends_leaves_nothing(hub: RunningHub) -> None:
    head = f"Host: localhost\r\nConnection: close\r\nAuthorization: Bearer {hub.token}\r\n"
    digest = "0" * 64
    sent = f"PUT {BLOB}{digest}/5 HTTP/1.1\r\n{head}Content-Length: 5\r\n\r\nab".encode()
    assert raw(hub, sent) == b"", "a body that does not come is not waited for"
    assert b" 411 " in raw(hub, f"PUT {BLOB}{digest}/5 HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode())
    huge = "9" * 5000
    assert send(hub, f"{BLOB}{digest}/{huge}", b"", method="PUT").status_code in {400, 404, 411}
    until(lambda: not list((hub.root / ".hub" / "incoming").iterdir()), "nothing that was received of it stays")
    assert is_well(hub)


def test_huge_bodies_and_headers_are_refused(hub: RunningHub) -> None:
    assert send(hub, "/api/v1/login", b"{" + b" " * 200_000).status_code == 413, "a stranger's body"
    nested = b'{"actions": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert send(hub, COMMIT, nested).status_code == 400
    assert send(hub, COMMIT, b'{"actions": 1' + b"0" * 10_000 + b"}").status_code == 400
    assert b" 400 " in raw(hub, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n")
    assert b" 400 " in raw(hub, b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)))
    assert b" 400 " in raw(hub, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n")
    assert is_well(hub)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"actions": {}}', b'{"actions": [1, null]}', b'{"actions": [{"action": "create"}]}'],
)
def test_json_of_another_shape_is_refused(hub: RunningHub, body: bytes) -> None:
    assert 400 <= send(hub, COMMIT, body).status_code < 500
    assert hub.store.repo(REPO).commits == []


def test_half_character_in_a_message_does_not_spoil_the_history(hub: RunningHub) -> None:
    action = {"action": "create", "path": "a.txt", "type": "normal", "content": "x"}
    body = json.dumps({"commit_message": "\ud800 bad", "actions": [action]}).encode()
    assert send(hub, COMMIT, body).status_code == 200
    assert is_well(hub)
    action["path"] = "\ud800.txt"
    assert send(hub, COMMIT, json.dumps({"actions": [action]}).encode()).status_code == 400
    assert send(hub, "/api/v1/login", b'{"AccessToken": "\\ud800"}').status_code == 400


def test_half_open_connections_are_closed_and_shut_nobody_out(hub: RunningHub) -> None:
    starts = [b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "]
    connections = [dial(hub) for _ in range(60)]
    for number, connection in enumerate(connections):
        connection.sendall(starts[number % 3])
    assert is_well(hub)
    for connection in connections:
        connection.settimeout(60)
        assert b" 200 " not in listen(connection)
        connection.close()


class Patient(TimeoutProtocol):
    head_timeout = 300
    most_waiting = 20


def test_more_half_open_connections_than_there_are_places_shut_nobody_out(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub", protocol=Patient, limit_concurrency=40) as hub, ExitStack() as opened:
        hub.store.create(REPO, 5)
        for _ in range(100):
            connection = opened.enter_context(dial(hub))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        assert is_well(hub)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 401),
        ("127.0.0.1:80", 401),
        ("[::1]:8020", 401),
        ("192.168.7.7", 401),
        ("LOCALHOST:1", 401),
        (socket.gethostname(), 401),
        ("nas.lan", 401),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8020", 421),
        (f"{socket.gethostname()}.evil.example", 421),
        ("", 421),
    ],
)
def test_a_name_that_is_not_ours_is_not_answered(host: str, status: int, hub: RunningHub) -> None:
    answer = raw(hub, f"GET /openapi/v1/users/me HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status}".encode())


def test_request_that_drips_is_ended(hub: RunningHub) -> None:
    with dial(hub) as connection:
        connection.settimeout(0.1)
        for _ in range(600):
            try:
                connection.sendall(b"X")
                if connection.recv(100) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("it drips on")
    assert is_well(hub)


def test_reader_that_stops_reading_is_ended_and_a_slow_server_is_not(hub: RunningHub) -> None:
    content = bytes(30 << 20)
    digest = hashlib.sha256(content).hexdigest()
    assert send(hub, f"{BLOB}{digest}/{len(content)}", content, method="PUT").status_code == 200
    lfs = {"action": "create", "path": "big.mkv", "type": "lfs", "sha256": digest, "size": len(content)}
    assert send(hub, COMMIT, json.dumps({"actions": [lfs]}).encode()).status_code == 200
    path = f"/api/v1/datasets/{REPO}/repo?Revision=master&FilePath=big.mkv"
    with dial(hub) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: not _is_open_at_the_other_end(connection), "the hub stops where nobody reads")
        connection.settimeout(PATIENCE)
        assert len(listen(connection)) < len(content)
    assert requests.get(hub.endpoint + path, timeout=60).content == content
    with requests.Session() as session:
        for _ in range(3):  # a rest between two requests is no dripping
            assert session.get(f"{hub.endpoint}/api/v1/datasets/{REPO}/commits", timeout=60).status_code == 200
            time.sleep(0.8)


def _is_open_at_the_other_end(connection: socket.socket) -> bool:
    """By the kernel's table: closed there, what was sent before waits here for its reader. Source: proc(5), tcp."""
    ours, theirs = (f":{address[1]:04X}" for address in (connection.getsockname(), connection.getpeername()))
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if local.endswith(theirs) and remote.endswith(ours):
            return state == "01"
    return False


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=-0",
            "bytes=99999999999999999999-",
            "bytes=a-b",
            "lines=1-2",
            "bytes=0-0x",
        ),
        "bytes=" + ",".join(["0-"] * 5000),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(4000)),
    ],
)
def test_odd_range_is_answered_within_reason(hub: RunningHub, asked: str) -> None:
    action = {"action": "create", "path": "a.txt", "type": "normal", "content": "0123456789" * 1000}
    send(hub, COMMIT, json.dumps({"actions": [action]}).encode())
    url = f"{hub.endpoint}/api/v1/datasets/{REPO}/repo?Revision=master&FilePath=a.txt"
    answer = requests.get(url, headers={"Range": asked}, timeout=60)
    assert answer.status_code in {200, 206, 400, 416}
    assert len(answer.content) < 2_000_000 and is_well(hub)


def test_link_below_the_root_is_neither_followed_nor_written_through(hub: RunningHub, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("hidden")
    files = hub.root / "datasets" / REPO
    (files / "link").symlink_to(outside)
    (files / "secret.txt").symlink_to(outside / "secret.txt")
    (files / "plain.txt").write_text("seen")
    url, seen = f"{hub.endpoint}/api/v1/datasets/{REPO}", list[str]()
    while not seen:
        listed = requests.get(f"{url}/repo/tree?Revision=master&Recursive=True&PageSize=99", timeout=60).json()
        seen = [file["Path"] for file in listed["Data"]["Files"]]
        time.sleep(0.1)
    assert seen == ["plain.txt"]
    for path in ("link/secret.txt", "secret.txt"):
        assert requests.get(f"{url}/repo?Revision=master&FilePath={path}", timeout=60).status_code == 404
    action = {"action": "create", "path": "link/new.txt", "type": "normal", "content": "x"}
    assert send(hub, COMMIT, json.dumps({"actions": [action]}).encode()).status_code == 400
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]


@pytest.mark.parametrize("name", ["..", ".", ".hub", "a/b", "", "a\0", "x" * 300, "a\nb", "-", "%2e%2e"])
def test_dataset_of_an_odd_name_is_refused_or_a_plain_folder(hub: RunningHub, name: str) -> None:
    files = {"Owner": (None, "me"), "Name": (None, name), "Visibility": (None, "5")}
    headers = {"Authorization": f"Bearer {hub.token}"}
    answer = requests.post(f"{hub.endpoint}/api/v1/datasets", files=files, headers=headers, timeout=60)
    made = {path.name for path in (hub.root / "datasets" / "me").iterdir()} - {"shows"}
    assert made == ({name} if answer.status_code == 200 else set()) and answer.status_code in {200, 400}
    assert {path.name for path in hub.root.iterdir()} == {"datasets", ".hub"}


def test_answer_is_dated_to_the_second_in_which_it_is_made(hub: RunningHub) -> None:
    """Also those that refuse; the monitor compares this with the times of commits."""
    for number in range(12):
        asked = time.time()
        path = f"/api/v1/datasets/{REPO}/commits" if number % 2 else "/nowhere"
        answer = raw(hub, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        dates = re.findall(rb"(?im)^date: (.*)\r$", answer)
        assert len(dates) == 1
        assert int(asked) <= parsedate_to_datetime(dates[0].decode()).timestamp() <= time.time()
        time.sleep(0.13)
