"""What the history keeps, as values: one line per attempt at a video, per poll and per pause, and sums per hour."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STAGES = ("waiting", "download", "encode", "verify", "upload")
"""Where a video spends its time (``tools.core.planning``, which ``--status`` does not wait for, has them as a type)."""
OUTCOMES = ("stored", "refused", "failed", "crashed", "deferred")
"""How an attempt ends: done; can never work; may work another time; its worker died; put off, which counts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLine:
    """One attempt at a video that came to an end. What nobody knows is None or "".

    Only of ``stored`` is there a result. Seconds are those of this attempt: after a restart that found the result of
    an earlier one on the disk there is an upload and no ``encode``.
    """

    ended: float  # epoch s
    folder: str  # in the input dataset
    video: str  # file name of the source, in its folder
    outcome: str  # one of ``OUTCOMES``, never "deferred"
    final: bool = True  # nothing follows: it is stored, or given up
    attempt: int = 1  # from 1
    worker: str = ""  # its name; "" this machine
    trouble: str = ""  # the kind of cause, see ``tools.core.errors.Trouble``
    cause: str = ""  # one line
    bytes_in: int = 0  # of the source
    bytes_out: int = 0  # of the MKV
    duration_s: float = 0.0  # of the pictures
    frames: int = 0
    width: int = 0  # pixels
    height: int = 0  # pixels
    source_codec: str = ""  # of its pictures, as ffprobe calls it
    encoder: str = ""  # with its version; "" nothing was encoded
    crf: float | None = None  # on the encoder's own scale
    quality: Mapping[str, float] = field(default_factory=dict)  # measured values by name; empty if none were
    kept: int = 0  # streams
    dropped: int = 0  # streams
    warnings: str = ""  # what was dropped or damaged, one per line
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage, see ``STAGES``; s of wall time
    id: int = 0  # grows with each line; 0 = not written yet

    @property
    def saved(self) -> int:
        """Bytes; negative if the result is bigger."""
        return self.bytes_in - self.bytes_out if self.outcome == "stored" else 0

    @property
    def work(self) -> float:
        """Pixels × seconds of the pictures: what an encode has to do, whatever the file's size."""
        return self.duration_s * self.width * self.height

    @property
    def fps(self) -> float | None:
        """Pictures per second of the encode; None if there was none."""
        encode = self.seconds.get("encode", 0.0)
        return self.frames / encode if encode > 0 and self.frames else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PollLine:
    """One question of the monitor to the hub."""

    time: float  # epoch s
    answered: bool
    cause: str = ""  # why not
    listed: bool = False  # whether the folders were listed, since the dataset had moved or it was time
    folders: int = 0  # there
    waiting: int = 0  # of them not stable yet
    queued: int = 0  # by this poll


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseLine:
    """A time in which nothing new was started."""

    began: float  # epoch s
    ended: float | None  # epoch s; None: it lasts, or the processor died in it and was not started since
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Added up over some time. Never pruned, so they grow for ever, as a counter does."""

    stored: int = 0  # videos
    refused: int = 0  # attempts that ended so
    failed: int = 0
    crashed: int = 0
    deferred: int = 0
    bytes_in: int = 0  # of the sources of what was stored
    bytes_out: int = 0  # of their MKVs
    duration_s: float = 0.0  # of their pictures
    frames: int = 0
    waiting_s: float = 0.0  # stages, of all attempts; s
    download_s: float = 0.0
    encode_s: float = 0.0
    verify_s: float = 0.0
    upload_s: float = 0.0  # as far as it did not go beside the verification
    polls: int = 0
    polls_failed: int = 0
    paused_s: float = 0.0

    @property
    def saved(self) -> int:
        """Bytes."""
        return self.bytes_in - self.bytes_out


@dataclass(frozen=True, slots=True, kw_only=True)
class HourSums(Sums):
    """Of one hour."""

    hour: int  # epoch s at which it begins


@dataclass(frozen=True, slots=True)
class TroubleCount:
    """How often attempts ended in a kind of trouble."""

    trouble: str  # see ``tools.core.errors.Trouble``
    outcome: str  # one of ``OUTCOMES`` but "stored"
    attempts: int


@dataclass(frozen=True, slots=True)
class WorkerSums:
    """What a worker did. ``name`` "" is this machine."""

    name: str
    stored: int
    failed: int  # attempts that ended otherwise
    bytes_in: int
    encode_s: float
    last: float  # epoch s of its latest end


@dataclass(frozen=True, slots=True)
class FolderSums:
    """What was stored of a folder, as far as its lines are still kept."""

    folder: str
    stored: int
    bytes_in: int
    bytes_out: int
    encode_s: float
    last: float  # epoch s
