"""What the programs say of a folder or a video, in Chinese beside the English: causes are stored and logged in English.

A table of sentences, ``{}`` for what varies, in the same order in both languages.
"""

import re
from functools import cache

_SENTENCES = (
    ("{} is no longer in {}: nothing to do", "{} 已不在 {} 中，无需处理"),
    ("{} holds no video any more: nothing to do", "{} 中已没有视频，无需处理"),
    ("{} changed since it was queued: queued again once it is quiet", "{} 排队后有变化，稳定后会重新排队"),
    ("{} of {} published, {} can't be converted", "已发布 {0} 个，{2} 个无法转换"),
    ("cancelled", "已取消"),
    ("not a video file: unknown content", "不是视频文件：内容无法识别"),
    ("the hub refused the token: put a new one into .env (MODELSCOPE_API_TOKEN)", "令牌被拒绝，请在 .env 中写入新令牌"),
    ("no token: set MODELSCOPE_API_TOKEN (in .env), or run `modelscope login`", "没有令牌，请在 .env 中写入令牌"),
    ("{} GB needed in {}: {} GB free, {} GB must stay free{}: make room", "可用 {2} GB，需保留 {3} GB，请腾出空间"),
    ("outside of ACTIVE_HOURS until {}: {} waits{}", "不在 ACTIVE_HOURS 时段内，{1} 等到 {0}"),
    ("the hub did not take the commit: {}", "hub 没有接受提交"),
    ("{} (tried {} times)", "已尝试 {1} 次"),
    ("{} died {} times in a row while this video was being encoded", "转码时连续崩溃 {1} 次"),
)


def _pattern(sentence: str) -> re.Pattern[str]:
    return re.compile("(.*?)".join(re.escape(part) for part in sentence.split("{}")))


@cache  # --status without a failure need not wait for it
def _table() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(english), chinese) for english, chinese in _SENTENCES)


def both(text: str) -> str:
    """The text, with its Chinese behind it if that is known."""
    for pattern, chinese in _table():
        if found := pattern.fullmatch(text):
            return f"{text} {chinese.format(*found.groups())}"
    return text
