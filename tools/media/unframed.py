"""AAC in LATM → the same AAC in a file of its own, without that framing, which Matroska does not hold.

mkvmerge takes the framing off the bare stream, and puts the packets at the times that the source has them at. That is
believed when every packet is there, at its time, and all of them decode to the source's samples; else the sound is
encoded again.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tools.core.errors import MediaError, VerifyError
from tools.media.census import ROUNDING
from tools.media.covers import access_to
from tools.media.encoding import unframed_in
from tools.media.facts import JUMP, Stream
from tools.media.mkvmerge import Muxer, run_muxer
from tools.media.plan import Plan
from tools.media.sound import Sound
from tools.media.verify import Checking, Packets, heard_in, packets_of

_LOOK = ("codec_id", "sample_rate", "channel_layout", "channel_layout_name")  # one of the two, by its version


def unframe(plan: Plan, muxer: Muxer, source: Path, folder: Path, checking: Checking) -> None:
    """Write ``unframed_in(folder, …)`` of each sound that the plan takes out of its framing, or mark the stream as one
    that keeps it (``Stream.stays_framed``). Raises MachineError, ReadTooSlow, DiskFull, NoEncoder, Stopped."""
    for kept in plan.kept("audio"):
        if kept.is_unframed:
            try:
                _unframe(plan, kept.source, muxer, source, folder, checking)
            except MediaError as exc:
                if exc.retryable:
                    raise
                kept.source.stays_framed = str(exc)


def _unframe(plan: Plan, stream: Stream, muxer: Muxer, source: Path, folder: Path, checking: Checking) -> None:
    """Raises VerifyError, TranscodeError, ProbeError if it can't be done without loss."""
    target = unframed_in(folder, stream)
    bare, times = target.with_suffix(".latm"), target.with_suffix(".txt")
    access = access_to(plan, source, target)
    out = ["-f", "latm", f"file:{bare}"]
    wanted = packets_of(source, stream.index, checking, out, access)
    if why := _unfit(stream, wanted.times):
        raise VerifyError(why)
    times.write_text("\n".join(["# timestamp format v2", *(f"{1000 * time:.6f}" for time in wanted.times), ""]))
    command: list[str | Path] = [muxer.mkvmerge, "--gui-mode", "--output", target, "--timestamps", f"0:{times}", bare]
    run_muxer(command, access, stall_timeout=checking.stall_timeout, max_rss=checking.max_rss, stop=checking.stop)
    if why := _differs(wanted, packets_of(target, 0, checking)):
        raise VerifyError(why)
    before, after = Sound(stream.index, "aac", stream.index, ""), Sound(0, "aac", stream.index, "")
    if said := heard_in(source, [before], checking).differences(heard_in(target, [after], checking)):
        raise VerifyError(said[0])
    bare.unlink()


def _unfit(stream: Stream, times: Sequence[float]) -> str:
    """What about the packets of the source makes their times no clock; "" if nothing does."""
    if len(times) != stream.packets or not times:
        return f"{len(times)} of {stream.packets} packets have a time"
    if any(not 0 < after - before < JUMP for before, after in pairwise(times)) or times[0] < 0:
        return "its clock is set again on the way"
    return ""


def _differs(wanted: Packets, found: Packets) -> str:
    """What the file without the framing has otherwise; "" if nothing."""
    if len(found.times) != len(wanted.times):
        return f"{len(found.times)} of {len(wanted.times)} packets are left without it"
    if any(abs(old - new) > ROUNDING for old, new in zip(wanted.times, found.times, strict=True)):
        return "a packet is at another time without it"
    before, after = ({name: of.about.get(name) for name in _LOOK} for of in (wanted, found))
    return "" if {**before, "codec_id": "aac"} == after else f"it is other sound without it: {after}"
