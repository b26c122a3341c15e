"""A hub that misbehaves: survived, or told as what it is; never fewer files, never two commits, never the token."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.hub_server import Fault, RunningHub, running_hub
from tests.patience import PATIENCE
from tools.core.errors import HubError, HubForbidden, HubNotFound, HubRejected, HubUnavailable, IntegrityError, Stopped
from tools.core.folder import RemoteFile
from tools.hub.client import AddBlob, AddBytes
from tools.hub.modelscope_client import ModelScopeHub
from tools.hub.retrying import Backoff, RetryingHub
from tools.runtime.clock import Clock, SystemClock

REPO = "me/shows"
FILES = {f"番剧/{number:03}.mp4": b"%d" % number for number in range(49)}
STALL = 2.0  # s; only where something hangs: on a busy machine a sound answer may take as long, and counts as lost


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub"), max_page_size=20) as running:
        yield running


@pytest.fixture
def server(running: RunningHub, tmp_path: Path) -> RunningHub:
    running.renew(tmp_path / "hub")
    running.store.create(REPO, 1)
    return running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hub(server: RunningHub, clock: FakeClock, tmp_path: Path) -> RetryingHub:
    return RetryingHub(client(server, tmp_path, clock), clock, late_commit=1.0)


@pytest.fixture
def hasty(server: RunningHub, clock: FakeClock, tmp_path: Path) -> RetryingHub:
    """The same that gives up soon on what does not come on."""
    return RetryingHub(client(server, tmp_path, clock, STALL), clock, late_commit=1.0)


def client(server: RunningHub, tmp_path: Path, clock: Clock, stall: float = PATIENCE) -> ModelScopeHub:
    """As the programs make it."""
    cache = tmp_path / "cache"
    return ModelScopeHub(
        server.endpoint, server.token, cache_dir=cache, stall_timeout=stall, retry=Backoff(clock).retry
    )


def fill(hub: RetryingHub) -> str:
    return hub.commit(REPO, [AddBytes(path, content) for path, content in FILES.items()], "fill")


def paths(hub: RetryingHub, commit: str) -> list[str]:
    return sorted(file.path for file in hub.list_files(REPO, commit))


def put(hub: RetryingHub, content: bytes) -> RemoteFile:
    commit = hub.commit(REPO, [AddBytes("a/1.mp4", content)], "add")
    return next(iter(hub.list_files(REPO, commit)))


def fetch(hub: RetryingHub, file: RemoteFile, tmp_path: Path) -> bytes:
    target = tmp_path / "work" / "source.mp4"
    target.parent.mkdir(exist_ok=True)
    moved: list[int] = []
    head = hub.head(REPO)
    assert head is not None
    sha256 = hub.download(REPO, head.commit_id, file, target, moved.append)
    content = target.read_bytes()
    assert sha256 == hashlib.sha256(content).hexdigest() and sum(moved) == len(content)
    return content


CONTENT = bytes(range(256)) * 4000
KINDS = ["status:429", "status:500", "status:502", "status:503", "status:504", "html", "unsuccess", "reset"]


# --- reads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("match", ["/commits", "PageNumber=1&", "PageNumber=2&"])
def test_read_that_stumbles_is_repeated_and_whole(hub: RetryingHub, server: RunningHub, kind: str, match: str) -> None:
    commit = fill(hub)
    server.faults.append(Fault(f"{match}", kind, times=2))
    head = hub.head(REPO)
    assert head is not None and head.commit_id == commit
    assert paths(hub, commit) == sorted(FILES)


def test_refusal_of_a_later_page_is_taken_for_the_stumble_it_is(hub: RetryingHub, server: RunningHub) -> None:
    commit = fill(hub)
    server.faults.append(Fault("PageNumber=3&", "status:403", times=2))
    assert paths(hub, commit) == sorted(FILES)


@pytest.mark.parametrize("kind", ["html", "unsuccess", "empty", "short", "repeat", "junk", "status:500", "status:403"])
def test_page_that_never_comes_right_is_an_error_and_no_end_of_the_list(
    hub: RetryingHub, server: RunningHub, kind: str
) -> None:
    commit = fill(hub)
    server.faults.append(Fault("PageNumber=2&", kind, times=999))
    with pytest.raises(HubUnavailable):
        paths(hub, commit)


def test_count_that_never_fits_is_taken_as_listed_with_one_warning(
    hub: RetryingHub, server: RunningHub, caplog: pytest.LogCaptureFixture
) -> None:
    commit = fill(hub)
    server.faults.append(Fault("/repo/tree", "counts:3", times=999))
    for _ in range(3):
        assert paths(hub, commit) == sorted(FILES)
        assert [file.path for file in hub.list_folder(REPO, commit, "番剧")] == sorted(FILES)
    assert hub.list_folder(REPO, commit, "nowhere") == []
    told = [record for record in caplog.records if "counts more" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]
    assert "listed=50 counted=53" in told[0].getMessage()


def test_short_listing_that_comes_out_otherwise_the_second_time_is_an_error(
    hub: RetryingHub, server: RunningHub, caplog: pytest.LogCaptureFixture
) -> None:
    commit = fill(hub)
    for kind in ("short", "empty", "short"):
        server.faults[:] = [Fault("PageNumber=2&", kind, times=999)]
        with pytest.raises(HubUnavailable, match="came up short"):
            paths(hub, commit)
    server.faults[:] = [Fault("PageNumber=2&", "short", times=1)]
    with pytest.raises(HubUnavailable, match="came up short"):
        paths(hub, commit)
    assert "counts more" not in caplog.text
    server.faults.clear()
    assert paths(hub, commit) == sorted(FILES)


@pytest.mark.parametrize("kind", ["status:404", "unsuccess:404"])
def test_later_page_that_is_not_found_is_an_error_and_no_end_of_the_list(
    hub: RetryingHub, server: RunningHub, kind: str
) -> None:
    commit = fill(hub)
    server.faults.append(Fault("PageNumber=2&", kind, times=999))
    with pytest.raises(HubUnavailable):
        paths(hub, commit)
    with pytest.raises(HubUnavailable):
        hub.list_folder(REPO, commit, "番剧")


@pytest.mark.parametrize("kind", ["status:404", "unsuccess:404", "empty"])
def test_folder_that_is_not_found_is_there_as_long_as_the_one_above_lists_it(
    hub: RetryingHub, server: RunningHub, kind: str
) -> None:
    commit = hub.commit(REPO, [AddBytes("a/b/1.mp4", b"1"), AddBytes("c.txt", b"c")], "add")
    for folder, root in (("a", "Root=a&"), ("a/b", "Root=a%2Fb&")):
        server.faults[:] = [Fault(root, kind, times=999)]
        with pytest.raises(HubUnavailable):
            hub.list_folder(REPO, commit, folder)
        server.faults[:] = [Fault("Root=", kind, times=999)]
        with pytest.raises(HubUnavailable):
            hub.list_folder(REPO, commit, folder)
    server.faults.clear()
    assert hub.list_folder(REPO, commit, "a/x/y") == hub.list_folder(REPO, commit, "x") == []
    with pytest.raises(HubNotFound):
        hub.list_folder(REPO, "0" * 40, "a")


def test_repo_has_no_commits_only_if_it_has_no_files_either(hub: RetryingHub, server: RunningHub) -> None:
    assert hub.head(REPO) is None
    fill(hub)
    for said in ('{"Commit": []}', '{"Commit": [], "TotalCount": 0}', '{"Commit": null, "TotalCount": 0}', "null"):
        server.faults[:] = [Fault("/commits", "body", times=999, says=f'{{"Code": 200, "Data": {said}}}')]
        with pytest.raises(HubUnavailable):
            hub.head(REPO)


def test_blob_that_the_hub_refuses_by_itself_is_told_as_refused_and_not_as_stored(
    hub: RetryingHub, server: RunningHub, clock: FakeClock
) -> None:
    source = server.root / "blob"
    source.write_bytes(b"new")
    sha256 = hashlib.sha256(b"new").hexdigest()
    codes = ((403, HubForbidden), (422, HubRejected), (507, HubUnavailable), ("x", HubUnavailable))
    for code, told in codes:
        said = {"Data": {"objects": [{"oid": sha256, "error": {"code": code, "message": "no room"}}]}}
        server.faults[:] = [Fault("/objects/batch", "body", times=999, says=json.dumps(said))]
        with pytest.raises(told, match="no room"):
            hub.store_blob(REPO, source, sha256, 3, lambda moved: None)


def test_entries_that_come_twice_are_files_once(hub: RetryingHub, server: RunningHub) -> None:
    commit = fill(hub)
    server.faults.append(Fault("PageNumber=2&", "twice"))
    assert paths(hub, commit) == sorted(FILES)


def test_refusal_of_the_first_page_is_a_refusal_told_at_once(
    hub: RetryingHub, server: RunningHub, clock: FakeClock
) -> None:
    commit = fill(hub)
    clock.slept.clear()
    for kind in ("status:403", "status:401", "unsuccess:401"):
        server.faults[:] = [Fault("/repo/tree", kind, times=999)]
        with pytest.raises(HubForbidden):
            paths(hub, commit)
    server.faults[:] = [Fault("PageNumber=3&", "status:401", times=999)]
    with pytest.raises(HubForbidden):
        paths(hub, commit)
    assert clock.slept == []


@pytest.mark.parametrize("kind", ["hang", "trickle:5"])
def test_answer_that_does_not_come_on_is_given_up_and_asked_for_again(
    hub: RetryingHub, hasty: RetryingHub, server: RunningHub, kind: str
) -> None:
    commit = fill(hub)
    server.faults.append(Fault("PageNumber=2&", kind))
    assert paths(hasty, commit) == sorted(FILES)
    assert server.asked("PageNumber=2&") >= 2


def test_glitch_on_the_first_page_does_not_make_all_pages_small(hub: RetryingHub, server: RunningHub) -> None:
    commit = fill(hub)
    server.faults.append(Fault("/repo/tree", "short"))
    assert paths(hub, commit) == sorted(FILES)
    server.requests.clear()
    assert paths(hub, commit) == sorted(FILES) and server.asked("/repo/tree") == 3


def test_commit_between_pages_changes_nothing_in_a_pinned_listing(hub: RetryingHub) -> None:
    commit = fill(hub)
    listing = hub.list_files(REPO, commit)
    first = next(listing)
    hub.commit(REPO, [AddBytes(f"番剧/{n:03}b.mp4", b"new") for n in range(60)], "meanwhile")
    assert sorted([first.path, *(file.path for file in listing)]) == sorted(FILES)


def test_page_size_that_the_server_clamps_is_found_and_kept(server: RunningHub, hub: RetryingHub) -> None:
    commit = fill(hub)
    paths(hub, commit)
    server.requests.clear()
    paths(hub, commit)
    assert len([line for line in server.requests if "/repo/tree" in line]) == 3  # 50 entries by 20


# --- commits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lost", "status:500", "status:504", "status:429", "reset", "html", "unsuccess"])
def test_commit_with_a_lost_or_failed_answer_is_made_exactly_once(
    hub: RetryingHub, server: RunningHub, kind: str
) -> None:
    server.faults.append(Fault("/commit/master", kind, times=2))
    commit = hub.commit(REPO, [AddBytes("番剧/metadata.jsonl", b"{}\n")], "once")
    commits = server.store.repo(REPO).commits
    assert [one.id for one in commits] == [commit]


def test_commit_that_comes_to_pass_after_we_stopped_waiting_is_found_and_not_sent_again(
    server: RunningHub, tmp_path: Path
) -> None:
    clock = SystemClock()
    hub = RetryingHub(client(server, tmp_path, clock), clock, base=0.1, late_commit=8.0)
    server.faults.append(Fault("/commit/master", "late:1.5"))
    commit = hub.commit(REPO, [AddBytes("番剧/metadata.jsonl", b"{}\n")], "once")
    assert server.asked("POST /api/v1/repos/datasets/me/shows/commit") == 1
    assert [one.id for one in server.store.repo(REPO).commits] == [commit]


def test_commit_that_hangs_is_given_up_and_looked_for(hasty: RetryingHub, server: RunningHub) -> None:
    server.faults.append(Fault("/commit/master", "hang"))
    commit = hasty.commit(REPO, [AddBytes("a/b", b"x")], "once")
    assert [one.id for one in server.store.repo(REPO).commits] == [commit]


def test_wait_that_the_server_asks_for_is_kept(hub: RetryingHub, server: RunningHub, clock: FakeClock) -> None:
    file = put(hub, CONTENT)
    source = server.root / "blob"
    source.write_bytes(b"new")
    sha256 = hashlib.sha256(b"new").hexdigest()
    for match, call in (
        ("/commit/master", lambda: hub.commit(REPO, [AddBytes("a/b", b"x")], "later")),
        ("/commits", lambda: hub.head(REPO)),
        ("/repo/tree", lambda: list(hub.list_files(REPO, "master"))),
        ("/repo?Revision", lambda: fetch(hub, file, server.root)),
        ("/objects/batch", lambda: hub.store_blob(REPO, source, sha256, 3, lambda moved: None)),
        ("/users/me", hub.whoami),
    ):
        for kind, asks, date_in in (
            ("status:429", 27, None),
            ("status:503", 28, None),
            ("status:429", None, 30),
            ("status:429", None, -100),
            ("status:429", "soon", None),
        ):
            if match == "/users/me" and asks != 27:
                continue  # the SDK keeps this call's headers to itself
            clock.slept.clear()
            asked_at = time.time()
            asks = asks if date_in is None else formatdate(asked_at + date_in, usegmt=True)  # whole seconds
            server.faults[:] = [Fault(match, kind, retry_after=asks)]
            (server.root / "work" / "source.mp4").unlink(missing_ok=True)
            call()
            passed = time.time() - asked_at
            wait = asks if isinstance(asks, int) else date_in or 0
            least = max(0.0, wait - (0 if date_in is None else 1 + passed))
            assert least <= max(clock.slept) <= max(1.0, wait + 3), (match, kind, asks, clock.slept)


def test_server_that_wants_to_be_left_alone_for_hours_is_not_waited_for_here(
    hub: RetryingHub, server: RunningHub, clock: FakeClock
) -> None:
    server.faults.append(Fault("/commits", "status:429", times=99, retry_after=7200))
    with pytest.raises(HubUnavailable) as caught:
        hub.head(REPO)
    assert caught.value.retry_after == 7200 and clock.slept == [] and server.asked("/commits") == 1


# --- transfers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def sending(kind: str, hub: RetryingHub, hasty: RetryingHub) -> RetryingHub:
    """The one that notices a fault of this kind soon."""
    return hasty if kind == "hang" else hub


@pytest.mark.parametrize("kind", ["status:500", "reset", "cut:100000", "lost", "status:429", "unsuccess", "hang"])
def test_blob_upload_that_breaks_is_sent_again(
    hub: RetryingHub, sending: RetryingHub, server: RunningHub, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "result.mkv"
    source.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    server.faults.append(Fault("PUT ", kind, times=1))
    moved: list[int] = []
    sending.store_blob(REPO, source, sha256, len(CONTENT), moved.append)
    assert sum(moved) == len(CONTENT)
    commit = hub.commit(REPO, [AddBlob("a/1.mkv", sha256, len(CONTENT))], "add")
    assert [file.sha256 for file in hub.list_files(REPO, commit)] == [sha256]


@pytest.mark.parametrize("kind", ["truncated", "status:503", "status:429", "reset", "hang", "corrupt"])
def test_download_that_breaks_is_finished_whole(
    hub: RetryingHub, sending: RetryingHub, server: RunningHub, tmp_path: Path, kind: str
) -> None:
    file = put(hub, CONTENT)
    server.faults.append(Fault("/repo?Revision", kind, times=1))
    assert fetch(sending, file, tmp_path) == CONTENT


def test_download_that_trickles_is_ended_by_the_stall_limit_and_resumed(
    hub: RetryingHub, hasty: RetryingHub, server: RunningHub, tmp_path: Path
) -> None:
    file = put(hub, CONTENT)
    server.faults.append(Fault("/repo?Revision", "trickle:20"))
    assert fetch(hasty, file, tmp_path) == CONTENT
    assert server.asked("/repo?Revision") >= 2


@pytest.mark.parametrize(
    ("faults", "is_nothing_given"),
    [
        ([Fault("/repo?Revision", "status:500", times=999)], True),
        ([Fault("/repo?Revision", "reset", times=999)], True),
        ([Fault("/repo?Revision", "expired", times=999)], True),
        ([Fault("/repo?Revision", "status:403", times=999)], True),
        ([Fault("/repo?Revision", "html", times=999)], True),
        ([Fault("/repo?Revision", "truncated", times=999)], False),
        ([Fault("/repo?Revision", "truncated"), Fault("/repo?Revision", "status:500", times=999)], True),
        ([Fault("/repo?Revision", "truncated", skip=1), Fault("/repo?Revision", "status:500", times=1)], False),
    ],
    ids=lambda value: " ".join(fault.kind for fault in value) if isinstance(value, list) else str(value),
)
def test_download_that_fails_says_whether_its_last_try_brought_a_byte(
    server: RunningHub, hub: RetryingHub, tmp_path: Path, faults: list[Fault], is_nothing_given: bool
) -> None:
    file = put(hub, CONTENT)
    server.storage = faults[0].kind == "expired"
    server.faults += faults
    once = RetryingHub(client(server, tmp_path, FakeClock()), FakeClock(), attempts=2)
    with pytest.raises(HubError) as failed:
        fetch(once, file, tmp_path)
    assert failed.value.is_nothing_given is is_nothing_given


@pytest.mark.parametrize("is_by_storage", [False, True])
def test_glance_asks_once_for_a_few_bytes_by_the_way_of_a_download(
    server: RunningHub, hub: RetryingHub, clock: FakeClock, is_by_storage: bool
) -> None:
    file = put(hub, CONTENT * (1 + (1 << 20) // len(CONTENT)))
    server.storage = is_by_storage
    hub.glance(REPO, "master", file)
    assert server.asked("/repo?") == 1 + is_by_storage and set(server.ranges) == {"bytes=0-65535"}
    for kind in ("status:500", "status:429", "reset", "expired", "truncated", "status:403", "status:404"):
        server.storage = is_by_storage or kind == "expired"
        server.faults[:] = [Fault("/repo?", kind, times=999)]
        with pytest.raises(HubError):
            hub.glance(REPO, "master", file)
        assert server.faults[0].hits == 1 and not clock.slept, kind
    server.faults[:] = [Fault("/repo?", "whole")]
    hub.glance(REPO, "master", file)


def test_content_that_is_wrong_for_ever_is_told_apart_from_a_hub_that_is_down(
    hub: RetryingHub, server: RunningHub, clock: FakeClock, tmp_path: Path
) -> None:
    file = put(hub, CONTENT)
    server.faults.append(Fault("/repo?Revision", "corrupt", times=999))
    server.requests.clear()
    with pytest.raises(IntegrityError):
        fetch(hub, file, tmp_path)
    assert server.asked("/repo?Revision") == 3 and len(clock.slept) == 2
    with pytest.raises(IntegrityError):
        fetch(hub, RemoteFile(file.path, file.size + 5, file.sha256), tmp_path)


def test_link_to_the_storage_that_ran_out_is_asked_for_again_and_no_matter_of_the_token(
    hub: RetryingHub, server: RunningHub, tmp_path: Path
) -> None:
    file = put(hub, CONTENT)
    server.storage = True
    server.faults.append(Fault("/repo?Revision", "expired", times=2))
    assert fetch(hub, file, tmp_path) == CONTENT
    assert len(server.seen_by_storage) == 3
    server.faults[:] = [Fault("/repo?Revision", "expired", times=999)]
    (tmp_path / "work" / "source.mp4").unlink()
    with pytest.raises(HubUnavailable) as caught:
        fetch(hub, file, tmp_path)
    assert "Signature" not in str(caught.value)
    for headers in server.seen_by_storage:
        assert server.token not in str(headers), "the storage is another host: our token is none of its business"


def test_stop_ends_a_download_at_once(server: RunningHub, tmp_path: Path) -> None:
    hub = client(server, tmp_path, FakeClock())
    file = put(RetryingHub(hub, FakeClock()), CONTENT)
    server.faults.append(Fault("/repo?Revision", "trickle:2000", times=9))

    told: list[int] = []

    def progress(moved: int) -> None:
        told.append(moved)
        raise Stopped("stopped")

    with pytest.raises(Stopped):
        hub.download(REPO, "master", file, tmp_path / "source.mp4", progress)
    assert len(told) == 1 and server.asked("/repo?Revision") == 1


@pytest.mark.timeout(120)
def test_stop_ends_a_wait_between_two_tries(server: RunningHub, tmp_path: Path) -> None:
    clock = SystemClock()
    hub = RetryingHub(client(server, tmp_path, clock), clock, patience=math.inf)
    server.faults.append(Fault("/commits", "status:429", times=99, retry_after=600))
    threading.Timer(0.3, clock.stop.set).start()
    with pytest.raises(Stopped):  # the wait alone were ten minutes
        hub.head(REPO)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "told"),
    [("status:401", HubForbidden), ("status:403", HubForbidden), ("status:422", HubRejected)],
)
def test_refusal_is_told_at_once_as_what_it_is(
    hub: RetryingHub, server: RunningHub, clock: FakeClock, tmp_path: Path, kind: str, told: type[HubError]
) -> None:
    file = put(hub, CONTENT)
    source = tmp_path / "blob"
    source.write_bytes(b"new")
    clock.slept.clear()
    server.faults.append(Fault("/", kind, times=999, says=f"go away, {server.token}"))
    for call in (
        lambda: hub.head(REPO),
        lambda: list(hub.list_files(REPO, "master")),
        lambda: hub.download(REPO, "master", file, tmp_path / "x.mp4", lambda moved: None),
        lambda: hub.store_blob(REPO, source, hashlib.sha256(b"new").hexdigest(), 3, lambda moved: None),
        lambda: hub.commit(REPO, [AddBytes("a/b", b"x")], "no"),
    ):
        with pytest.raises(told) as caught:
            call()
        assert not isinstance(caught.value, HubUnavailable)
        assert server.token not in str(caught.value) and "\n" not in str(caught.value)
    assert clock.slept == [], "nothing of this passes by waiting"


def test_wrong_token_is_told_at_once_and_is_in_no_message(server: RunningHub, clock: FakeClock, tmp_path: Path) -> None:
    wrong = ModelScopeHub(server.endpoint, "hush-hush", cache_dir=tmp_path / "cache")
    hub = RetryingHub(wrong, clock)
    for call in (
        hub.whoami,
        lambda: hub.head(REPO),
        lambda: hub.create_repo("me/new"),
        lambda: hub.commit(REPO, [AddBytes("a", b"x")], "no"),
    ):
        with pytest.raises(HubError) as caught:
            call()
        assert "hush" not in str(caught.value) and "\n" not in str(caught.value)
        assert isinstance(caught.value, HubRejected)
    with pytest.raises(HubForbidden, match="MODELSCOPE_API_TOKEN"):
        hub.whoami()
    assert clock.slept == []
    assert not (server.root / "datasets/me/new").exists()


def test_missing_output_repo_is_created_private(hub: RetryingHub, server: RunningHub) -> None:
    hub.create_repo("me/out")
    assert server.store.repo("me/out").is_private


def test_hub_that_is_gone_is_unavailable(clock: FakeClock, tmp_path: Path) -> None:
    hub = RetryingHub(
        ModelScopeHub("http://127.0.0.1:9", "t", cache_dir=tmp_path, stall_timeout=2.0), clock, attempts=2
    )
    with pytest.raises(HubUnavailable, match="does not answer"):
        hub.head(REPO)
    assert len(clock.slept) == 1
