"""A file of 2 GiB from and to the embedded hub, beside ``curl`` on the same hub."""

import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.measure import in_process, serving
from tests.bench.table import Row, at_least, at_most
from tests.hub_server import TOKEN
from tests.jobs import mkv, record_of
from tools.core.artifact import Artifact, ArtifactKind, VideoOutput
from tools.core.folder import RemoteFile
from tools.core.planning import VideoJob
from tools.hub.modelscope_client import ModelScopeHub
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.stages.ahead import SendingAhead
from tools.stages.download import downloaded
from tools.stages.job_context import JobTools, Unseen
from tools.stages.store import store
from tools.stages.workspace import Workspace

_SIZE, _SMALL = 2 << 30, 64 << 20  # bytes
_GIGABIT = 125e6  # bytes/s
_REPEATS = 3


def _job(size: int, sha256: str) -> VideoJob:
    return VideoJob("1", 1, "A", "me/in", "master", RemoteFile("A/big.mp4", size, sha256), mkv("A/big.mkv"))


def _worker(endpoint: str, top: Path) -> JobTools:
    hub = ModelScopeHub(endpoint, TOKEN, cache_dir=top / "cache")
    worker = JobTools(hub, FfmpegConverter(OutputOptions()), Workspace(top / "work", 0), 1)
    worker.workspace.prepare()
    return worker


def ours_down(endpoint: str, top: str, size: int, sha256: str) -> None:
    """The download stage of a video job, sha256 compared."""
    with downloaded(_job(size, sha256), _worker(endpoint, Path(top)), Unseen(0)):
        pass


def ours_up(endpoint: str, top: str, size: int, sha256: str) -> None:
    """The store stage of a video job; its result is there already."""
    job = _job(size, sha256)
    output = VideoOutput(record_of(job.source), (Artifact(ArtifactKind.VIDEO, "me/out", "A/big.mkv", sha256, size),))
    tools, context = _worker(endpoint, Path(top)), Unseen(0)
    store(job, tools, context, output, SendingAhead(job, tools, context))


def curl(*arguments: str) -> None:
    """``curl`` with the token."""
    command = ["curl", "-sSf", "-H", f"Authorization: Bearer {TOKEN}", "-o", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def curl_down(endpoint: str, top: str, size: int, sha256: str) -> None:
    curl(f"{top}/curl", f"{endpoint}/api/v1/datasets/me/in/repo?Revision=master&FilePath=A/big.mp4")


def curl_up(endpoint: str, top: str, size: int, sha256: str) -> None:
    result = _worker(endpoint, Path(top)).workspace.artifact_file("A", _job(size, sha256).source, ArtifactKind.VIDEO)
    curl("/dev/null", "-T", str(result), f"{endpoint}/api/v1/repos/datasets/me/out/blobs/{sha256}/{size}")


def run() -> list[Row]:
    """Each transfer begins with an empty workspace and a hub that lacks what is sent."""
    rows = []
    with tempfile.TemporaryDirectory() as top:
        big, small = _file(Path(top) / "big", _SIZE), _file(Path(top) / "small", _SMALL)
        for rate, wanted, link in ((_GIGABIT, 0.95, "1 Gbit/s"), (0.0, 0.50, "unthrottled")):
            for way, ours, theirs in (("download", ours_down, curl_down), ("upload", ours_up, curl_up)):
                shares, peaks, flat, speeds = [], [], [], []
                for _ in range(_REPEATS):
                    with _hub(big, way, rate) as (endpoint, folder):
                        other = in_process(theirs, endpoint, folder, *big[1:])
                    with _hub(big, way, rate) as (endpoint, folder):
                        used = in_process(ours, endpoint, folder, *big[1:])
                    with _hub(small, way, rate) as (endpoint, folder):
                        flat.append(in_process(ours, endpoint, folder, *small[1:]).peak)
                    shares.append(other.wall / used.wall)
                    peaks.append(used.peak)
                    speeds.append((_SIZE / used.wall / 1e6, _SIZE / other.wall / 1e6))
                mine, curls = (statistics.median(speed) for speed in zip(*speeds, strict=True))
                shown = f"{statistics.median(shares):.2f} ({mine:.0f} : {curls:.0f} MB/s)"
                rows.append(at_least(f"{way}, {link}: share of curl's speed", "2 GiB", shares, wanted, "", shown))
                more = [(peak - least) / 1e6 for peak, least in zip(peaks, flat, strict=True)]
                shown = f"{statistics.median(more):+.0f} MB ({statistics.median(peaks) / 1e6:.0f} MB in all)"
                what = f"{way}, {link}: peak memory beyond that of a 64 MiB file"
                rows.append(at_most(what, "2 GiB", more, 10, "MB", shown))
    return rows


def _file(path: Path, size: int) -> tuple[Path, int, str]:
    """A file that no compression helps; its size and sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for number in range(size >> 20):
            piece = hashlib.shake_128(number.to_bytes(8, "big")).digest(1 << 20)
            stream.write(piece)
            digest.update(piece)
    long_ago = time.time() - 3600  # the hub leaves alone what somebody may still be writing
    os.utime(path, (long_ago, long_ago))
    return path, size, digest.hexdigest()


@contextmanager
def _hub(file: tuple[Path, int, str], way: str, rate: float) -> Iterator[tuple[str, str]]:
    """A hub whose input dataset holds the file, or one without it and a folder whose workspace holds it as a result."""
    with tempfile.TemporaryDirectory() as name:
        top, (path, size, sha256) = Path(name), file
        source = top / "hub" / "datasets" / "me" / "in" / "A" / "big.mp4"
        source.parent.mkdir(parents=True)
        (top / "hub" / "datasets" / "me" / "out").mkdir()
        result = Workspace(top / "work", 0).artifact_file("A", _job(size, sha256).source, ArtifactKind.VIDEO)
        result.parent.mkdir(parents=True)
        (source if way == "download" else result).hardlink_to(path)
        with serving(
            "tests.bench.slow_hub", "--root", str(top / "hub"), "--down", str(rate), "--up", str(rate)
        ) as port:
            endpoint = f"http://127.0.0.1:{port}"
            # The hub hashes what it finds when it is first asked.
            curl("/dev/null", f"{endpoint}/api/v1/datasets/me/in/repo/tree?Revision=master&Recursive=True")
            yield endpoint, name
