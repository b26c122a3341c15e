"""A video → one picture of every scene, as WebP files with their JSON in one archive (see ``tools.core.frames``).

The pictures come from one more decode, which stops after the last of them. ffmpeg makes them what a screen shows:
deinterlaced, turned, with square pixels, HDR mapped to SDR, RGB by the video's own matrix and range.
"""

import hashlib
import importlib.util
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tools.core.errors import MediaError
from tools.core.frames import END, Frame, Origin, lack, member, row_bytes, rows_of
from tools.core.message import message, plural
from tools.core.scenes import Picture, Scene, SceneRules, find_scenes
from tools.media.complaints import Complaints, bare
from tools.media.facts import Stream
from tools.media.plan import is_rgb
from tools.media.probe import SAFE_INPUT
from tools.media.program import machine_fault, run_program
from tools.media.scan import LARGEST_SCAN, SCAN_FILTERS, read_scan, scan_output
from tools.media.shapes import is_partly_interlaced
from tools.runtime.child import ChildLimits, ChildOutgrew, ChildTimeout
from tools.runtime.spawn import NOTHING, Access

_CHECKER = Path(__file__).with_name("look_at_pictures.py")
_METHOD = 2  # of libwebp: half the time of its default 4, 2 % larger
_LARGEST = 64 << 20  # bytes of one picture
_FLAT = 1.0  # standard deviation of luma below which a picture shows nothing
_PER_SECOND = 20.0  # s that a second of video may take, on a machine that does much else
_BASE_TIME = 600.0  # s
_HDR = {"smpte2084", "arib-std-b67"}  # transfers: PQ and HLG
_MATRICES = {"bt709": "bt709", "bt470bg": "bt601", "smpte170m": "bt601", "fcc": "fcc", "smpte240m": "smpte240m"}
_MATRICES |= {"bt2020nc": "bt2020", "bt2020c": "bt2020"}
_TONE_MAP = (
    "zscale=tin={transfer}:pin={primaries}:min={matrix}:rin={range}:t=linear:npl=100,format=gbrpf32le,"
    "zscale=p=bt709,tonemap=tonemap=hable:desat=0,zscale=t=iec61966-2-1:m=gbr:r=full,format=gbrp"
)


class FramesError(MediaError):
    """No pictures were made of a video: that none can be, by any machine, is said by a message with «no frames»."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOptions:
    """Settings that decide the pictures. Fields as in the settings' ``frames``; they must survive JSON unchanged."""

    threshold: float = 8.0
    shortest: float = 0.5  # s
    most: int = 5000  # scenes per video
    max_size: int = 2048  # pixels of the long side
    quality: int = 90  # of WebP

    @property
    def rules(self) -> SceneRules:
        return SceneRules(threshold=self.threshold, shortest=self.shortest, most=self.most)


@dataclass(frozen=True, slots=True)
class FramesMade:
    """An archive that was made."""

    scenes: int
    frames: tuple[Frame, ...]
    sha256: str
    size: int  # bytes
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Making:
    """What pictures are made with."""

    ffmpeg: Path
    options: FrameOptions
    stop: threading.Event
    max_rss: int = 0  # bytes of one child; 0 = no limit


def scan(source: Path, stream: Stream, length: float, making: Making, folder: Path) -> list[Picture]:
    """Measure every picture in a run of its own. ``length`` s. Raises MediaError, and what speaks of the machine."""
    _need_all(stream, making)
    file = folder / "scan.txt"
    command = [*_head(making), "-i", f"file:{source}", *scan_output(stream.index, file)]
    _run(command, source, folder, length, making, LARGEST_SCAN)
    try:
        return read_scan(file)
    finally:
        file.unlink(missing_ok=True)


def make_frames(
    source: Path,
    stream: Stream,
    pictures: Sequence[Picture],
    origin: Origin,
    target: Path,
    making: Making,
    folder: Path,
    sheet: Path | None = None,
) -> FramesMade:
    """Write the archive ``target``, and a contact sheet if asked for; ``folder`` is for files meanwhile.

    ``pictures`` as measured of the same file. Raises FramesError, DiskFull, MachineError, NoEncoder, Stopped."""
    _need_all(stream, making)
    scenes, left_out = find_scenes(pictures, making.options.rules)
    wanted = {scene.frame: number for number, scene in enumerate(scenes, 1) if scene.frame >= 0}
    if not wanted:
        raise FramesError(message("no frames: it shows no picture, only black or one colour"))
    take(source, stream, sorted(wanted), pictures, making, folder)
    seen = look(folder, making, sheet, [_label(pictures, wanted[n], n) for n in sorted(wanted)])
    frames = [
        _frame(pictures, scenes[wanted[n] - 1], wanted[n], *about, folder / _file(n))
        for n, about in sorted(seen.items())
        if n in wanted
    ]
    if not frames:
        raise FramesError(message("no frames: none of its pictures could be read"))
    sha256, size = _write(target, rows_of(origin, frames), [folder / _file(frame.frame) for frame in frames])
    unread = len(wanted) - len(frames)
    said = (
        [message(f"without {plural(left_out, 'cut')} beyond FRAME_MAX_SCENES: the clearest count")] if left_out else []
    )
    said += (
        [
            message(
                f"frames: {unread} of {plural(len(wanted), 'scene')} without a picture that opens and shows something"
            )
        ]
        if unread
        else []
    )
    return FramesMade(len(scenes), tuple(frames), sha256, size, tuple(said))


