"""The coalescer: order, bounds, and that no item, failure or stop harms another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from broker.coalesce import Coalescer
from broker.errors import AuditUnavailable, Saturated
from broker.lanes import IN_USE, SMALL


class Sink:
    """A flusher whose batches a test sees; the first waits at the gate when it is shut."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, batch: Sequence[object]) -> Sequence[object]:
        self.batches.append(list(batch))
        await self.gate.wait()
        for item in batch:
            if isinstance(item, BaseException):
                raise item
        return [("done", item) for item in batch]


@pytest.fixture
def sink() -> Sink:
    """An open gate."""
    return Sink()


async def test_what_waits_together_travels_together_in_order(sink: Sink) -> None:
    """What queues while a flush is in progress makes the next batch, in order of arrival."""
    sink.gate.clear()
    async with Coalescer("x", sink) as queue:
        first = queue.submit("a")
        await asyncio.sleep(0.01)
        rest = [queue.submit(n) for n in range(20)]
        sink.gate.set()
        assert await first == ("done", "a")
        assert await asyncio.gather(*rest) == [("done", n) for n in range(20)]
    assert sink.batches == [["a"], list(range(20))]
    assert (queue.batches, queue.items) == (2, 21)


async def test_an_idle_item_waits_for_nothing(sink: Sink) -> None:
    """Alone, an item is flushed within a turn or two of the loop."""
    async with Coalescer("x", sink) as queue:
        await asyncio.sleep(0)
        result = queue.submit("a")
        for _ in range(5):
            await asyncio.sleep(0)
        assert result.done()


async def test_a_batch_is_bounded_in_items(sink: Sink) -> None:
    """No batch holds more than `max_items`."""
    async with Coalescer("x", sink, max_items=3) as queue:
        await asyncio.gather(*[queue.submit(n) for n in range(8)])
    assert [len(b) for b in sink.batches] == [3, 3, 2]


async def test_a_batch_is_bounded_in_bytes_and_a_large_item_travels_alone(sink: Sink) -> None:
    """Sizes add up to `max_bytes` at most; an item larger than that is a batch of its own, in its place."""
    async with Coalescer("x", sink, max_bytes=10) as queue:
        sizes = [4, 6, 1, 99, 3, 8]
        await asyncio.gather(*[queue.submit(n, size) for n, size in enumerate(sizes)])
    assert sink.batches == [[0, 1], [2], [3], [4], [5]]


async def test_what_is_urgent_waits_for_one_batch_at_most(sink: Sink) -> None:
    """It is in the batch after the one in progress, before all that came earlier."""
    sink.gate.clear()
    async with Coalescer("x", sink, max_items=4) as queue:
        flying = queue.submit("flying", owner="a")
        await asyncio.sleep(0.01)
        waiting = [queue.submit(n, owner="a") for n in range(100)]
        urgent = queue.submit("urgent", owner="b", urgent=True)
        sink.gate.set()
        assert await urgent == ("done", "urgent")
        assert sum(one.done() for one in waiting) <= 3
        await asyncio.gather(flying, *waiting)
    assert sink.batches[:2] == [["flying"], ["urgent", 0, 1, 2]]


async def test_batches_are_small_while_anything_urgent_comes(sink: Sink) -> None:
    """So that the next urgent item finds little in progress; whole ones otherwise."""
    sink.gate.clear()
    async with Coalescer("x", sink) as queue:
        for urgent, most in ((True, SMALL), (False, 2 * SMALL)):
            sink.batches.clear()
            every = [queue.submit("first", urgent=urgent)]
            await asyncio.sleep(0.01)
            every += [queue.submit(n) for n in range(2 * SMALL)]
            sink.gate.set()
            await asyncio.gather(*every)
            assert max(map(len, sink.batches)) == most
            sink.gate.clear()
            await asyncio.sleep(IN_USE)


async def test_a_full_queue_refuses(sink: Sink) -> None:
    """At `max_waiting` a submit is Saturated at once, and those who wait are served."""
    sink.gate.clear()
    async with Coalescer("x", sink, max_waiting=2) as queue:
        first = queue.submit("in flight")
        await asyncio.sleep(0.01)
        waiting = [queue.submit(n) for n in range(2)]
        assert queue.waiting == 2
        with pytest.raises(Saturated):
            queue.submit("too many")
        sink.gate.set()
        assert await asyncio.gather(first, *waiting)
        assert await queue.submit("again") == ("done", "again")


