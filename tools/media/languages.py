"""Names of tracks and of subtitle files → languages. Guesses; pure."""

import re

from tools.media.facts import Facts, Stream

# As fansubs name their tracks; JPSC and JPTC have Japanese beside the Chinese.
_SIMPLIFIED = re.compile(r"简|簡體|简体|\b(chs|sc|gb|jpsc|scjp|hans|simplified)\b", re.IGNORECASE)
_TRADITIONAL = re.compile(r"繁|\b(cht|tc|big5|jptc|tcjp|hant|traditional)\b", re.IGNORECASE)
_OPEN = frozenset({"", "und", "zh", "chi", "zho", "chs", "cht"})
_AT_EDGES = re.compile(r"[_&+.\W]+")


def guessed_language(stream: Stream, facts: Facts) -> str:
    """zh-Hans or zh-Hant for a subtitle whose name says so and whose language says no script, else ""."""
    said = facts.track(stream).text("LanguageBCP47") or stream.tag("language")
    if stream.kind != "subtitle" or said.lower() not in _OPEN:
        return ""
    name = _AT_EDGES.sub(" ", stream.tag("title") or stream.tag("handler_name"))  # the latter is where MP4 has it
    simplified, traditional = bool(_SIMPLIFIED.search(name)), bool(_TRADITIONAL.search(name))
    if simplified == traditional:
        return ""
    return "zh-Hans" if simplified else "zh-Hant"


_WORDS = {
    **dict.fromkeys(("zh-cn", "zh-sg", "zh-hans", "cmn-hans"), "zh-Hans"),
    **dict.fromkeys(("zh-tw", "zh-hk", "zh-mo", "zh-hant", "cmn-hant"), "zh-Hant"),
    **dict.fromkeys(("zh", "zho", "chi", "chinese", "中文", "中"), "zh"),
    **dict.fromkeys(("ja", "jp", "jpn", "japanese", "日", "日文", "日语"), "ja"),
    **dict.fromkeys(("en", "eng", "english", "英", "英文", "英语"), "en"),
    **dict.fromkeys(("ko", "kr", "kor", "korean", "韩", "韩文"), "ko"),
    **dict.fromkeys(("fr", "fre", "fra", "french"), "fr"),
    **dict.fromkeys(("de", "ger", "deu", "german"), "de"),
    **dict.fromkeys(("es", "spa", "spanish", "es-419", "es-la"), "es"),
    **dict.fromkeys(("pt", "por", "portuguese", "pt-br", "pt-pt"), "pt"),
    **dict.fromkeys(("it", "ita", "italian"), "it"),
    **dict.fromkeys(("ru", "rus", "russian"), "ru"),
    **dict.fromkeys(("th", "tha", "thai"), "th"),
    **dict.fromkeys(("vi", "vie", "vietnamese"), "vi"),
    **dict.fromkeys(("id", "ind", "indonesian"), "id"),
    **dict.fromkeys(("ar", "ara", "arabic"), "ar"),
}
OLD_CODES = {
    **{"zh": "chi", "ja": "jpn", "en": "eng", "ko": "kor", "fr": "fre", "de": "ger", "es": "spa", "pt": "por"},
    **{"it": "ita", "ru": "rus", "th": "tha", "vi": "vie", "id": "ind", "ar": "ara"},
}
"""By BCP 47 language, as Matroska's older field has it. Source: ISO 639-2/B."""


def named_language(tail: str) -> str:
    """BCP 47 by what a subtitle file is called after its video's name (``zh-Hans``, ``chs``, ``JPSC``, ``sc&jp``); of
    several the Chinese; "" if it says none."""
    words = _AT_EDGES.sub(" ", tail)
    simplified, traditional = bool(_SIMPLIFIED.search(words)), bool(_TRADITIONAL.search(words))
    if simplified != traditional:
        return "zh-Hans" if simplified else "zh-Hant"
    found = [_WORDS.get(word.lower(), "") for word in re.split(r"[.&+_,\s\[\]()]+", tail)]
    found = [language for language in found if language]
    chinese = [language for language in found if language.startswith("zh")]
    return "zh" if simplified else next(iter(chinese + found), "")


def named_flags(tail: str) -> frozenset[str]:
    """Dispositions by the same."""
    words = set(re.split(r"[.&+_,\s\[\]()-]+", tail.lower()))
    flags = {"forced"} if words & {"forced", "signs"} else set()
    return frozenset(flags | ({"hearing_impaired"} if words & {"sdh", "cc"} else set()))
