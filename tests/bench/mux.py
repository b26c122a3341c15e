"""What putting a big file together costs: bytes that mkvmerge reads and writes, its time beside a copy of the file."""

import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.bench.table import Row, at_most
from tests.media import make, picture
from tools.media.converter import FfmpegConverter, OutputOptions
from tools.media.encoding import encode_command
from tools.media.mkvmerge import find_muxer
from tools.media.mux import ENCODED
from tools.media.muxing import mux_job

_SIZE = 4 << 30  # bytes
_ONE_PASS = 1.05  # mkvmerge reads the beginning twice: once to see what it is
_SECOND = 8 * 4 * 192_000  # bytes of sound


def run() -> list[Row]:
    """Of a Matroska file of 4 GiB, nearly all of it sound that is copied."""
    muxer, why = find_muxer("auto")
    if muxer is None:
        raise SystemExit(why)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        top = Path(name)
        seconds = _SIZE // _SECOND
        sound = ["-f", "s32le", "-ar", "192000", "-ac", "8", "-t", str(seconds), "-i", "/dev/zero"]
        codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s32le"]
        source = make([*picture(seconds, "64x64", "1"), *sound, *codecs], top / "source.mkv")
        size = source.stat().st_size
        converter = FfmpegConverter(OutputOptions(preset=13))
        plan, encoder = converter.plan(source, threading.Event()), converter._chosen().encoders[0]
        encoded, target = top / ENCODED, top / "result.mkv"
        command = encode_command(plan, encoder, converter.output, source, encoded, [], None)
        subprocess.run(command, check=True, capture_output=True)
        job = mux_job(plan, muxer, encoded, source, target, encoder.label)
        for path, content in job.files.items():
            path.write_bytes(content)
        before, began = _io(), time.perf_counter()
        subprocess.run(job.command, check=True, capture_output=True)
        took, after = time.perf_counter() - began, _io()
        target.unlink()
        began = time.perf_counter()
        subprocess.run(["cp", str(source), str(target)], check=True)
        copied = time.perf_counter() - began
    what = f"Matroska, {size / 2**30:.1f} GiB"
    passes = [(after[name] - before[name]) / size for name in ("rchar", "wchar")]
    said = f"read {passes[0]:.2f}, written {passes[1]:.2f} times its size; {took:.1f} s, cp {copied:.1f} s"
    return [at_most("the final mux by mkvmerge: passes over the bytes", what, [max(passes)], _ONE_PASS, "×", said)]


def _io() -> dict[str, int]:
    """Bytes that this process and the children that it waited for read and wrote so far. Source: proc_pid_io(5)."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
