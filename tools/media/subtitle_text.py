"""Texts of subtitles in whatever encoding → UTF-8."""

import codecs

from charset_normalizer import from_bytes

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHERS = ["gb18030", "big5", "cp932", "euc_kr", "cp1252"]
_OF_LANGUAGE = {"zh-Hans": "gb18030", "zh-Hant": "big5", "ja": "cp932", "ko": "euc_kr"}
_LARGEST_PROBE = 200_000  # bytes that are looked at to tell encodings apart


def decoded(content: bytes, language: str = "") -> tuple[str, str]:
    """The text and the name of its encoding. ``language`` (BCP 47), "" if it is not known, decides between encodings
    that are possible. Raises UnicodeError for what is no text."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding), encoding.removesuffix("-sig")
    wide = _without_mark(content)
    if wide:
        return content.decode(wide), wide
    for encoding in ("utf-8", _OF_LANGUAGE.get(language, "")):
        if encoding:
            try:
                return content.decode(encoding), encoding
            except UnicodeDecodeError:
                continue
    best = from_bytes(content[:_LARGEST_PROBE], cp_isolation=_OTHERS).best()
    if best is None:
        raise UnicodeError("it is text in no encoding that is known")
    return content.decode(best.encoding, "replace"), best.encoding


def _without_mark(content: bytes) -> str:
    """UTF-16 without its mark: ASCII, which any subtitle has for its times, has every other byte 0."""
    sample = content[:2000]
    low, high = sample[0::2].count(0), sample[1::2].count(0)
    if max(low, high) * 4 < len(sample):
        return ""
    return "utf-16-be" if low > high else "utf-16-le"
