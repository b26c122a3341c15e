"""Settings: precedence, defaults, and one line for what is wrong."""

import argparse
import stat
from pathlib import Path

import pytest

import config
from config import ConfigError, Settings
from tools.modelscope_monitor import ModelScopeMonitor
from tools.modelscope_monitor import main as monitor_main
from tools.queue_processor import QueueProcessor
from tools.queue_processor import main as processor_main
from tools.startup import read_settings


def test_flags_beat_environment_beats_dotenv_beats_defaults() -> None:
    name = "MONITOR_INTERVAL"
    assert Settings.load({}).monitor.interval == 300
    assert Settings.load({}, {name: "1"}).monitor.interval == 1
    assert Settings.load({name: "2"}, {name: "1"}).monitor.interval == 2
    assert Settings.load({name: "2"}, {name: "1"}, {name: "3.5"}).monitor.interval == 3.5


def test_what_is_shown_can_be_given_again() -> None:
    """But for secrets, which are not among them; the log's first lines and what changed in .env are made of it."""
    groups = ("hub", "monitor", "processor", "encode", "frames", "notify", "cluster", "paths", "dashboard", "ui")
    shown = config.shown(Settings(), *groups)
    assert shown["MAX_CONCURRENT"] == "auto" and config.shown(Settings.load(shown), *groups) == shown


def test_empty_value_is_the_default_and_does_not_hide_a_weaker_source() -> None:
    assert Settings.load({"CRF": " "}).encode.crf == 30
    assert Settings.load({"CRF": ""}, {"CRF": "20"}).encode.crf == 20


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("MONITOR_INTERVAL", "abc", "a number from 0.1 to 86400 s"),
        ("MONITOR_INTERVAL", "nan", "a number"),
        ("MONITOR_INTERVAL", "0", "a number"),
        ("MAX_CONCURRENT", "1.5", "auto, or a whole number from 1 to 256"),
        ("INPUT_REPO", "../x", "owner/name"),
        ("ENCODER", "x264", "one of auto"),
        ("MODELSCOPE_ENDPOINT", "ftp://x", "an address"),
        ("MODELSCOPE_ENDPOINT", "https://me:secret@x", "without user or password"),
        ("VIDEO_EXTENSIONS", ",", "extensions"),
        ("COMPLETE_MARKER", "a/b", "file name"),
    ],
)
def test_wrong_value_is_one_line_with_name_value_and_range(name: str, value: str, accepted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({name: value})
    text = str(caught.value)
    assert name in text and repr(value) in text and accepted in text and "environment" in text and "\n" not in text


def test_token_is_in_no_message_and_no_repr() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({"MODELSCOPE_API_TOKEN": "hush hush"})
    assert "hush" not in str(caught.value)
    assert "quiet" not in repr(Settings.load({"MODELSCOPE_API_TOKEN": "quiet"}))


def test_output_equal_to_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="two different datasets"):
        Settings.load({"INPUT_REPO": "a/b", "OUTPUT_REPO": "a/b"})


@pytest.mark.parametrize(
    "text",
    [
        "me/in",
        "datasets/me/in",
        "https://www.modelscope.cn/datasets/me/in",
        "https://modelscope.cn/datasets/me/in/files?page=2",
        "www.modelscope.cn/datasets/me/in/",
    ],
)
def test_dataset_may_be_given_by_its_address(text: str) -> None:
    assert Settings.load({"INPUT_REPO": text}).hub.input_repo == "me/in"
    assert Settings.load({"OUTPUT_REPO": text}).hub.output_repo == "me/in"


def test_address_on_another_hub_is_refused_and_one_on_the_hub_that_is_set_is_not() -> None:
    page = "http://127.0.0.1:8020/datasets/me/in"
    with pytest.raises(ConfigError, match="not on MODELSCOPE_ENDPOINT"):
        Settings.load({"INPUT_REPO": page})
    assert Settings.load({"INPUT_REPO": page, "MODELSCOPE_ENDPOINT": "http://127.0.0.1:8020"}).hub.input_repo == "me/in"


@pytest.mark.parametrize("text", ["https://www.modelscope.cn/models/me/in", "datasets/me/in/files", "me/in/x"])
def test_what_is_no_dataset_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="INPUT_REPO"):
        Settings.load({"INPUT_REPO": text})


