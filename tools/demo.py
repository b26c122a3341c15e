"""Makes the demo's dataset: a few folders of short clips with sound and subtitles, in the embedded hub's plain folders.

Used by ``start_monitoring.sh --demo``; a second run finds the clips and makes none. ``--summary`` waits for the results
and says what became of the clips.
"""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import contextlib
import errno
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import config
from tools.core.errors import PipelineError
from tools.core.message import message, plural
from tools.core.past import VideoLine
from tools.core.queue_item import QueueItem, Status
from tools.core.restarts import cause_of
from tools.demo_clips import ENCODING, SECONDS, Scene, inputs, motion
from tools.flags import Parser
from tools.hub_server.store import HubStore, read_token
from tools.media.complaints import bare
from tools.media.installed import find_ffmpegs
from tools.report.units import human_size
from tools.runtime.files import replace_durably
from tools.runtime.language import heading, term, ui
from tools.runtime.owner import give_to_owner, make_folder
from tools.startup import DEMO_FILE, read_command_settings, read_settings, run_program
from tools.state.history_reader import History
from tools.state.liveness import life_of
from tools.state.work_queue import WorkQueue

_PORTS = {"hub": 8020, "dashboard": 8030}
_SUBTITLES = "1\n00:00:00,500 --> 00:00:03,000\n你好, 世界\n\n2\n00:00:03,200 --> 00:00:05,500\nHello, world\n"
_CLIPS = {
    "星空物语 第1季/星空物语 - 01.mp4": Scene(1, 0x1C2450, ("HOSHI NO MACHI", "DEMO 1", "THE END")),
    "星空物语 第1季/星空物语 - 02.mkv": Scene(2, 0x40204C, ("HOSHI NO MACHI", "DEMO 2", "THE END")),
    "夏日庭院/夏日庭院 OVA.mkv": Scene(3, 0x104848, ("NATSU NO NIWA", "DEMO", "THE END")),
}
_ASKED_EVERY, _START_WITHIN = 0.5, 30.0  # s


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status."""
    parser = Parser(prog="demo.py", description="Make the demo's dataset.")
    parser.add_argument(
        "--free-port",
        nargs="?",
        const="hub",
        choices=list(_PORTS),
        help="print a free port of this machine for the hub or the dashboard, then exit",
    )
    parser.add_argument("--note", action="store_true", help="note the settings for commands typed later, then exit")
    parser.add_argument("--summary", action="store_true", help="wait for the results, say what came out, then exit")
    parser.add_argument("--token", action="store_true", help=argparse.SUPPRESS)
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    if parsed.free_port:
        print(_free_port(_PORTS[parsed.free_port]))
        return 0
    if parsed.summary:
        return _summary(read_command_settings(parsed))
    settings = read_settings(parsed)
    if parsed.note:
        _note(settings)
        return 0
    if parsed.token:
        print(read_token(settings.paths.hub_dir)[0])  # into a pipe of start_monitoring.sh, never on a terminal
        return 0
    try:
        _make(settings.paths.hub_dir, settings.hub.input_repo, str(find_ffmpegs(settings.encode.ffmpeg)[-1]))
    except OSError as exc:
        raise _cannot_make(settings.paths.hub_dir, exc.strerror or str(exc)) from exc
    except subprocess.CalledProcessError as exc:
        raise _cannot_make(settings.paths.hub_dir, _cause(exc.returncode, exc.stderr)) from exc
    return 0


def _cannot_make(hub_dir: Path, cause: str) -> PipelineError:
    return PipelineError(
        f"can't make the demo's clips in {hub_dir}: {cause}; set HUB_DIR to a folder with room for them"
    )


def _note(settings: config.Settings) -> None:
    hub, paths = settings.hub, settings.paths
    values = {
        "MODELSCOPE_ENDPOINT": hub.endpoint,
        "INPUT_REPO": hub.input_repo,
        "OUTPUT_REPO": hub.output_repo,
        "FRAMES_REPO": settings.frames.repo,
        "LOG_DIR": paths.log_dir,
        "HUB_DIR": paths.hub_dir,
        "MIN_FREE_SPACE_GB": f"{settings.processor.min_free_space_gb:g}",
        "PRESET": settings.encode.preset,
        "TARGET_VMAF": settings.encode.target_vmaf or "off",
        "MONITOR_INTERVAL": f"{settings.monitor.interval:g}",
        "MIN_FOLDER_STABLE_TIME": f"{settings.monitor.min_folder_stable_time:g}",
    }
    make_folder(paths.log_dir)
    path = paths.log_dir / DEMO_FILE
    replace_durably(path, "".join(f"{name}='{value}'\n" for name, value in values.items()).encode())
    give_to_owner(path)


def _cause(status: int, said: bytes) -> str:
    """One line out of a screen of ffmpeg's."""
    text = said.decode("utf-8", "replace").strip()
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in text or (number == errno.EFBIG and status == -signal.SIGXFSZ):
            return os.strerror(number)
    return bare(text.rpartition("\n")[2]) or (f"ffmpeg failed: {cause_of(status)}" if status < 0 else "ffmpeg failed")


