"""An agency of a test's own with its agreement, and requests to it, over any implementation of the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from broker.core.model import SubjectRef
from broker.core.recorded import is_decision
from broker.errors import BrokerError
from broker.ports import Found
from tests.support.stage import COUNCIL, Stage
from tests.support.world import ACTOR, RISK, flow, record_of, said


@dataclass
class Desk:
    """A fire service of a test's own with an agreement with the ambulance service."""

    stage: Stage
    agency: str
    version: int = 0

    async def agree(self, *, of: dict[str, Any] | None = None, **changes: Any) -> None:
        """The agreement's next version; `of` changes its flow."""
        self.version += 1
        parties = [{"agency": each, "regime": "uk-gdpr"} for each in ("nwas", self.agency)]
        given = flow(provider=self.agency, **(of or {}))
        await self.stage.agree(
            id=f"with-{self.agency}", version=self.version, parties=parties, flows=[given], **changes
        )

    async def says(self, subject: SubjectRef, kind: str, **changes: Any) -> Callable[[], Awaitable[object]]:
        """Have the council record what somebody said; how to withdraw it."""
        directive = said(kind, said_at=self.stage.clock.now() - timedelta(1), **changes)
        await self.stage.said.add(COUNCIL, subject, directive, ACTOR)
        return lambda: self.stage.said.withdraw_one(COUNCIL, directive.id, ACTOR)

    async def ask(self, *learnt: SubjectRef, **changes: Any) -> dict[str, Any]:
        """Ask, whatever comes of it; the full view of its end."""
        stage = self.stage
        request = stage.asks(provider=self.agency, **changes)
        digest = stage.reference.catalogue.newest(RISK).digest
        asked = (request.subject,) if request.subject else ()
        stage.providers.answers(Found(record_of(), digest, (*asked, *learnt)))
        since = await stage.size()
        with suppress(BrokerError):
            await stage.exchange.answer(request)
        return [full for full in await stage.since(since) if is_decision(full)][-1]
