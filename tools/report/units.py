"""Numbers with their units, as people read them. Imports nothing."""


def human_size(size: float) -> str:
    """Bytes → a short text with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_time(seconds: float | None) -> str:
    """Seconds → ``1:02:03``, "" if unknown."""
    if seconds is None or not 0 <= seconds < 1e8:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
