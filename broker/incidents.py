"""Use case of incidents with more than one number: said by who gave one of them, and read by whoever searches.

Each control room numbers an incident of its own. That two numbers are of one incident is an agency's word, an
entry of the log like any other; nothing is decided by it, it only widens what a search for one of them finds.
Who searches as a partner is led by its own agency's word and by what others said of its own numbers; auditors
by everybody's, and they are told which numbers were searched. The word of the agency that gave a number comes
before others' words of it, and no agency's many hide another's few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from msgspec.structs import replace

from broker.administration import Administration, Made
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.searchterms import INCIDENT_ALIAS, NEWEST, Question, heard, parties, term
from broker.errors import InvalidRequest
from broker.ports import Hit, LogSearch
from broker.registry import require

# Numbers of one incident that are looked for, and of those that one agency's word may add.
MOST, EACH = 32, 12
# Words said of one number that are read: of everybody together, and where there are more, of each agency.
_SAID, _SAID_BY_ONE = 200, 50


class Incidents:
    """Says that two numbers are of one incident, and finds what was said."""

    def __init__(
        self, administration: Administration, index: LogSearch, agencies: Callable[[], frozenset[str]]
    ) -> None:
        """`agencies` are all that the directory knows, whether or not they have ended."""
        self._agencies = agencies
        self._administration = administration
        self._index = index

    async def say(
        self, caller: Caller, incident: str, also: str, same: bool, actor: Actor, reason: Reason
    ) -> Made:
        """That `incident`, a number of the caller's agency, has the number `also` too; or no longer.

        Raises InvalidRequest, NotAllowed, QuotaExceeded, AuditUnavailable.
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
        self._administration.count(caller)
        detail: dict[str, Json] = {"incidents": [incident, also], "same": same, "reason": reason.code or None}
        return await self._administration.note(caller, INCIDENT_ALIAS, detail, actor, words=reason.words)

    async def widened(self, caller: Caller, question: Question, log: str = "", below: int = NEWEST) -> Question:
        """The question with the other numbers of the incident that it names, if it does: by what was said below
        that place of the log of that name (empty: the current one), and in the logs before it.

        At most MOST, and EACH by one agency's word; where there are more, it says so.
        """
        if not question.incident:
            return question
        known, by, cut = [question.incident], Counter[str](), False
        for number in known:  # grows meanwhile
            said, whole = await self._said(caller, number, log, below)
            cut = cut or not whole
            for agency, other in _in_turn(said, _agency(number)):
                if other in known:
                    continue
                if len(known) >= MOST or by[agency] >= EACH:
                    cut = True
                    continue
                known.append(other)
                by[agency] += 1
        return replace(question, aliases=tuple(known[1:]), cut=cut)

    async def _said(
        self, caller: Caller, number: str, log: str, below: int
    ) -> tuple[dict[str, list[str]], bool]:
        """Numbers that stand as the same, by whose word, newest first; and whether every word was read. Of each
        pair an agency's newest word counts."""
        terms = frozenset({term("event", INCIDENT_ALIAS), term("incident", number)})
        if caller.function is not Function.AUDITOR:  # what others said among themselves is not even read
            terms |= {heard(caller.agency)}
        hits, whole = await self._read(terms, log, below, _SAID)
        if not whole:  # so much was said that each is heard by itself: nobody's many words hide another's few
            hits, whole = [], True
            for agency in self._speakers(caller, number):
                own, all_of_them = await self._read(terms | parties(agency), log, below, _SAID_BY_ONE)
                hits += own
                whole = whole and all_of_them
        settled, said = set[tuple[str, str]](), dict[str, list[str]]()
        for hit in hits:
            detail: Any = hit.full["detail"]
            pair: list[str] = detail["incidents"]
            other = pair[pair[0] == number]
            if not _leads(caller, hit, pair) or (hit.requester, other) in settled:
                continue
            settled.add((hit.requester, other))
            if detail["same"]:
                said.setdefault(hit.requester, []).append(other)
        return said, whole

    def _speakers(self, caller: Caller, number: str) -> list[str]:
        """Whose words of a number this caller may go by."""
        own = _agency(number)
        if caller.function is Function.AUDITOR or own == caller.agency:
            return [own, *sorted(self._agencies() - {own})]
        return [own, caller.agency]

    async def _read(self, terms: frozenset[str], log: str, below: int, most: int) -> tuple[list[Hit], bool]:
        """The newest entries that have these, through all logs, at most so many; and whether that is all."""
        found, left = list[Hit](), most + 1
        while left:
            hits = await self._index.find(
                terms, below, left, newest_first=True, since=None, until=None, log=log
            )
            found += hits.found
            left -= len(hits.found)
            log, below = hits.older, NEWEST
            if not log:
                break
        # One whose view is gone with the key of its month says nothing any more.
        return [hit for hit in found[:most] if hit.full], len(found) <= most


def _in_turn(said: Mapping[str, list[str]], own: str) -> Iterator[tuple[str, str]]:
    """Whose word, and what number: first those of the agency that gave the number, then one of each other's in
    turn."""
    for other in said.get(own, ()):
        yield own, other
    lines = [[(agency, other) for other in others] for agency, others in said.items() if agency != own]
    for turn in zip_longest(*lines):
        yield from (each for each in turn if each is not None)


def _agency(number: str) -> str:
    return number.partition("/")[0]


def _leads(caller: Caller, hit: Hit, pair: list[str]) -> bool:
    """Whether this caller goes by what was said."""
    return caller.function is Function.AUDITOR or caller.agency in (hit.requester, *map(_agency, pair))
