"""One stream to one broker worker: hello, welcome, asks in, answers out, until either side ends it.

Owns the order of messages on the stream, its heartbeat and the asks outstanding on it. It refuses a broker
other than the expected one, and more asks than the adapter declared. It never redials: `attach.py` does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from adapters.sdk.desk import Desk
from adapters.sdk.outbox import Outbox
from broker.errors import LinkLost
from broker.v1 import adapter_pb2, adapter_pb2_grpc
from broker.waits import Limit

log = logging.getLogger("adapters.sdk")

SILENT_BEATS = 3
_DEFAULT_BEAT = 10.0
_SHORTEST_BEAT = 0.05
_LONGEST_BEAT = 60.0

_Call = grpc.aio.StreamStreamCall[adapter_pb2.AttachRequest, adapter_pb2.AttachReply]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whom a link tells. None of these may block."""

    welcomed: Callable[[Link], None]
    changed: Callable[[Link], None]
    workers: Callable[[list[adapter_pb2.Worker]], None]
    settled: Callable[[str, bool], None]


class Link:
    """Serves asks on one stream. `run` returns or raises LinkLost when it is over."""

    def __init__(
        self,
        desk: Desk,
        hello: adapter_pb2.Hello,
        watcher: Watcher,
        *,
        going: asyncio.Event,
        expected_broker: str = "",
        welcome_within: float = 10.0,
    ) -> None:
        self.worker = adapter_pb2.Worker()
        self.going = going  # set when the worker said that it is draining
        self._desk = desk
        self._hello = hello
        self._watcher = watcher
        self._expected_broker = expected_broker
        self._welcome_within = welcome_within
        self._outbox = Outbox()
        self._outstanding: dict[int, asyncio.Task[None]] = {}
        self._leaving = False
        self._beat = _DEFAULT_BEAT

    @property
    def outstanding(self) -> int:
        """Asks accepted whose answer has not been handed to the transport."""
        return len(self._outstanding) + len(self._outbox)

    def credit(self, at_once: int) -> None:
        """Tell the broker how many asks may be outstanding here from now on."""
        self._outbox.credit(at_once)

    def leave(self) -> None:
        """Ask for nothing more, answer what is outstanding, then end the stream."""
        self._leaving = True
        self._outbox.draining()

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Attach on `channel` and serve. Raises LinkLost; whatever was being worked on is cancelled."""
        stub: adapter_pb2_grpc.AdapterServiceAsyncStub = adapter_pb2_grpc.AdapterServiceStub(channel)
        call = stub.Attach()
        parts: set[asyncio.Task[None]] = set()
        try:
            first = await self._greet(call)
            self._watcher.welcomed(self)
            self._take_in(first)
            parts = {asyncio.create_task(part) for part in (self._read(call), self._write(call), self._pulse())}
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        except grpc.aio.AioRpcError as e:
            raise LinkLost(f"{e.code().name}: {(e.details() or '')[:200]}") from e
        except asyncio.InvalidStateError as e:
            raise LinkLost("the stream was closed while in use") from e
        finally:
            work = [*parts, *self._outstanding.values()]
            for task in work:
                task.cancel()
            call.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _greet(self, call: _Call) -> adapter_pb2.AttachReply:
        try:
            async with asyncio.timeout(self._welcome_within):
                await call.write(adapter_pb2.AttachRequest(hello=self._hello))
                reply = await call.read()
        except TimeoutError as e:
            raise LinkLost(f"no welcome within {self._welcome_within:g} s") from e
        if not isinstance(reply, adapter_pb2.AttachReply) or not reply.HasField("welcome"):
            raise LinkLost("the broker's first message is no welcome")
        welcome = reply.welcome
        if self._expected_broker and welcome.broker != self._expected_broker:
            raise LinkLost(f"the broker calls itself {welcome.broker[:200]!r}, not {self._expected_broker!r}")
        self.worker.CopyFrom(welcome.worker)
        every = welcome.heartbeat_every
        beat = every.seconds + every.nanos / 1e9 or _DEFAULT_BEAT
        self._beat = min(max(beat, _SHORTEST_BEAT), _LONGEST_BEAT)
        return reply

    async def _read(self, call: _Call) -> None:
        silence = Limit(SILENT_BEATS * self._beat)
        while True:
            try:
                with silence:
                    reply = await call.read()
            except TimeoutError as e:
                raise LinkLost(f"the broker was silent for {SILENT_BEATS * self._beat:g} s") from e
            if not isinstance(reply, adapter_pb2.AttachReply):
                if self._leaving or self.going.is_set():
                    return
                raise LinkLost("the broker ended the stream")
            self._take_in(reply)

    async def _write(self, call: _Call) -> None:
        silence = Limit(SILENT_BEATS * self._beat)
        while True:
            message = await self._outbox.take()
            try:
                with silence:
                    await call.write(message)
            except TimeoutError as e:
                raise LinkLost(f"the broker read nothing for {SILENT_BEATS * self._beat:g} s") from e
            # What was queued during the write goes first, above all that we are leaving.
            if self._leaving and not self.outstanding and self._outbox.empty:
                await call.done_writing()
                await asyncio.Event().wait()  # the reader sees the broker end the stream; attach.py bounds it

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(self._beat)
            self._outbox.heartbeat()

    def _take_in(self, reply: adapter_pb2.AttachReply) -> None:
        arrived = time.monotonic()
        # Cancels first: the places they free may be what the asks beside them were sent for.
        given_up = set(reply.cancel)
        for ask_id in given_up:
            self._give_up(ask_id)
        for ask in reply.asks:
            if ask.ask_id not in given_up:
                self._accept(ask, arrived)
        for settled in reply.settled:
            self._watcher.settled(settled.effect_key, settled.released)
        listed = list(reply.welcome.workers) or list(reply.workers)
        if listed:
            self._watcher.workers(listed)
        if reply.draining and not self.going.is_set():
            self.going.set()
            self._watcher.changed(self)

    def _accept(self, ask: adapter_pb2.Ask, arrived: float) -> None:
        if ask.ask_id in self._outstanding:
            log.error("worker %s sent an ask id twice; the second is ignored", self.worker.id)
            return
        if self.outstanding >= self._hello.at_once:
            failed = adapter_pb2.Failed(why=f"more than {self._hello.at_once} asks at once")
            self._outbox.answer(adapter_pb2.Answer(ask_id=ask.ask_id, failed=failed))
            return
        self._outstanding[ask.ask_id] = asyncio.create_task(self._serve(ask, arrived))

    async def _serve(self, ask: adapter_pb2.Ask, arrived: float) -> None:
        answer = await self._desk.handle(ask, arrived)
        self._outstanding.pop(ask.ask_id, None)
        self._outbox.answer(answer)

    def _give_up(self, ask_id: int) -> None:
        task = self._outstanding.pop(ask_id, None)
        if task is not None:
            task.cancel()
        self._outbox.drop(ask_id)
        if self._leaving:
            self._outbox.heartbeat()  # wakes the writer, which may now be done