def cannot_show(stream: Stream, lacks: frozenset[str]) -> str:
    """Why its pictures can't be made what a screen shows, by an ffmpeg that ``lacks`` something; "" if they can."""
    is_hdr = str(stream.facts.get("color_transfer")) in _HDR
    if needed := lacks.intersection((*NEEDED, *OF_HDR) if is_hdr else NEEDED):
        return lack(needed)
    entries = stream.facts.get("side_data_list") or ()
    if any(entry.get("dv_profile") == 5 for entry in entries):
        return message("no frames: Dolby Vision profile 5 has colours that only its own players know")
    return ""


def _need_all(stream: Stream, making: Making) -> None:
    if cause := cannot_show(stream, lacking(making.ffmpeg)):
        raise FramesError(cause)


def take(
    source: Path, stream: Stream, numbers: Sequence[int], pictures: Sequence[Picture], making: Making, folder: Path
) -> None:
    """Write the pictures of these numbers, in order, as ``folder/NUMBER.webp``, its number with 8 digits."""
    chosen = "+".join(f"eq(n,{number})" for number in numbers)
    chain = [*_deinterlace(stream), "settb=1/1000", "setpts=N", f"select='{chosen}'", *shown_as(stream, making.options)]
    command = [*_head(making), "-i", f"file:{source}", "-map", f"0:{stream.index}", "-filter:v:0", ",".join(chain)]
    command += ["-fps_mode:v:0", "passthrough", "-enc_time_base:v:0", "1:1000", "-frames:v:0", str(len(numbers))]
    command += ["-c:v:0", "libwebp", "-quality:v:0", str(making.options.quality), "-compression_level:v:0"]
    command += [str(_METHOD), "-f", "image2", "-frame_pts", "1", f"file:{str(folder).replace('%', '%%')}/%08d.webp"]
    _run(command, source, folder, pictures[-1].time, making, _LARGEST)


def shown_as(stream: Stream, options: FrameOptions) -> list[str]:
    """The filters after which a picture is RGB as a screen shows it, of the wanted size. ffmpeg turns it before."""
    facts = stream.facts
    tall, wide = int(facts.get("height") or 0), int(facts.get("width") or 0)
    matrix = _MATRICES.get(str(facts.get("color_space")), "bt709" if wide >= 1280 or tall > 576 else "bt601")
    is_full = facts.get("color_range") == "pc" or str(facts.get("pix_fmt") or "").startswith("yuvj")
    width, height = "iw*max(1,sar)", "ih*max(1,1/sar)"
    square = (
        f"if(gt(sar,0),{{}},{{}})*min(1,{options.max_size}/max(if(gt(sar,0),{width},iw),if(gt(sar,0),{height},ih)))"
    )
    size = f"w='max(1,round({square.format(width, 'iw')}))':h='max(1,round({square.format(height, 'ih')}))'"
    scale = f"scale={size}:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    if str(facts.get("color_transfer")) in _HDR:
        known = {"transfer": facts["color_transfer"], "primaries": facts.get("color_primaries") or "bt2020"}
        known |= {"matrix": facts.get("color_space") or "bt2020nc", "range": "full" if is_full else "limited"}
        return [_TONE_MAP.format(**known), f"{scale}:out_range=pc", "format=gbrp", "setsar=1", "format=bgra"]
    if is_rgb(stream):
        return [scale, "format=gbrp", "setsar=1", "format=bgra"]
    colours = f":in_color_matrix={matrix}:in_range={'pc' if is_full else 'tv'}:out_range=pc"
    return [scale + colours, "format=gbrp", "setsar=1", "format=bgra"]


def _deinterlace(stream: Stream) -> list[str]:
    if is_partly_interlaced(stream.shapes):
        return ["bwdif=mode=send_frame:parity=auto:deint=interlaced"]
    if str(stream.facts.get("field_order")) in {"tt", "bb", "tb", "bt"}:
        return ["bwdif=mode=send_frame:parity=auto:deint=all"]
    return []


def look(folder: Path, making: Making, sheet: Path | None, labels: Sequence[str]) -> dict[int, tuple[int, int, str]]:
    """(width, height, hash) of each picture in the folder that opens and is not blank, by its number."""
    found: dict[int, tuple[int, int, str]] = {}

    def line(text: str) -> None:
        name, width, height, spread, digest = text.split()
        if float(spread) >= _FLAT:
            found[int(name.partition(".")[0])] = int(width), int(height), digest

    command: list[str | Path] = [sys.executable, "-I", _CHECKER, folder]
    if sheet is not None:
        (folder / "labels").write_text("\n".join(labels), encoding="utf-8")
        command += [folder / "sheet.jpg", folder / "labels"]
    access = Access(reads=(_CHECKER, *_of_python()), writes=(folder,), is_patient=True)
    complaints = Complaints()
    limits = ChildLimits(timeout=_BASE_TIME + len(labels), rss=making.max_rss)
    ended = run_program(
        command, access=access, limits=limits, stop=making.stop, on_line=line, on_complaint=complaints.line
    )
    if fault := machine_fault("the check of the pictures", ended, complaints, access):
        raise fault
    if ended.status != 0:
        raise FramesError(message(f"frames were not made: their check failed: {bare(complaints.cause())[:200]}"))
    if sheet is not None:
        (folder / "sheet.jpg").replace(sheet)
    return found


