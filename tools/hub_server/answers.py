"""The shapes of the embedded hub's answers, refusals among them, and the JSON that it is sent.

Source: the requests of modelscope_hub 0.5, and what it does with the answers.
"""

import json
import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tools.core.errors import HubRejected
from tools.runtime.files import is_disk_full

log = logging.getLogger("animation.hub_server")
MOST_LOGIN = 64 << 10  # bytes of a body that a stranger may send
_MOST_JSON = 64 << 20  # bytes of a request's body that is no blob
_EXISTS = 10020101001


def success(data: Any, **root: Any) -> JSONResponse:
    return JSONResponse({"Code": 200, "Data": data, "Message": "success", "Success": True, **root})


def failure(status: int, message: str, code: int | None = None) -> JSONResponse:
    said = {"Code": code or status, "Message": message, "Success": False, "Data": None, "message": message}
    return JSONResponse(said, status_code=status)


async def refused(_request: Request, exc: Exception) -> Response:
    status = getattr(exc, "status", None) or 400
    return failure(400, str(exc), _EXISTS) if status == 409 else failure(status, str(exc))


async def http_refused(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return failure(exc.status_code, str(exc.detail))


async def failed(_request: Request, exc: Exception) -> Response:
    """The disk's trouble is the server's, and will pass."""
    full = isinstance(exc, OSError) and is_disk_full(exc)
    log.warning("can't answer: %s", exc)
    return failure(507, "no space left on the hub's disk") if full else failure(500, "the hub's disk has a problem")


async def disconnected(_request: Request, _exc: Exception) -> Response:
    return Response(status_code=400)  # which nobody reads


async def json_of(request: Request, most: int = _MOST_JSON) -> dict[str, Any]:
    """A request's JSON body, bounded. Raises HubRejected."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HubRejected(f"the body is larger than {most} bytes", status=413)
    try:
        content = json.loads(bytes(body) or b"{}")
    except (ValueError, RecursionError) as exc:
        raise HubRejected("the body is not JSON", status=400) from exc
    if not isinstance(content, dict):
        raise HubRejected("the body is not a JSON object", status=400)
    return content
