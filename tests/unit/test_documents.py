"""The documents say what is so, name what exists, and keep to docs/wording.md as far as a program can tell."""

import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest

import config
from tools.startup import version

ROOT = config.ROOT
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")})
ARCHITECTURE = ROOT / "docs" / "architecture.md"
CHINESE = ROOT / "docs" / "README.zh-CN.md"
WIDEST = 120  # columns

# Habits that docs/wording.md lists; that page itself names them.
HABITS = (
    r"\bmend(s|ed|ing)?\b|\banew\b|\bgo(es)? on by itself\b|\bunforeseen\b|\bforesaw\b|\baloud\b|\bmid-encode\b",
    r"\blooks? (at|for) the hub\b|\btwo looks\b|\bleft out\b|\bwaits? again\b",
    r"\b(second|video|commit|folder|item|batch|core|worker|request|program|bit|picture)s? an? "
    r"(second|video|commit|folder|item|batch|channel|request|program|worker|source|line|fact)\b",
    r"\bthe design\b",
)


def _prose(path: Path) -> list[tuple[int, str]]:
    """The lines that are neither code nor tables, with their numbers."""
    lines, in_code = [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code and not line.startswith("|"):
            lines.append((number, line))
    return lines


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_prose_is_wrapped(path: Path) -> None:
    assert [(number, line) for number, line in _prose(path) if _columns(line) > WIDEST] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != "wording.md"], ids=lambda path: path.name)
def test_words_are_those_of_the_wording_page(path: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "``", path.read_text(encoding="utf-8"))  # names of tests and files are not prose
    found = [match[0] for habit in HABITS for match in re.finditer(habit, text)]
    assert found == []


# --- architecture.md and CONTRIBUTING.md --------------------------------------------------------------------------


def _named(path: Path) -> set[str]:
    """Paths of this project that a document names, relative to its root; a module's bare name counts under the folder
    of its section."""
    named: set[str] = set()
    folder = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"#+ (?:`(tools/(?:\w+/)*)`)?", line):
            folder = heading[1] or ""
        for code in re.findall(r"`([^`]+)`", line):
            if re.fullmatch(r"(tools|tests|deploy|docs|\.ci)(/[\w.*-]*)*", code):
                named.add(code)
            elif re.fullmatch(r"\w+\.py", code) and folder:
                named.add(folder + code)
            elif re.fullmatch(r"[\w-]+\.(sh|toml|py|txt)", code):
                named.add(code)
    return named


def _is_new(name: str) -> bool:
    return "NAME" in name


@pytest.mark.parametrize("path", [ARCHITECTURE, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_every_file_and_folder_that_is_named_exists(path: Path) -> None:
    named = {name for name in _named(path) if not _is_new(name)}
    assert len(named) > 20
    assert [name for name in sorted(named) if not any(ROOT.glob(name.rstrip("/")))] == []


def test_architecture_names_every_folder_and_module_of_the_code() -> None:
    there = {str(found.relative_to(ROOT)) for found in (ROOT / "tools").rglob("*.py") if found.name != "__init__.py"}
    named = _named(ARCHITECTURE)
    assert sorted(there - named) == []
    folders = {f"{Path(name).parent}/" for name in there}
    headings = set(re.findall(r"^### `(tools/.*?)`", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE))
    assert headings == folders


def test_architecture_names_functions_that_exist() -> None:
    """``function`` in ``tools/file.py``, and the entry points ``tools/file.py``, ``Class.method``."""
    text = ARCHITECTURE.read_text(encoding="utf-8").replace("\n", " ")
    pairs = [(name, file) for name, file in re.findall(r"`(\w+)` (?:in|of) `(tools/[\w/]+\.py)`", text)]
    pairs += [
        (name, file)
        for file, names in re.findall(r"`(tools/[\w/]+\.py|config\.py)`, `([\w.]+)`", text)
        for name in names.split(".")
    ]
    assert len(pairs) >= 10
    for name, file in pairs:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name}\b", source, re.MULTILINE), (name, file)


def test_picture_of_the_import_order_is_the_tested_one() -> None:
    tested = (ROOT / "tests" / "unit" / "test_import_order.py").read_text(encoding="utf-8").split('"""')[1]
    picture = re.search(r"^core → .*$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    assert picture
    assert re.findall(r"\w+", picture[0]) == re.findall(r"\w+", tested.partition(":")[2])


# --- the Chinese guide --------------------------------------------------------------------------------------------

HAN = r"[\u4e00-\u9fff]"


def _chinese_lines() -> list[str]:
    """Chinese text without its code spans and links' targets; comments in code blocks are text as well."""
    lines, in_code = [], False
    for line in CHINESE.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            in_code = not in_code
        elif in_code:
            lines.append(re.sub(r'"[^"]*"', "", line).partition("#")[2] if "#" in line else "")
        else:
            lines.append(re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "`x`", line)))
    return lines


def test_chinese_punctuation_is_full_width() -> None:
    wrong = rf"{HAN}[`*]* ?[,;:()?!]|[,;:()?!] ?[`*]*{HAN}"
    assert [line for line in _chinese_lines() if re.search(wrong, line)] == []


def test_chinese_and_latin_are_a_space_apart() -> None:
    wrong = rf"{HAN}[A-Za-z0-9`\[]|[A-Za-z0-9`\]]{HAN}"
    assert [line for line in _chinese_lines() if re.search(wrong, line)] == []


def test_no_space_beside_full_width_punctuation() -> None:
    assert [line for line in _chinese_lines() if re.search(r" [，。；：（）、]|[，。；：（）、] (?!\|)", line)] == []


def test_lines_of_the_chinese_guide_break_where_no_space_shows() -> None:
    """A line break is shown as a space: wrong between two Chinese characters."""
    lines = [line for _, line in _prose(CHINESE)]
    broken = [
        (first, second)
        for first, second in pairwise(lines)
        if re.search(rf"{HAN}$", first) and re.match(rf"\s*{HAN}", second)
    ]
    assert broken == []


# --- what runs before a commit, and the version -------------------------------------------------------------------


def test_hooks_run_what_the_test_command_checks_first() -> None:
    hooks = re.findall(r"^ +entry: (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    run = (ROOT / "tests" / "run.sh").read_text(encoding="utf-8")
    checks = re.findall(r'^"\$python" -m (.*?) \|\| failed=1', run, re.MULTILINE)
    checks = [check for check in checks if not check.startswith("pytest")]
    linters = re.findall(r"^(\.venv/bin/.*?) \|\| failed=1", run, re.MULTILINE)
    linters = [re.sub(r"^(\S*/shellcheck) .*", r"\1", linter) for linter in linters]  # a hook is told the files
    assert [hook.removeprefix(".venv/bin/python3 -m ") for hook in hooks] == [*checks, *linters]


def test_changelog_begins_with_the_version_of_the_project() -> None:
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first and first[1] == version()


def test_words_that_the_changelog_calls_new_are_those_of_the_programs() -> None:
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    words = [words for _, now in rows[2:] for pair in re.findall(r"``(.+?)``|`(.+?)`", now) for words in pair if words]
    assert len(words) > 30
    code = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "tools").rglob("*.py"))
    parts = [part.strip(" :;,") for text in words for part in text.split("…")]
    assert [part for part in parts if part not in code] == []
