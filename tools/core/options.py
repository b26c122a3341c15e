"""What decides an output, as its record says it (``options``), and whether that is what is wanted now.

``options`` of a record is a JSON object in a text: its names are those of the options (``crf``, ``preset``, …), so that
readers see one column of one type whatever options a version has. Only those that decided this very file are in it: of
one whose video was copied none of the encoder. ``encoder`` is what encoded it, ``muxer`` what put a Matroska source's
result together. The machine's own affairs (threads, paths, versions of programs) are no part of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

Option = str | int | float
Options = Mapping[str, Option]
ANY = "auto"
"""As a wanted value: each will do."""


def options_text(options: Options) -> str:
    """One text for the same options, whatever their order."""
    return json.dumps(options, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def options_of(text: object) -> dict[str, Option] | None:
    """The options of a record; None if it does not tell, or what it tells is none."""
    try:
        found = json.loads(text) if isinstance(text, str) and text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str | int | float) for value in found.values()):
        return None
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options in force, and what each is unless somebody sets it (as all versions before it had it)."""

    options: Options
    defaults: Options

    def differs(self, made: Options) -> list[str]:
        """Names of the options by which a result was made otherwise than wanted, sorted.

        An option that is younger than the result counts as it was before; one that had no part in it does not count.
        """
        made = {**self.defaults, **made} if "encoder" in made else made
        return sorted(name for name, value in made.items() if self.options.get(name, value) not in {value, ANY})
