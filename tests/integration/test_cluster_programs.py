"""Scheduler, worker and processor as typed: bad input is one line, TLS lets nobody in, SIGTERM ends each, and one real
video goes all the way."""

import importlib.util
import json
import re
import socket
import ssl
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.media import make, make_clip
from tests.patience import PATIENCE, until
from tests.programs import ROOT, children_working_in, end, environment, run_program, start_program
from tools.core.folder import RemoteFile
from tools.core.record import METADATA
from tools.stages.workspace import video_key

HAS_DASK = importlib.util.find_spec("distributed") is not None
needs_dask = pytest.mark.skipif(not HAS_DASK, reason="requirements-cluster.txt is not installed")
NEW_TOKEN = "a-token-that-came-later"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        running.store.create("me/in", 1)
        yield running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def bare(top: Path) -> str:
    """PYTHONPATH for a Python that has no Dask."""
    folder = top / "bare"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['dask'] = sys.modules['distributed'] = None\n")
    return str(folder)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        ("worker.py", [], "no scheduler: give --scheduler"),
        ("worker.py", ["--scheduler", "10.0.0.5"], "CLUSTER='10.0.0.5'"),
        ("worker.py", ["--scheduler", "tcp://10.0.0.5:99999"], "CLUSTER='tcp://10.0.0.5:99999'"),
        ("worker.py", ["--scheduler", "tls://10.0.0.5:8786"], "CLUSTER_TLS_CA"),
        ("worker.py", ["--port", "99999"], "is not a port"),
        ("worker.py", ["--host", "10.0.0.5:8786"], "CLUSTER_HOST='10.0.0.5:8786'"),
        ("scheduler.py", ["--port", "many"], "is not a port"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wanted(
    hub: RunningHub, tmp_path: Path, program: str, arguments: list[str], said: str
) -> None:
    done = run_program(program, *arguments, env=environment(hub, tmp_path))
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / "log").exists() and not (tmp_path / "work").exists()


@pytest.mark.parametrize("program", ["worker.py", "scheduler.py", "queue_processor.py"])
def test_machine_without_dask_is_told_how_to_install_it(hub: RunningHub, tmp_path: Path, program: str) -> None:
    env = environment(hub, tmp_path, PYTHONPATH=bare(tmp_path), CLUSTER="tcp://127.0.0.1:9")
    done = run_program(program, env=env)
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith(
        f"{program}: a cluster needs Dask, which is not installed: run `bash start_worker.sh --setup-only` once"
    )


@pytest.mark.parametrize("has_dask", [False, pytest.param(True, marks=needs_dask)])
def test_doctor_of_a_cluster_tells_what_is_missing(hub: RunningHub, tmp_path: Path, has_dask: bool) -> None:
    env = environment(hub, tmp_path, CLUSTER="tcp://127.0.0.1:9")
    if not has_dask:
        env["PYTHONPATH"] = bare(tmp_path)
    done = run_program("doctor.py", env=env)
    told = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM ")]
    assert done.returncode == 1 and len(told) == 1 and done.stderr == "", done.stdout + done.stderr
    missing = "run `bash start_worker.sh --setup-only` once"
    gone = "scheduler    tcp://127.0.0.1:9 can't be used: [Errno 111] Connection refused"
    assert (gone if has_dask else missing) in told[0]


@needs_dask
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"CLUSTER": "tcp://no-such-host.invalid:8786"}, "no route to the scheduler"),
        ({"MODELSCOPE_API_TOKEN": "wrong-one"}, "MODELSCOPE_API_TOKEN"),
        ({"FFMPEG": "/nonexistent/ffmpeg"}, "FFMPEG"),
        ({"CLUSTER_TLS_CA": "/dev/null", "CLUSTER_TLS_CERT": "/dev/null"}, "certificates of the cluster"),
    ],
)
def test_worker_that_can_not_work_says_why_in_one_line(
    hub: RunningHub, tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    done = run_program("worker.py", env={**environment(hub, tmp_path), "CLUSTER": "tcp://127.0.0.1:9", **changes})
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("worker.py: ") and said in last and "wrong-one" not in done.stderr


@needs_dask
def test_port_that_is_taken_is_one_line(hub: RunningHub, tmp_path: Path) -> None:
    dotenv = tmp_path / "dotenv"
    dotenv.write_text("CLUSTER_HOST=127.0.0.2\n", encoding="utf-8")
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        env = environment(hub, tmp_path, ANIMATION_DOTENV=str(dotenv))
        done = run_program("scheduler.py", "--port", str(port), env=env)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"scheduler.py: can't listen on 127.0.0.2:{port}: ")
    assert "Traceback" not in done.stderr


