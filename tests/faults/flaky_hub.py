"""The embedded hub as a program whose answers fail at random.

``python3 -m tests.faults.flaky_hub ROOT PORT SEED SHARE``: that share of all requests suffers something, each noted
in ``ROOT/../faults.log``. Ends by any signal; what it keeps is on disk at any instant.
"""

import random
import sys
from pathlib import Path

import uvicorn

from tests.hub_server import TOKEN, Fault, RunningHub, _Faulty
from tools.hub_server.app import create_app
from tools.hub_server.store import HubStore
from tools.runtime.listening import listen

ANY = [
    "status:500",
    "status:502",
    "status:503",
    "status:429",
    "reset",
    "lost",
    "html",
    "unsuccess",
    "slow:1",
    "corrupt",
]
OF_CONTENT, OF_LISTING = ["truncated", "trickle:200000"], ["short"]


class _Flaky(_Faulty):
    """Lets ``share`` of all requests suffer something."""

    def __init__(self, hub: RunningHub, chance: random.Random, share: float, notes: Path) -> None:
        super().__init__(hub)
        self._chance, self._share, self._notes = chance, share, notes

    def _fault(self, line: str) -> Fault | None:
        if self._chance.random() >= self._share:
            return None
        path = line.partition("?")[0]
        more = OF_CONTENT if path.endswith("/repo") else OF_LISTING if path.endswith("/tree") else []
        fault = Fault("", self._chance.choice(ANY + more), retry_after=1)
        with self._notes.open("a", encoding="utf-8") as stream:
            stream.write(f"{fault.kind} {path}\n")
        return fault


def main(root: Path, port: int, seed: int, share: float) -> None:
    store = HubStore(root)
    store.prepare()
    app = create_app(store, TOKEN)
    hub = RunningHub(f"http://127.0.0.1:{port}", root, store, app)
    flaky = _Flaky(hub, random.Random(seed), share, root.parent / "faults.log")
    server = uvicorn.Server(uvicorn.Config(flaky, date_header=False, log_level="critical", timeout_graceful_shutdown=1))
    server.run(sockets=[listen("127.0.0.1", port)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
