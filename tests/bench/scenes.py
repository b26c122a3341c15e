"""Which cuts of the real clips are found, by this program's rule, by ffmpeg's ``scdet`` and by PySceneDetect, and for
how much CPU time. The cuts and the dissolves were found by eye (``tests/scenes``). SCENES_PYTHON names a Python that
has ``scenedetect-headless``; without it its detectors are left out."""

import json
import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.clips import ffmpeg, real_folder
from tests.bench.table import Row
from tools.core.scenes import SceneRules, find_cuts
from tools.media.scan import read_scan, scan_output

_KNOWN = Path(__file__).parent.parent / "scenes"
_NEAR = 0.05  # s by which a cut may be told wrong
_DISSOLVE = 0.5  # s from its middle within which one is found
_THEIRS = """
import json, sys, time
from scenedetect import AdaptiveDetector, ContentDetector, HashDetector, detect
kinds = {"Content": ContentDetector, "Adaptive": AdaptiveDetector, "Hash": HashDetector}
found = {}
for name, kind in kinds.items():
    began = time.process_time()
    times = [[scene[0].get_seconds() for scene in detect(path, kind())] for path in sys.argv[1:]]
    cuts = [[time - one[0] for time in one[1:]] for one in times]
    found[name] = cuts, time.process_time() - began
print(json.dumps(found))
"""
Cuts = list[list[float]]
"""Of each clip, s from its first picture."""


def run() -> list[Row]:
    """One row for each detector; [] without the clips."""
    files = [path for path in sorted(_KNOWN.glob("*.json")) if (real_folder() / path.stem).exists()]
    known = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    clips = [real_folder() / path.stem for path in files]
    found = {"this program": _timed(_ours, clips)} if clips else {}
    for threshold in (10, 5) if clips else ():  # its default, and a lower one
        found[f"ffmpeg scdet=t={threshold}"] = _timed(partial(_scdet, threshold=threshold), clips)
    if clips and (python := os.environ.get("SCENES_PYTHON")):
        command = [python, "-c", _THEIRS, *map(str, clips)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout
        found |= {f"PySceneDetect {name}": (cuts, cpu) for name, (cuts, cpu) in json.loads(said).items()}
    pictures = sum(len(one["pictures"]) for one in known)
    data = f"{len(clips)} real clips, {pictures} pictures"
    return [Row(f"scenes: {name}", data, 1, _judged(cuts, known, cpu)) for name, (cuts, cpu) in found.items()]


def _judged(found: Cuts, known: Sequence[dict[str, Any]], cpu: float) -> str:
    hits = wrong = dissolves = 0
    for cuts, one in zip(found, known, strict=True):
        hard, soft = ([one["pictures"][number][0] for number in one[kind]] for kind in ("cuts", "dissolves"))
        left = [cut for cut in cuts if not _is_in(hard, cut, _NEAR)]
        hits += sum(_is_in(cuts, there, _NEAR) for there in hard)
        dissolves += sum(_is_in(left, there, _DISSOLVE) for there in soft)
        wrong += sum(not _is_in(soft, cut, _DISSOLVE) for cut in left)
    cuts_there, soft_there = (sum(len(one[kind]) for one in known) for kind in ("cuts", "dissolves"))
    precision = f"{hits / (hits + wrong):.2f}" if hits + wrong else "–"
    return (
        f"precision {precision} ({wrong} wrong), recall {hits / max(1, cuts_there):.2f} ({hits} of {cuts_there} cuts), "
        f"{dissolves} of {soft_there} dissolves, {cpu:.1f} s of CPU"
    )


def _is_in(times: Sequence[float], wanted: float, near: float) -> bool:
    return any(abs(time - wanted) <= near for time in times)


def _timed(detect: Callable[[Path], list[float]], clips: Sequence[Path]) -> tuple[Cuts, float]:
    began = _cpu()
    return [detect(clip) for clip in clips], _cpu() - began


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _ours(clip: Path) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        noted = Path(name) / "scan.txt"
        _ffmpeg(clip, scan_output(_stream(clip), noted))
        pictures = read_scan(noted)
        return [pictures[cut].time for cut in find_cuts(pictures, SceneRules())]


def _scdet(clip: Path, threshold: int) -> list[float]:
    chain = f"scale=320:180:flags=fast_bilinear,scdet=t={threshold},metadata=mode=print:file=-"
    said = _ffmpeg(clip, ["-map", "0:V:0", "-vf", chain, "-fps_mode", "passthrough", "-f", "null", "-"])
    frames = re.split(r"^frame:", said, flags=re.MULTILINE)[1:]
    times = [float(found[1]) if (found := re.search(r"pts_time:([\d.]+)", about)) else 0.0 for about in frames]
    is_cut = ["lavfi.scd.time" in about for about in frames]
    return [time - times[0] for time, cut in zip(times, is_cut, strict=True) if cut and time > times[0]]


def _ffmpeg(clip: Path, arguments: Sequence[str]) -> str:
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-v", "quiet", "-i", f"file:{clip}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout


def _stream(clip: Path) -> int:
    """The index of the first stream of pictures."""
    command = [ffmpeg(), "-hide_banner", "-i", f"file:{clip}"]
    said = subprocess.run(command, capture_output=True, text=True, errors="replace")
    found = re.search(r"Stream #0:(\d+).*: Video:", said.stderr)
    return int(found[1]) if found else 0
