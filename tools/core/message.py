"""Marks a text that people will read, where that cannot be seen from what is done with it."""


def message(text: str) -> str:
    """The text as it is. ``tests/messages.py`` finds it and wants a translation; an f-string is a template to it."""
    return text


def plural(number: int, one: str, many: str = "") -> str:
    """``1 video``, ``2 videos``: a number with its noun, as an argument of a message. ``many`` is ``one`` with an s
    unless it is given. A translation, whose nouns may be as they are, takes the number out of it by ``{0!n}``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def quoted(words: str) -> str:
    """What a foreign program said, word for word: a translation leaves what is in quotes as it is."""
    return '"' + words.replace('"', "'") + '"'


WORDS = (
    message("pending"),
    message("processing"),
    message("completed"),
    message("failed"),
    message("cancelled"),
    message("held"),
    message("published"),
    message("running"),
    message("queued"),
    message("monitor"),
    message("processor"),
    message("hub"),
    message("worker"),
    message("supervisor"),
    message("waiting"),
    message("download"),
    message("encode"),
    message("verify"),
    message("upload"),
    message("video"),
    message("audio"),
    message("subtitle"),
    message("attachment"),
    message("commit"),
    message("transfer"),
    message("publish"),
    message("listing"),
    message("folder"),
    message("copy"),
    message("convert"),
    message("drop"),
    message("new"),
    message("ready"),
    message("refused"),
    message("suspended"),
    message("resting"),
    message("silent"),
    message("leaving"),
    message("gone"),
    message("status"),
    message("p"),
    message("videos"),
    message("ended, ETA"),
    message("not begun"),
    message("done"),
    message("files"),
    message("size"),
    message("added"),
    message("saved"),
    message("ended"),
    message("slots"),
    message("state"),
    message("seen"),
    message("encodes"),
    message("OK"),
    message("WARNING"),
    message("PROBLEM"),
    message("packages"),
    message("disk"),
    message("cage"),
    message("encoder"),
    message("endpoint"),
    message("clock"),
    message("token"),
    message("cluster"),
    message("scheduler"),
    message("workers"),
)
"""Those that stand alone in a column, or in the place of ``{0!t}`` in another message."""
