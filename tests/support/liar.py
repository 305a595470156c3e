"""An adapter over the real AdapterService that says whatever a test wants, true or not.

It stands on the wire alone, without our SDK, which would refuse to send most of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from broker.v1 import adapter_pb2, adapter_pb2_grpc

Say = Callable[[adapter_pb2.Ask], list[adapter_pb2.Answer]]


class Liar:
    """Answers each ask with what `say` makes of it; an empty list is silence. `asked` holds every ask."""

    def __init__(self) -> None:
        self.say: Say = lambda ask: []
        self.asked: list[adapter_pb2.Ask] = []
        self.cancelled: list[int] = []
        self.hang_up = False
        self.link: grpc.aio.StreamStreamCall | None = None

    async def serve(self, link: grpc.aio.StreamStreamCall) -> None:
        """Read and answer until the stream ends, or until told to hang up at the next ask."""
        self.link = link
        while (reply := await link.read()) is not grpc.aio.EOF:
            self.cancelled += reply.cancel
            for ask in reply.asks:
                self.asked.append(ask)
                if self.hang_up:
                    link.cancel()
                    return
                if answers := self.say(ask):
                    await link.write(adapter_pb2.AttachRequest(answers=answers))
            if reply.HasField("heartbeat"):
                await link.write(adapter_pb2.AttachRequest(heartbeat=reply.heartbeat))


@asynccontextmanager
async def attached(channel: grpc.aio.Channel, hello: adapter_pb2.Hello) -> AsyncIterator[Liar]:
    """A liar that is attached for as long as the block lasts."""
    link = adapter_pb2_grpc.AdapterServiceStub(channel).Attach()
    await link.write(adapter_pb2.AttachRequest(hello=hello))
    first = await asyncio.wait_for(link.read(), 10)
    assert first.HasField("welcome")
    liar = Liar()
    serving = asyncio.create_task(liar.serve(link))
    try:
        yield liar
    finally:
        serving.cancel()
        link.cancel()
        await asyncio.gather(serving, return_exceptions=True)
