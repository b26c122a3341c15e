"""What the default settings give, beside others: size, speed, VMAF and XPSNR against the source."""

import itertools
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.clips import ffmpeg, real_clips, real_folder
from tests.bench.conversion import plain_command
from tests.bench.table import Row
from tests.conversion import convert
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions

DEFAULT = OutputOptions()
_BESIDE = (
    *(OutputOptions(preset=preset, crf=crf) for preset, crf in ((6, 24), (6, 30), (6, 36), (4, 30), (8, 30), (10, 30))),
    OutputOptions(pix_fmt="yuv420p"),
)
_BOOST, _NO_BOOST_CRF = "enable-variance-boost=", 26.0  # a CRF that gives about the size of 30 with it


def run() -> list[Row]:
    """The real clips alone: quality of a test picture tells nothing. QUALITIES: numbers of rows, for a part of it."""
    every = [*itertools.product(_clips(), _BESIDE), *((clip, None) for clip in real_clips())]
    wanted = os.environ.get("QUALITIES")
    with tempfile.TemporaryDirectory() as name:
        result = Path(name) / "result.mkv"
        return [_row(*every[number], result) for number in (map(int, wanted.split()) if wanted else range(len(every)))]


def _clips() -> list[Path]:
    fansub = real_folder() / "derived_hi10p_fansub.mkv"
    return [*real_clips(), *([fansub] if fansub.exists() else [])]


def _row(clip: Path, options: OutputOptions | None, result: Path) -> Row:
    """``options`` None: without variance boost."""
    if options is None:
        _encode_without_boost(clip, result)
        return Row(f"preset 6, CRF {_NO_BOOST_CRF:g}, no variance boost", clip.name, 1, _judged(result, clip))
    converter = FfmpegConverter(options)
    converter.prepare()
    began = time.perf_counter()
    made = convert(clip, result, converter)
    speed = f", {made.frames / (time.perf_counter() - began):.1f} frames/s"
    depth = "" if options.pix_fmt == DEFAULT.pix_fmt else ", 8 bits"
    what = f"preset {options.preset}, CRF {options.crf:g}{depth}{' (default)' if options == DEFAULT else ''}"
    return Row(what, clip.name, 1, _judged(result, clip) + speed)


def _encode_without_boost(clip: Path, result: Path) -> None:
    # In one file with the sound, as those beside it: mkvmerge would leave the pictures alone.
    converter = FfmpegConverter(OutputOptions(crf=_NO_BOOST_CRF), MachineOptions(mkvmerge="off"))
    command = plain_command(converter, clip, result)
    assert any(_BOOST + "1" in argument for argument in command)
    command = [argument.replace(_BOOST + "1", _BOOST + "0") for argument in command]
    subprocess.run([*command[:1], "-y", *command[1:]], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _judged(result: Path, source: Path) -> str:
    size, share = result.stat().st_size, 100 * result.stat().st_size / source.stat().st_size
    return (
        f"VMAF {_vmaf(result, source):.1f}, XPSNR {_xpsnr(result, source):.1f} dB, {size / 1e3:.0f} kB ({share:.0f} %)"
    )


def _vmaf(result: Path, source: Path) -> float:
    said = _compared(result, source, "null", "libvmaf=n_threads=2")
    return float(re.findall(r"VMAF score: ([\d.]+)", said)[-1])


def _xpsnr(result: Path, source: Path) -> float:
    # The filter takes padding at the end of a line for picture: 4 dB at 848 columns, 36 dB at 832. Lines are aligned to
    # 64 bytes, so a width of whole 32s has none; hflip copies what crop only frames.
    said = _compared(result, source, "crop=trunc(iw/32)*32:ih,hflip", "xpsnr")
    return float(re.findall(r"XPSNR\s+y: ([\d.]+)", said)[-1])


def _compared(result: Path, source: Path, prepare: str, metric: str) -> str:
    prepare = f"format=yuv420p10le,{prepare},settb=AVTB,setpts=N"
    graph = f"[0:V:0]{prepare}[a];[1:V:0]{prepare}[b];[a][b]{metric}"
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-i", f"file:{result}", "-i", f"file:{source}"]
    command += ["-lavfi", graph, "-f", "null", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stderr
