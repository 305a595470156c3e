"""What every unary handler does: find the caller, answer, and map what goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
