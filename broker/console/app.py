"""The HTTPS port's application: what stands at which path, and who may read it.

Owns the paths, and who is let in: the log for any enrolled system (C2SP tlog-tiles), metrics for operators,
health for everybody. What it shows comes in as `Parts`; it knows neither the database nor gRPC. Refuses every
other path in one plain sentence.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.console.gate import Gate
from broker.console.guardrails import ANSWER_SECONDS, Guardrails, secure, sentence
from broker.console.page import POLICY, caller_page, stranger_page
from broker.console.peer import peer_certificate
from broker.console.published import LogPages, Newest, PublishedLog
from broker.core.bundles import Bundle
from broker.core.model import Caller, Function
from broker.core.tiles import TILE_WIDTH, Tile
from broker.errors import AuditUnavailable, BrokerError, IntegrityError, QuotaExceeded, Saturated, SetupError
from broker.telemetry import Edge, Telemetry

log = logging.getLogger(__name__)

# The largest tile there can be is named in 50 characters; whatever is longer is not parsed.
_MAX_NAME = 80
_NOWHERE = "There is nothing at this address."
# Clients hold them with a certificate, so no shared cache may (RFC 9111 section 5.2.2.7, RFC 8246).
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_NEWEST = {"Cache-Control": "no-cache"}
# A prefix never changes either, but the full tile soon takes its place.
_FOR_NOW = {"Cache-Control": "private, max-age=3600"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of.

    `logs` by origin, and `vkeys`, stand newest first; the first log is the current one. `identify` gives the
    system that a certificate (DER) speaks for now, None if it may not speak. `ready` says whether this process
    can serve and, in words that anybody may read, why not; it is asked by strangers, so it only looks.
    Both may change between two requests: a rotation adds to them. `published` gives the checkpoint that went to
    the witnesses of the log of a name, where it has any.
    """

    version: str
    logs: Mapping[str, LogPages]
    vkeys: Sequence[str]
    identify: Callable[[bytes], Caller | None]
    ready: Callable[[], tuple[bool, Sequence[str]]]
    telemetry: Telemetry
    now: Callable[[], datetime]
    published: Callable[[str], Awaitable[tuple[int, bytes] | None]] | None = None


def build_app(parts: Parts, *, answer_seconds: float = ANSWER_SECONDS) -> Starlette:
    """The application, for `broker.console.server`. Raises SetupError where there is no log."""
    pages = _Pages(parts)
    app = Starlette(
        routes=[
            Route("/", pages.home),
            Route("/log/{name:path}", pages.log),
            Route("/metrics", pages.metrics),
            Route("/healthz", pages.healthz),
            Route("/readyz", pages.readyz),
        ],
        middleware=[Middleware(Guardrails, telemetry=parts.telemetry, answer_seconds=answer_seconds)],
        exception_handlers={HTTPException: _said, BrokerError: _named, Exception: _unforeseen},
    )
    app.router.redirect_slashes = False
    return app


