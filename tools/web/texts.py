"""What the pages say: the words in their files, and the Chinese of each, out of the project's catalogue.

A page says ``t("…")``, or has an element with ``data-t``, whose text it is, or ``data-t-label``, whose label it is.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tools.runtime.language import in_chinese

ASSETS = Path(__file__).resolve().parent / "assets"
_SAID = re.compile(r'\bt\("([^"\\]+)"')
_MARKED = re.compile(r'data-t(?:-label="([^"]+)"|>([^<]+)<)')


def texts_of(source: str) -> Iterator[str]:
    """The messages that the text of a page or a script has."""
    yield from _SAID.findall(source)
    for label, inside in _MARKED.findall(source):
        yield label or inside


@cache
def texts() -> dict[str, str]:
    """Of all pages, by the English one."""
    paths = sorted((*ASSETS.glob("*.js"), *ASSETS.glob("*.html")))
    found = dict.fromkeys(text for path in paths for text in texts_of(path.read_text(encoding="utf-8")))
    return {text: in_chinese(text) for text in found}
