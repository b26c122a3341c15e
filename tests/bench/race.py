"""A folder by this project, and by the few lines that a user would write instead: fetch all, convert each, send all.

Both on an embedded hub that gives each connection a rate, as most object stores do, with the same bytes, ffmpeg and
arguments. The lines verify nothing; the project's time is from its start to its end, verification included.
"""

import os
import shutil
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.bench.clips import real_clips
from tests.bench.measure import serving
from tests.bench.table import Row, at_most, ratio
from tests.hub_server import TOKEN
from tests.media import ffmpeg, make, picture, tone
from tests.programs import ROOT, HubAddress, environment, run_program
from tools.core.folder import Folder
from tools.core.past import STAGES
from tools.core.queue_item import new_item
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.media.encoding import encoder_arguments
from tools.state.history_reader import History
from tools.state.work_queue import WorkQueue

_RATE = 2e6  # bytes/s on each connection
_PRESET = "10"
_FOLDERS = ((4, 120, "640x360", 0.85), (8, 30, "640x360", 0.85), (24, 60, "640x360", 0.75), (8, 10, "1920x1080", 0.85))
_ONE_CORE = 1.1
_GATE = f", QUALITY_METRIC={_METRIC}" if (_METRIC := os.environ.get("QUALITY_METRIC")) else ""

_LINES = """
set -e
modelscope download --dataset me/in --local_dir in
mkdir -p out/A
for file in in/A/*.mkv; do
  $FFMPEG -v error -nostdin -i "$file" -map 0 -c copy $ARGUMENTS "out/A/$(basename "$file")"
done
modelscope upload me/out out --repo-type dataset
"""


def run() -> list[Row]:
    wanted = os.environ.get("RACES")  # numbers of folders, for a part of it
    chosen = [_FOLDERS[int(number)] for number in wanted.split()] if wanted else _FOLDERS
    return [row for folder in chosen for row in _race(*folder)]


def _race(count: int, seconds: int, size: str, target: float) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        clips = _clips(top / "A", count, seconds, size)
        lines, project = _by_lines(clips, top / "lines"), _by_project(clips, top / "project")
        where = _where(top / "project" / "log", count)
    target = target if len(os.sched_getaffinity(0)) > 1 else _ONE_CORE
    data = f"{count} × {seconds} s of {size}, {_RATE / 1e6:.0f} MB/s per connection, preset {_PRESET}{_GATE}"
    shown = ratio(project / lines, (project, lines), "s")
    return [
        at_most("a folder : the lines that a user would write", data, [project / lines], target, "×", shown),
        Row("the same: where its time goes", data, 1, where),
    ]


def _where(log_dir: Path, count: int) -> str:
    """From the history: s of each stage per video, which overlap, and s from the start to the first of them."""
    log = (log_dir / "processing.log").read_text(encoding="utf-8").splitlines()
    began, first = (
        datetime.fromisoformat(next(line for line in log if words in line)[:19])
        for words in ("processing the queue", "started folder=")
    )
    done = History(log_dir).totals()
    stages = {stage: getattr(done, f"{stage}_s") / count for stage in STAGES}
    told = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items())
    return f"start {(first - began).total_seconds():.0f} s; per video {told} s"


def _clips(folder: Path, count: int, seconds: int, size: str) -> list[Path]:
    folder.mkdir()
    found = real_clips()
    shown = ["-stream_loop", "-1", "-i", f"file:{found[0]}", "-map", "0:v:0", "-map", "0:a:0"] if found else []
    source = shown or [*picture(seconds, size), *tone(seconds)]
    how = ["-t", str(seconds), "-vf", f"scale={size.replace('x', ':')}", "-c:v", "libx264", "-crf", "20", "-c:a", "aac"]
    first = make([*source, *how], folder / "ep 01.mkv")
    copies = []
    for number in range(2, count + 1):
        named = ["-i", f"file:{first}", "-map", "0", "-c", "copy", "-metadata", f"title={number}"]
        copies.append(make(named, folder / f"ep {number:02}.mkv"))
    return [first, *copies]


def _hub(clips: list[Path], top: Path) -> list[str]:
    dataset = top / "hub" / "datasets" / "me"
    shutil.copytree(clips[0].parent, dataset / "in" / "A")
    for clip in (dataset / "in" / "A").iterdir():
        os.utime(clip, (time.time() - 60,) * 2)  # the hub takes no file that may still be growing
    (dataset / "out").mkdir()
    return ["tests.bench.slow_hub", "--root", str(top / "hub"), "--each", str(_RATE)]


def _arguments(clip: Path) -> list[str]:
    """For the encoder, those that the project gives it."""
    converter = FfmpegConverter(OutputOptions(preset=int(_PRESET)))
    encoder, video = converter._chosen().encoders[0], converter.plan(clip).main_video
    return encoder_arguments(encoder, converter.output, source=video, threads=None, stream=0)[1]


def _by_lines(clips: list[Path], top: Path) -> float:
    with serving(*_hub(clips, top)) as port:
        env = environment(HubAddress(f"http://127.0.0.1:{port}", TOKEN), top, FFMPEG=ffmpeg())
        env["ARGUMENTS"] = " ".join(_arguments(clips[0]))
        env["PATH"] = f"{ROOT / '.venv' / 'bin'}:{env['PATH']}"
        began = time.monotonic()
        with (top / "lines.log").open("wb") as log:  # the client and SVT-AV1 write thousands of lines
            subprocess.run(["bash", "-c", _LINES], cwd=top, env=env, check=True, stdout=log, stderr=log)
        took = time.monotonic() - began
    assert len(list((top / "hub" / "datasets" / "me" / "out" / "A").glob("*.mkv"))) == len(clips)
    return took


def _by_project(clips: list[Path], top: Path) -> float:
    size = sum(clip.stat().st_size for clip in clips)
    with WorkQueue(top / "log").transaction() as view:
        view.put(new_item(Folder("A", "", len(clips), len(clips), size, None, False), time.time()))
    with serving(*_hub(clips, top)) as port:
        env = environment(HubAddress(f"http://127.0.0.1:{port}", TOKEN), top, PRESET=_PRESET)
        env.pop("CHECK_INTERVAL")  # as by default
        began = time.monotonic()
        run_program("queue_processor.py", "--drain", env=env, timeout=3600).check_returncode()
        took = time.monotonic() - began
    item = WorkQueue(top / "log").read().get("A")
    assert item is not None and item.videos_done == len(clips), item
    keep = os.environ.get("RACE_LOG")
    if keep:
        shutil.copy(top / "log" / "processing.log", keep)
    return took
