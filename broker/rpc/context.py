"""The call that a servicer answers, as the type checker knows it; how a stream is let in, and let go."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]

_FIRST_WORDS = 1.0  # seconds that a stream which is to be refused has for them


@asynccontextmanager
async def messages_of(stream: AsyncIterable[Any]) -> AsyncIterator[AsyncIterator[Any]]:
    """What comes on a stream, for as long as the block lasts.

    grpc.aio's own iterator refers to itself, and would keep the last message until the collector of garbage
    comes, which goes by how many objects there are and not by how large.
    """
    incoming = aiter(stream)
    try:
        yield incoming
    finally:
        if isinstance(incoming, AsyncGenerator):
            with suppress(RuntimeError):  # somebody waits for it still
                await incoming.aclose()


@asynccontextmanager
async def letting_in(incoming: AsyncIterator[Any]) -> AsyncIterator[None]:
    """Around what decides whether a stream may be: its refusal waits for the stream's first message.

    grpc.aio tells whoever is still writing of an inner error (INTERNAL, "Internal error from Core") in place of
    the status that the stream was ended with, so that nobody would know why.
    """
    try:
        yield
    except Exception:
        with suppress(Exception):  # whatever becomes of it, the refusal is what counts
            async with asyncio.timeout(_FIRST_WORDS):
                await anext(incoming)
        raise
