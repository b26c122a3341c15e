"""The language in which people are told things: English, Chinese, or both.

**English is what is made, stored, logged and sent; Chinese is made of it where it is shown.** A cause is an English
sentence in a state file, in a record, in an answer of a worker; the program that shows it looks for the template of
the catalogue that it was made from, and says it in Chinese with the same arguments. So state files and logs stay as
they were and can be grepped whatever language a terminal has; one program may write and another show in another
language; causes that an earlier version or a worker wrote are translated too; and whoever raises an exception writes a
plain f-string. The other way, to store templates and arguments beside the text, would need a second field wherever a
cause travels and knows nothing of what is there already. What it costs: a template must hold enough words to be told
from others, which a test holds.

The catalogue is a gettext ``.po`` file that any editor of such files opens; it is read as it is, so that nobody must
compile anything. ``{}`` stands for what varies; a translation may number them (``{1} … {0}``), and ``{0!t}`` says that
the argument is a text to be translated itself, ``{0!n}`` that only the number is wanted of one like ``2 videos``
(``tools.core.message.plural``). What stands in quotes is a foreign program's (``tools.core.message.quoted``) and stays
as it is, though its words may be ours by chance.
"""

import ast
import contextlib
import gettext
import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from string import Formatter
from typing import Any

CATALOGUE = Path(__file__).resolve().parent.parent / "locale" / "zh.po"
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # as gettext asks them; the first that is set counts


class Language(Enum):
    """What a person reads."""

    ENGLISH = "en"
    CHINESE = "zh"
    BOTH = "both"


def choose(wanted: str, environ: Mapping[str, str]) -> Language:
    """By the setting; if it is empty or ``auto``, by the terminal's locale.

    A locale that names no language (C, POSIX, none at all), as servers and containers have it, gives both.
    """
    if wanted in {language.value for language in Language}:
        return Language(wanted)
    locale = next((value for name in _VARIABLES if (value := environ.get(name))), "")
    if re.match(r"(C|POSIX)?([.@]|$)", locale):
        return Language.BOTH
    return Language.CHINESE if locale.startswith("zh") else Language.ENGLISH


_language = Language.ENGLISH
_here: ContextVar[Language | None] = ContextVar("language", default=None)


def use(language: Language) -> None:
    """From now on, in this process."""
    global _language
    _language = language


def in_use() -> Language:
    """What ``use`` was last told, but for a block of ``speaking``."""
    return _here.get() or _language


