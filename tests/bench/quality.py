"""What the default settings give, beside others: size, speed, VMAF and XPSNR against the source."""

import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.clips import ffmpeg, real_clips
from tests.bench.table import Row
from tools.media.converter import Converter, EncodeOptions

_SETTINGS = ((6, 24), (6, 30), (6, 36), (4, 30), (8, 30), (10, 30))
DEFAULT = (6, 30)


def run() -> list[Row]:
    """The real clips alone: quality of a test picture tells nothing."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for clip in real_clips():
            for preset, crf in _SETTINGS:
                result = Path(name) / "result.mkv"
                converter = Converter(EncodeOptions(preset=preset, crf=crf))
                converter.prepare()
                began = time.perf_counter()
                made = converter.convert(clip, result, on_progress=lambda p: None, stop=threading.Event())
                took = time.perf_counter() - began
                vmaf, xpsnr = _vmaf(result, clip), _xpsnr(result, clip)
                share = 100 * made.size / clip.stat().st_size
                shown = f"VMAF {vmaf:.1f}, XPSNR {xpsnr:.1f} dB, {made.size / 1e3:.0f} kB ({share:.0f} %)"
                what = f"preset {preset}, CRF {crf}{' (default)' if (preset, crf) == DEFAULT else ''}"
                rows.append(Row(what, clip.name, 1, f"{shown}, {made.frames / took:.1f} frames/s"))
    return rows


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
