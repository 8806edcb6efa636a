"""What every request passes: the token, the limit on bodies, headers for browsers, counters, and errors."""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from recbole_universal.app.service.bodies import MOST_BYTES
from recbole_universal.app.service.counters import Counters

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_HEADERS = [
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
     b"font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]  # fmt: skip
_log = logging.getLogger("recbole_universal.service")


class Guard:
    """An ASGI application around the service.

    Args:
        app: the service.
        token: the token that requests need; empty: none.
        counters: counts the requests.
    """

    def __init__(self, app: Any, token: str, counters: Counters) -> None:
        self._app, self._counters = app, counters
        self._expected = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def send_with_headers(message: _Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            problem = self._problem(scope)
            if problem:
                await _answer(send_with_headers, *problem)
            else:
                await self._app(scope, _limited(receive), send_with_headers)
        except Exception:
            _log.exception("%s %r failed.", scope["method"], scope["path"])
            if not status:
                await _answer(send_with_headers, 500, "The service failed; its log says why.")
        finally:
            self._counters.request(scope["path"], status, time.perf_counter() - start)

    def _problem(self, scope: _Message) -> tuple[int, str] | None:
        """Status and sentence if a request is refused before it is read."""
        given, length, host = b"", b"", b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                given = value
            elif name == b"host":
                host = value
            elif name == b"content-length":
                length = value
        path = scope["path"]
        is_open = path in ("/", "/health") or path.startswith("/static/")
        if self._expected and not is_open and not hmac.compare_digest(given, self._expected):
            return 401, "This service needs a token: send the header Authorization: Bearer TOKEN."
        if not self._expected and _is_domain(host):
            return 403, (
                "This service has no token, so it answers no page of another site; ask it as localhost or 127.0.0.1, "
                "or set a token."
            )
        if length.isdigit() and (len(length) > 18 or int(length) > MOST_BYTES):
            return 413, _TOO_LARGE
        return None


def _is_domain(host: bytes) -> bool:
    """Whether a host of a request is a name on the internet.

    The owner of such a name can let it point at this machine, and a page of it in a browser here then asks this
    service. Localhost, names without a dot and addresses cannot be taken so.
    """
    name = host.decode("latin-1").strip().lower()
    name = name.partition("]")[0].lstrip("[") if name.startswith("[") else name.rpartition(":")[0] or name
    name = name.rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." in name and not name.endswith(".localhost")
    return False


_TOO_LARGE = f"The body is too large; at most {MOST_BYTES} bytes are read."


def _limited(receive: _Receive) -> _Receive:
    """Receives a body, and stops where it is too long."""
    n_bytes = 0

    async def limited() -> _Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > MOST_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return limited


async def _answer(send: _Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
