"""What every unary handler does: find the caller, answer, and map what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from broker.core.model import Caller
from broker.rpc.context import Context
from broker.rpc.errors import abort, count
from broker.rpc.identity import Identity
from broker.telemetry import Telemetry

Servicer = TypeVar("Servicer")
Wanted = TypeVar("Wanted")
Given = TypeVar("Given")

Handler = Callable[[Any, Wanted, Caller], Awaitable[Given]]


def unary(
    handler: Callable[[Any, Any, Caller], Awaitable[Given]],
) -> Callable[[Any, Any, Context], Awaitable[Given]]:
    """A gRPC handler from `async def handler(self, request, caller)`.

    The servicer has `identity` and `telemetry`. Everything raised becomes a status from the one table.
    """

    @wraps(handler)
    async def handle(self: Any, request: Any, context: Context) -> Given:
        identity: Identity = self.identity
        telemetry: Telemetry = self.telemetry
        try:
            return await handler(self, request, await identity.fresh(context))
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            count(telemetry, e)
            await abort(context, e)
        raise AssertionError("abort raises")

    return handle


def streamed(
    handler: Callable[[Any, Any, Caller], AsyncIterator[Given]],
) -> Callable[[Any, Any, Context], AsyncIterator[Given]]:
    """The same for one question with many answers: `def handler(self, request, caller)` gives them."""

    @wraps(handler)
    async def handle(self: Any, request: Any, context: Context) -> AsyncIterator[Given]:
        identity: Identity = self.identity
        try:
            async for each in handler(self, request, await identity.fresh(context)):
                identity.of(context)  # who may no longer speak hears no more
                yield each
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            count(self.telemetry, e)
            await abort(context, e)

    return handle
