"""What every unary handler does: find the caller, answer, and map what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from functools import wraps
from typing import Any, TypeVar, cast

from broker.core.model import Caller
from broker.errors import Saturated
from broker.rpc.context import Context
from broker.rpc.errors import count, refuse
from broker.rpc.identity import Identity
from broker.rpc.wellformed import whole
from broker.telemetry import Telemetry

Servicer = TypeVar("Servicer")
Wanted = TypeVar("Wanted")
Given = TypeVar("Given")

Handler = Callable[[Any, Wanted, Caller], Awaitable[Given]]
STALLED = 10.0  # seconds until a client that reads nothing is gone


def unary(
    handler: Callable[[Any, Any, Caller], Awaitable[Given]],
) -> Callable[[Any, Any, Context], Awaitable[Given]]:
    """A gRPC handler from `async def handler(self, request, caller)`.

    The servicer has `identity` and `telemetry`. Everything raised becomes a status from the one table.
    """
    return _called(handler, lambda identity, name: identity.waiting.one(name))


def _called(
    handler: Callable[[Any, Any, Caller], Awaitable[Given]],
    place: Callable[[Identity, str], AbstractContextManager[None]],
) -> Callable[[Any, Any, Context], Awaitable[Given]]:
    """As `unary`, in a place of its system's that is taken before anything is read for it: by who may speak in
    its name, and nobody else."""

    @wraps(handler)
    async def handle(self: Any, request: Any, context: Context) -> Given:
        identity: Identity = self.identity
        telemetry: Telemetry = self.telemetry
        try:
            with place(identity, (await identity.find(context)).name):
                caller = await identity.fresh(context)
                return await handler(self, whole(request), caller)
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            name = identity.named(context)
            count(telemetry, e, method_of(self, handler), name)
            if isinstance(e, Saturated) and e.receipt is None:
                await identity.hold(name.partition("/")[0])
            refuse(context, e)
            return cast(Given, None)  # gRPC sends nothing but the status

    return handle


def heavy(
    handler: Callable[[Any, Any, Caller], Awaitable[Given]],
) -> Callable[[Any, Any, Context], Awaitable[Given]]:
    """As `unary`, for what reads much: a few of one system wait, agencies have one turn each at a time, and few
    of all are worked on, for so long and no longer. Whoever asks for more is told when to ask again."""

    @wraps(handler)
    async def in_turn(self: Any, request: Any, caller: Caller) -> Given:
        identity: Identity = self.identity
        async with identity.turn(caller.agency):
            return await handler(self, request, caller)

    return _called(in_turn, lambda identity, name: identity.reading(name))


def method_of(servicer: object, handler: Callable[..., object]) -> str:
    """`AuditService/Search` of AuditServicer.Search."""
    return f"{type(servicer).__name__.removesuffix('r')}/{handler.__name__}"


def streamed(
    handler: Callable[[Any, Any, Caller], AsyncIterator[Given]],
) -> Callable[[Any, Any, Context], AsyncIterator[Given]]:
    """The same for one question with many answers: `def handler(self, request, caller)` gives them.

    Ended are those whose client does not read, and whose system may no longer speak, silent or not.
    """

    # grpc.aio takes a coroutine that writes by itself as well; only so can a stalled write end.
    @wraps(handler)
    async def handle(self: Any, request: Any, context: Context) -> None:
        identity: Identity = self.identity
        try:
            caller = await identity.fresh(context)
            with identity.paged.one(caller.name):
                await _while_it_may(identity, context, handler(self, whole(request), caller))
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            count(self.telemetry, e, method_of(self, handler), identity.named(context))
            refuse(context, e)

    known: Any = handle  # the generated class knows generators only
    return cast(Callable[[Any, Any, Context], AsyncIterator[Given]], known)


async def _while_it_may(identity: Identity, context: Context, answers: AsyncIterator[Given]) -> None:
    loop = asyncio.get_running_loop()
    sides = [loop.create_task(_written(answers, context)), loop.create_task(identity.watch(context))]
    try:
        ended, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        for side in ended:
            side.result()
    finally:
        for side in sides:
            side.cancel()
        await asyncio.gather(*sides, return_exceptions=True)


async def _written(answers: AsyncIterator[Given], context: Context) -> None:
    # Closed here and now: what it holds, a seat for instance, must not wait for the collector of garbage.
    async with aclosing(answers) as every:  # type: ignore[type-var]  # each is an async generator
        async for each in every:
            try:
                async with asyncio.timeout(STALLED):
                    await context.write(each)
            except TimeoutError:
                raise Saturated(f"nothing was read for {STALLED:.0f} s") from None
