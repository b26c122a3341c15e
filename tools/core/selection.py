"""Names and patterns that a person typed → the items that are meant.

A pattern is a shell's: ``*``, ``?``, ``[…]``; ``*`` takes in ``/`` as well. A name that exists is taken as it is.
"""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from tools.core.errors import IllegalTransition, StateError

T = TypeVar("T")
U = TypeVar("U")


def plain_name(typed: str) -> str:
    """Without the slash that Tab adds."""
    return typed.rstrip("/") or typed


def is_pattern(name: str) -> bool:
    return any(char in name for char in "*?[")


def select(typed: Iterable[str], known: Iterable[str], where: str) -> list[tuple[str, bool]]:
    """The names that are meant, each once, with whether a pattern chose it. Raises StateError if one means nothing;
    ``where`` names are known, and what shows them."""
    there = list(known)
    found: dict[str, bool] = {}
    for name in map(plain_name, typed):
        if name in there:
            found[name] = False
            continue
        matching = [one for one in there if fnmatchcase(one, name)] if is_pattern(name) else []
        if not matching:
            raise StateError(f"{name} {'matches nothing' if is_pattern(name) else 'is not'} in {where}")
        for one in matching:
            found.setdefault(one, True)
    return list(found.items())


def changed(chosen: Iterable[tuple[str, bool]], items: Mapping[str, T], change: Callable[[T], U]) -> list[tuple[T, U]]:
    """Each item that is meant, with what becomes of it. What a pattern chose and can't make the move is passed over.

    Raises IllegalTransition if one that was named can't make it, or none can.
    """
    made: list[tuple[T, U]] = []
    refused: IllegalTransition | None = None
    for name, is_by_pattern in chosen:
        try:
            made.append((items[name], change(items[name])))
        except IllegalTransition as exc:
            refused = exc
            if not is_by_pattern:
                raise
    if refused is not None and not made:
        raise refused
    return made
