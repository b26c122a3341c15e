"""Makes the demo's dataset: a few folders of short clips with sound and subtitles, in the embedded hub's plain folders.

Used by ``start_monitoring.sh --demo``; a second run finds the clips and makes none.
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
from pathlib import Path

import config
from tools.core.errors import PipelineError
from tools.core.restarts import cause_of
from tools.hub_server.store import HubStore, read_token
from tools.media.complaints import bare
from tools.media.installed import find_ffmpegs
from tools.runtime.files import replace_durably
from tools.runtime.owner import give_to_owner, make_folder
from tools.startup import DEMO_FILE, read_settings, run_program

_PORT = 8020
_SUBTITLES = "1\n00:00:00,500 --> 00:00:03,000\n你好, 世界\n\n2\n00:00:03,200 --> 00:00:05,500\nHello, world\n"
_CLIPS = {
    "星空物语 第1季/星空物语 - 01.mp4": "testsrc2=size=640x360:rate=24:duration=6",
    "星空物语 第1季/星空物语 - 02.mkv": "mandelbrot=size=640x360:rate=24",
    "夏日庭院/夏日庭院 OVA.mkv": "gradients=size=640x360:rate=24:duration=6:speed=0.02",
}


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status."""
    parser = argparse.ArgumentParser(prog="demo.py", description="Make the demo's dataset.")
    parser.add_argument("--free-port", action="store_true", help="print a free port of this machine, then exit")
    parser.add_argument("--note", action="store_true", help="note the settings for commands typed later, then exit")
    parser.add_argument("--token", action="store_true", help=argparse.SUPPRESS)
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    if parsed.free_port:
        print(_free_port())
        return 0
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
        "LOG_DIR": paths.log_dir,
        "HUB_DIR": paths.hub_dir,
        "MIN_FREE_SPACE_GB": f"{settings.processor.min_free_space_gb:g}",
        "PRESET": settings.encode.preset,
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
    return bare(text.rpartition("\n")[2]) or f"ffmpeg {cause_of(status)}"


def _free_port() -> int:
    for port in (_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as found:
            return int(found.getsockname()[1])
    raise OSError("no free port")


def _make(hub_dir: Path, repo: str, ffmpeg: str) -> None:
    HubStore(hub_dir).prepare()
    for name, picture in _CLIPS.items():
        target = hub_dir / "datasets" / repo / name
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=hub_dir / ".hub") as folder:
            subtitles = Path(folder) / "words.srt"
            subtitles.write_text(_SUBTITLES, encoding="utf-8")
            made = Path(folder) / f"clip{target.suffix}"
            command = _command(ffmpeg, picture, subtitles, made)
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            made.replace(target)


def _command(ffmpeg: str, picture: str, subtitles: Path, made: Path) -> list[str]:
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=frequency=440", "-i", str(subtitles)]
    text = "mov_text" if made.suffix == ".mp4" else "srt"
    codecs = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-c:s", text]
    tags = ["-metadata:s:a:0", "language=jpn", "-metadata:s:s:0", "language=chi"]
    return [ffmpeg, "-v", "error", "-nostdin", "-y", *inputs, "-t", "6", *codecs, *tags, str(made)]


if __name__ == "__main__":
    sys.exit(main())