# --- one real cluster ------------------------------------------------------------------------------------------------


def certificates(folder: Path) -> dict[str, str]:
    """Made by the commands of docs/cluster.md, with smaller keys to save time; the settings that name them."""
    commands = re.findall(r"^openssl .*$", (ROOT / "docs/cluster.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 3
    folder.mkdir()
    for command in commands:
        quick = command.replace("rsa:3072", "rsa:2048")
        subprocess.run(["sh", "-c", quick], cwd=folder, check=True, capture_output=True, timeout=60)
    names = {"CA": "ca.pem", "CERT": "node.pem", "KEY": "node.key"}
    return {f"CLUSTER_TLS_{name}": str(folder / file) for name, file in names.items()}


def listening(pid: int) -> set[str]:
    """The addresses at which a process listens, as the kernel writes them."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(entry.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1])
    return found


def answered(address: str, certificate: dict[str, str]) -> bool:
    """Whether a client is talked to, with a certificate or {} for none."""
    host, port = address.removeprefix("tls://").split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate["CLUSTER_TLS_CERT"], certificate["CLUSTER_TLS_KEY"])
    try:
        with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain) as tls:
            return bool(tls.recv(100))
    except (ssl.SSLError, ConnectionError):
        return False


@needs_dask
def test_video_goes_through_a_cluster_secured_by_tls(hub: RunningHub, tmp_path: Path) -> None:
    """Scheduler, worker and processor with certificates; each other party is shut out; a new token and SIGTERM. The
    worker makes scene frames and searches the CRF, and the next video of the folder begins where the first one ended.
    """
    clip = make_clip(tmp_path / "clip.mp4", seconds=0.5)
    (hub.root / "datasets/me/in/番剧").mkdir(parents=True)
    make(["-i", str(clip), "-c", "copy", "-metadata", "title=2"], hub.root / "datasets/me/in/番剧/2.mp4")
    clip.rename(hub.root / "datasets/me/in/番剧/1.mp4")
    address = f"tls://127.0.0.1:{free_port()}"
    dotenv = tmp_path / "dotenv"
    ours, others = certificates(tmp_path / "ours"), certificates(tmp_path / "others")
    env = environment(
        hub, tmp_path, CLUSTER=address, ANIMATION_DOTENV=str(dotenv), TARGET_VMAF="99", CRF_MIN="5", **ours
    )
    env["FRAMES_REPO"] = "me/frames"
    del env["MODELSCOPE_API_TOKEN"]
    dotenv.write_text(f"MODELSCOPE_API_TOKEN={hub.token}\n", encoding="utf-8")
    worker_env = {
        **env,
        "CLUSTER_HOST": "127.0.0.3",
        "MAX_CONCURRENT": "1",
        "LOG_DIR": str(tmp_path / "worker_log"),
        "WORK_DIR": str(tmp_path / "worker_work"),
    }
    work, log = tmp_path / "worker_work/worker/work", tmp_path / "worker_log/processing.log"
    left = work / "videos" / video_key("an old folder", _file("old")) / "source.mp4"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"from an earlier run")

    def logged(text: str) -> Callable[[], bool]:
        return lambda: log.exists() and text in log.read_text(encoding="utf-8")

    with ExitStack() as stack:

        def started(program: str, *arguments: str, env: dict[str, str]) -> "subprocess.Popen[bytes]":
            process = start_program(program, *arguments, env=env)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        port = address.rpartition(":")[2]
        scheduler = started("scheduler.py", "--port", port, env=env)
        worker = started("worker.py", "--name", "real", env=worker_env)
        until(logged("as tls://127.0.0.3:"), lambda: (log.exists() and log.read_text()) or "")
        assert not left.exists(), "what an earlier run left is swept"
        second = run_program("worker.py", env=worker_env)
        assert second.returncode == 1
        assert re.fullmatch(rf"worker.py: a worker runs here already \(pid {worker.pid} on .*\): .*\n", second.stderr)

        at = re.search(r"as (tls://\S+)", log.read_text(encoding="utf-8"))
        assert at is not None
        for one in (address, at.group(1)):
            assert [answered(one, shown) for shown in ({}, others, ours)] == [False, False, True]
        for process, place in ((scheduler, "0100007F"), (worker, "0300007F")):
            addresses = {at.partition(":")[0] for at in listening(process.pid)}
            assert place in addresses and addresses <= {place, "0100007F"}, addresses
        doctor = run_program("doctor.py", env=env).stdout
        assert f"OK       scheduler    {address} answers" in doctor and f"workers      1: {at.group(1)};" in doctor

        hub.token = NEW_TOKEN  # which the worker reads once the hub refuses its old one
        dotenv.write_text(f"MODELSCOPE_API_TOKEN={NEW_TOKEN}\n", encoding="utf-8")
        until(lambda: _queued(env), lambda: "queued")
        done = run_program("queue_processor.py", "--drain", env=env)
        told = (tmp_path / "log/processing.log").read_text(encoding="utf-8")
        assert done.returncode == 0 and (hub.root / "datasets/me/out/番剧/1.mkv").exists(), told + log.read_text()
        assert "worker real is ready: slots=" in told
        found = re.findall(r"CRF found: video=\S+ crf=(\d+) probes=(\d+) ", log.read_text(encoding="utf-8"))
        assert [probes for _, probes in found] == ["2", "1"] and found[0][0] == found[1][0], log.read_text()
        assert told.count(f" crf={found[0][0]} predicted=") == 2, told
        assert "error" not in told.lower().replace("errors", "")
        archives = sorted((hub.root / "datasets/me/frames/番剧").glob("*.tar"))
        rows = (archives[0].parent / METADATA).read_text(encoding="utf-8").splitlines()
        assert len(archives) == len(rows) == 2, "each video's own, made and stored by the worker"
        for archive, row in zip(
            archives, sorted(map(json.loads, rows), key=lambda row: str(row["archive"])), strict=True
        ):
            with tarfile.open(archive) as tar:
                assert tar.getnames() == [f"{row['key']}.json", f"{row['key']}.webp"] and archive.name == row["archive"]
        assert end(worker) == 0 and end(scheduler) == 0
    assert log.read_text(encoding="utf-8").rstrip().endswith("stopped")
    assert not children_working_in(tmp_path / "worker_work")
    texts = [path.read_bytes() for folder in ("log", "worker_log") for path in (tmp_path / folder).rglob("*.log")]
    assert not any(NEW_TOKEN.encode() in text for text in texts)


def _file(name: str) -> RemoteFile:
    return RemoteFile(f"A/{name}", 1, "")


def _queued(env: dict[str, str]) -> bool:
    assert run_program("modelscope_monitor.py", "--once", env=env).returncode == 0
    return "番剧" in run_program("modelscope_monitor.py", "--queue", env=env).stdout


# --- start_worker.sh -------------------------------------------------------------------------------------------------


def script(env: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    environ = {name: value for name, value in env.items() if name != "ANIMATION_VENV"}
    return subprocess.Popen(
        ["bash", str(ROOT / "start_worker.sh"), *arguments],
        env=environ,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.another_user
@needs_dask
def test_one_command_starts_a_scheduler_and_one_a_worker(hub: RunningHub, tmp_path: Path) -> None:
    if not (ROOT / ".venv" / ".requirements").exists():
        pytest.skip("the project is not set up: bash start_monitoring.sh --setup-only")
    port = str(free_port())
    env = environment(hub, tmp_path)
    kept = tmp_path / "work/worker/work/videos" / video_key("A", _file("kept")) / "result.mkv"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"a result")
    log = tmp_path / "log" / "processing.log"
    scheduler = script(env, "--scheduler-only", "--port", port)
    worker = script(env, "--scheduler", f"tcp://127.0.0.1:{port}", "--keep-results", "--concurrent", "2")
    try:
        until(
            lambda: log.exists() and f"connected to the scheduler at tcp://127.0.0.1:{port}" in log.read_text("utf-8"),
            lambda: f"{scheduler.poll()} {worker.poll()} {log.exists() and log.read_text('utf-8')}",
        )
        assert kept.exists(), "--keep-results"
        assert "2 encodes at a time" in log.read_text(encoding="utf-8")
        for process in (worker, scheduler):
            process.terminate()
            assert process.wait(PATIENCE) == 0, process.communicate()
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.communicate()
    assert f"the scheduler listens at tcp://127.0.0.1:{port}" in log.read_text(encoding="utf-8")