class _Pages:
    def __init__(self, parts: Parts) -> None:
        if not parts.logs:
            raise SetupError("there is no log to publish")
        self._parts = parts
        self._pages: dict[str, PublishedLog] = {}
        self._gate = Gate()
        self._logs()  # names that are none are found out at once

    def _logs(self) -> dict[str, PublishedLog]:
        """The logs by half-year, newest first."""
        for origin, pages in self._parts.logs.items():
            if origin not in self._pages:
                self._pages[origin] = PublishedLog(origin, pages, self._parts.now, self._newest(origin))
        published = [self._pages[origin] for origin in self._parts.logs]
        return {each.half_year: each for each in published}

    def _newest(self, origin: str) -> Newest | None:
        published = self._parts.published
        return None if published is None else lambda: published(origin)

    async def home(self, request: Request) -> Response:
        """What is here; to strangers, only how to get in."""
        headers = {"Content-Security-Policy": POLICY}
        caller = self._known(request)
        if caller is None:
            return HTMLResponse(stranger_page(), headers=headers)
        logs = self._logs()
        current = next(iter(logs.values()))
        try:
            async with self._gate.admit(caller.name):
                size = (await current.head()).size
        except (AuditUnavailable, Saturated):
            size = None
        page = caller_page(
            caller.name,
            self._parts.version,
            current.origin,
            size,
            self._parts.now(),
            list(logs),
            caller.function is Function.OPERATOR,
        )
        return HTMLResponse(page, headers=headers)

    async def log(self, request: Request) -> Response:
        """Checkpoint, keys, tiles and entry bundles, of the current log or of a half-year's."""
        caller = self._enrolled(request)
        name = request.path_params["name"]
        half_year, _, rest = name.partition("/")
        logs = self._logs()
        published = logs.get(half_year)
        if (rest if published else name) == "vkey":
            return PlainTextResponse(self._vkeys(published), headers=_NEWEST)
        try:
            async with self._gate.admit(caller.name):
                return await _read(published or next(iter(logs.values())), rest if published else name)
        except QuotaExceeded:
            self._parts.telemetry.over_quota(Edge.HTTPS, caller.agency, system=caller.name)
            raise

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics, for operators."""
        caller = self._enrolled(request)
        if caller.function is not Function.OPERATOR:
            self._parts.telemetry.not_allowed(Edge.HTTPS, system=caller.name)
            raise HTTPException(403, "Metrics are for systems enrolled as operators.")
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._parts.telemetry.registry), headers={"Content-Type": kind})

    async def healthz(self, _: Request) -> Response:
        """That the process answers."""
        return sentence("ok", 200)

    async def readyz(self, _: Request) -> Response:
        """Whether it can serve, or why not; then, one a line, the reasons, and what fails all the same."""
        ok, reasons = self._parts.ready()
        return sentence("\n".join(("ready" if ok else "not ready", *reasons)), 200 if ok else 503)

    def _vkeys(self, published: PublishedLog | None) -> str:
        vkeys = self._parts.vkeys
        if published is not None:
            vkeys = [vkey for vkey in vkeys if vkey.startswith(f"{published.origin}+")]
        return "".join(f"{vkey}\n" for vkey in vkeys)

    def _known(self, request: Request) -> Caller | None:
        certificate = peer_certificate(request.scope)
        return None if certificate is None else self._parts.identify(certificate)

    def _enrolled(self, request: Request) -> Caller:
        caller = self._known(request)
        if caller is not None:
            return caller
        self._parts.telemetry.unauthenticated(Edge.HTTPS)
        if peer_certificate(request.scope) is None:
            # RFC 9110 section 11.6.1 wants a challenge; none is registered for certificates.
            challenge = {"WWW-Authenticate": 'ClientCertificate realm="broker"'}
            raise HTTPException(401, "Show the client certificate of an enrolled system.", challenge)
        raise HTTPException(403, "This certificate is not that of a system enrolled here now.")


async def _read(published: PublishedLog, name: str) -> Response:
    if name == "checkpoint":
        return PlainTextResponse((await published.head()).note, headers=_NEWEST)
    if name == "dropped":
        return PlainTextResponse(await published.dropped(), headers=_NEWEST)
    try:
        found = _parse(name)
        data = await (published.tile(found) if isinstance(found, Tile) else published.bundle(found))
    except KeyError as e:
        raise HTTPException(404, "The log does not have this, or not yet.") from e
    headers = _FOR_EVER if found.width == TILE_WIDTH else _FOR_NOW
    return Response(data, headers=headers, media_type="application/octet-stream")


def _parse(name: str) -> Tile | Bundle:
    """The tile or bundle of this name (C2SP tlog-tiles); a 404 for any other name."""
    if len(name) > _MAX_NAME:
        raise HTTPException(404, _NOWHERE)
    try:
        return Bundle.parse(name) if name.startswith("tile/entries/") else Tile.parse(name)
    except IntegrityError as e:
        raise HTTPException(404, _NOWHERE) from e


async def _said(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError(type(error).__name__)
    text = _NOWHERE if error.detail == "Not Found" else error.detail
    return sentence(text, error.status_code, dict(error.headers or {}))


async def _named(request: Request, error: Exception) -> Response:
    if isinstance(error, Saturated):
        status = 429 if isinstance(error, QuotaExceeded) else 503
        return sentence(f"Not now: {error}.", status, {"Retry-After": str(math.ceil(error.retry_after))})
    if isinstance(error, AuditUnavailable):
        return sentence("The log cannot be read just now; try again in a second.", 503, {"Retry-After": "1"})
    log.error("%s at %s: %s", type(error).__name__, request.url.path, error)
    return sentence("The log does not hold together here; this has been written down.", 500)


async def _unforeseen(request: Request, _: Exception) -> Response:
    """Outside of the guardrails; uvicorn writes the error down."""
    answer = sentence("Something failed here; it has been written down.", 500, {"Connection": "close"})
    secure(answer.headers, request.headers)
    return answer
