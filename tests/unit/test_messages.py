"""Every message to people has its translation, and each is found again in what was made of it."""

import os
import re
import subprocess
from string import Formatter

import pytest

from tests.messages import ROOT, bare_prints, messages, sources
from tools.core.message import plural, quoted
from tools.runtime.language import (
    CATALOGUE,
    Language,
    arguments_of,
    choose,
    read_catalogue,
    term,
    translated,
    ui,
    use,
)

THERE, KNOWN = messages(), read_catalogue(CATALOGUE)
CHINESE = "[㐀-鿿]"


def fields(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def test_no_message_is_without_its_translation() -> None:
    """If this fails: ``.venv/bin/python3 -m tests.messages``, then fill in what is empty."""
    assert [f"{place}: {text}" for text, place in THERE.items() if not KNOWN.get(text)] == []


def test_no_translation_is_without_its_message() -> None:
    assert sorted(KNOWN.keys() - THERE.keys()) == []


def test_catalogue_is_in_order() -> None:
    """So that two changes of it seldom meet in one place."""
    assert list(KNOWN) == sorted(KNOWN)


def test_translations_have_the_arguments_of_their_messages() -> None:
    for english, chinese in KNOWN.items():
        names = fields(chinese)
        numbers = [int(name.removesuffix("!t")) for name in names] if any(names) else list(range(len(names)))
        assert sorted(set(numbers)) == list(range(len(fields(english)))), english


def test_each_message_is_found_again_in_what_was_made_of_it() -> None:
    """With enough words of its own, a template is not taken for another."""
    use(Language.CHINESE)
    for template in KNOWN:
        arguments = [f"<{number}>" for number in range(len(fields(template)))]
        assert translated(template.format(*arguments)) == ui(template, *arguments), template


def test_one_is_told_in_the_singular() -> None:
    assert [plural(number, "video") for number in (0, 1, 2)] == ["0 videos", "1 video", "2 videos"]
    assert [plural(number, "address", "addresses") for number in (1, 2)] == ["1 address", "2 addresses"]
    template = "MIRROR took {} of {} out of the output"
    assert ui(template, plural(1, "file"), "A 2 b") == "MIRROR took 1 file of A 2 b out of the output"
    use(Language.CHINESE)
    for number in (1, 1234):
        chinese = f"MIRROR 已从输出中删除 A 2 b 的 {number} 个文件"
        assert ui(template, plural(number, "file"), "A 2 b") == chinese
        assert translated(template.format(plural(number, "file"), "A 2 b")) == chinese
    assert translated("frames: 1 of 1 scene without a picture that opens and shows something") == (
        "场景图片：1 / 1 个场景没有能打开且有内容的图片"
    )


_NOUNS = "video|file|folder|result|item|problem|scene|line|day|address|time|attempt"
_COUNTED = re.compile(rf"{{}} ((?:AV1 |more )?(?:{_NOUNS})(?:es|s))\b(?!=)")
_NEVER_OF_ONE = {
    "without {} of the folder: more than {} files or {} MB together",
    "Add {} AV1 videos of {} folders",
    "{} … repeated {} times",
    "{} days",
    "{}: all {} results",
}


def test_words_of_a_foreign_program_stay_as_they_are() -> None:
    """By chance they are made of our templates ("{} failed: {}")."""
    use(Language.CHINESE)
    for said in ("Device creation failed: -542398533", 'a "b" is older; c', "failed"):
        assert translated(f"not used: av1_vaapi: {quoted(said)}") == f"未使用：av1_vaapi：{quoted(said)}"
    assert translated(f"{quoted('a failed: b')}; 1 item failed; {quoted('failed')}") == (
        '"a failed: b"；有 1 个项目失败；"failed"'.replace("有 ", "")
    )
    assert translated(quoted("pending")) == '"pending"'


def test_no_message_says_1_videos() -> None:
    """If this fails: ``plural(number, "video")`` as an argument, or a message of its own for 1 (``1 item failed``)."""
    found = [text for text in THERE if _COUNTED.search(text) and text not in _NEVER_OF_ONE]
    assert [text for text in found if _COUNTED.sub(lambda match: f"1 {match[1][:-1]}", text) not in THERE] == []


def test_chinese_is_set_as_the_documents_are() -> None:
    def shown(text: str) -> str:
        return re.sub(r"\{[^}]*\}|`[^`]*`", "X", re.sub(r"\{\d*!t\}", "中", text))

    near = rf"{CHINESE}[,;:!?()]|[,;:!?()]{CHINESE}|{CHINESE}[A-Za-z0-9]|[A-Za-z0-9]{CHINESE}"
    wrong = rf"{near}| [，。；：（）、]|[，。；：（）、] "
    assert [text for text in KNOWN.values() if re.search(wrong, shown(text))] == []


def test_no_text_in_words_goes_to_people_past_the_catalogue() -> None:
    paths = [path for path in sources() if path.name != "entry.py"]  # which has both languages: see there
    assert [found for path in paths for found in bare_prints(path)] == []
    others = [path for path in paths if "ArgumentParser(" in path.read_text(encoding="utf-8").replace("(argparse.", "")]
    assert others == [], "tools/flags.py has the parser that translates"


def test_what_shell_scripts_say_is_in_both_languages() -> None:
    """A text in words that stands alone, without its Chinese behind it or ``words`` in it."""
    for path in [*ROOT.glob("*.sh"), *(ROOT / "deploy").glob("*.sh")]:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        while (plain := re.sub(r"\$\([^()]*\)|\$\{[^{}]*\}", "", text)) != text:
            text = plain
        said = re.findall(r'\b(?:say|fail) +"((?:[^"\\]|\\.)*)"(?! *")', text)
        alone = [re.sub(r"(bash|sudo) .*|--[a-z]+ +", "", one) for one in said]  # a command, or a flag
        assert [one for one in alone if re.search(r"[a-z]{2,} [a-z]{2,}", one)] == [], path.name


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"UI_LANG": "en", "LANG": "zh_CN.UTF-8"}, Language.ENGLISH),
        ({"LC_ALL": "zh_TW.UTF-8", "LANG": "en_US.UTF-8"}, Language.CHINESE),
        ({"LANG": "C.UTF-8"}, Language.BOTH),
        ({"LANG": "POSIX"}, Language.BOTH),
        ({"UI_LANG": "auto", "LANG": "de_DE"}, Language.ENGLISH),
        ({}, Language.BOTH),
    ],
)
def test_scripts_choose_the_language_as_the_programs_do(environ: dict[str, str], language: Language) -> None:
    said = subprocess.run(
        ["bash", "-c", f". {ROOT}/tools/words.sh; printf %s $language"],
        env=environ | {"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == choose(environ.get("UI_LANG", ""), environ).value == language.value


@pytest.mark.parametrize(
    ("wanted", "environ", "language"),
    [
        ("zh", {"LANG": "en_US.UTF-8"}, Language.CHINESE),
        ("en", {"LANG": "zh_CN.UTF-8"}, Language.ENGLISH),
        ("both", {"LANG": "zh_CN.UTF-8"}, Language.BOTH),
        ("", {"LANG": "zh_CN.UTF-8"}, Language.CHINESE),
        ("auto", {"LANG": "zh_TW"}, Language.CHINESE),
        ("nonsense", {"LANG": "zh_CN.UTF-8"}, Language.CHINESE),  # is complained of elsewhere
        ("", {"LANG": "de_DE.UTF-8"}, Language.ENGLISH),
        ("", {"LC_ALL": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8", "LANG": "en_US.UTF-8"}, Language.CHINESE),
        ("", {"LC_ALL": "", "LC_MESSAGES": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, Language.ENGLISH),
        ("", {"LANG": "C.UTF-8"}, Language.BOTH),
        ("", {"LANG": "POSIX"}, Language.BOTH),
        ("", {}, Language.BOTH),
    ],
)
def test_language_is_that_of_the_setting_or_of_the_terminal(
    wanted: str, environ: dict[str, str], language: Language
) -> None:
    assert choose(wanted, environ) is language


def test_stored_cause_is_shown_in_the_language_in_use() -> None:
    cause = "me/animation is not in the queue; --status shows what is"
    assert translated(cause) == cause
    use(Language.CHINESE)
    assert translated("not a video file: unknown content") == "不是视频文件：内容无法识别"
    assert (
        translated("01.mp4: the file is empty; 02.mp4: no progress for 300 s")
        == "01.mp4：文件是空的；02.mp4：300 秒没有进展"
    )
    refused = "can't verify the token: the hub at http://h:9 can't be reached, or closed the connection"
    assert (
        translated(f"processor paused: {refused}; next try at 2026-01-01T00:00:00")
        == "处理程序已暂停：无法验证令牌：无法连接 http://h:9（或连接被断开）；下次尝试 2026-01-01T00:00:00"
    )
    assert translated("nobody knows this") == "nobody knows this"
    use(Language.BOTH)
    assert translated("the file is empty") == "the file is empty 文件是空的"
    assert term("default") == "default"


@pytest.mark.parametrize("between", [": ", "; "])
def test_path_with_thousands_of_colons_is_shown_in_chinese_too(between: str) -> None:
    use(Language.CHINESE)
    path = between.join("a" * 3000)
    assert translated(path) == path
    assert translated(f"the file is empty; {path}") == f"文件是空的；{path}"


def test_arguments_of_a_text() -> None:
    assert arguments_of("a is below b", "{} is below {}") == ["a", "b"]
    assert arguments_of("a is below", "{} is below {}") is None
