"""Cover art of a source → picture files that the encode takes in."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from tools.core.errors import ReadTooSlow
from tools.media.census import largest_output
from tools.media.complaints import Complaints
from tools.media.encoders import Encoder
from tools.media.encoding import cover_command
from tools.media.pace import usual_limit
from tools.media.plan import Plan
from tools.media.program import run_program
from tools.media.transcode import failure
from tools.runtime.child import ChildLimits, ChildTimeout
from tools.runtime.spawn import Access


@contextlib.contextmanager
def covers_of(plan: Plan, encoder: Encoder, source: Path, part: Path, stop: threading.Event) -> Iterator[list[Path]]:
    """Cover pictures as files beside the output while it is made. Raises what ``transcode`` does, and ReadTooSlow."""
    paths = []
    try:
        for number, kept in enumerate(
            kept for kept in plan.kept("cover") if kept.action == "attach" and not plan.muxer
        ):
            path = part.with_name(f"{part.name}.cover{number}")
            paths.append(path)
            command = cover_command(encoder, source, kept.source, path)
            said = Complaints()
            limits = ChildLimits(timeout=usual_limit(plan.facts.size))
            access = access_to(plan, source, path)
            try:
                ended = run_program(command, access=access, limits=limits, stop=stop, on_complaint=said.line)
            except ChildTimeout as exc:
                raise ReadTooSlow(f"reading cover art of stream {kept.source.index} {exc}") from exc
            if ended.status != 0 or not path.exists():
                what = f"cover art of stream {kept.source.index} can't be read: ffmpeg"
                raise failure(what, command, ended, said, access)
        yield paths
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def access_to(plan: Plan, source: Path, made: Path) -> Access:
    """What a program needs that makes a file of the source."""
    reads = (source, *(one.path for one in plan.added), *(one.path for one in plan.fonts))
    return Access(reads=reads, writes=(made.parent,), largest_file=largest_output(plan), is_patient=True)
