"""Askers that do not give up, and what they were told: for tests that kill things meanwhile.

The shipped client tries again by itself inside a request's time. What it could not answer in that time is asked
again here, under the same request id, until it is answered.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field

from broker.client import Broker, Disclosure
from broker.core.receipt import Receipt
from broker.errors import (
    AuditUnavailable,
    CannotConnect,
    ProviderTimeout,
    ProviderUnavailable,
    Saturated,
)
from tests.support.fleet import ask

# What means "ask again"; anything else ends the test, IntegrityError before all.
AGAIN = (AuditUnavailable, ProviderUnavailable, ProviderTimeout, CannotConnect, Saturated)
TRIES = 60


@dataclass
class Ledger:
    """What was asked and acknowledged. `answers` are by the request id that was first asked under."""

    timeout: float = 8.0
    answers: dict[str, Disclosure] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    failed_receipts: list[Receipt] = field(default_factory=list)
    in_flight: set[str] = field(default_factory=set)
    stopping: bool = False

    async def keep_asking(self, client: Broker) -> None:
        """Ask one thing after the other until told to stop."""
        while not self.stopping:
            await self.insist(client, str(uuid.uuid4()))

    async def insist(self, client: Broker, request_id: str) -> Disclosure:
        """Ask until it is answered, always under the same id."""
        self.in_flight.add(request_id)
        try:
            for _ in range(TRIES):
                try:
                    answer = await ask(client, self.timeout, request_id=request_id)
                except AGAIN as e:
                    self.failures[type(e).__name__] += 1
                    if e.receipt is not None:
                        self.failed_receipts.append(e.receipt)
                    await asyncio.sleep(random.uniform(0.1, 0.4))
                else:
                    self.answers[request_id] = answer
                    return answer
        finally:
            self.in_flight.discard(request_id)
        raise AssertionError(f"no answer to {TRIES} tries")

    @property
    def replayed(self) -> dict[str, Receipt]:
        """First entries of requests that were committed and whose first answer never arrived."""
        return {one: told.earlier for one, told in self.answers.items() if told.earlier is not None}

    @property
    def receipts(self) -> list[Receipt]:
        """Every receipt that any client holds."""
        told = [answer.receipt for answer in self.answers.values()]
        return [*told, *self.replayed.values(), *self.failed_receipts]
