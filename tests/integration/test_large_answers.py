"""What a hub, or a host that it names, sends beyond what was asked for is not read."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.patience import PATIENCE, until
from tools.hub.listing import Listing

LARGE = 64 << 20  # bytes; more than lies on its way unread
FIRST = 1 << 16


class _Lavish(BaseHTTPRequestHandler):
    sent: dict[str, int]  # bytes, by path; there when the answer ended

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        is_redirect = path.endswith("/moved/repo")
        self.send_response(302 if is_redirect else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(LARGE))
        self.end_headers()
        sent = 0
        try:
            while sent < LARGE:
                sent += self.wfile.write(bytes(FIRST))
        except OSError:
            self.close_connection = True
        self.sent[path] = sent

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def lavish() -> Iterator[str]:
    _Lavish.sent = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), _Lavish) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("repo", "asked"), [("there", 1), ("moved", 2)])
def test_beginning_of_a_file_is_all_that_is_read_of_it_and_nothing_of_a_redirect(
    lavish: str, repo: str, asked: int
) -> None:
    """The hub takes no notice of the range."""
    assert Listing(lavish, "token", PATIENCE).beginning(repo, "c", "a.mp4", FIRST) == FIRST
    until(lambda: len(_Lavish.sent) == asked)
    assert max(_Lavish.sent.values()) < LARGE
