"""News → the title and the body of a message."""

import re
from collections.abc import Sequence

from tools.core.news import Kind, News
from tools.runtime.language import ui

_SHOWN = 5  # of a kind


def notice(news: Sequence[News], host: str) -> tuple[str, str]:
    """For people, in the language in use: how many of each kind, then some of each by name."""
    by_kind = {kind: [one.text for one in news if one.kind is kind] for kind in Kind}
    counts = [_count(kind, len(texts)) for kind, texts in by_kind.items() if texts]
    lines: list[str] = []
    for texts in by_kind.values():
        distinct = list(dict.fromkeys(texts))
        lines += distinct[:_SHOWN]
        if len(distinct) > _SHOWN:
            lines.append(ui("… and {} more, see --status", len(distinct) - _SHOWN))
    return f"{host}: {', '.join(counts)}", plain("\n".join(lines))


_NOTHING = "\u200b"  # a blank without width


def plain(text: str) -> str:
    """Names of folders and words of the hub are strangers' texts: no chat calls somebody, or makes a link, of one."""
    return re.sub(r"(@|<(?=[!#@])|\](?=\())", rf"\1{_NOTHING}", text)


def _count(kind: Kind, number: int) -> str:
    match kind:
        case Kind.COMPLETED:
            return ui("{} completed", number)
        case Kind.FAILED:
            return ui("{} failed", number)
        case Kind.PAUSED:
            return ui("paused")
        case Kind.RECOVERED:
            return ui("recovered")
        case Kind.STALLED:
            return ui("a program stalled")
        case Kind.EMPTY:
            return ui("the queue is empty")
        case Kind.MIRROR:
            return "MIRROR"
