"""A hub that has nothing but a huge listing, made up on the fly: ``python -m tests.bench.listing_server …``.

A process of its own, so that its work is not counted for whoever reads it. Prints its port, ends with its parent's
standard input. ``GET /asked`` tells how many requests came since the last time, and how many were under way at once.
"""

import argparse
import asyncio
import json
import sys
import threading
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from tools.runtime.listening import listen

COMMIT = "c" * 40


class Listing:
    """``folders`` folders with ``files`` files in all, in the order of the hub's tree: a folder, then its files."""

    def __init__(self, files: int, folders: int, largest_page: int, delay: float) -> None:
        self._each = files // folders
        self._total = folders * (self._each + 1)
        self._largest = largest_page
        self._delay = delay
        self._asked = self._now = self._most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path, query = scope["path"], parse_qs(scope["query_string"].decode())
        if path == "/asked":
            body = json.dumps({"requests": self._asked, "at_once": self._most}).encode()
            self._asked = self._most = 0
        else:
            self._asked += 1
            self._now += 1
            self._most = max(self._most, self._now)
            await asyncio.sleep(self._delay)
            body = self._commits() if path.endswith("/commits") else self._page(query)
            self._now -= 1
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _commits(self) -> bytes:
        commit = {"Id": COMMIT, "ShortId": COMMIT[:8], "CommittedDate": 1_700_000_000}
        return json.dumps({"Code": 200, "Data": {"Commit": [commit], "TotalCount": 1}, "Success": True}).encode()

    def _page(self, query: dict[str, list[str]]) -> bytes:
        number = int(query.get("PageNumber", ["1"])[0])
        size = min(int(query.get("PageSize", ["100"])[0]), self._largest)
        first = (number - 1) * size
        entries = ",".join(self._entry(place) for place in range(first, min(first + size, self._total)))
        return f'{{"Code":200,"Data":{{"Files":[{entries}],"TotalCount":{self._total}}},"Success":true}}'.encode()

    def _entry(self, place: int) -> str:
        folder, inside = divmod(place, self._each + 1)
        name = f"番剧 {folder:05d}"
        if inside == 0:
            return f'{{"Path":"{name}","Name":"{name}","Type":"tree","Size":0,"Sha256":"","Mode":"40000"}}'
        return (
            f'{{"Path":"{name}/ep {inside:04d}.mp4","Name":"ep {inside:04d}.mp4","Type":"blob","Size":{place + 1000},'
            f'"Sha256":"{place:064x}","Revision":"{COMMIT}","CommitId":"{COMMIT}","CommittedDate":1700000000,'
            f'"CommitMessage":"upload","IsLFS":true,"Mode":"100644"}}'
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--folders", type=int, required=True)
    parser.add_argument("--page", type=int, required=True)
    parser.add_argument("--delay", type=float, required=True)
    parsed = parser.parse_args()
    listening = listen("127.0.0.1", 0)
    app = Listing(parsed.files, parsed.folders, parsed.page, parsed.delay)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))

    def end_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
