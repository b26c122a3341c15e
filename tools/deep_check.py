"""``queue_processor.py --check --deep``: are published files, byte for byte and picture for picture, as recorded?"""

import logging
import random
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import config
from tools.core.errors import DiskFull, IntegrityError, MediaError
from tools.core.message import message

if TYPE_CHECKING:  # --status must not wait for what it does not use
    from tools.core.folder import RemoteFile
    from tools.core.record import Record
    from tools.hub.client import Head, HubClient

_SLACK = 0.5  # s by which a duration may differ from the record's


class DeepCheck:
    """Downloads results into WORK_DIR, one at a time, and looks at all of each. The constructor chooses an ffmpeg."""

    def __init__(self, settings: config.Settings, hub: "HubClient", head: "Head", number: int) -> None:
        """``head`` of the output repo; ``number`` of results to take of each folder. Raises NoEncoder."""
        from tools.media.converter import FfmpegConverter
        from tools.runtime.cage import confine_children
        from tools.startup import encode_options

        logging.getLogger("animation").addHandler(logging.NullHandler())  # its words are the table's
        confine_children(settings.encode.cage)
        self._hub, self._head, self._number = hub, head, number
        self._repo, self._place = settings.hub.output_repo, settings.paths.work_dir
        self._floor = int(settings.processor.min_free_space_gb * 1e9)
        self._converter = FfmpegConverter(*encode_options(settings))
        self._converter.prepare()

    def wrong(self, results: "Sequence[tuple[RemoteFile, Record]]") -> tuple[str, ...]:
        """Of a sample of a folder's results, what each is not: one line per result. Raises HubError, DiskFull."""
        sample = random.sample(list(results), min(self._number, len(results)))
        found = (
            (file.path, self._differences(file, record)) for file, record in sorted(sample, key=lambda one: one[0])
        )
        return tuple(f"{path}: {'; '.join(differences)}" for path, differences in found if differences)

    def _differences(self, file: "RemoteFile", record: "Record") -> list[str]:
        base = self._place if self._place.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="animation_check_", dir=base) as folder:
            free = shutil.disk_usage(folder).free - self._floor
            if free < file.size:
                raise DiskFull(f"no room in {folder} for {file.path}: make room", needed=file.size, free=max(0, free))
            path = Path(folder) / "result.mkv"
            try:
                self._hub.download(self._repo, self._head.commit_id, file, path, lambda moved: None)
            except IntegrityError as exc:
                return [str(exc)]
            return self._of_file(path, record)

    def _of_file(self, path: Path, record: "Record") -> list[str]:
        from tools.runtime.files import sha256_of

        if sha256_of(path) != record.get("sha256"):
            return [message("its sha256 is not the recorded one")]
        try:
            facts, complaint = self._converter.look_into(path, threading.Event())
        except MediaError as exc:
            return [str(exc)]
        video = facts.of("video")[0]
        wrong = [] if video.codec == "av1" else [f"its video is {video.codec}"]
        if video.packets != record.get("frames"):
            wrong.append(f"pictures: {video.packets} instead of {record.get('frames')}")
        if abs(facts.end - float(record.get("duration_s") or 0.0)) > _SLACK:
            wrong.append(f"{facts.end:.1f} s instead of {record.get('duration_s')} s")
        kept = sum(
            1
            for one in record.get("streams", ())
            if isinstance(one, dict) and one.get("codec") and one.get("type") in _TRACKS
        )
        there = sum(1 for stream in facts.streams if stream.kind in _TRACKS)
        if kept != there and record.get("streams"):
            wrong.append(f"streams: {there} instead of {kept}")
        return wrong + ([f"it does not decode in full: {complaint}"] if complaint else [])


_TRACKS = ("video", "audio", "subtitle")