@contextlib.contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Another language within the block, for whoever runs it: answers to several people are made at the same time."""
    token = _here.set(language)
    try:
        yield
    finally:
        _here.reset(token)


def in_chinese(text: str) -> str:
    """A message of the catalogue in Chinese, whatever the language in use; one that it lacks stays as it is."""
    return _chinese().gettext(text)


def ui(template: str, *arguments: object, between: str = " ") -> str:
    """A message with its arguments in place of ``{}``, in the language in use; in both, the Chinese behind the English.

    The template is a literal, which is found by ``tests/messages.py``. ``between`` stands between the two.
    """
    english = template.format(*arguments)
    if in_use() is Language.ENGLISH:
        return english
    return _joined(english, _filled(_chinese().gettext(template), arguments), between)


def translated(text: str, between: str = " ") -> str:
    """Like ``ui`` for a text that was made elsewhere, in English; one that no template gives stays as it is.

    ``between`` stands between the English and the Chinese where both are in use.
    """
    if in_use() is Language.ENGLISH:
        return text
    return "\n".join(_joined(line, _in_chinese(line) or line, between) for line in text.split("\n"))


def both(text: str) -> str:
    """A text made elsewhere with its Chinese behind it, whatever the language in use: for what stands in the log and a
    person must act on."""
    chinese = _in_chinese(text)
    return f"{text} {chinese}" if chinese and chinese != text else text


def side_by_side(texts: Sequence[str]) -> str:
    """Several texts that were made elsewhere, in one line; in both languages, all of them in one and then the other."""
    chinese = "；".join(_in_chinese(text) or text for text in texts) if in_use() is not Language.ENGLISH else ""
    english = "; ".join(texts)
    return _joined(english, chinese) if chinese else english


def term(template: str, *arguments: object) -> str:
    """A word or short text in a column of a table, where there is room for one language: Chinese if that is in use.

    Without arguments it may be a text that was made elsewhere.
    """
    if in_use() is not Language.CHINESE:
        return template.format(*arguments) if arguments else template
    if arguments:
        return _filled(_chinese().gettext(template), arguments)
    return _in_chinese(template) or template


def colon() -> str:
    """What stands between a title and what follows it on the line."""
    return "：" if in_use() is Language.CHINESE else ": "


def heading(template: str, *arguments: object) -> str:
    """A title with its colon."""
    return ui(template, *arguments) + colon().rstrip()


def _joined(english: str, chinese: str, between: str = " ") -> str:
    return f"{english}{between}{chinese}" if in_use() is Language.BOTH and english != chinese else chinese


_HEAD = 2  # characters by which templates are found


class _Catalogue(gettext.NullTranslations):
    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self._texts = texts
        made = [(_literals(text), chinese) for text, chinese in texts.items() if "{" in text and chinese]
        made.sort(key=lambda one: -sum(map(len, one[0])))
        self._by_head: dict[str, list[tuple[int, list[str], str]]] = {}
        for place, (literals, chinese) in enumerate(made):
            head = literals[0] if len(literals[0]) >= _HEAD else ""
            self._by_head.setdefault(head[:_HEAD], []).append((place, literals, chinese))

    def templates(self, text: str) -> Iterator[tuple[list[str], str]]:
        """Those of which the text may be made, in parts, with their translations; the one with most words first."""
        nearly = heapq.merge(self._by_head.get(text[:_HEAD], []), self._by_head.get("", []))
        return ((literals, chinese) for _, literals, chinese in nearly)

    def gettext(self, message: str) -> str:
        return self._texts.get(message) or message


@cache
def _chinese() -> _Catalogue:
    return _Catalogue(read_catalogue(CATALOGUE))


def read_catalogue(path: Path) -> dict[str, str]:
    """The translations of a ``.po`` file by message; "" for what it has none of."""
    found: dict[str, str] = {}
    key, place = "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, quoted = line.partition('"')
        if not quoted or word.startswith("#"):
            continue
        text = str(ast.literal_eval('"' + quoted)) if "\\" in quoted else quoted[:-1]
        if word.strip() == "msgid":
            key, place = text, "id"
        elif word.strip() == "msgstr":
            place, found[key] = "str", text
        elif place == "id":
            key += text
        else:
            found[key] += text
    found.pop("", None)  # the head
    return found


def _literals(template: str) -> list[str]:
    """What stands around and between the ``{}`` of a template."""
    parts, field = [""], False
    for text, name, _, _ in Formatter().parse(template):
        parts[-1] += text
        field = name is not None
        if field:
            parts.append("")
    return parts


def arguments_of(text: str, template: str) -> list[str] | None:
    """What stands in the places of ``{}``, each as short as can be; None if the text is not made of the template."""
    return _matched(text, _literals(template))


def _matched(text: str, literals: list[str]) -> list[str] | None:
    head, *middle, tail = literals
    if len(text) < len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
        return None
    found, at, end = [], len(head), len(text) - len(tail)
    for literal in middle:
        place = text.find(literal, at, end)
        if place < 0:
            return None
        found.append(text[at:place])
        at = place + len(literal)
    return [*found, text[at:end]]


_DEPTH = 8  # messages side by side; a stranger's path may have any number of colons


_QUOTED = re.compile(r'"[^"\n]*"')
_PLACE = "\1{}\1"  # of what is quoted, while templates are looked for

_IS_PLACE = re.compile("\1[0-9]+\1")


@lru_cache(4096)
def _in_chinese(text: str) -> str | None:
    """None for what the catalogue does not know."""
    if not (kept := _QUOTED.findall(text)):
        return _looked_up(text)
    places = {_PLACE.format(number): words for number, words in enumerate(kept)}
    for place, words in places.items():
        text = text.replace(words, place, 1)
    found = _looked_up(text)
    for place, words in places.items():
        found = found and found.replace(place, words)
    return found


def _looked_up(text: str, depth: int = _DEPTH) -> str | None:
    if _IS_PLACE.fullmatch(text):
        return text
    if (chinese := _chinese().gettext(text)) != text:
        return chinese
    if (found := _of_template(text, weak=False)) is not None:
        return found
    for between in ("; ", ": "):  # two messages side by side, or a name before one
        first, _, rest = text.partition(between)
        if between == ": " and (found := _of_template(text, weak=True)) is not None:
            return found
        parts = [_looked_up(part, depth - 1) if rest and depth else None for part in (first, rest)]
        if any(parts):
            return f"{parts[0] or first}{'；' if between == '; ' else '：'}{parts[1] or rest}"
    return None


_FEW = 10  # characters; a template with fewer of its own may fit half of a text, by chance


def _of_template(text: str, *, weak: bool) -> str | None:
    for literals, chinese in _chinese().templates(text):
        own = sum(map(len, literals))
        found = _matched(text, literals) if (own < _FEW) is weak else None
        # Of one with hardly a letter ("{} s") only a short text is made.
        if found is not None and (own > 5 or not any(" " in part for part in found)):
            return _filled(chinese, found)
    return None


class _Filler(Formatter):
    def convert_field(self, value: Any, conversion: str | None) -> Any:
        if conversion == "n":
            return str(value).partition(" ")[0]
        if conversion != "t":
            return super().convert_field(value, conversion)
        return f"{_EDGE}{_in_chinese(str(value)) or value}{_EDGE}"


_EDGE = "\0"  # around a translated argument; Chinese and Latin text are a blank apart, whichever it is


def _filled(chinese: str, arguments: "tuple[object, ...] | list[str]") -> str:
    text = _Filler().vformat(chinese, arguments, {})
    text = re.sub(rf"(?<=[㐀-鿿]){_EDGE}(?=[!-~])|(?<=[!-~]){_EDGE}(?=[㐀-鿿])", " ", text)
    return text.replace(_EDGE, "")
