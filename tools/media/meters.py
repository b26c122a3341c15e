"""Which metric of picture quality there is: each is tried on two pictures, as encoders are, and what came out is kept.

In the order of preference: VMAF, which was made for what people see and whose scale means something by itself; XPSNR,
whose scale depends on the content, but which knows colours; SSIM, which every ffmpeg has.
"""

from collections.abc import Sequence
from pathlib import Path

from tools.core.errors import PipelineError
from tools.media.installed import ASKED
from tools.media.memory import Memory
from tools.media.quality import FILTERS, MODEL, Meter
from tools.runtime.child import run
from tools.runtime.spawn import NOTHING

OFF = "off"
_PICTURES = "color=gray:size=64x64:rate=25:duration=0.08,format=yuv420p10le"


def meter_for(wanted: str, ffmpegs: Sequence[Path], memory: Memory) -> Meter | None:
    """The best metric of these ffmpegs, or the one that is wanted of the first that has it; None: none has it, or none
    is wanted. ``wanted``: auto, off or a metric."""
    if wanted == OFF:
        return None
    for metric in FILTERS:
        if wanted not in ("auto", metric):
            continue
        for ffmpeg in ffmpegs:
            if _has(ffmpeg, FILTERS[metric], memory):
                return Meter(ffmpeg, metric, MODEL if metric == "vmaf" else "")
    return None


def _has(ffmpeg: Path, metric: str, memory: Memory) -> bool:
    graph = f"{_PICTURES},split[a][b];[a][b]{metric}"
    question = ["-hide_banner", "-v", "error", "-nostdin", "-filter_complex", graph, "-f", "null", "-"]
    known = memory.recall(ffmpeg, question)
    if known is None or "works" not in known:
        heard: list[str] = []
        try:
            ended = run([ffmpeg, *question], access=NOTHING, limits=ASKED, on_line=heard.append)
        except (OSError, PipelineError):
            return False
        known = {"works": ended.status == 0 and bool(heard)}
        if ended.status >= 0:  # a signal says nothing about the next time
            memory.remember(ffmpeg, question, known)
            memory.keep()
    return bool(known["works"])
