"""How busy the cores are while anything is left to encode, across the end of a folder; real encodes, no waiting hub."""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.clips import different_copies, short_clip
from tests.bench.measure import Busy
from tests.bench.plant import Plant
from tests.bench.table import Row, at_least
from tools.media.converter import Conversion, EncodeProgress, FfmpegConverter, Held, OutputOptions, unheld
from tools.startup import cores_for_each

_FOLDERS, _EACH = 2, 4


class _Timed(FfmpegConverter):
    """The real converter; ``waiting`` counts the encodes that are not done, ``over_at`` is when too few were left."""

    def __init__(self, encodes: int, slots: int) -> None:
        super().__init__(OutputOptions())
        self._left = encodes
        self._slots = slots
        self._lock = threading.Lock()
        self.began_at = self.over_at = 0.0

    def convert(
        self,
        source: Path,
        target: Path,
        *,
        on_progress: Callable[[EncodeProgress], None],
        stop: threading.Event,
        threads: int | None = None,
        held: Held = unheld,
    ) -> Conversion:
        with self._lock:
            self.began_at = self.began_at or time.monotonic()
        made = super().convert(source, target, on_progress=on_progress, stop=stop, threads=threads, held=held)
        with self._lock:
            self._left -= 1
            if self._left == self._slots - 1:  # not every slot has a video any more
                self.over_at = time.monotonic()
        return made


def run() -> list[Row]:
    """From the first encode until fewer videos are left than there are slots."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        clip, data = short_clip(Path(name))
        copies = different_copies(clip, Path(name) / "copies", _FOLDERS * _EACH)
        for slots in (1, 2):
            shares = _shares(Path(name) / str(slots), copies, slots)
            busy = statistics.fmean(shares)
            shown = f"{100 * busy:.1f} % ({len(shares)} samples)"
            what = f"cores at work while anything is left to encode, --concurrent {slots}"
            rows.append(at_least(what, f"{_FOLDERS} folders of {_EACH} × {data}", [100 * busy], 95, "%", shown))
    return rows


def _shares(top: Path, copies: list[Path], slots: int) -> list[float]:
    converter = _Timed(len(copies), slots)
    converter.prepare()
    plant = Plant(top, converter=converter, slots=slots, threads=cores_for_each(slots))
    plant.put({f"F{n % _FOLDERS}/{path.stem}.mp4": path.read_bytes() for n, path in enumerate(copies)})
    busy = Busy()
    plant.run()
    return busy.shares(converter.began_at, converter.over_at)
