"""What somebody would run on a worker to get into the processor, and a processor that asks for it.

As a program it is that processor: ``python -m tests.hostile_worker SCHEDULER WORKER FOLDER [unprotected]``. Whatever of
this is run in a process leaves a file with that process's id in the folder.
"""

import asyncio
import os
import pickle
import sys
from pathlib import Path
from typing import Any

ANSWER = 10.0  # s; what is sent is read long before, and nobody answers some of it


def strike(folder: str) -> str:
    (Path(folder) / str(os.getpid())).touch()
    return "struck"


class Evil(Exception):
    """Strikes whoever loads its pickle."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __reduce__(self) -> Any:
        return strike, (self.folder,)


def returned(folder: str) -> object:
    return Evil(folder)


def returned_in_a_list(folder: str) -> object:
    return [b"x", {"a": Evil(folder)}]


def raised(folder: str) -> object:
    raise Evil(folder)


def warned(folder: str) -> object:
    from distributed import get_worker

    worker = get_worker()
    worker.log_event("warn", {"message": pickle.dumps(Evil(folder)), "category": pickle.dumps(Evil(folder))})
    return b"warned"


def reported(folder: str) -> object:
    from distributed import get_worker
    from distributed.protocol.serialize import ToPickle, to_serialize

    from tools.cluster.node import TOPIC

    get_worker().log_event(TOPIC, {"late": to_serialize(Evil(folder)), "video": ToPickle(Evil(folder))})
    return b"reported"


def answered(folder: str, dask_worker: object) -> object:
    return Evil(folder)


def failed(folder: str, dask_worker: object) -> object:
    raise Evil(folder)


async def ask(scheduler: str, worker: str, folder: str, *, protected: bool) -> None:
    from tools.cluster import dask_transport
    from tools.cluster.pickles import load_no_classes

    dask_transport.configure()
    if protected:
        load_no_classes()
    for function in (answered, failed, returned, returned_in_a_list, raised, warned, reported):
        async with dask_transport.connect(
            scheduler, dask_transport.security(None), lambda received: None, lambda address, how: None
        ) as connection:
            try:
                if function in (answered, failed):
                    found = await asyncio.wait_for(connection.call(worker, function, folder), ANSWER)
                else:
                    found = await asyncio.wait_for(connection._client.submit(function, folder, pure=False), ANSWER)
            except Exception as exc:
                found = exc
            print(function.__name__, type(found).__name__, flush=True)


if __name__ == "__main__":
    print(os.getpid(), flush=True)
    from tests import hostile_worker  # what it submits must not be of ``__main__``, which is sent by value

    asyncio.run(hostile_worker.ask(*sys.argv[1:4], protected=len(sys.argv) == 4))
