"""The two READMEs say the same, and what they say of settings, files and flags is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import config

ENGLISH = config.ROOT / "README.md"
CHINESE = config.ROOT / "docs" / "README.zh-CN.md"
OPERATE = config.ROOT / "docs" / "operate.md"
TWINS = [(ENGLISH, CHINESE), (OPERATE, OPERATE.with_name("operate.zh-CN.md"))]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _commands(path: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", _text(path), re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines()]


def _table(path: Path) -> str:
    found = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", _text(path), re.DOTALL)
    assert found, f"{path.name} has no settings table"
    return found.group(1)


def _names_and_defaults(table: str) -> list[list[str]]:
    return [row.split(" | ")[:2] for row in table.splitlines()[2:]]


@pytest.mark.parametrize(("english", "chinese"), TWINS, ids=["README", "operate"])
def test_both_languages_give_the_same_commands(english: Path, chinese: Path) -> None:
    assert len(_commands(english)) > 10
    assert _commands(chinese) == _commands(english)


@pytest.mark.parametrize(("english", "chinese"), TWINS, ids=["README", "operate"])
def test_both_languages_have_the_same_shape(english: Path, chinese: Path) -> None:
    def shape(path: Path) -> list[str]:
        outside_code = re.sub(r"^```.*?^```", "", _text(path), flags=re.MULTILINE | re.DOTALL)
        return re.findall(r"^(#+ |- |\d\. |\| )", outside_code, re.MULTILINE)

    assert shape(chinese) == shape(english)


def test_english_settings_table_is_the_one_of_the_configuration() -> None:
    assert _table(ENGLISH) == config.settings_table()


def test_chinese_settings_table_has_the_same_names_and_defaults_and_other_meanings() -> None:
    english, chinese = config.settings_table(), _table(CHINESE)
    assert _names_and_defaults(chinese) == _names_and_defaults(english)
    for ours, theirs in zip(chinese.splitlines()[2:], english.splitlines()[2:], strict=True):
        assert re.search(r"[\u4e00-\u9fff]", ours.rsplit(" | ", 1)[-1]), ours
        assert ours != theirs


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_program_and_link_exists(path: Path) -> None:
    text = _text(path)
    programs = set(re.findall(r"\b(?:tools|tests|deploy)/\w+\.(?:py|sh)", text)) | {"start_monitoring.sh"}
    for program in programs:
        assert (config.ROOT / program).is_file(), program
    for link in re.findall(r"\]\(([^):]+)\)", text):
        assert (path.parent / link).is_file(), link


def test_every_flag_of_a_documented_command_is_known_to_its_program() -> None:
    checked = 0
    helps: dict[str, str] = {}
    for command in _commands(ENGLISH):
        found = re.match(r"(?:python3 (tools/\w+\.py)|bash (start_monitoring\.sh))(.*)", command)
        if not found:
            continue
        program = found.group(1) or found.group(2)
        if program not in helps:
            start = [sys.executable] if program.endswith(".py") else ["bash"]
            asked = subprocess.run(
                [*start, config.ROOT / program, "--help"], capture_output=True, text=True, timeout=60, check=True
            )
            helps[program] = asked.stdout
        for flag in re.findall(r"--[\w-]+", found.group(3)):
            assert flag in helps[program], f"{program} has no {flag}"
            checked += 1
    assert checked >= 8


def test_every_test_that_the_fault_table_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py|…)(?:::(\w+))?`", _text(config.ROOT / "docs" / "reliability.md"))
    path = ""
    for file, function in named:
        path = path if file == "…" else file
        assert f"def {function or 'test_'}" in _text(config.ROOT / path), (path, function)
    assert len(named) > 60


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_nothing_looks_like_a_token(path: Path) -> None:
    assert not re.findall(r"ms-[0-9a-f]{8}-|[0-9a-f]{32}", _text(path))
