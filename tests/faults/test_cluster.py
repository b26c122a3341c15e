"""A cluster whose parts are killed, stopped and cut off: real processes on loopback, an encoder that sleeps.

Whatever happens, each video is published once, nothing is encoded twice without need, and no attempt is used up by
a machine's own problems.
"""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import Fault, RunningHub, running_hub
from tests.patience import PATIENCE, until
from tests.programs import ROOT, children_working_in, end, environment, run_program, start_program

pytest.importorskip("distributed", reason="requirements-cluster.txt is not installed")

from tools.core.errors import HubUnavailable
from tools.core.folder import RemoteFile, group_folders
from tools.core.queue_item import new_item
from tools.hub.modelscope_client import ModelScopeHub
from tools.state.journal import Journal
from tools.state.work_queue import WorkQueue


@dataclass(slots=True)
class Site:
    """A hub with videos that are queued, and the processes of a cluster around it."""

    hub: RunningHub
    top: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, name: str, **more: str) -> dict[str, str]:
        own = {"LOG_DIR": str(self.top / "log" / name), "WORK_DIR": str(self.top / name), "CLUSTER": self.address}
        return {**environment(self.hub, self.top), "PYTHONPATH": str(ROOT), **own, **more}

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def queue(self, videos: Mapping[str, bytes], folder: str = "A") -> None:
        """Put videos of a folder on the hub, and queue it as the monitor would."""
        path = self.hub.root / "datasets" / "me" / "in" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, content in videos.items():
            (path / f"{name}.mp4").write_bytes(content)
        self.wait(lambda: len(self._listing(folder)) == len(videos), "the hub takes the videos")
        with WorkQueue(self.top / "log/processor").transaction() as view:
            view.put(new_item(group_folders(self._listing(folder), frozenset({"mp4"}))[folder], time.time()))

    def _listing(self, folder: str) -> list[RemoteFile]:
        client = ModelScopeHub(self.hub.endpoint, self.hub.token, cache_dir=self.top / "cache")
        try:
            head = client.head("me/in")
        except HubUnavailable:  # the files came between its two questions
            return []
        return [] if head is None else [f for f in client.list_files("me/in", head.commit_id) if f.folder == folder]

    def scheduler(self) -> None:
        env = self.environment("scheduler")
        self.processes["scheduler"] = start_program("scheduler.py", "--port", str(self.port), env=env)

    def worker(self, name: str, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        return self._program(name, "worker", "--name", name, *arguments, **more)

    def processor(self, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        return self._program("processor", "processor", *arguments, **more)

    def _program(self, name: str, *arguments: str, **more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.cluster_programs", *arguments]
        output = (self.top / f"{name}.out").open("ab")
        with output:
            started = subprocess.Popen(
                command, env=self.environment(name, **more), cwd=ROOT, stdout=output, stderr=output
            )
        self.processes[name] = started
        return started

    def end(self, name: str) -> int:
        """Asks the program to end; returns its exit status."""
        try:
            return end(self.processes[name])
        except subprocess.TimeoutExpired as exc:
            output = (self.top / f"{name}.out").read_text(encoding="utf-8", errors="replace")
            pytest.fail(f"{name}: {exc}\n{self.log(name)[-3000:]}\n{output[-10_000:]}")

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def log(self, name: str) -> str:
        path = self.top / "log" / name / "processing.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def status(self) -> dict[str, Any]:
        shown = run_program("queue_processor.py", "--status", "--json", env=self.environment("processor"))
        status: dict[str, Any] = json.loads(shown.stdout)
        return status

    def workers(self) -> dict[str, dict[str, Any]]:
        """By name, as ``progress.json`` has them."""
        with contextlib.suppress(OSError, ValueError):
            progress = json.loads((self.top / "log/processor/progress.json").read_bytes())
            return {worker["name"]: worker for worker in progress["workers"]}
        return {}

    def encoded(self, *names: str) -> Counter[str]:
        """How often each video went into an encoder."""
        files = [self.top / "log" / name / f"{name}.encoded" for name in names]
        return Counter(line for file in files if file.exists() for line in file.read_text().split())

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until the condition holds."""

        def told() -> str:
            logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.processes)
            return f"{what}\n{self.workers()}\n{logs}"

        until(condition, told, moving=lambda: [self.log(name) for name in self.processes])

    def drained(self) -> int:
        """The exit status of the processor once the queue is empty."""
        process = self.processes["processor"]
        self.wait(lambda: process.poll() is not None, "the queue is drained")
        assert process.returncode is not None
        return process.returncode

    def published(self) -> Counter[str]:
        """How often each video was committed."""
        repo = self.hub.store.repo("me/out")
        changes = [path for commit in repo.commits for path in commit.changes if path.endswith(".mkv")]
        return Counter(Path(path).stem for path in changes)

    def item(self, folder: str = "A") -> dict[str, Any]:
        items: list[dict[str, Any]] = json.loads(
            (self.top / "log/processor/processing_queue.json").read_text(encoding="utf-8")
        )
        return next(item for item in items if item["folder"] == folder)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_hub(tmp_path / "hub") as hub:
        made = Site(hub, tmp_path, port)
        try:
            made.scheduler()
            yield made
        finally:
            for process in made.processes.values():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


def videos(*names: str) -> dict[str, bytes]:
    return {name: f"video-{name}".encode() for name in names}


def test_video_of_a_killed_worker_is_reassigned_and_a_late_worker_gets_its_share(site: Site) -> None:
    site.queue(videos("1", "2", "3", "4", "5", "6"))
    site.worker("w1", "--seconds", "30")
    site.processor()
    site.wait(lambda: site.workers().get("w1", {}).get("encoding"), "w1 encodes")
    victim = site.workers()["w1"]["encoding"][0]
    both = site.top / "both"
    for name in ("w2", "w3"):
        site.worker(name, "--seconds", "0.2", "--until", str(both))
    site.wait(lambda: site.workers().keys() >= {"w2", "w3"} and site.encoded("w2", "w3"), "who came late encodes")
    site.kill("w1")
    site.wait(lambda: site.encoded("w2") and site.encoded("w3"), "each of those who came late has its share")
    both.touch()
    name = Path(victim).stem
    site.wait(lambda: site.encoded("w2", "w3")[f"video-{name}"], "the victim is encoded again")
    assert not children_working_in(site.top / "w1"), "an encode outlived its worker"
    assert site.drained() == 0
    assert site.published() == Counter("123456")
    assert "worker w1 died" in site.log("processor")


def test_video_that_kills_workers_is_quarantined_and_the_others_are_published(site: Site) -> None:
    site.queue({**videos("1", "2"), "bad": b"poison"})
    site.worker("w1", "--seconds", "0.2")
    process = site.processor()
    deaths = 0
    while process.poll() is None:
        if site.processes["w1"].poll() is not None:
            deaths += 1
            site.worker("w1", "--seconds", "0.2")
        time.sleep(0.05)
    assert site.drained() == 1
    assert deaths == 3, "MAX_ATTEMPTS"
    item = site.item()
    assert [(q["path"], "died 3 times" in q["cause"]) for q in item["quarantined"]] == [("A/bad.mp4", True)]
    assert site.published() == Counter(["1", "2"])


def test_scheduler_killed_and_restarted_loses_and_doubles_nothing(site: Site) -> None:
    site.queue(videos("1", "2", "3", "4"))
    may_end = site.top / "may-end"
    for name in ("w1", "w2"):
        site.worker(name, "--seconds", "0", "--until", str(may_end))
    # On a machine that is busy enough a worker says nothing for as long as one that is lost.
    site.processor("--silence", str(PATIENCE))
    site.wait(lambda: len(site.encoded("w1", "w2")) == 2, "both encode")
    site.kill("scheduler")
    site.wait(lambda: "can't work with the scheduler" in site.log("processor"), "the processor notices")
    site.scheduler()
    site.wait(lambda: all("reattached to a running job" in site.log(name) for name in ("w1", "w2")), "both jobs go on")
    may_end.touch()
    assert site.drained() == 0
    assert site.published() == Counter("1234")
    assert site.encoded("w1", "w2") == Counter(f"video-{n}" for n in "1234"), "running jobs continued"
    assert "error" not in site.log("processor").lower()


def test_killed_processor_resumes_and_reattaches_to_running_jobs(site: Site) -> None:
    site.queue(videos("1", "2", "3", "4"))
    site.worker("w1", "--seconds", "3")
    site.worker("w2", "--seconds", "3")
    site.processor()
    journal = Journal(site.top / "log/processor", "A").path
    site.wait(lambda: journal.exists() and '"stored"' in journal.read_text(), "a video is stored")
    site.kill("processor")
    site.processor()
    assert site.drained() == 0
    assert site.published() == Counter("1234")
    assert site.encoded("w1", "w2") == Counter(f"video-{n}" for n in "1234")


def test_stopped_processor_ends_the_jobs_of_its_workers_and_leaves_the_item_pending(site: Site) -> None:
    site.queue(videos("1", "2", "3"))
    site.worker("w1", "--seconds", "600")
    site.worker("w2", "--seconds", "600")
    site.processor(MAX_ATTEMPTS="1")
    site.wait(lambda: len(site.encoded("w1", "w2")) == 2, "both encode")
    assert site.end("processor") == 0
    # On a machine so busy that not even this was written in time the guard ends it; then the next start sets it back.
    is_in_order = site.log("processor").rstrip().endswith(" stopped")
    assert site.item()["status"] == "pending" or not is_in_order, site.log("processor")[-2000:]
    assert not site.item()["quarantined"]
    # Asked to end by then, unless the guard was first; on a busy machine the workers may be slower than the processor.
    if is_in_order:
        site.wait(lambda: not any(children_working_in(site.top / worker) for worker in ("w1", "w2")), "the encodes end")
    assert not site.published() and "error" not in site.log("processor").lower()


def test_equal_videos_are_encoded_once_on_all_workers_and_under_new_names_by_none(site: Site) -> None:
    site.queue({"1": b"video-same", "2": b"video-same", "3": b"video-three"})
    site.queue({"4": b"video-same", "5": b"video-five"}, "B")
    site.worker("w1", "--seconds", "0.3")
    site.worker("w2", "--seconds", "0.3")
    site.processor()
    assert site.drained() == 0
    once = Counter(["video-same", "video-three", "video-five"])
    assert site.encoded("w1", "w2") == once and site.published() == Counter("12345")
    assert site.item("A")["videos_reused"] + site.item("B")["videos_reused"] == 2
    site.queue({"6": b"video-same", "7": b"video-three"}, "C")
    site.processor()
    assert site.drained() == 0
    assert site.encoded("w1", "w2") == once and site.published() == Counter("1234567")
    assert site.item("C")["videos_reused"] == 2
    assert all("C/" not in site.log(worker) for worker in ("w1", "w2")), "no worker ever heard of it"


def test_bytes_that_only_a_worker_knows_are_looked_up_by_the_processor(site: Site) -> None:
    """The hub tells no sha256 of a source: it is known to the worker that downloaded it, and the index is here."""
    site.queue(videos("1"))
    site.worker("w1", "--seconds", "0.3")
    site.processor()
    assert site.drained() == 0
    site.queue({"2": b"video-1", "3": b"video-new"}, "B")
    site.processor("--untold")
    assert site.drained() == 0
    assert site.encoded("w1") == Counter(["video-1", "video-new"]) and site.published() == Counter("123")
    assert site.item("B")["videos_reused"] == 1 and "error" not in site.log("processor").lower()
    site.wait(lambda: not list((site.top / "w1/work").glob("videos/*/*")), "the worker keeps nothing")


@pytest.mark.parametrize("fault", ["broken", "full"])
def test_bad_worker_is_suspended_and_uses_up_no_attempt(site: Site, fault: str) -> None:
    site.queue(videos("1", "2", "3", "4", "5", "6"))
    site.worker("bad", "--fault", fault)
    site.worker("good", "--seconds", "1")
    site.processor(MAX_ATTEMPTS="1")
    site.wait(lambda: site.workers().get("bad", {}).get("state") == "suspended", "the bad worker is suspended")
    status = site.status()
    shown = next(worker for worker in status["workers"] if worker["name"] == "bad")
    assert shown["cause"] and shown["slots"] == 1
    assert site.drained() == 0
    assert site.published() == Counter("123456") and not site.item()["quarantined"]
    assert "worker bad is suspended" in site.log("processor")


class Cut:
    """A route to the hub that can be cut: a port that forwards everything until ``cut``."""

    def __init__(self, endpoint: str) -> None:
        self._target = int(endpoint.rpartition(":")[2])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65536):
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for one in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def test_videos_of_a_worker_that_is_cut_off_from_the_hub_are_reassigned(site: Site) -> None:
    site.queue(videos("1", "2", "3", "4", "5", "6"))
    route = Cut(site.hub.endpoint)
    site.worker("far", "--seconds", "1", MODELSCOPE_ENDPOINT=route.endpoint)
    site.worker("near", "--seconds", "1")
    site.processor(MAX_ATTEMPTS="1")
    site.wait(lambda: site.encoded("far"), "the far one encodes")
    route.cut()
    assert site.drained() == 0
    assert site.published() == Counter("123456") and not site.item()["quarantined"]
    assert "PAUSED" not in site.log("processor") and "error" not in site.log("processor").lower()


def test_video_that_the_hub_gives_no_worker_is_quarantined_and_suspends_none_of_them(site: Site) -> None:
    """Nothing else is left to do: the workers ask for another video themselves."""
    site.queue(videos("1", "2", "3"))
    site.hub.faults.append(Fault("FilePath=A%2F2.mp4", "status:500", times=10**6))
    site.worker("one")
    site.worker("two")
    site.processor(MAX_ATTEMPTS="2")
    assert site.drained() == 1
    (given_up,) = site.item()["quarantined"]
    assert given_up["path"] == "A/2.mp4" and "tried 2 times" in given_up["cause"]
    assert site.published() == Counter("13")
    assert "PAUSED" not in site.log("processor") and "suspended" not in site.log("processor")


def test_result_that_the_hub_refused_stays_with_its_worker_and_is_sent_from_there_after_a_retry(site: Site) -> None:
    refused = hashlib.sha256(b"av1:video-2").hexdigest()
    fault = Fault(f"/{refused}/", "status:422", times=999)
    site.hub.faults.append(fault)
    site.queue(videos("1", "2", "3", "4", "5"))
    site.worker("w1", "--seconds", "0.2")
    site.processor(MAX_ATTEMPTS="2")
    assert site.drained() == 1
    (given_up,) = site.item()["quarantined"]
    assert given_up["path"] == "A/2.mp4" and given_up["result_kept"] and site.published() == Counter("1345")
    kept = list((site.top / "w1/work/videos").glob("*/*/result.mkv"))
    assert [path.read_bytes() for path in kept] == [b"av1:video-2"], "and of the others nothing"
    site.hub.faults.remove(fault)
    site.worker("w0", "--seconds", "0.2")
    run_program("queue_processor.py", "--retry", "A", env=site.environment("processor"))
    site.processor()
    assert site.drained() == 0
    assert site.item()["status"] == "completed" and site.published() == Counter("12345")
    assert site.encoded("w0", "w1")["video-2"] == 1, "the kept result was sent"
    site.wait(lambda: not list((site.top / "w1/work").glob("videos/*/*")), "the worker keeps nothing any more")


def test_stopped_worker_gives_its_videos_back_and_ends(site: Site) -> None:
    site.queue(videos("1", "2", "3"))
    site.worker("w1", "--seconds", "20")
    site.processor(MAX_ATTEMPTS="1")
    site.wait(lambda: site.encoded("w1"), "w1 encodes")
    site.worker("w2", "--seconds", "0.2")
    site.wait(lambda: "w2" in site.workers(), "w2 is there")
    assert site.end("w1") == 0
    assert not children_working_in(site.top / "w1")
    assert site.drained() == 0
    assert site.published() == Counter("123") and "died" not in site.log("processor")


def test_worker_that_sleeps_and_wakes_up_has_nothing_published_twice(site: Site) -> None:
    site.queue(videos("1", "2", "3", "4"))
    site.worker("w1", "--seconds", "60")
    site.processor("--silence", "4")
    site.wait(lambda: site.encoded("w1"), "w1 encodes")
    site.worker("w2", "--seconds", "4")
    site.wait(lambda: site.encoded("w2"), "w2 encodes")
    os.kill(site.processes["w1"].pid, signal.SIGSTOP)
    site.wait(lambda: site.workers()["w1"]["state"] in {"silent", "gone"}, "w1 is missed")
    stopped = site.encoded("w1") - Counter()
    site.wait(lambda: all(site.encoded("w2")[name] for name in stopped), "its video is reassigned")
    os.kill(site.processes["w1"].pid, signal.SIGCONT)
    assert site.drained() == 0
    assert site.published() == Counter("1234")
    site.wait(lambda: "late result of an older attempt is dropped" in site.log("processor"), "it is logged")
