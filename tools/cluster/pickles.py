"""Keeps a processor from running what a worker sends: Dask reads pickles, and a pickle may call anything.

Results and reports of ours are plain data, but whoever takes a worker over may send whatever Dask takes: as the value
of a task, as its exception, or inside any message. So in the processor's process Dask gets a reader of pickles that
looks up no class and calls nothing. What it was given comes out as a ``NotLoaded`` that has the class's name.
"""

import io
import pickle
from typing import Any, cast

import distributed.client
import distributed.protocol.pickle
from distributed.scheduler import KilledWorker


class NotLoaded(Exception):
    """Stands for an object of a pickle, whatever it was."""

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args)

    def __setstate__(self, state: object) -> None:
        """Nothing of it is taken over."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) == (KilledWorker.__module__, KilledWorker.__name__):  # how a scheduler tells of a death
            return cast(type, KilledWorker)
        stand_in: type = type(name if name.isidentifier() else "NotLoaded", (NotLoaded,), {})
        return stand_in


class _Harmless:
    """In the place of the module ``pickle``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pickle, name)

    @staticmethod
    def loads(content: bytes, **named: Any) -> object:
        return _Reader(io.BytesIO(content), buffers=named.get("buffers")).load()


def load_no_classes() -> None:
    """From now on Dask runs nothing in this process that it receives. For a processor: scheduler and workers can't work
    so. Raises AttributeError if a later Dask reads pickles elsewhere than it did."""
    for module in (distributed.protocol.pickle, distributed.client):
        if module.pickle is not pickle and not isinstance(module.pickle, _Harmless):
            raise AttributeError(f"{module.__name__} does not use pickle as it did")
        module.pickle = _Harmless()
