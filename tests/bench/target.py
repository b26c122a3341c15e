"""What a named quality costs and how well it is predicted, on videos that are sampled; and what short ones take.

The long ones are put together from different real clips, each turn of them cut and mirrored otherwise, so that no two
parts of a video are the same: harder to foretell than an episode. CPU is that of each program of ffmpeg's, by a
stand-in that starts the real one and notes what it used, so that a busy machine matters little.

TARGETS: a regular expression that chooses among «short NAME», «long 122 s of …», «episode 300 s of …» and «episode
24 min of …», which takes an hour of CPU. With TARGETS_KEPT, a file, what is measured is kept there and not measured
again.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.clips import ffmpeg, real_folder
from tests.bench.table import Row
from tests.conversion import convert
from tests.media import make
from tools.media import samples
from tools.media.converter import FfmpegConverter, MachineOptions, OutputOptions
from tools.media.quality import MODEL
from tools.runtime.spawn import set_caged, set_patience

DEFAULT = OutputOptions(target_vmaf=95.0, max_size_percent=100.0)
_FIXED = OutputOptions()
_NEG = "vmaf_v0.6.1neg"
_SHORT = (
    *("anim_444.mkv", "sub_movtext.mp4", "bbb_mpeg2_1080.ts", "bbb_720p_51.mp4", "mpeg1_mp2.mpg", "wmv2_mono.wmv"),
    *("bbb_vp8_1s.webm", "sintel_480p_zh_ass.mkv", "bbb_flv_360p.flv", "derived_hi10p_fansub.mkv"),
)
# What the long ones are made of: file, first s, s.
_PARTS = (
    *(("sintel_480p_zh_ass.mkv", 0.0, 13.0), ("wmv2_mono.wmv", 0.0, 12.0), ("bbb_flv_360p.flv", 0.0, 10.0)),
    *(("sintel_480p_zh_ass.mkv", 13.0, 13.0), ("derived_hi10p_fansub.mkv", 0.0, 8.0), ("mpeg1_mp2.mpg", 0.0, 15.0)),
    *(("bbb_720p_51.mp4", 0.0, 5.2), ("wmv2_mono.wmv", 12.0, 20.0), ("interlaced_h264.mp4", 0.0, 5.0)),
    *(("elephants_test7_damaged_cut.mkv", 0.0, 3.0), ("anim_444.mkv", 0.0, 2.9), ("rv10_ac3.rm", 0.0, 5.0)),
)
_TURNS = ("null", "hflip,crop=iw*4/5:ih*4/5", "vflip,crop=iw*3/4:ih*3/4:0:0", "hflip,vflip,crop=iw*2/3:ih*2/3")
_RATE = 25
# Of a long one: the parts that it begins with, which turns, s, and how it was encoded before.
_LONG = (
    *(((0, 1), 122.0, "18"), ((3, 2), 122.0, "21"), ((6, 3), 122.0, "24")),
    *(((9, 1), 122.0, "18"), ((5, 0), 122.0, "28"), ((7, 2), 122.0, "16")),
)


def run() -> list[Row]:
    """Rows of each kind."""
    chosen = re.compile(os.environ.get("TARGETS") or "")
    kept = Path(os.environ.get("TARGETS_KEPT") or os.devnull)
    known = _read(kept)
    samples.SHORT = 120.0  # so that the long ones need not be longer
    set_caged(False)
    set_patience(0, "auto")  # beside other programs it would take a day
    rows = []
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for kind, what, make_it in _jobs(top):
            if not chosen.search(f"{kind} {what}"):
                continue
            if what not in known:
                clip = make_it()
                known[what] = _of_short(clip, top) if kind == "short" else _of_long(clip, top)
                with kept.open("a") as stream:
                    stream.write(json.dumps([what, known[what]]) + "\n")
            rows += [Row(told, what, 1, measured) for told, measured in known[what].items()]
    return rows


def _read(kept: Path) -> dict[str, dict[str, str]]:
    lines = kept.read_text().splitlines() if kept.is_file() else []
    return dict(json.loads(line) for line in lines)


def _jobs(top: Path) -> Any:
    for name in _SHORT:
        yield "short", name, lambda name=name: real_folder() / name
    for number, ((first, turn), seconds, crf) in enumerate(_LONG, 1):
        what = f"{seconds:.0f} s of different clips, 320x180, no {number}"
        yield "long", what, lambda f=first, t=turn, s=seconds, c=crf: _joined(top, f, t, s, c, "320:180")
    what = "300 s of different clips, 320x180, in three turns"
    yield "episode", what, lambda: _joined(top, 0, 0, 300.0, "20", "320:180")
    what = "24 min of different clips, 848x480, each again after four turns"
    yield "episode", what, lambda: _joined(top, 0, 0, 1440.0, "20", "848:480")


def _joined(top: Path, first: int, turn: int, seconds: float, crf: str, size: str) -> Path:
    """The parts one after the other from ``first`` on, each round in its next turn."""
    arguments: list[str] = []
    graph, names, lasts, number = "", "", 0.0, 0
    while lasts < seconds:
        place = first + number
        file, begin, length = _PARTS[place % len(_PARTS)]
        filters = _TURNS[(turn + place // len(_PARTS)) % len(_TURNS)]
        arguments += ["-ss", str(begin), "-t", str(length), "-i", f"file:{real_folder() / file}"]
        even = "yadif," if file.startswith("interlaced") else ""
        graph += f"[{number}:v:0]{even}{filters},scale={size}:flags=lanczos,setsar=1,fps={_RATE},format=yuv420p"
        graph += f"[v{number}];"
        names += f"[v{number}]"
        lasts, number = lasts + length, number + 1
    graph += f"{names}concat=n={number}:v=1[v]"
    codec = ["-map", "[v]", "-c:v", "libx264", "-preset", "fast", "-crf", crf, "-t", str(seconds)]
    return make([*arguments, "-filter_complex", graph, *codec], top / "joined.mkv")


@dataclass(frozen=True, slots=True)
class _Used:
    """CPU s of the programs of one conversion."""

    encode: float  # of what became the result
    probes: float  # encoding for the search alone
    scoring: float  # of the search
    check: float  # decoding the result, and its scores


def _of_long(clip: Path, top: Path) -> dict[str, str]:
    """As the first of its folder; the next one, which begins at the answer, usually takes one probe."""
    made, used, shown = _converted(clip, top, DEFAULT)
    measured, target = _vmaf(top / "result", clip)[0], made.target
    share = 100 * target["predicted_size"] / target["video_size"] - 100
    off = target["predicted"] - measured
    cost = 100 * (used.probes + used.scoring) / used.encode
    weighs = 100 * target["video_size"] / target["source_video_size"]
    return {
        "predicted : measured": f"VMAF {target['predicted']:.1f} : {measured:.1f} ({off:+.2f}), size "
        f"{share:+.1f} %; CRF {target['crf']}, {shown}, {weighs:.0f} % of its source",
        "search : encode, CPU": f"{cost:.1f} % ({target['probes']} probes, {used.probes:.0f} s and "
        f"{used.scoring:.0f} s of comparing : {used.encode:.0f} s); "
        f"{cost / target['probes']:.1f} % per probe",
        "gate and verification : encode, CPU": f"{100 * used.check / used.encode:.1f} % ({used.check:.0f} s)",
    }


def _of_short(clip: Path, top: Path) -> dict[str, str]:
    _, before, _ = _converted(clip, top, _FIXED)
    made, used, shown = _converted(clip, top, DEFAULT)
    fixed, aimed = (_vmaf(top / name, clip) for name in ("fixed", "result"))
    neg, _ = _vmaf(top / "result", clip, _NEG)
    size = made.target["source_video_size"]
    sizes = [100 * one / size for one in (_video_bytes(top / "fixed"), made.target["video_size"])]
    total = [one.encode + one.probes + one.scoring + one.check for one in (used, before)]
    reason = made.target.get("reason", "")
    return {
        "CRF 30": f"{sizes[0]:.0f} %, {fixed[0]:.1f} / {fixed[1]:.1f}",
        "target": f"{sizes[1]:.0f} %, {aimed[0]:.1f} / {aimed[1]:.1f}; NEG {neg:.1f}; "
        f"CRF {made.target['crf']} ({reason}), {shown}; CPU {total[0] / total[1]:.1f} ×",
    }


def _converted(clip: Path, top: Path, options: OutputOptions) -> tuple[Any, _Used, str]:
    """The report, what it took, and how often the whole was encoded."""
    noted = top / "used"
    noted.unlink(missing_ok=True)
    machine = MachineOptions(ffmpeg=str(_noting(top, noted)))
    converter = FfmpegConverter(options, machine)
    converter.prepare()
    noted.unlink(missing_ok=True)
    began = time.perf_counter()
    result = top / ("fixed" if options == _FIXED else "result")
    made = convert(clip, result, converter)
    print(f"{clip.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    whole, probes, scoring, check = [], 0.0, 0.0, 0.0
    for line in noted.read_text().splitlines():
        kind, cpu = json.loads(line)
        if kind == "whole":
            whole.append(cpu)
        elif kind == "sample":
            probes += cpu
        elif kind == "score":
            scoring += cpu
        else:
            check += cpu
    used = _Used(whole[-1], probes + sum(whole[:-1]), scoring, check)
    return made, used, f"{len(whole)} × whole"


def _noting(top: Path, noted: Path) -> Path:
    """An ffmpeg that notes the CPU that it took."""
    program = top / "ffmpeg"
    program.write_text(
        f"""#!{sys.executable}
