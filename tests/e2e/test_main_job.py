"""The main job as a user sees it: ``start_monitoring.sh`` under tmux, folders committed through the real SDK in two
steps, and nothing watched but ``log/`` and the output dataset."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import RunningHub, running_hub
from tests.media import make_clip, streams_of
from tests.patience import until
from tests.programs import environment
from tests.rows import strict_rows

pytestmark = pytest.mark.another_user

ROOT = Path(__file__).resolve().parent.parent.parent
REAL = ROOT.parent / "shared" / "media"
STABLE = 4.0


@dataclass(slots=True)
class Site:
    """A started system."""

    hub: RunningHub
    log_dir: Path
    work_dir: Path
    env: dict[str, str]
    socket: str

    def queue(self) -> dict[str, dict[str, Any]]:
        path = self.log_dir / "processing_queue.json"
        return {item["folder"]: item for item in json.loads(path.read_bytes())} if path.exists() else {}

    def log(self) -> str:
        path = self.log_dir / "processing.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def upload(self, files: dict[str, Path], message: str) -> None:
        """One commit through the real SDK."""
        from modelscope_hub import HubApi

        api = HubApi(endpoint=self.hub.endpoint, token=self.hub.token)
        staging = self.work_dir.parent / f"staging-{time.time_ns()}"
        for name, source in files.items():
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        api.upload_folder("me/in", "dataset", str(staging), commit_message=message, use_cache=False, disable_tqdm=True)

    def output(self) -> dict[str, Path]:
        top = self.hub.root / "datasets" / "me" / "out"
        return {str(path.relative_to(top)): path for path in top.rglob("*") if path.is_file()}

    def metadata(self, folder: str) -> dict[str, dict[str, Any]]:
        rows = strict_rows(self.output()[f"{folder}/metadata.jsonl"].read_bytes())
        return {row["source_path"]: row for row in rows}

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        until(condition, lambda: f"{what}\n{self.log()[-3000:]}", moving=self.log)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_hub(tmp_path / "hub") as hub:
        hub.store.create("me/in", 1)
        env = {
            **environment(hub, tmp_path),
            "MIN_FOLDER_STABLE_TIME": str(STABLE),
            "CHECK_INTERVAL": "1",
            "BATCH_SIZE": "2",
            "TMUX_SOCKET": "e2e",
            "TMUX_TMPDIR": str(tmp_path),
        }
        site = Site(hub, tmp_path / "log", tmp_path / "work", env, env["TMUX_SOCKET"])
        start(site)
        try:
            yield site
        finally:
            subprocess.run(["tmux", "-L", site.socket, "kill-server"], env=env, capture_output=True, check=False)


def start(site: Site) -> str:
    done = subprocess.run(
        ["bash", str(ROOT / "start_monitoring.sh")],
        env=site.env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The real clips where they are, else small ones of our own: name → file."""
    if REAL.is_dir():
        return {
            "A/第 2 话.mp4": REAL / "bbb_720p_51.mp4",
            "A/第 10 话.webm": REAL / "bbb_vp8_1s.webm",
            "A/第 1 话.mkv": REAL / "derived_hi10p_fansub.mkv",
            "B/SP 100%.avi": REAL / "packed_bframes.avi",
            "B/already.mkv": REAL / "av1_tiny.mkv",
        }
    folder = tmp_path_factory.mktemp("clips")
    made = {}
    for number, name in enumerate(("A/第 2 话.mp4", "A/第 10 话.mkv", "A/第 1 话.mkv", "B/SP 100%.mkv", "B/x.mp4")):
        made[name] = make_clip(folder / f"{number}{Path(name).suffix}", subtitles=number % 2 == 0)
    return made


def test_folders_committed_in_two_steps_come_out_once_as_av1(site: Site, clips: dict[str, Path]) -> None:
    if not REAL.is_dir():
        print("the real clips are not beside the checkout: clips of our own are used instead")
    show, other = "番剧甲 第1季", "番剧乙"
    names = {name: f"{show if name.startswith('A/') else other}/{name[2:]}" for name in clips}
    first = {names[name]: path for name, path in list(clips.items())[:2]}
    rest = {names[name]: path for name, path in list(clips.items())[2:]}

    site.upload(first, "first half")
    site.wait(lambda: "new folder" in site.log(), "the folder is seen")
    assert show not in site.queue(), "queued before it was stable"
    site.upload(rest, "second half")
    second_half = time.time()
    site.wait(lambda: {show, other} <= site.queue().keys(), "both folders are queued")
    assert time.time() - second_half >= STABLE - 1.0, "queued too early after the second half"
    site.wait(lambda: {i["status"] for i in site.queue().values()} == {"completed"}, "both are done")

    queue = site.queue()
    assert [queue[name]["priority"] for name in (show, other)] == [1, 1]
    assert queue[show]["videos_done"] == queue[show]["videos_total"] == 3
    assert queue[show]["bytes_in"] == sum(p.stat().st_size for n, p in clips.items() if n.startswith("A/"))
    expected = {str(Path(name).with_suffix(".mkv")) for name in names.values()}
    assert {name for name in site.output() if name.endswith(".mkv")} == expected
    for name, source in clips.items():
        target = str(Path(names[name]).with_suffix(".mkv"))
        check_video(site, names[name], source, site.output()[target])
    # Three videos in batches of two, and two: three commits, three lines.
    repo = site.hub.store.repo("me/out")
    assert len(repo.commits) == 3
    assert site.log().count("批次处理成功") == 3
    assert "批次处理失败" not in site.log()
    site.wait(lambda: not any(site.work_dir.rglob("*")), "the work folder is empty")
    assert "error" not in site.log().lower(), [line for line in site.log().splitlines() if "error" in line.lower()]
    assert "already" in start(site)

    changed_folder_gets_only_its_changed_videos_done_again(site, show, names["A/第 2 话.mp4"], clips["A/第 1 话.mkv"])


def check_video(site: Site, source_path: str, source: Path, target: Path) -> None:
    import hashlib

    kinds = streams_of(target)
    assert kinds["video"] == ["av1"]
    before = streams_of(source)
    assert len(kinds.get("audio", [])) == len(before.get("audio", []))
    assert len(kinds.get("subtitle", [])) == len(before.get("subtitle", []))
    record = site.metadata(str(Path(source_path).parent))[source_path]
    assert record["file_name"] == target.name
    assert record["source_size"] == source.stat().st_size
    assert record["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert record["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert record["size"] == target.stat().st_size
    assert record["frames"] > 0 and record["duration_s"] > 0


def changed_folder_gets_only_its_changed_videos_done_again(
    site: Site, folder: str, source_path: str, replacement: Path
) -> None:
    before = site.metadata(folder)
    commits = len(site.hub.store.repo("me/out").commits)
    site.upload({source_path: replacement}, "replaced")
    site.wait(
        lambda: (
            len(site.hub.store.repo("me/out").commits) > commits
            and {i["status"] for i in site.queue().values()} == {"completed"}
        ),
        "the changed video is done again",
    )
    after = site.metadata(folder)
    assert after[source_path]["sha256"] != before[source_path]["sha256"]
    assert {k: v for k, v in after.items() if k != source_path} == {k: v for k, v in before.items() if k != source_path}
    assert len(site.hub.store.repo("me/out").commits) == commits + 1
    assert (site.queue()[folder]["attempts"], site.queue()[folder]["runs"]) == (1, 2)
