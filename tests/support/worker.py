"""A broker worker as an adapter sees it: the real wire, and what it says is in the test's hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc

from broker.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
)
from tests.support.certificates import Files

BROKER = "spiffe://blue-light.test/agency/broker/system/core"
RISK = "records.fire.v1.PremisesRisk"
DIGEST = "ab" * 32
Replies = asyncio.Queue[adapter_pb2.AttachReply | None]


class Served:
    """One stream as the worker sees it."""

    def __init__(self, hello: adapter_pb2.Hello, queue: asyncio.Queue[adapter_pb2.AttachReply | None]) -> None:
        self.hello = hello
        self.messages: list[adapter_pb2.AttachRequest] = []
        self.answers: dict[int, adapter_pb2.Answer] = {}
        self.ended = asyncio.Event()
        self.queue = queue
        self._news = asyncio.Condition()
        self._ids = itertools.count(1)

    def send(self, **parts: Any) -> None:
        self.queue.put_nowait(adapter_pb2.AttachReply(**parts))

    def end(self) -> None:
        self.queue.put_nowait(None)

    def ask(self, value: str = "100062", timeout: float = 2.0, **fields: Any) -> int:
        one = an_ask(next(self._ids), value, timeout, **fields)
        self.send(asks=[one])
        return one.ask_id

    async def took(self, message: adapter_pb2.AttachRequest) -> None:
        async with self._news:
            self.messages.append(message)
            self.answers.update({a.ask_id: a for a in message.answers})
            self._news.notify_all()

    async def answer(self, ask_id: int, within: float = 5.0) -> adapter_pb2.Answer:
        await self.until(lambda: ask_id in self.answers, within)
        return self.answers[ask_id]

    async def until(self, true: Any, within: float = 5.0) -> None:
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(true)


class Worker(adapter_pb2_grpc.AdapterServiceServicer, directory_pb2_grpc.DirectoryServiceServicer):
    """Serves Attach and ListRecordTypes on a free port."""

    def __init__(self, files: Files, id_: str = "w1", beat: float = 5.0) -> None:
        self.id = id_
        self.files = files
        self.beat = beat
        self.port = 0
        self.workers: list[adapter_pb2.Worker] = []
        self.approved = {RISK: DIGEST}
        self.greet = True
        self.links: asyncio.Queue[Served] = asyncio.Queue()
        self.server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def listed(self) -> adapter_pb2.Worker:
        return adapter_pb2.Worker(id=self.id, address=self.address)

    async def start(self) -> Worker:
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        adapter_pb2_grpc.add_AdapterServiceServicer_to_server(self, self.server)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(self, self.server)
        pair = (self.files.key.read_bytes(), self.files.cert.read_bytes())
        credentials = grpc.ssl_server_credentials([pair], self.files.ca.read_bytes(), require_client_auth=True)
        self.port = self.server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await self.server.start()
        return self

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(0)

    async def link(self, within: float = 5.0) -> Served:
        async with asyncio.timeout(within):
            return await self.links.get()

    async def ListRecordTypes(self, request: Any, context: Any) -> directory_pb2.ListRecordTypesResponse:  # noqa: N802
        types = [directory_pb2.RecordType(full_name=n, digest=d) for n, d in self.approved.items()]
        return directory_pb2.ListRecordTypesResponse(record_types=types)

    async def Attach(self, request_iterator: Any, context: Any) -> AsyncIterator[adapter_pb2.AttachReply]:  # noqa: N802
        first = await anext(aiter(request_iterator))
        queue: Replies = asyncio.Queue()
        served = Served(first.hello, queue)

        async def read() -> None:
            async for message in request_iterator:
                await served.took(message)
            queue.put_nowait(None)

        reading = asyncio.create_task(read())
        try:
            if self.greet:
                welcome = adapter_pb2.Welcome(
                    broker=BROKER,
                    worker=adapter_pb2.Worker(id=self.id),
                    workers=self.workers or [adapter_pb2.Worker(id=self.id)],
                )
                welcome.heartbeat_every.FromNanoseconds(int(self.beat * 1e9))
                yield adapter_pb2.AttachReply(welcome=welcome)
            self.links.put_nowait(served)
            while (reply := await queue.get()) is not None:
                yield reply
        finally:
            reading.cancel()
            served.ended.set()


def an_ask(ask_id: int, value: str, timeout: float, **fields: Any) -> adapter_pb2.Ask:
    """A well-formed ask for a premises, but for what `fields` replace."""
    ask = adapter_pb2.Ask(
        **{
            "ask_id": ask_id,
            "record_type": RISK,
            "digest": DIGEST,
            "subject": {"scheme": "uprn", "value": value},
            "purpose": "emergency-response",
            "requester": "nwas",
            "requester_system": "cad",
            "actor": {"id": "a1", "role": "dispatcher"},
            "agreement": "cumbria-blue-light",
            "agreement_version": 1,
            "permitted_paths": ["uprn"],
            **fields,
        }
    )
    if timeout:
        ask.timeout.FromNanoseconds(int(timeout * 1e9))
    return ask
