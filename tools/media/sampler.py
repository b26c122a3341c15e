"""Samples of a video, encoded by the arguments of the whole and compared with the source → what a CRF would come to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools.core.crf_search import Probe
from tools.media.covers import access_to
from tools.media.encoders import Encoder
from tools.media.encoding import OutputOptions
from tools.media.facts import Stream
from tools.media.plan import Plan
from tools.media.quality import Meter, Reference, Running, Scores, score
from tools.media.samples import Part, on_packets_clock, parts_of, sample_command, whole_size
from tools.media.transcode import transcode


@dataclass(slots=True)
class Sampler:
    """Encodes and scores the samples of one video at any CRF, in a folder of its own."""

    plan: Plan
    stream: Stream
    encoder: Encoder
    options: OutputOptions
    reference: Reference
    folder: Path
    meter: Meter
    size_of: Callable[[Path], int]  # bytes of the encoded pictures in a file
    running: Running
    threads: int | None
    parts: Sequence[Part] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = parts_of(self.stream)
        self.reference = on_packets_clock(self.reference)

    def probe(self, crf: int) -> Probe:
        """Raises what ``transcode``, ``score`` and ``size_of`` do."""
        sizes, scores = [], []
        for part in self.parts:
            size, scored = self._one(part, replace(self.options, crf=float(crf)))
            sizes.append(size)
            scores.append(scored)
        weight = sum(scored.seconds for scored in scores) or 1.0
        mean = sum(scored.mean * scored.seconds for scored in scores) / weight
        return Probe(crf, mean, max(1.0, whole_size(self.stream, self.parts, sizes)))

    def _one(self, part: Part, options: OutputOptions) -> tuple[int, Scores]:
        made = self.folder / "sample.mkv"
        command = sample_command(
            self.plan, self.stream, self.encoder, options, self.reference, part.sample, made, self.threads
        )
        try:
            transcode(
                command,
                access=access_to(self.plan, self.reference.path, made),
                duration=part.sample.length,
                stall_timeout=self.running.stall_timeout,
                max_rss=self.running.max_rss,
                stop=self.running.stop,
                on_progress=lambda progress: None,
            )
            scored = score(made, self.reference, [part.sample], self.meter, self.running)
            return self.size_of(made), scored
        finally:
            made.unlink(missing_ok=True)