def _free_port(first: int) -> int:
    for port in (first, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as found:
            return int(found.getsockname()[1])
    raise OSError("no free port")


def _make(hub_dir: Path, repo: str, ffmpeg: str) -> None:
    HubStore(hub_dir).prepare()
    for name, scene in _CLIPS.items():
        target = hub_dir / "datasets" / repo / name
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=hub_dir / ".hub") as folder:
            subtitles = Path(folder) / "words.srt"
            subtitles.write_text(_SUBTITLES, encoding="utf-8")
            made = Path(folder) / f"clip{target.suffix}"
            command = _command(ffmpeg, inputs(scene, Path(folder)), subtitles, made)
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            made.replace(target)


def _command(ffmpeg: str, layers: list[str], subtitles: Path, made: Path) -> list[str]:
    sources = [*layers, "-f", "lavfi", "-i", "sine=frequency=440", "-i", str(subtitles)]
    count = sources.count("-i")
    chosen = ["-filter_complex", motion(), "-map", "[picture]", "-map", f"{count - 2}:a", "-map", f"{count - 1}:s"]
    text = "mov_text" if made.suffix == ".mp4" else "srt"
    codecs = [*ENCODING, "-c:a", "aac", "-c:s", text, "-metadata:s:a:0", "language=jpn"]
    ends = ["-metadata:s:s:0", "language=chi", "-t", str(SECONDS), str(made)]
    return [ffmpeg, "-v", "error", "-nostdin", "-y", *sources, *chosen, *codecs, *ends]


def _summary(settings: config.Settings) -> int:
    """Wait until the demo's folders are settled; 1 if one failed, or if nobody works on them."""
    alone, parent = 0.0, os.getppid()  # s; before anybody is told to go on
    print(ui("Waiting for the results (Ctrl-C ends only the wait)"), flush=True)
    wanted, log_dir = {name.split("/")[0] for name in _CLIPS}, settings.paths.log_dir
    while True:
        items = [item for item in WorkQueue(log_dir).read().items() if item.folder in wanted]
        settled = [item for item in items if item.status in {Status.COMPLETED, Status.FAILED}]
        if len(settled) == len(wanted):
            break
        if os.getppid() != parent:  # whoever runs the demo has ended, and its terminal is somebody else's now
            return 1
        run = all(life_of(log_dir, program).running is not False for program in ("monitor", "processor"))
        alone = 0.0 if run else alone + _ASKED_EVERY
        if alone > _START_WITHIN:
            raise PipelineError("the demo does not run: bash start_monitoring.sh --demo starts it")
        time.sleep(_ASKED_EVERY)
    measured = _measured(History(log_dir).videos(limit=len(_CLIPS)))
    datasets = settings.paths.hub_dir / "datasets"
    results = [datasets / repo for repo in (settings.hub.output_repo, settings.frames.repo) if repo]
    print("\n".join(_told(settled, measured, results)))
    return int(any(item.status is Status.FAILED for item in settled))


def _measured(videos: Sequence[VideoLine]) -> list[str]:
    """How much the results are like their sources, where that was measured."""
    for name, shown in (("vmaf", "VMAF {:.1f}"), ("xpsnr", "XPSNR {:.1f} dB"), ("ssim", "SSIM {:.4f}")):
        if values := [video.quality[name] for video in videos if name in video.quality]:
            return [ui("Quality beside the sources: {}", shown.format(fmean(values)))]
    return []


def _told(items: Sequence[QueueItem], measured: Sequence[str], results: Sequence[Path]) -> list[str]:
    """What became of the clips, for somebody who sees this for the first time; fits 80 columns."""
    size_in, size_out = sum(item.bytes_in for item in items), sum(item.bytes_out for item in items)
    videos = sum(item.videos_done for item in items)
    shrunk = _shrunk(size_in, size_out)
    lines = ["", ui("{} converted to AV1: {}.", plural(videos, "video"), shrunk, between="\n"), *measured]
    for item in items:
        if item.status is Status.FAILED:
            lines.append("  " + ui("failed {}: {}", item.folder, item.error, between="\n  "))
        else:
            shrunk = _shrunk(item.bytes_in, item.bytes_out)
            lines.append("  " + term("{}: {} converted, {}", item.folder, item.videos_done, shrunk))
    lasting = ui("put MODELSCOPE_API_TOKEN, INPUT_REPO and OUTPUT_REPO into .env,", between="\n    ")
    return [
        *lines,
        "  " + heading("results"),
        *(f"    {folder}" for folder in results),
        "  " + heading("next, for your own videos"),
        f"    {lasting}",
        "    " + heading("end the demo, then type"),
        "    bash start_monitoring.sh",
    ]


def _shrunk(size_in: int, size_out: int) -> str:
    percent = round(100 * (1 - size_out / size_in)) if size_in else 0
    sizes = f"{human_size(size_in)} -> {human_size(size_out)}"
    return message(f"{sizes}, {abs(percent)} % {'smaller' if percent >= 0 else 'larger'}")


if __name__ == "__main__":
    sys.exit(main())
