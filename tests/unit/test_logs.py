"""Log lines: one per fact, without the token, and the word that grep looks for only if a person is needed."""

import argparse
import io
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.core.errors import PipelineError
from tools.runtime import logs
from tools.startup import run_program

pytestmark = pytest.mark.another_user


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers, level_now = before, level
    logger.setLevel(level_now)


def written(log_dir: Path) -> str:
    return (log_dir / "processing.log").read_text(encoding="utf-8")


def test_line_has_time_level_program_and_message(root: logging.Logger, tmp_path: Path) -> None:
    logs.set_up("processor", tmp_path)
    logging.getLogger("x").info("stored %s", logs.fields(video="番剧 A/1.mp4", n=1, none=None, wait=1.25))
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO processor stored video="番剧 A/1.mp4" n=1 wait=1.2\n', written(tmp_path)
    )


def test_link_in_the_place_of_the_log_file_is_not_written_through(root: logging.Logger, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("theirs")
    (tmp_path / "processing.log").symlink_to(other)
    with pytest.raises(OSError, match="it is a link, which is not followed: remove it"):
        logs.set_up("processor", tmp_path)
    (tmp_path / "processing.log").unlink()
    logs.set_up("processor", tmp_path)
    (tmp_path / "processing.log").unlink()
    (tmp_path / "processing.log").symlink_to(other)
    root.handlers[0].handleError = lambda record: None  # type: ignore[method-assign]
    logging.getLogger("x").info("after a rotation")
    assert other.read_text() == "theirs"


def test_grep_error_finds_errors_only_even_for_a_folder_named_terror(root: logging.Logger, tmp_path: Path) -> None:
    logs.set_up("processor", tmp_path)
    logging.getLogger("x").info("begins folder=Terror in Resonance")
    logging.getLogger("x").warning("HTTP 500 Internal Server ERROR")
    logging.getLogger("x").error("it is over")
    found = [line for line in written(tmp_path).splitlines() if re.search("error", line, re.IGNORECASE)]
    assert len(found) == 1 and "it is over" in found[0]


def test_token_is_masked_everywhere_also_in_a_traceback(root: logging.Logger, tmp_path: Path) -> None:
    logs.set_up("processor", tmp_path, ["hush-hush"])
    try:
        raise RuntimeError("bad token hush-hush")
    except RuntimeError:
        logging.getLogger("x").exception("failed with %s", "hush-hush")
    assert "hush" not in written(tmp_path) and "RuntimeError" in written(tmp_path)


def test_token_that_came_later_is_masked_too_also_in_the_lines_of_a_handler_of_the_caller(
    root: logging.Logger, tmp_path: Path
) -> None:
    said = io.StringIO()
    logging.basicConfig(stream=said, format="mine %(message)s", force=True)
    logs.set_up("processor", tmp_path, ["first-token"])
    logs.keep_secret("healed/t0ken", None, "")
    try:
        raise RuntimeError("refused: healed/t0ken, quoted healed%2Ft0ken, before it first-token")
    except RuntimeError:
        logging.getLogger("x").exception("Authorization: Bearer %s", "healed/t0ken")
    for text in (written(tmp_path), said.getvalue()):
        assert "t0ken" not in text and "first-token" not in text and "RuntimeError" in text
    assert said.getvalue().startswith("mine ")


def test_too_short_a_secret_blackens_no_words(root: logging.Logger, tmp_path: Path) -> None:
    logs.set_up("processor", tmp_path, ["t"])
    logging.getLogger("x").info("stored")
    assert "stored" in written(tmp_path)


def test_hostile_name_stays_on_one_line(root: logging.Logger, tmp_path: Path) -> None:
    root.handlers = []  # pytest's own, which would have to report half a character
    logs.set_up("processor", tmp_path)
    logging.getLogger("x").info("name=%s", "a\nERROR forged\x1b[2J\u2028b\ud800")
    assert len(written(tmp_path).splitlines()) == 1 and "\x1b" not in written(tmp_path)


def test_log_continues_in_a_new_file_after_rotation(root: logging.Logger, tmp_path: Path) -> None:
    logs.set_up("processor", tmp_path)
    logging.getLogger("x").info("before")
    (tmp_path / "processing.log").rename(tmp_path / "processing.log.1")
    logging.getLogger("x").info("after")
    assert "after" in written(tmp_path) and "before" not in written(tmp_path)


def test_what_an_exception_says_in_a_traceback_commands_no_terminal_and_forges_no_line(
    root: logging.Logger, tmp_path: Path
) -> None:
    logs.set_up("processor", tmp_path)
    try:
        raise ValueError("bad name \x1b]0;mine\x07\x9b2J\n2026-01-01 00:00:00 ERROR processor forged")
    except ValueError:
        logging.getLogger("x").exception("failed")
    said = written(tmp_path)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said) and "\n 2026-01-01" in said
    assert len(re.findall(r"^\d", said, re.MULTILINE)) == 1


def test_callers_debug_level_is_respected(root: logging.Logger, tmp_path: Path) -> None:
    logging.basicConfig(level=logging.DEBUG, force=True)
    logs.set_up("processor", tmp_path)
    logging.getLogger("x").debug("fine detail")
    assert "DEBUG processor fine detail" in written(tmp_path)


def test_what_ends_a_program_is_in_the_log_and_found_there(
    root: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(error: Exception) -> int:
        def work(_: argparse.Namespace) -> int:
            logs.set_up("processor", tmp_path)
            raise error

        return run_program(argparse.ArgumentParser(prog="queue_processor.py"), [], work)

    before = time.time() - 1
    assert logs.last_error(tmp_path, "processor", before) is None
    assert ended(PipelineError("no encoder works here")) == 1
    assert capsys.readouterr().err == "queue_processor.py: no encoder works here\n"
    assert logs.last_error(tmp_path, "processor", before) == "ended: no encoder works here"
    with pytest.raises(ZeroDivisionError):
        ended(ZeroDivisionError("made up"))
    found = logs.last_error(tmp_path, "processor", before)
    assert found == "ended: an unexpected error, which is a bug: ZeroDivisionError: made up"
    assert "Traceback" in written(tmp_path) and "ERROR" not in capsys.readouterr().err
    logging.getLogger("x").warning("ERROR processor is only a name here")
    assert logs.last_error(tmp_path, "processor", before) == found
    assert logs.last_error(tmp_path, "monitor", before) is None
    assert logs.last_error(tmp_path, "processor", before + 1e6) is None
