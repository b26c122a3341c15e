"""Pictures of scenes beside a conversion: its encode measures them, and they are made while the source is there."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from tools.core.errors import DiskFull, MediaError, PipelineError, Stopped
from tools.core.frames import END, Origin
from tools.core.message import message
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions
from tools.media.frames import NEEDED, FrameOptions, FramesError, FramesMade, Making, lacking, make_frames, scan
from tools.media.plan import Plan
from tools.media.quality import Scores
from tools.media.scan import LARGEST_SCAN, read_scan, scan_output
from tools.runtime.files import sync_file
from tools.runtime.spawn import Access

_SCAN = "scan.txt"


@dataclass(frozen=True, slots=True)
class Made:
    """A result that is to be verified, and with what."""

    source: Path
    part: Path
    encoded: Path  # has the encoded streams alone, if a muxer made the part of them
    broken: int  # pictures of the source
    encoder: Encoder
    options: OutputOptions  # of the encode, with its CRF
    ffprobe: Path
    stop: threading.Event
    scores: Scores | None = None  # of all pictures, if the search for its CRF measured them
    threads: int | None = None  # to decode it with, None = the decoder's own choice


@dataclass(frozen=True, slots=True)
class Framing:
    """What is wanted of one conversion; without an ``origin`` nothing is."""

    options: FrameOptions
    origin: Origin | None = None
    target: Path | None = None  # the archive

    def scanned(self, plan: Plan, encoder: Encoder, folder: Path) -> list[str]:
        """What the encode's command needs at its end to measure the pictures as well."""
        if self.origin is None or lacking(encoder.ffmpeg).intersection(NEEDED):
            return []
        return scan_output(plan.main_video.index, folder / _SCAN)

    def access(self, of_encode: Access) -> Access:
        """With room for what is measured."""
        if self.origin is None:
            return of_encode
        return replace(of_encode, largest_file=max(of_encode.largest_file, LARGEST_SCAN))

    def made(self, plan: Plan, source: Path, folder: Path, by: Making, warnings: list[str]) -> FramesMade | None:
        """The archive of a conversion, at ``target``; an empty one, and a warning, if it can't be made. Raises
        DiskFull, Stopped."""
        if self.origin is None or self.target is None:
            return None
        made = frames_or_none(source, plan, self.origin, folder, by, warnings)
        (folder / ARCHIVE).replace(self.target)
        return made


ARCHIVE = "frames.tar"


def frames_or_none(
    source: Path, plan: Plan, origin: Origin, folder: Path, making: Making, warnings: list[str]
) -> FramesMade | None:
    """Write ``folder/ARCHIVE``, durably; with no picture in it, and a warning, if none can be made."""
    stream, part, place = plan.main_video, folder / ARCHIVE, folder / "frames"
    place.mkdir(exist_ok=True)
    made: FramesMade | None = None
    try:
        noted = folder / _SCAN
        # Of a copy nothing was measured, or only what an encode that was given up had seen.
        is_whole = plan.kept("video")[0].action == "encode" and noted.exists()
        pictures = read_scan(noted) if is_whole else []
        noted.unlink(missing_ok=True)
        pictures = pictures or scan(source, stream, plan.facts.duration or 0.0, making, place)
        made = make_frames(source, stream, pictures, origin, part, making, place)
        warnings.extend(made.warnings)
    except (DiskFull, Stopped):
        raise
    except PipelineError as exc:
        # What speaks of this machine is no word about the video, which may have pictures another time.
        said = message(f"no frames: {exc}") if isinstance(exc, MediaError) else message(f"frames were not made: {exc}")
        warnings.append(str(exc) if isinstance(exc, FramesError) else said)
        part.write_bytes(END)
    sync_file(part)
    return made
