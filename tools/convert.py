"""The converter alone, on local files: what the processor does with a video, for people and for tests."""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

from tools.core.message import plural
from tools.entry import enter_venv

enter_venv(__name__)

import argparse
import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import config
from tools.core.companions import companions
from tools.core.errors import PipelineError, Stopped
from tools.core.folder import RemoteFile
from tools.core.planning import output_names
from tools.flags import Parser
from tools.media.converter import Beside, Conversion, EncodeProgress, FfmpegConverter
from tools.media.plan import Plan
from tools.report.job_line import bar_line
from tools.report.paint import json_text, printable
from tools.report.units import human_size, human_time
from tools.runtime.cage import confine_children
from tools.runtime.clock import stop_on_signals
from tools.runtime.language import term, translated, ui
from tools.runtime.spawn import set_patience
from tools.startup import encode_options, read_settings, run_program

if TYPE_CHECKING:
    from tqdm import tqdm


def main(argv: list[str] | None = None) -> int:
    """The program; returns the exit status: 0 all converted, 1 some refused, 2 bad usage or configuration."""
    parser = Parser(prog="convert.py", description="Convert local videos to verified MKV + AV1.")
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="video to convert")
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the results (default: beside each file)")
    parser.add_argument("--plan", action="store_true", help="show what would become of each stream, convert nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, one object per file")
    config.add_flags(parser, "encode")
    return run_program(parser, argv, _run)


def _run(parsed: argparse.Namespace) -> int:
    settings = read_settings(parsed)
    logging.basicConfig(format="%(levelname)s %(message)s")  # of the converter: an old encoder, a run that failed
    stop = threading.Event()
    stop_on_signals(stop)
    confine_children(settings.encode.cage)
    set_patience(settings.encode.nice, settings.encode.ionice)
    output, machine = encode_options(settings)
    converter = FfmpegConverter(output, replace(machine, min_free_space=0))  # who names a file wants it done
    chosen = converter.prepare()
    if not parsed.json:
        print(printable(term("encoder: {}", chosen)))
    refused = 0
    for source, target in _targets(parsed.files, parsed.out):
        if stop.is_set():
            return 1
        refused += not _one(converter, source, target, parsed.plan, parsed.json, stop)
    return 1 if refused else 0


def _targets(files: list[Path], out: Path | None) -> list[tuple[Path, Path]]:
    """Each source with its target; sources that would meet in one name keep their extensions, as on the hub."""
    pairs = []
    by_folder: dict[Path, list[Path]] = {}
    for source in files:
        by_folder.setdefault(out or source.parent, []).append(source)
    for folder, sources in by_folder.items():
        names = output_names([source.name for source in sources], {})
        for source in sources:
            target = folder / names[source.name]
            # A source is never overwritten by its own result.
            pairs.append((source, target.with_name(target.stem + ".av1.mkv") if target == source else target))
    return pairs


