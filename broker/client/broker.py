"""THE object a partner holds. Owns one connection to one broker, and what that broker's log has shown.

    async with Broker("localhost:7443", ca=..., cert=..., key=..., log_vkey=...) as broker:
        disclosure = await broker.request(...)

Refuses everything without evidence, and everything at all once the log has contradicted itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from broker.client import settings
from broker.client.asking import (
    DEFAULT_TIMEOUT,
    Asked,
    check_request_id,
    check_timeout,
    write_request,
)
from broker.client.channel import Channel
from broker.client.disclosure import Disclosure
from broker.client.evidence import Replayed
from broker.client.flights import MAX_IN_FLIGHT, MAX_WAITING, Flights
from broker.client.settings import Settings
from broker.client.stream import Stream
from broker.client.tracing import of_process
from broker.client.unary import Unary
from broker.client.watch import Watch
from broker.core.model import Actor, Override, Place, Reason, Traits
from broker.core.receipt import Receipt
from broker.core.subject import SubjectRef
from broker.errors import AuditUnavailable, CannotConnect, IntegrityError
from broker.ids import request_id as make_id
from broker.pki.tls import TlsFiles
from broker.tracing import Tracing
from broker.v1.exchange_pb2 import RecordRequest

# A replay answers without the record; the record is asked for again under a new id at most so often.
_ASKS: Final = 3


class Broker:
    """A client of one broker for one system; use it in one event loop, with `async with`.

    `ca`, `cert` and `key` are PEM files; they are read again when they are renewed. `log_vkey` names a file of
    verifier keys or is their text. `state` is a file in which what the log has shown outlives this process, one
    for each process; without it a restart forgets. `unary` asks with one call for each request.

    Each request is a span where OTEL_EXPORTER_OTLP_ENDPOINT says to whom, or where `tracing` is given.
    """

    def __init__(
        self,
        target: str,
        *,
        ca: str | Path,
        cert: str | Path,
        key: str | Path,
        log_vkey: str | Path,
        state: str | Path | None = None,
        unary: bool = False,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_waiting: int = MAX_WAITING,
        tracing: Tracing | None = None,
    ) -> None:
        files = TlsFiles(Path(ca), Path(cert), Path(key))
        self._settings = Settings(target, files, settings.read_keys(log_vkey))
        self._state = Path(state) if state is not None else None
        self._unary = unary
        self._bounds = (max_in_flight, max_waiting)
        self._tracing = tracing or of_process()
        self._live: _Live | None = None

    @classmethod
    def from_state(
        cls, folder: str | Path, name: str, *, state: str | Path | None = None, unary: bool = False
    ) -> Self:
        """A client with a development identity, such as "cfrs-mdt", of the state folder of a `broker up`.

        Raises SetupError, IntegrityError.
        """
        found = settings.from_state(Path(folder), name)
        vkeys = "\n".join(verifier.vkey for verifier in found.verifiers)
        files = found.files
        return cls(
            found.target, ca=files.ca, cert=files.cert, key=files.key, log_vkey=vkeys, state=state, unary=unary
        )

    async def __aenter__(self) -> Self:
        if self._live is not None:
            raise CannotConnect("this client is open already")
        self._live = await _Live.open(self._settings, self._state, self._unary, self._bounds)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, raised: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Hang up. Raises IntegrityError if the log, asked a last time, contradicts what it has shown."""
        live, self._live = self._live, None
        if live is not None:
            await live.close()

    async def request(
        self,
        *,
        record_type: str,
        purpose: str,
        actor: Actor,
        provider: str = "",
        subject: SubjectRef | tuple[str, str] | str | None = None,
        query: Traits | None = None,
        reason: Reason | None = None,
        override: Override | None = None,
        incident: str = "",
        place: Place | None = None,
        traceparent: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        request_id: str = "",
        retry_of: str = "",
    ) -> Disclosure:
        """Ask for one record; exactly one of `subject` and `query` says whose.

        `subject` is a SubjectRef, a pair ("uprn", "100062990001"), or the text "uprn:100062990001".

        `timeout` is in seconds, at most 30, all tries included. `request_id` is a fresh UUID unless one is
        given; one that the broker has answered already is asked again under a new id. `traceparent` (W3C Trace
        Context) is the caller's span; without one, a trace begins here if this client traces.

        Raises:
            Denied, Referred, Ambiguous: refused, with the verified receipt of the refusal.
            SubjectNotFound: permitted, and the provider holds no such record.
            InvalidRequest: a field is wrong.
            ProviderUnavailable, ProviderTimeout, AuditUnavailable: no answer; it may be asked again.
            Saturated, QuotaExceeded: too much at once; `retry_after` seconds.
            UnknownSystem, RevokedCertificate, NotAllowed, CannotConnect: the broker will not have us.
            IntegrityError: the answer's evidence does not hold; nothing of it is returned.
        """
        live = self._live
        if live is None:
            raise CannotConnect("this client is not open: use it with `async with`")
        deadline = asyncio.get_running_loop().time() + check_timeout(timeout)
        ask = write_request(
            record_type=record_type,
            provider=provider,
            subject=subject,
            query=query,
            purpose=purpose,
            actor=actor,
            reason=reason,
            override=override,
            incident=incident,
            place=place,
            traceparent=traceparent,
        )
        ask.request_id = check_request_id("request_id", request_id) if request_id else make_id()
        ask.retry_of = check_request_id("retry_of", retry_of) if retry_of else ""
        with self._tracing.root("client.request", traceparent) as span:
            ask.traceparent = span.traceparent
            disclosure = await _answered(live, ask, deadline)
            span.set(record_type=ask.record_type, purpose=ask.purpose, outcome="permit")
            return disclosure


class _Live:
    """The parts of an open client."""

    def __init__(self, channel: Channel, watch: Watch, way: Stream | Unary) -> None:
        self.watch = watch
        self.way = way
        self._channel = channel

    @classmethod
    async def open(
        cls,
        known: Settings,
        state: Path | None,
        unary: bool,
        bounds: tuple[int, int],
    ) -> _Live:
        channel = Channel(known.target, known.files)
        ways: list[Stream] = []

        def distrusted(error: IntegrityError) -> None:
            for way in ways:
                way.distrust(error)

        watch = Watch(
            known.verifiers,
            channel.consistency,
            channel.link,
            state=state,
            distrusted=distrusted,
        )
        try:
            await watch.start()
        except BaseException:
            await channel.close()
            raise
        if unary:
            return cls(channel, watch, Unary(channel, watch.open, watch.link, bounds[0]))
        stream = Stream(channel, watch.open, watch.link, Flights(*bounds))
        ways.append(stream)
        stream.start()
        return cls(channel, watch, stream)

    async def close(self) -> None:
        try:
            if isinstance(self.way, Stream):
                await self.way.close()
            await self.watch.close()
        finally:
            await self._channel.close()


async def _answered(live: _Live, ask: RecordRequest, deadline: float) -> Disclosure:
    """What the broker answers, with its record: a replay is asked again under a new id."""
    earlier: Receipt | None = None
    for _ in range(_ASKS):
        live.watch.require_trust()
        asked = Asked(ask.request_id, ask.record_type, ask.provider, ask.traceparent[3:35])
        answer = await live.way.ask(ask, asked, deadline)
        live.watch.require_trust()
        if not isinstance(answer, Replayed):
            return answer if earlier is None else replace(answer, earlier=earlier)
        earlier = earlier or answer.receipt
        ask.retry_of, ask.request_id = ask.request_id, make_id()
    raise AuditUnavailable("the broker keeps answering with replays, without the record")