async def test_a_bad_item_fails_alone(sink: Sink) -> None:
    """A batch that fails for a reason of no name is tried item by item; each owner gets their own end."""
    async with Coalescer("x", sink) as queue:
        bad = ValueError("bad")
        results = await asyncio.gather(*[queue.submit(i) for i in ("a", bad, "b", "c")], return_exceptions=True)
    assert results == [("done", "a"), bad, ("done", "b"), ("done", "c")]
    assert sink.batches[1:] == [["a"], [bad], ["b"], ["c"]]


async def test_a_named_failure_is_everyones(sink: Sink) -> None:
    """A named failure, such as a database that is away, is not tried item by item."""
    async with Coalescer("x", sink) as queue:
        results = await asyncio.gather(
            *[queue.submit(i) for i in ("a", AuditUnavailable("away"), "b")], return_exceptions=True
        )
        assert all(isinstance(r, AuditUnavailable) for r in results)
        assert len(sink.batches) == 1
        assert await queue.submit("later") == ("done", "later")


@pytest.mark.parametrize("given", [0, 1, 3])
async def test_a_flush_of_the_wrong_number_of_results_ends_nobodys_queue(given: int) -> None:
    """A flusher that gives too few or too many results fails its own items, and the next batch is flushed."""

    calls: list[int] = []

    async def wrong(batch: Sequence[str]) -> Sequence[str]:
        calls.append(len(batch))
        return list(batch) if "fine" in batch else ["x"] * given

    async with Coalescer("x", wrong) as queue:
        results = await asyncio.wait_for(
            asyncio.gather(queue.submit("a"), queue.submit("b"), return_exceptions=True), 2
        )
        assert all(isinstance(r, RuntimeError) for r in results), "nobody is given another's result"
        assert calls == [2], "what a flush has done is not done again"
        assert await asyncio.wait_for(queue.submit("fine"), 2) == "fine"


async def test_who_stops_waiting_is_not_sent(sink: Sink) -> None:
    """An item whose owner gave up before its batch left is dropped; in flight, it changes nothing."""
    sink.gate.clear()
    async with Coalescer("x", sink) as queue:
        flying = queue.submit("flying")
        await asyncio.sleep(0.01)
        gone, stays = queue.submit("gone"), queue.submit("stays")
        gone.cancel()
        flying.cancel()
        sink.gate.set()
        assert await stays == ("done", "stays")
    assert sink.batches == [["flying"], ["stays"]]


async def test_a_stop_lets_the_flush_in_progress_end(sink: Sink) -> None:
    """What is being committed gets its result at a stop; what still waits is Saturated; so is what comes."""
    sink.gate.clear()
    queue: Coalescer[object, object] = Coalescer("x", sink)
    queue.start()
    flying = queue.submit("flying")
    await asyncio.sleep(0.01)
    waiting = queue.submit("waiting")
    stopping = asyncio.ensure_future(queue.stop())
    await asyncio.sleep(0.01)
    sink.gate.set()
    await stopping
    assert await flying == ("done", "flying")
    with pytest.raises(Saturated):
        await waiting
    with pytest.raises(Saturated):
        queue.submit("late")
    assert sink.batches == [["flying"]]


async def test_a_stop_is_bounded(sink: Sink) -> None:
    """A flush that does not end is cancelled, and each of its owners is told."""
    sink.gate.clear()
    queue: Coalescer[object, object] = Coalescer("x", sink, grace=0.05)
    queue.start()
    flying = queue.submit("flying")
    await asyncio.sleep(0.01)
    await asyncio.wait_for(queue.stop(), 2)
    with pytest.raises(Saturated):
        await flying


async def test_a_stop_during_retries_leaves_nobody_waiting() -> None:
    """Stopped while a failed batch is tried item by item, every owner still gets an end."""
    hang = asyncio.Event()

    async def flush(batch: Sequence[str]) -> Sequence[str]:
        if len(batch) > 1:
            raise ValueError("as a batch, no")
        await hang.wait()
        return list(batch)

    queue: Coalescer[str, str] = Coalescer("x", flush, grace=0.05)
    queue.start()
    waiters = [queue.submit(n) for n in "abc"]
    await asyncio.sleep(0.01)
    await queue.stop()
    results = await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), 2)
    assert all(isinstance(r, Saturated) for r in results)


async def test_it_can_be_started_again(sink: Sink) -> None:
    """Start is idempotent, and a stopped queue can be started again."""
    queue: Coalescer[object, object] = Coalescer("x", sink)
    for _ in range(2):
        queue.start()
        queue.start()
        assert await queue.submit("a") == ("done", "a")
        await queue.stop()
        await queue.stop()
