"""Datasets whose names and sizes are meant to harm: through the real client, the engine, and monitor and planning."""

import json
import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.measure import Used, in_process, serving
from tests.faults.test_hub_outages import Site
from tests.faults.world import STABLE, Points, World
from tests.hub_server import running_hub
from tools.core.queue_item import Status

COMPOSED = unicodedata.normalize("NFC", "é 番剧")
DECOMPOSED = unicodedata.normalize("NFD", "é 番剧")
LONG = "名" * 83 + "ab"  # 251 bytes of UTF-8: with its extension as long as a name may be
STEMS = [
    *(
        "-i",
        "--help",
        "a:b",
        "concat:a|b",
        "http:x",
        "pipe:0",
        "%d %03d%s{0}",
        "'\"`$(touch ran)\\",
        " lead and end ",
        "~",
    ),
    *(COMPOSED, DECOMPOSED, "case", "CASE", LONG, "metadata.jsonl", "..x", "a\u00a0b\u200b", "CON"),
]
FOLDERS = ["A", "a", COMPOSED, DECOMPOSED, "-rf", "--help/--version", "%s{0}", "http:/x", "metadata.jsonl"]


@pytest.fixture
def site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    caplog.set_level(logging.INFO)
    with running_hub(tmp_path / "hub") as hub:
        hub.store.create("me/in", 1)
        hub.store.create("me/out", 1)
        yield Site(tmp_path, hub, hub.token)


def test_names_of_every_shape_come_out_each_under_its_own_name(site: Site) -> None:
    """Those that differ in case or in normalization alone too, as videos of one folder and as folders."""
    site.put("A", *(f"{stem}.mp4" for stem in STEMS))
    for folder in FOLDERS[1:]:
        site.put(folder, "1.mp4")
    site.run()
    for folder in FOLDERS:
        assert site.item(folder).status is Status.COMPLETED, site.item(folder)
    out = site.hub.root / "datasets" / "me" / "out"
    files = [path for path in out.rglob("metadata.jsonl") if path.is_file()]
    records = [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]
    sources = {f"A/{stem}.mp4" for stem in STEMS} | {f"{folder}/1.mp4" for folder in FOLDERS[1:]}
    assert {record["source_path"] for record in records} == sources and len(records) == len(sources)
    for record in records:
        folder = record["source_path"].rpartition("/")[0]
        assert (out / folder / record["file_name"]).read_bytes() == b"av1:" + record["source_path"].encode()
    made = [path.relative_to(out).as_posix() for path in out.rglob("*.mkv")]
    inside = [path for path in made if path.startswith("A/")]
    assert len(made) == len(sources) and len({_as_some_disks_see(path) for path in inside}) == len(inside)
    assert not list(site.top.rglob("ran")), "a name was run"
    assert not list((site.top / "work" / "videos").rglob("*"))


def _as_some_disks_see(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def test_names_that_no_disk_can_hold_are_told_and_keep_nothing_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """300 bytes in one part, 4 kB in all, control characters, halves of characters, ways out; a file as a folder."""
    bad = ["名" * 99 + ".mp4", "x" * 300 + ".mp4", "a\nb.mp4", "a\x1b[2Jb.mp4", "../../up.mp4", "./x.mp4", "\ud800.mp4"]
    world = World(tmp_path / "site")
    files = {f"A/{name}": b"bad" for name in bad} | {"/etc/cron.d/x.mp4": b"bad", f"{'y' * 300}/1.mp4": b"bad"}
    files["/".join(["long" * 50] * 20) + "/1.mp4"] = b"bad"
    files |= {"A/1.mp4": b"one", "A/1.mp4/x.mp4": b"inner", "A/metadata.jsonl": b"not ours"}
    world.hub.put("me/in", dict(files))
    world.clock.pass_time(STABLE)
    assert world.live(Points())
    assert {name: item.status for name, item in world.items().items()} == {
        "A": Status.COMPLETED,
        "A/1.mp4": Status.COMPLETED,
    }
    assert {path for path in world.published() if path.endswith(".mkv")} == {"A/1.mkv", "A/1.mp4/x.mkv"}
    assert b"bad" not in world.converter.encoded
    told = [r for r in caplog.records if "skipped paths" in r.getMessage()]
    assert [r.levelname for r in told] == ["WARNING"] and f"count={len(bad) + 3}" in told[0].getMessage()
    assert world.leftovers() == [] and not (tmp_path / "up.mp4").exists()


# --- a folder without end --------------------------------------------------------------------------------------------


def look(endpoint: str, top: str) -> list[str]:
    """What the monitor queues at its first look."""
    from config import Settings
    from tools.modelscope_monitor import ModelScopeMonitor

    given = {"MODELSCOPE_ENDPOINT": endpoint, "MODELSCOPE_API_TOKEN": "made-up", "LOG_DIR": f"{top}/log"}
    paths = {"WORK_DIR": f"{top}/work", "INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out"}
    return ModelScopeMonitor(Settings.load({**given, **paths})).check()


def begin(endpoint: str, top: str) -> int:
    """The videos of the one folder, as the processor plans them."""
    from config import Settings
    from tools.core.queue_item import QueueItem
    from tools.processor.item_run import RunRules
    from tools.processor.opening import open_item
    from tools.runtime.clock import SystemClock
    from tools.startup import make_hub
    from tools.state.journal import Journal

    given = {"MODELSCOPE_ENDPOINT": endpoint, "MODELSCOPE_API_TOKEN": "made-up", "LOG_DIR": f"{top}/log"}
    paths = {"WORK_DIR": f"{top}/work", "INPUT_REPO": "me/in", "OUTPUT_REPO": "me/out"}
    hub = make_hub(Settings.load({**given, **paths}), SystemClock())
    rules = RunRules(
        input_repo="me/in",
        output_repo="me/out",
        extensions=frozenset({"mp4"}),
        marker="",
        batch_size=30,
        max_attempts=3,
        retry_interval=1.0,
    )
    when = "2024-01-01T00:00:00"
    item = QueueItem(folder="番剧 00000", hash="", file_count=1, total_size=1, added_time=when)
    run = open_item(item, hub, Journal(Path(top), item.folder), rules, 0.0)
    assert next(iter(run.jobs_ready(0.0, isolated=True))).source.name == "ep 0001.mp4"
    return run.with_totals(item).videos_total


def endless(files: int, top: Path) -> tuple[Used, Used]:
    """The monitor's look at a folder of so many videos, and its opening, each in a process of its own."""
    arguments = ("--files", str(files), "--folders", "1", "--page", "3000", "--delay", "0")
    with serving("tests.bench.listing_server", *arguments) as port:
        endpoint = f"http://127.0.0.1:{port}"
        looked, opened = in_process(look, endpoint, str(top)), in_process(begin, endpoint, str(top))
    assert looked.value == ["番剧 00000"] and opened.value == files
    return looked, opened


def test_folder_of_many_files_is_queued_and_opened(tmp_path: Path) -> None:
    looked, opened = endless(20_000, tmp_path)
    assert looked.peak < 150e6 and opened.peak < 250e6
    assert looked.cpu + opened.cpu < 30  # a guard against what grows with the square


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_folder_of_a_million_files_is_queued_and_opened(tmp_path: Path) -> None:
    looked, opened = endless(1_000_000, tmp_path)
    for what, used in (("look", looked), ("open", opened)):
        print(f"{what}: {used.wall:.0f} s, {used.cpu:.0f} s of CPU, {used.peak / 1e6:.0f} MB")
    assert looked.peak < 400e6 and opened.peak < 2.5e9
