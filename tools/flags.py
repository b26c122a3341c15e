"""The parser of every program's command line: argparse's, with help and complaints in the language of the person."""

import argparse
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from tools.core.message import message
from tools.report.cells import wrapped
from tools.runtime.language import term, translated
from tools.startup import use_language

# What argparse says by itself, as of Python 3.10 to 3.14.
_OWN = (
    message("options"),
    message("positional arguments"),
    message("show this help message and exit"),
    message("unrecognized arguments: {}"),
    message("the following arguments are required: {}"),
    message("argument {}: expected one argument"),
    message("argument {}: expected at least one argument"),
    message("argument {}: expected at most one argument"),
    message("argument {}: expected {} arguments"),
    message("argument {}: expected {} argument"),
    message("argument {}: not allowed with argument {}"),
    message("argument {}: ignored explicit argument {}"),
    message("argument {}: invalid {} value: {}"),
    message("argument {}: invalid choice: {} (choose from {})"),
    message("ambiguous option: {} could match {}"),
    message("argument {}: {}"),
)
_DEFAULT = (message("default"), message("no default"))  # behind the help of a setting, as config.py has it
_ORIGIN = re.compile(r"(?s)(.*) ([(\[])([A-Z_]+), (.*)([)\]])")  # help of a setting: its name and default behind it


class Parser(argparse.ArgumentParser):
    """Made first of all in a program: from then on the program speaks the person's language."""

    def __init__(self, **arguments: Any) -> None:
        use_language()
        super().__init__(**arguments, formatter_class=_Formatter)

    def format_help(self) -> str:
        """Translated only now: most starts show no help."""
        for action in self._actions:
            if action.help and action.help != argparse.SUPPRESS:
                action.help = _help_text(action.help)
        for group in self._action_groups:
            group.title = group.title and term(group.title)
            group.description = group.description and translated(group.description, "\n")
        self.description = self.description and translated(self.description, "\n")
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {translated(message)}\n")


def _help_text(text: str) -> str:
    found = _ORIGIN.fullmatch(text)
    if not found:
        return translated(text, "\n")
    help, opening, name, default, closing = found.groups()
    english, _, chinese = translated(help.replace("%%", "%"), "\n").replace("%", "%%").partition("\n")
    word, between, value = default.partition(" ")
    shown = f"{term(word)} {value}" if between and word == _DEFAULT[0] else term(default)
    origin = f"{opening}{name}, {shown}{closing}"
    return f"{english} {origin}\n{chinese}".rstrip()


class _Formatter(argparse.HelpFormatter):
    """Chinese characters take two cells, and lines may break between them."""

    def add_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], groups: Iterable[Any], prefix: str | None = None
    ) -> None:
        super().add_usage(usage, actions, groups, term("usage: ") if prefix is None else prefix)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return [line for part in text.splitlines() for line in wrapped(" ".join(part.split()), width)]

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in self._split_lines(text, width - len(indent)))
