"""What ``--status`` says of published results: how many were used again, and which have no source any more."""

from collections.abc import Collection, Mapping
from typing import Any

from tools.core.message import plural
from tools.report.units import human_time
from tools.runtime.language import translated, ui
from tools.state.mirror_file import MirrorState
from tools.state.results import Known

_SHOWN = 10  # lines


def known_json(known: Known, there: Collection[str] | None) -> dict[str, Any]:
    """``{"reused": {"videos", "seconds_saved"}, "source_gone": {FOLDER: [NAME] or number of results}}``."""
    gone: dict[str, Any] = {folder: list(names) for folder, names in known.gone.items()}
    reused = {"videos": known.reused, "seconds_saved": round(known.saved)}
    return {"reused": reused, "source_gone": gone | dict(_folders_gone(known, there))}


def known_lines(known: Known, there: Collection[str] | None, shown: int = _SHOWN) -> list[str]:
    """A few lines, none if there is nothing to say. ``there``: the folders of the input dataset; None if not known."""
    lines = []
    if known.reused:
        lines.append(
            ui("reused: {} had a result already, {} of work saved", plural(known.reused, "video"), _time(known.saved))
        )
    folders = _folders_gone(known, there)
    gone = [
        ui("{}: its only result", folder) if number == 1 else ui("{}: all {} results", folder, number)
        for folder, number in folders.items()
    ]
    gone += [f"{folder}: {', '.join(names)}" for folder, names in known.gone.items() if folder not in folders]
    if gone:
        lines.append(ui("results whose source is gone, which stay ({}):", plural(len(gone), "folder")))
        lines += [f"    {line}" for line in gone[:shown]]
        if len(gone) > shown:
            lines.append("    " + ui("… and {} more, see --check", len(gone) - shown))
    return lines


def mirror_json(state: MirrorState) -> dict[str, Any]:
    """``{"mirror": {"waiting": files, "taken_today": files, "held": text or null, "waits": text or null}}``."""
    taken = sum(files for _, _, files in state.taken)
    held, waits = state.held and state.held.text(), state.waits or None
    return {"mirror": {"waiting": len(state.gone), "taken_today": taken, "held": held, "waits": waits}}


def mirror_lines(state: MirrorState) -> list[str]:
    """What ``MIRROR=1`` waits for, or for whom; none if there is nothing to say."""
    number, files = len(state.gone), plural(len(state.gone), "file")
    if state.held is not None:
        return [ui("MIRROR takes nothing out: {}", translated(state.held.text()))]
    if number and state.waits:
        return [ui("MIRROR: {} left the input; nothing is taken out now: {}", files, translated(state.waits))]
    if number:
        return [ui("MIRROR: {} left the input, soon to be taken out of the output, see --mirror", files)]
    return []


def gone_from(folder: str, mirror: MirrorState, known: Known) -> list[dict[str, Any]]:
    """``[{"name", "since": epoch s or null}]``: files of a folder of the output whose sources left the input, by name.
    ``since`` of those that ``MIRROR=1`` waits to take out; the others stay."""
    waiting = {path.rpartition("/")[2]: since for path, since in mirror.gone.items() if _folder_of(path) == folder}
    names = sorted({*waiting, *known.gone.get(folder, ())})
    return [{"name": name, "since": waiting.get(name)} for name in names]


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] or "."


def _time(seconds: float) -> str:
    return human_time(seconds) or "?"


def _folders_gone(known: Known, there: Collection[str] | None) -> Mapping[str, int]:
    return {} if there is None else {name: number for name, number in known.folders.items() if name not in there}
