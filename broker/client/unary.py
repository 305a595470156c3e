"""Owns asking with one call for each request: for partners behind something that does not pass streams.

The same evidence is demanded. A call that broke on the way is made again under the same request id inside its
remaining time. There is no acknowledgement of receipt here; the stream carries those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc

from broker.client import evidence
from broker.client.asking import Asked
from broker.client.backoff import backoff
from broker.client.channel import Channel
from broker.client.evidence import Answer, FollowTo, Open
from broker.client.failures import read_call
from broker.client.flights import MAX_IN_FLIGHT
from broker.client.trail import Unlinked
from broker.errors import CannotConnect, ProviderTimeout, Saturated
from broker.v1 import exchange_pb2 as wire

# A server that is closing ends calls that reach it at that moment with CANCELLED, unheard.
_ON_THE_WAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


T = TypeVar("T")


class Unary:
    """Asks call by call."""

    def __init__(
        self, channel: Channel, open_note: Open, follow_to: FollowTo, max_in_flight: int = MAX_IN_FLIGHT
    ) -> None:
        self._channel = channel
        self._open_note = open_note
        self._follow_to = follow_to
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    async def ask(self, request: wire.RecordRequest, asked: Asked, deadline: float) -> Answer:
        """The verified answer before `deadline` (event-loop time). Raises BrokerError, Saturated when full."""
        if self._in_flight >= self._max_in_flight:
            raise Saturated(f"client: {self._max_in_flight} requests are in flight already")
        self._in_flight += 1
        try:
            return await self._ask(request, asked, deadline)
        finally:
            self._in_flight -= 1

    async def _ask(self, request: wire.RecordRequest, asked: Asked, deadline: float) -> Answer:
        loop = asyncio.get_running_loop()
        attempt = 0
        while (remaining := deadline - loop.time()) > 0:
            request.timeout.FromNanoseconds(int(remaining * 1e9))
            try:
                said = await self._channel.exchange.Request(request, timeout=remaining)
            except grpc.aio.AioRpcError as error:
                failure = read_call(error)
                if explained := await self._channel.explain(failure):
                    raise explained from error
                on_the_way = failure.code in _ON_THE_WAY and not failure.from_broker
                pause = backoff(attempt)
                if not on_the_way or loop.time() + pause >= deadline:
                    raise await self._linked(
                        lambda: evidence.failed(asked, failure, b"", self._open_note)  # noqa: B023 - at once
                    ) from error
                attempt += 1
                await asyncio.sleep(pause)
                await self._channel.renew()
            except asyncio.CancelledError:
                # A channel that is closed cancels its calls; only a cancelled caller is cancelled.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                raise CannotConnect("this client is closed") from None
            else:
                self._channel.heard = True
                return await self._linked(
                    lambda: evidence.disclosed(asked, said, b"", self._open_note)  # noqa: B023 - at once
                )
        raise ProviderTimeout("no answer came in the time given")

    async def _linked(self, read: Callable[[], T]) -> T:
        """What `read` gives; the log is followed where it has been rotated."""
        try:
            return read()
        except Unlinked as unlinked:
            await self._follow_to(unlinked.note)
            return read()