def test_each_user_and_each_log_folder_has_a_work_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def work_dir(log_dir: str) -> Path:
        return Settings.load({"LOG_DIR": log_dir}).paths.work_dir

    ours = Settings.load({}).paths.work_dir
    assert ours == Settings().paths.work_dir == work_dir("log") != work_dir("log/demo")
    assert ours.parent == Path("/tmp") and ours.name.startswith("animation_")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    assert Settings.load({}).paths.work_dir != ours
    assert Settings.load({"WORK_DIR": "/x", "LOG_DIR": "y"}).paths.work_dir == Path("/x")


def test_extensions_are_read_in_any_form() -> None:
    assert Settings.load({"VIDEO_EXTENSIONS": ".MP4, mkv  ts"}).monitor.video_extensions == {"mp4", "mkv", "ts"}


def test_paths_count_from_the_project_not_from_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.load({"LOG_DIR": "elsewhere"}).paths.log_dir == config.ROOT / "elsewhere"


def test_every_flag_of_a_program_reaches_its_setting() -> None:
    parser = argparse.ArgumentParser()
    config.add_flags(parser, "hub", "processor", "encode", "paths")
    parsed = parser.parse_args(["--concurrent", "3", "--interval", "7", "--crf", "22", "--work-dir", "/x"])
    settings = Settings.load({}, {}, config.flag_values(parsed))
    assert (settings.processor.max_concurrent, settings.processor.check_interval) == (3, 7)
    assert settings.encode.crf == 22 and settings.paths.work_dir == Path("/x")


def test_no_flag_takes_the_token() -> None:
    parser = argparse.ArgumentParser()
    config.add_flags(parser, "hub")
    assert "token" not in parser.format_help().split("--input-repo")[0].lower().replace("modelscope_api_token", "")


def test_dotenv_is_read_and_not_executed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    marker = tmp_path / "executed"
    path.write_text(f'CRF="25" # why not\nexport PRESET=5\nINPUT_REPO=$(touch {marker})x/y\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="INPUT_REPO"):
        read_settings(argparse.Namespace(), {"ANIMATION_DOTENV": str(path)})
    assert not marker.exists()
    path.write_text('CRF="25" # why not\nexport PRESET=5\n', encoding="utf-8")
    settings = read_settings(argparse.Namespace(), {"ANIMATION_DOTENV": str(path)})
    assert (settings.encode.crf, settings.encode.preset) == (25, 5)


@pytest.mark.parametrize("program", [monitor_main, processor_main])
def test_unreadable_dotenv_is_one_line_and_status_2(
    program: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xff\xfe\x00broken")
    path.chmod(stat.S_IRUSR)
    monkeypatch.setenv("ANIMATION_DOTENV", str(path))
    assert callable(program)
    assert program(["--once"] if program is monitor_main else ["--status"]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and said.count("\n") == 1


def test_class_attributes_carry_the_defaults_and_an_edit_in_the_file_counts() -> None:
    defaults = Settings()
    assert ModelScopeMonitor.monitor_interval == defaults.monitor.interval
    assert ModelScopeMonitor.min_folder_stable_time == defaults.monitor.min_folder_stable_time
    assert QueueProcessor.check_interval == defaults.processor.check_interval
    assert QueueProcessor.max_concurrent == defaults.processor.max_concurrent

    class Edited(ModelScopeMonitor):
        monitor_interval = 42

    assert Edited(Settings.load({})).monitor_interval == 42
    assert Edited(Settings.load({"MONITOR_INTERVAL": "5"})).monitor_interval == 5


def test_crf_that_somebody_names_is_meant_and_target_is_searched_otherwise() -> None:
    assert Settings.load({}).encode.target_vmaf == 95
    assert Settings.load({"CRF": "25"}).encode.target_vmaf == 0
    assert Settings.load({"CRF": "25"}, {"TARGET_VMAF": "93"}).encode.target_vmaf == 93
    assert Settings.load({"TARGET_VMAF": "off", "MAX_SIZE_PERCENT": "off"}).encode.max_size_percent == 0
    for name, value in (("TARGET_VMAF", "100"), ("MAX_SIZE_PERCENT", "no"), ("CRF_MAX", "10")):
        with pytest.raises(ConfigError, match=name):
            Settings.load({name: value})
