"""What waits to be written on one link, and how much of it fits the next message.

Natural batching: a message carries whatever queued while the previous one was being written. No timers.
"""

from __future__ import annotations

import asyncio

from broker.v1 import adapter_pb2

BATCH_ITEMS = 256
BATCH_BYTES = 1 << 20


class Outbox:
    """Answers and signals for one writer. Bounded by its link: one answer for each ask accepted."""

    def __init__(self) -> None:
        self._answers: dict[int, adapter_pb2.Answer] = {}
        self._signals = adapter_pb2.AttachRequest()
        self._waiting = asyncio.Event()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def empty(self) -> bool:
        """Whether nothing waits, signals included."""
        return not self._waiting.is_set()

    def answer(self, answer: adapter_pb2.Answer) -> None:
        """Queue an answer."""
        self._answers[answer.ask_id] = answer
        self._waiting.set()

    def drop(self, ask_id: int) -> None:
        """Forget an answer nobody waits for any more."""
        self._answers.pop(ask_id, None)

    def credit(self, at_once: int) -> None:
        """Say how many asks may be outstanding from now on."""
        self._signals.credit = at_once
        self._waiting.set()

    def draining(self) -> None:
        """Say that no further asks are wanted."""
        self._signals.draining = True
        self._waiting.set()

    def heartbeat(self) -> None:
        """Say that the adapter is alive."""
        self._signals.heartbeat.sent_at.GetCurrentTime()
        self._waiting.set()

    async def take(self) -> adapter_pb2.AttachRequest:
        """The next message, as soon as there is anything to say.

        At most 256 answers and 1 MiB of them; one that is larger (its record may be 1 MiB) travels alone.
        """
        await self._waiting.wait()
        message, self._signals = self._signals, adapter_pb2.AttachRequest()
        size = 0
        for ask_id in list(self._answers)[:BATCH_ITEMS]:
            size += self._answers[ask_id].ByteSize()
            if size > BATCH_BYTES and message.answers:
                break
            message.answers.append(self._answers.pop(ask_id))
        if not self._answers:
            self._waiting.clear()
        return message
