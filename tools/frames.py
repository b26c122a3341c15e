"""One picture of every scene of local videos, as the processor makes them: archives that loaders read directly."""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.core.message import plural
from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import config
from tools.core.errors import PipelineError, Stopped
from tools.core.frames import Origin, rows_of, rows_text, with_rows
from tools.core.planning import output_names
from tools.flags import Parser
from tools.media.frames import FramesMade, Making, choose_ffmpeg, make_frames, scan
from tools.media.installed import find_ffmpegs, find_ffprobe
from tools.media.pace import usual_limit
from tools.media.probe import probe
from tools.report.paint import printable
from tools.report.units import human_size
from tools.runtime.cage import confine_children
from tools.runtime.clock import stop_on_signals
from tools.runtime.files import replace_durably, sha256_of
from tools.runtime.language import translated, ui
from tools.runtime.limits import memory
from tools.runtime.spawn import set_patience
from tools.startup import frame_options, need_frame_packages, read_settings, run_program

METADATA = "metadata.jsonl"


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 all made, 1 some could not be, 2 bad usage or configuration."""
    parser = Parser(prog="frames.py", description="Make one picture of every scene of local videos.")
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="video to take pictures of")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the archives")
    parser.add_argument("--sheet", action="store_true", help="also make a contact sheet of each video")
    config.add_flags(parser, "frames", "encode")
    return run_program(parser, argv, _run)


@dataclass(frozen=True, slots=True)
class _Tools:
    making: Making
    ffprobe: Path
    out: Path
    with_sheet: bool


def _run(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    need_frame_packages()
    stop = threading.Event()
    stop_on_signals(stop)
    confine_children(settings.encode.cage)
    set_patience(settings.encode.nice, settings.encode.ionice)
    ffmpegs = find_ffmpegs(settings.encode.ffmpeg)
    max_rss = int(settings.encode.max_encode_rss_gb * 1e9) or memory() * 3 // 4
    making = Making(choose_ffmpeg(ffmpegs), frame_options(settings), stop, max_rss)
    parsed.out.mkdir(parents=True, exist_ok=True)
    tools = _Tools(making, find_ffprobe(ffmpegs), parsed.out, parsed.sheet)
    names = output_names([str(path) for path in parsed.files], {})
    failed = 0
    for source in parsed.files:
        if stop.is_set():
            return 1
        failed += not _one(tools, source, Path(names[str(source)]).stem)
    return 1 if failed else 0


def _one(tools: _Tools, source: Path, name: str) -> bool:
    """Make the archive of one video and tell how it went; whether it went well."""
    target = tools.out / f"{name}.tar"
    try:
        if target.exists():
            raise FileExistsError(17, "the result exists already, delete it first", str(target))
        made = _made(tools, source, target, tools.out / f"{name}.jpg" if tools.with_sheet else None)
    except Stopped:
        print(printable(ui("{}: stopped", source)), file=sys.stderr)
        return False
    except (PipelineError, OSError) as exc:
        cause = f"{exc.strerror}: {exc.filename or source}" if isinstance(exc, OSError) else str(exc)
        print(printable(f"{source}: {translated(cause)}"), file=sys.stderr)
        return False
    size = human_size(made.size)
    pictures, scenes = plural(len(made.frames), "picture"), plural(made.scenes, "scene")
    told = ui("{}: {} out of {}, {} in {}", source.name, pictures, scenes, size, target)
    print(printable(told))
    for warning in made.warnings:
        print(printable(f"  ! {translated(warning)}"))
    return True


def _made(tools: _Tools, source: Path, target: Path, sheet: Path | None) -> FramesMade:
    making = tools.making
    facts = probe(source, tools.ffprobe, making.stop, limit=usual_limit)
    stream = facts.of("video")[0]
    origin = Origin(source.name, sha256_of(source, making.stop))
    with tempfile.TemporaryDirectory(prefix=".frames-", dir=tools.out) as name:
        folder = Path(name)
        part = folder / "frames.tar"
        pictures = scan(source, stream, facts.duration or 0.0, making, folder)
        made = make_frames(source, stream, pictures, origin, part, making, folder, sheet)
        table = tools.out / METADATA
        before = table.read_bytes() if table.exists() else b""
        replace_durably(table, rows_text(with_rows(before, [(target.name, rows_of(origin, made.frames))])))
        part.replace(target)
    return made


if __name__ == "__main__":
    sys.exit(main())