def _frame(
    pictures: Sequence[Picture], scene: Scene, number: int, width: int, height: int, digest: str, file: Path
) -> Frame:
    end = pictures[scene.end].time if scene.end < len(pictures) else _end(pictures)
    begin, time = pictures[scene.begin].time, pictures[scene.frame].time
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Frame(number, scene.frame, round(time, 3), round(begin, 3), round(end, 3), width, height, digest, sha256)


def _end(pictures: Sequence[Picture]) -> float:
    """When the last picture is over: it lasts as long as others do."""
    last = pictures[-1].time
    return last + (last / (len(pictures) - 1) if len(pictures) > 1 else 0.0)


def _file(number: int) -> str:
    return f"{number:08d}.webp"


def _label(pictures: Sequence[Picture], scene: int, frame: int) -> str:
    minutes, seconds = divmod(pictures[frame].time, 60)
    return f"{scene}   {math.floor(minutes)}:{seconds:05.2f}   #{frame}"


def _write(target: Path, rows: Sequence[dict[str, Any]], files: Sequence[Path]) -> tuple[str, int]:
    """The archive of these pictures; its sha256 and size."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as stream:
        for piece in _pieces(rows, files):
            stream.write(piece)
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def _pieces(rows: Sequence[dict[str, Any]], files: Sequence[Path]) -> Iterator[bytes]:
    for row, file in zip(rows, files, strict=True):
        yield from member(f"{row['key']}.json", row_bytes(row))
        yield from member(f"{row['key']}.webp", file.read_bytes())
    yield END


def _head(making: Making) -> list[str | Path]:
    progress = ["-nostats", "-progress", "pipe:1", "-stats_period", "1"]
    return [making.ffmpeg, "-hide_banner", "-nostdin", "-y", "-v", "repeat+error", *progress, *SAFE_INPUT]


def _run(
    command: Sequence[str | Path], source: Path, folder: Path, length: float, making: Making, largest: int
) -> None:
    """One run of ffmpeg over the source. Damage of the video is not the run's failure; raises FramesError if it is."""
    access = Access(reads=(source,), writes=(folder,), largest_file=largest, is_patient=True)
    limits = ChildLimits(timeout=_BASE_TIME + _PER_SECOND * length, rss=making.max_rss)
    complaints = Complaints()
    try:
        ended = run_program(
            command, access=access, limits=limits, stop=making.stop, on_complaint=complaints.line, env={"SVT_LOG": "1"}
        )
    except ChildTimeout as exc:
        raise FramesError(message(f"no frames: making them {exc}")) from exc
    except ChildOutgrew as exc:  # it was decoded before: this machine's memory is the limit
        raise FramesError(message(f"frames were not made: making them {exc}")) from exc
    if fault := machine_fault("making the frames", ended, complaints, access):
        raise fault
    if ended.status != 0:
        raise FramesError(message(f"no frames: ffmpeg failed: {bare(complaints.cause())[:200]}"))


def _of_python() -> tuple[Path, ...]:
    """What this Python and Pillow are made of, for a child."""
    spec = importlib.util.find_spec("PIL")
    if spec is None or spec.origin is None:
        raise FramesError(message(f"Pillow is missing: {sys.executable} -m pip install -r requirements-frames.txt"))
    return Path(sys.prefix), Path(sys.base_prefix), Path(spec.origin).parent.parent


@lru_cache
def lacking(ffmpeg: Path) -> frozenset[str]:
    """What an ffmpeg does not have of ``NEEDED`` and ``OF_HDR``. Raises OSError, PipelineError if it can't be run."""
    lines: list[str] = []
    limits = ChildLimits(timeout=60.0)
    for question in ("-filters", "-encoders"):
        command: list[str | Path] = [ffmpeg, "-hide_banner", question]
        run_program(command, access=NOTHING, limits=limits, stop=None, on_line=lines.append)
    there = {parts[1] for line in lines if len(parts := line.split()) > 1}
    return frozenset({*NEEDED, *OF_HDR} - there)


def choose_ffmpeg(ffmpegs: Sequence[Path]) -> Path:
    """The one that lacks least, of equals the first."""
    return min(ffmpegs, key=lambda ffmpeg: len(lacking(ffmpeg)))


NEEDED = (*SCAN_FILTERS, "bwdif", "libwebp")
"""The filters and the encoder that frames need."""
OF_HDR = ("zscale", "tonemap")
"""And those that HDR pictures need besides."""