def _one(
    converter: FfmpegConverter, source: Path, target: Path, plan: bool, as_json: bool, stop: threading.Event
) -> bool:
    """Convert (or plan) one file and tell how it went; whether it went well."""
    try:
        if plan:
            _show_plan(source, converter.plan(source, stop), as_json)
            return True
        if target.exists():
            raise FileExistsError(17, "the result exists already, delete it first", str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        if converter.output.mux_subtitles:
            converter = converter.with_beside(source.name, _beside(source))
        with _Bar(source.name) as bar:
            report = converter.convert(source, target, on_progress=bar.show, stop=stop)
    except Stopped:
        print(ui("{}: stopped", _printable(source)), file=sys.stderr)
        return False
    except PipelineError as exc:
        _tell(
            {"file": str(source), "refused": str(exc), "kind": type(exc).__name__},
            f"{_printable(source)}: {translated(str(exc))}",
            as_json,
        )
        return False
    except OSError as exc:
        text = f"{exc.strerror}: {_printable(exc.filename or source)}"
        _tell(
            {"file": str(source), "refused": text, "kind": "OSError"},
            f"{_printable(source)}: {translated(text)}",
            as_json,
        )
        return False
    _tell({"file": str(source), "output": str(target), **report.as_record()}, _report(source, target, report), as_json)
    return True


def _beside(source: Path) -> list[Beside]:
    """The subtitles and fonts in its folder that go into its result."""
    extensions = frozenset(config.MonitorSettings().video_extensions)
    files = [RemoteFile(path.name, path.stat().st_size, "") for path in source.parent.iterdir() if path.is_file()]
    found, _ = companions(RemoteFile(source.name, 1, ""), files, extensions)
    return [Beside(source.parent / file.name, file.name) for file in found]


def _tell(content: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print(json_text(content, indent=None), flush=True)
    else:
        print(printable(text), file=sys.stderr if "refused" in content else sys.stdout, flush=True)


def _printable(path: object) -> str:
    """A name on one line, whatever is in it."""
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape").decode() for ch in str(path))


def _bar() -> "tqdm[NoReturn]":
    from tqdm import tqdm  # a quarter of the time of a start

    return tqdm(total=100, leave=False, bar_format="{desc}")


class _Bar:
    """A progress bar with fps, speed and ETA on a terminal, nothing elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = _printable(name)
        self._bar = _bar() if sys.stderr.isatty() else None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, progress: EncodeProgress) -> None:
        if self._bar is None:
            return
        fps = "" if progress.fps is None else f"{progress.fps:.1f} fps "
        speed = "" if progress.speed is None else f"{progress.speed:.2f}x "
        eta = human_time(progress.eta_s)
        numbers = f"{fps}{speed}{eta and 'ETA ' + eta}".rstrip()
        line = bar_line("", self._name, progress.percent, numbers, shutil.get_terminal_size().columns)
        self._bar.set_description_str(line, refresh=False)
        self._bar.refresh()


def _show_plan(source: Path, plan: Plan, as_json: bool) -> None:
    streams = [
        {
            "index": one.source.index,
            "type": one.source.kind,
            "source_codec": one.source.codec,
            "action": one.action,
            "codec": one.codec if one.is_kept else None,
            "why": one.why,
        }
        for one in plan.streams
    ]
    lines = [f"{_printable(source)}: {term(plan.action)}"]
    lines += [
        f"  #{s['index']} {s['type']:<10} {s['source_codec']} → {s['codec'] or '–'} "
        f"({term(str(s['action']))}): {term(str(s['why']))}"
        for s in streams
    ]
    lines += [f"  ! {translated(warning)}" for warning in plan.warnings()]
    content = {"file": str(source), "action": plan.action, "streams": streams, "warnings": plan.warnings()}
    _tell(content, "\n".join(lines), as_json)


def _report(source: Path, target: Path, report: Conversion) -> str:
    before, time = source.stat().st_size, human_time(report.duration_s)
    lines = [
        f"{_printable(source.name)} → {_printable(target)}",
        f"  {report.action} {report.encoder} {report.settings}".rstrip(),
        "  " + term("{}x{}, {}, {}, verified", report.width, report.height, plural(report.frames, "frame"), time),
        f"  {human_size(before)} → {human_size(report.size)} ({100 * report.size / max(1, before):.0f} %)",
        *_quality(report.quality),
        *(
            f"  {'#' + str(s['index']) if s['index'] >= 0 else '+'} {s['type']:<10} {s['source_codec']} → "
            f"{s['codec'] or '–'} {s['language'] or ''}".rstrip()
            for s in report.streams
        ),
        *(f"  ! {translated(warning)}" for warning in report.warnings),
    ]
    return "\n".join(lines)


def _quality(quality: Mapping[str, Any] | None) -> list[str]:
    """How good the pictures are, if that was measured."""
    if not quality:
        return []
    name = str(quality["metric"]).upper()
    values = [quality[key] for key in ("mean", "p5", "min", "seconds")]
    return ["  " + term("{} {}, 5th percentile {}, minimum {}, measured over {} s", name, *values)]


if __name__ == "__main__":
    sys.exit(main())
