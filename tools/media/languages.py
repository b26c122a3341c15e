"""The name of a track → the script of its Chinese, where its language does not say it. A guess; pure."""

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
