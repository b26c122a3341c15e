"""How far this machine can confine children: see ``spawner`` for what that means."""

from dataclasses import dataclass

from tools.core.errors import PipelineError
from tools.runtime import spawn
from tools.runtime.sandbox import can_refuse_calls, landlock_abi


class CannotConfine(PipelineError):
    """CAGE=require, and this kernel can't."""


@dataclass(frozen=True, slots=True)
class Cage:
    """Which parts hold for a child."""

    files: bool  # it reads its source, its program and the system's, and writes in the folder of its result
    network: bool  # it makes no connection and sends nothing: TCP, UDP, sockets in the file system
    signals: bool  # it can't signal other processes

    def parts(self) -> tuple[str, ...]:
        """The names of those that hold."""
        return tuple(name for name in ("files", "network", "signals") if getattr(self, name))

    def __str__(self) -> str:
        missing = [name for name in ("files", "network", "signals") if name not in self.parts()]
        held = ", ".join(self.parts()) or "nothing"
        return held + (f" (not {', '.join(missing)}: this kernel can't)" if missing else "")


def cage_here() -> Cage:
    """What this kernel offers to us. Source: landlock(7), ABI versions; a container may forbid all of it.

    Landlock's own rules for the network (ABI 4) leave UDP, so the filter alone counts for that part.
    """
    version = landlock_abi()
    return Cage(files=version >= 1, network=can_refuse_calls(), signals=version >= 6)


def confine_children(setting: str) -> Cage | None:
    """Confine all children of this process from now on, as CAGE says: auto, require or off (None then).

    Raises CannotConfine if files or network are required and can't be taken from them.
    """
    spawn.set_caged(setting != "off")
    if setting == "off":
        return None
    cage = cage_here()
    if setting == "require" and not (cage.files and cage.network):
        raise CannotConfine(
            f"CAGE=require, but this kernel can confine ffmpeg only in: {cage}; it needs Landlock (Linux 5.13 and "
            "later) and seccomp filters, not forbidden by a container, or set CAGE=auto"
        )
    return cage


def confined_text(cage: Cage | None) -> str:
    """For people."""
    return "off (CAGE=off)" if cage is None else str(cage)


def confined_parts(setting: str) -> tuple[str, ...]:
    """What is taken from children under CAGE=``setting``, for ``progress.json``."""
    return () if setting == "off" else cage_here().parts()