import json, os, sys
given = " ".join(sys.argv[1:])
child = os.posix_spawn({ffmpeg()!r}, sys.argv, os.environ)
_, status, used = os.wait4(child, 0)
kind = "check"
if "libvmaf" in given:  # the check of a result scores every picture of its samples
    kind = "score" if "n_subsample" in given else "check"
elif "-c:v:0 libsvtav1" in given:
    kind = "sample" if "sample.mkv" in given else "whole"
with open({str(noted)!r}, "a") as stream:
    stream.write(json.dumps([kind, used.ru_utime + used.ru_stime]) + "\\n")
sys.exit(os.waitstatus_to_exitcode(status))
"""
    )
    program.chmod(0o755)
    return program


def _vmaf(result: Path, source: Path, model: str = MODEL) -> tuple[float, float]:
    """Mean and 5th percentile of all pictures."""
    prepare = "format=yuv420p10le,setparams=range=tv:colorspace=bt709,settb=AVTB,setpts=N"
    graph = f"[0:V:0]{prepare}[a];[1:V:0]{prepare}[b];[a][b]libvmaf=model=version={model}:n_threads=2"
    command = [ffmpeg(), "-v", "error", "-nostdin", "-i", f"file:{result}", "-i", f"file:{source}"]
    command += ["-lavfi", f"{graph}:log_fmt=csv:log_path=/dev/stdout", "-f", "null", "-"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    column = said[0].split(",").index("vmaf")
    values = sorted(float(line.split(",")[column]) for line in said[1:] if re.match(r"\d", line))
    return sum(values) / len(values), values[int(0.05 * (len(values) - 1))]


def _video_bytes(path: Path) -> int:
    converter = FfmpegConverter(_FIXED)
    return converter.plan(path).main_video.bytes
