"""What holds for every answer of the HTTPS port, whatever it is an answer to.

Owns methods (GET and HEAD), the time an answer may take, and the headers that tell a browser to run nothing,
frame nothing and keep nothing. Refuses bodies, spellings of a path with escapes in them, and to keep a
connection open for somebody who showed no certificate.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.console.peer import peer_certificate
from broker.telemetry import Edge, Telemetry

ANSWER_SECONDS = 10.0
NOTHING_RUNS = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": NOTHING_RUNS,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HSTS = "max-age=31536000"
# A browser would hold every other port of this name to HTTPS too (RFC 6797 section 8.3).
_NOT_HSTS = frozenset({"", "localhost"})


def secure(headers: MutableHeaders, request: Headers) -> None:
    """Add the headers that every answer carries, where the answer has not set its own."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if request.get("host", "").partition(":")[0].lower() not in _NOT_HSTS:
        headers.setdefault("Strict-Transport-Security", _HSTS)


def sentence(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """One line of plain text."""
    return PlainTextResponse(f"{text}\n", status, headers)


class Guardrails:
    """ASGI middleware around everything that may fail in a way it has named."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._app = app
        self._telemetry = telemetry
        self._answer_seconds = answer_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request, started = Headers(scope=scope), False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                secure(headers, request)
                if peer_certificate(scope) is None:
                    headers["Connection"] = "close"
            await send(message)

        refusal = _refusal(scope, request)
        if refusal is not None:
            self._telemetry.malformed(Edge.HTTPS)
            await refusal(scope, receive, guarded)
            return
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._app(scope, receive, guarded)
        except TimeoutError:
            if started:
                raise
            late = sentence("No answer came in time; try again in a second.", 503, {"Retry-After": "1"})
            await late(scope, receive, guarded)


def _refusal(scope: Scope, request: Headers) -> Response | None:
    if scope["method"] not in {"GET", "HEAD"}:
        close = {"Allow": "GET, HEAD", "Connection": "close"}
        return sentence("Only GET and HEAD are answered here.", 405, close)
    if request.get("content-length", "0") != "0" or "transfer-encoding" in request:
        return sentence("No request here has a body.", 413, {"Connection": "close"})
    if b"%" in scope["raw_path"]:
        return sentence("There is nothing at this address.", 404)
    return None
