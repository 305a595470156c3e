"""Natural batching, the one mechanism that makes every hop cheap.

A `Coalescer` flushes whatever has queued while the previous flush was in progress: no timers, no added wait
when idle, bigger batches under load. Its queue is bounded and fair between owners (`fairqueue.py`); it refuses
with `Saturated` what does not fit, and never lets one bad item harm another: a failed batch is tried again
item by item.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from broker.errors import BrokerError, Saturated
from broker.fairqueue import FairQueue
from broker.lanes import Pace

MAX_ITEMS = 256
MAX_BYTES = 1024 * 1024
GRACE = 10.0  # seconds that a stop leaves the flush in progress

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Turns many `submit` calls into few `flush` calls, each owner's in order of arrival.

    `flush` takes up to `max_items` items of together at most `max_bytes` and gives one result each; an item
    larger than that travels alone. Start it with `async with`, or `start` and `stop`.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        max_waiting: int = 4096,
        max_of_one: int = 2048,
        grace: float = GRACE,
    ) -> None:
        self.name = name
        self.batches = 0
        self.items = 0
        self._flush = flush
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._grace = grace
        self._stopped = False
        self._waiting: FairQueue[tuple[Item, asyncio.Future[Result]]] = FairQueue(
            name, most=max_waiting, most_of_one=min(max_of_one, max_waiting)
        )
        self._pace = Pace()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin flushing; idempotent."""
        if self._task is None:
            self._stopped = False
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"coalesce-{self.name}")

    async def stop(self) -> None:
        """Stop flushing: whoever still waits gets `Saturated`, and so does whoever comes.

        The flush in progress may end, since what it commits should be answered; past `grace` it is cancelled.
        """
        self._stopped = True
        for _, future in self._waiting.drain():
            _settle(future, Saturated(f"{self.name}: stopping"))
        if self._task is not None:
            self._wake.set()
            task, self._task = self._task, None
            await asyncio.wait((task,), timeout=self._grace)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def __aenter__(self) -> Coalescer[Item, Result]:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def waiting(self) -> int:
        """Items queued and not yet in a flush."""
        return len(self._waiting)

    def submit(
        self, item: Item, size: int = 0, owner: str = "", *, urgent: bool = False
    ) -> asyncio.Future[Result]:
        """A future for the item's result. `size` in bytes counts against a batch; `owner` is whose turn it
        takes, an agency's id for example; what is `urgent` is in the next batch. Raises Saturated."""
        if self._stopped:
            raise Saturated(f"{self.name}: stopping")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.put((item, future), size, owner, urgent=urgent)
        if urgent:
            self._pace.urgent(asyncio.get_running_loop().time())
        self._wake.set()
        return future

    async def _run(self) -> None:
        while not self._stopped:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            # One turn of the loop: what became ready together travels together.
            await asyncio.sleep(0)
            if batch := self._take():
                self.batches += 1
                self.items += len(batch)
                await self._deliver(batch)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        most = self._pace.most(self._max_items, asyncio.get_running_loop().time())
        return self._waiting.take(most, self._max_bytes, _awaited)

    async def _deliver(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            if not await self._send(batch):
                for single in batch:
                    await self._send([single])
        except asyncio.CancelledError:
            for _, future in batch:
                _settle(future, Saturated(f"{self.name}: stopping"))
            raise

    async def _send(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> bool:
        """One flush, its results given out. False where the items are to be tried one by one."""
        try:
            results = await self._flush([item for item, _ in batch])
        except BrokerError as failure:
            # Named failures (the database is away) are everyone's alike.
            for _, future in batch:
                _settle(future, failure)
        except Exception as failure:  # noqa: BLE001 - the flusher must outlive any item; each owner is told
            if len(batch) > 1:
                return False
            _settle(batch[0][1], failure)
        else:
            if len(results) != len(batch):
                # Whose is whose cannot be told, and what was done is done: no second try.
                wrong = RuntimeError(f"{self.name}: {len(results)} results for {len(batch)} items")
                for _, future in batch:
                    _settle(future, wrong)
                return True
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        return True


def _settle(future: asyncio.Future[Result], failure: Exception) -> None:
    if not future.done():
        future.set_exception(failure)


def _awaited(waiting: tuple[Item, asyncio.Future[Result]]) -> bool:
    """Whether somebody still waits for it."""
    return not waiting[1].done()
