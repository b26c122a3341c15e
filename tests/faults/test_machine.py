"""What happens to the local files and the machine under a job counts against no video."""

import shutil
import threading
from pathlib import Path

import pytest

from tests.fakes import FakeConverter
from tests.patience import PATIENCE
from tests.unit.test_engine import Site, site
from tools.core.errors import FilesGone, MachineError, Stopped, TranscodeError
from tools.core.queue_item import Status
from tools.runtime.files import sha256_of
from tools.stages.evidence import look_for_fault
from tools.state.journal import Journal

__all__ = ["site"]
BROKEN = "ffmpeg failed: No such file or directory"


class Sabotage:
    """Does something to the work folder in the first encode, and lets it fail as ffmpeg does then."""

    def __init__(self, work: Path, deed: str) -> None:
        self.work, self.deed, self.done = work, deed, 0

    def __call__(self, stage: str, source: Path, stop: threading.Event) -> None:
        if stage != "encode" or self.done:
            return
        self.done += 1
        if self.deed == "rot":
            source.write_bytes(b"x" * source.stat().st_size)
        else:
            shutil.rmtree({"root": self.work, "video": source.parent}[self.deed])
        raise TranscodeError(BROKEN)


@pytest.mark.parametrize("deed", ["root", "video", "rot"])
def test_files_that_vanish_or_rot_under_an_encode_are_fetched_again(
    deed: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.max_attempts = 1
    site.converter = FakeConverter(during=Sabotage(site.top / "work", deed))
    site.put({"A/1.mp4": b"one"}, "A")
    site.run()
    assert site.item("A").status is Status.COMPLETED and site.published("A")["1.mkv"] == b"av1:one"
    assert "can't be converted" not in caplog.text


def test_machine_s_trouble_is_retried_and_blamed_on_the_video_only_after_the_last_attempt(site: Site) -> None:
    site.put({"A/1.mp4": b"one", "A/2.mp4": b"two"}, "A")
    killed = MachineError("ffmpeg was ended by SIGKILL", status=-9)
    site.converter.troubles[b"one"] = [killed, killed]
    site.converter.refused[b"two"] = killed
    site.run()
    assert site.published("A")["1.mkv"] == b"av1:one"
    assert [(q.path, q.cause) for q in site.item("A").quarantined] == [("A/2.mp4", f"{killed} (tried 3 times)")]


def test_evidence_about_the_file_is_its_bytes_and_a_disk_that_works(tmp_path: Path) -> None:
    source, stop = tmp_path / "source.mp4", threading.Event()
    source.write_bytes(b"one")
    sha256 = sha256_of(source)
    look_for_fault(source, sha256, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]
    with pytest.raises(FilesGone, match="other bytes"):
        look_for_fault(source, "0" * 64, stop)
    with pytest.raises(FilesGone, match="gone"):
        look_for_fault(source, sha256, stop)
    source.write_bytes(b"one")
    stop.set()
    with pytest.raises(Stopped):
        look_for_fault(source, sha256, stop)
    stop.clear()
    (tmp_path / "trial.tmp").mkdir()
    with pytest.raises(OSError, match="directory"):
        look_for_fault(source, sha256, stop)


def deaths(site: Site) -> list[int]:
    return [video.crashes for video in Journal(site.top / "log", "A").history().values()]


def test_stop_that_takes_too_long_is_noted_and_counts_as_no_death(site: Site) -> None:
    deaf = threading.Event()

    def hang(stage: str, source: Path, stop: threading.Event) -> None:
        deaf.wait(PATIENCE)

    site.converter = FakeConverter(during=hang)
    site.put({"A/1.mp4": b"one"}, "A")
    for _ in range(3):
        engine = site.engine()
        while deaths(site) != [1]:
            engine.turn(0.01)
        engine.close(0.05)  # the job does not end; then the program is gone
        assert deaths(site) == [0]
    deaf.set()
    site.converter = FakeConverter()
    site.run()
    assert site.item("A").status is Status.COMPLETED
