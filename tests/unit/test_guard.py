"""Who may ask the dashboard: what a browser, or who plays one, can say of itself costs an answer and no more."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from tools.web.guard import COOKIE, Guard

TOKEN = "a-token-of-a-person"


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def _asked(guard: Guard, **headers: str) -> int:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    said = [(name.encode(), value.encode("latin-1")) for name, value in {"host": "localhost", **headers}.items()]
    asyncio.run(guard({"type": "http", "path": "/api/status", "method": "GET", "headers": said}, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", "http://localhost.example", "http://", "\xff"])
def test_origin_that_is_no_address_of_ours_is_refused(origin: str) -> None:
    guard = Guard(_app, None, ["localhost"])
    assert _asked(guard, origin=origin) == 403
    assert _asked(guard, origin="http://LOCALHOST") == 200 == _asked(guard)


def test_cookie_is_found_among_those_of_other_programs_of_this_machine() -> None:
    guard = Guard(_app, TOKEN, ["localhost"])
    assert _asked(guard, cookie=f'_xsrf=2|a; odd/name="; {COOKIE}={guard.cookie()}; b') == 200
    assert [
        _asked(guard, cookie=text) for text in ("", COOKIE, f"{COOKIE}={TOKEN}", f"x{COOKIE}={guard.cookie()}")
    ] == [401] * 4
