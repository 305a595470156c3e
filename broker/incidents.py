"""Use case of incidents with more than one number: said by who gave one of them, and read by whoever searches.

Each control room numbers an incident of its own. That two numbers are of one incident is an agency's word, an
entry of the log like any other; nothing is decided by it, it only widens what a search for one of them finds.
Who searches as a partner is led by its own agency's word and by what others said of its own numbers; auditors
by everybody's, and they are told which numbers were searched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace

from broker.administration import Administration, Made
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.searchterms import INCIDENT_ALIAS, NEWEST, Question, term
from broker.errors import InvalidRequest
from broker.ports import Hit, LogSearch
from broker.registry import require

# Numbers of one incident, and what was said of one of them, that are looked at.
MOST = 32
_SAID = 200


class Incidents:
    """Says that two numbers are of one incident, and finds what was said."""

    def __init__(self, administration: Administration, index: LogSearch) -> None:
        self._administration = administration
        self._index = index

    async def say(
        self, caller: Caller, incident: str, also: str, same: bool, actor: Actor, reason: Reason
    ) -> Made:
        """That `incident`, a number of the caller's agency, has the number `also` too; or no longer.

        Raises InvalidRequest, NotAllowed, AuditUnavailable.
        """
        require(caller, Function.PARTNER)
        if not incident:
            raise InvalidRequest("incident", "is required")
        if not also:
            raise InvalidRequest("also", "is required")
        if _agency(incident) != caller.agency:
            raise InvalidRequest("incident", f"is no number that {caller.agency} gave: name your own first")
        if incident == also:
            raise InvalidRequest("also", "is the same number")
        detail: dict[str, Json] = {"incidents": [incident, also], "same": same, "reason": reason.code or None}
        return await self._administration.note(caller, INCIDENT_ALIAS, detail, actor, words=reason.words)

    async def widened(self, caller: Caller, question: Question, log: str = "", below: int = NEWEST) -> Question:
        """The question with the other numbers of the incident that it names, if it does: by what was said below
        that place of the log of that name (empty: the current one), and in the logs before it. At most MOST."""
        if not question.incident:
            return question
        known = [question.incident]
        for number in known:  # grows meanwhile
            async for other in self._others(caller, number, log, below):
                if other not in known and len(known) < MOST:
                    known.append(other)
        return replace(question, aliases=tuple(known[1:]))

    async def _others(self, caller: Caller, number: str, log: str, below: int) -> AsyncIterator[str]:
        """Numbers that stand as the same: of each pair an agency's newest word counts."""
        settled: set[tuple[str, str]] = set()
        async for hit in self._said(number, log, below):
            detail: Any = hit.full["detail"]
            pair: list[str] = detail["incidents"]
            other = pair[pair[0] == number]
            if not _leads(caller, hit, pair) or (hit.requester, other) in settled:
                continue
            settled.add((hit.requester, other))
            if detail["same"]:
                yield other

    async def _said(self, number: str, log: str, below: int) -> AsyncIterator[Hit]:
        """What was said of a number, newest first, through all logs."""
        terms = frozenset({term("event", INCIDENT_ALIAS), term("incident", number)})
        left = _SAID
        while left:
            hits = await self._index.find(
                terms, below, left, newest_first=True, since=None, until=None, log=log
            )
            for hit in hits.found:
                if hit.full:  # else its view is gone with the key of its month
                    yield hit
            left -= len(hits.found)
            log, below = hits.older, NEWEST
            if not log:
                return


def _agency(number: str) -> str:
    return number.partition("/")[0]


def _leads(caller: Caller, hit: Hit, pair: list[str]) -> bool:
    """Whether this caller goes by what was said."""
    return caller.function is Function.AUDITOR or caller.agency in (hit.requester, *map(_agency, pair))
