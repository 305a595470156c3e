"""What a controller clears of a request for access: its own entries, and for what reasons one may be left out.

Reads as a search by that controller does. Refuses to clear what such a search does not find, an exemption
without its reasons, and one that the regime of the entry does not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker import law
from broker.audience import Seen
from broker.cases import StoredAccess
from broker.core import canonical
from broker.core.canonical import Json
from broker.core.directory import Agency
from broker.core.model import Caller, Function, SubjectRef
from broker.core.reports import subject
from broker.core.reports.document import MOST
from broker.core.reports.subject import Told
from broker.core.searchterms import Question
from broker.errors import InvalidRequest, NotAllowed
from broker.law import exemptions
from broker.ports import ReferenceSource
from broker.searches import Searches


class TooMany(InvalidRequest):
    """One agency has more entries about a person than one request for access takes."""


class Effort:
    """How much a look may read, in entries and in requests looked up, where it reads for a count alone."""

    def __init__(self, most: int) -> None:
        self.left = most

    def spend(self) -> None:
        """One more. Raises TooMany."""
        if self.left <= 0:
            raise TooMany("access_id", "too much to count in a list: see its draft")
        self.left -= 1


class Ruling(Struct, frozen=True):
    """What a controller decides of its entries: told where `code` is empty, left out under that exemption else.

    `opinion` says whose opinion it rests on and of when, for serious harm to health. Both are erasable words.
    """

    code: str = ""
    words: str = ""
    opinion: str = ""


class Holdings:
    """The entries of each controller that a request for access is about."""

    def __init__(self, searches: Searches, reference: ReferenceSource) -> None:
        self._searches = searches
        self._reference = reference

    async def of(self, caller: Caller, row: StoredAccess, effort: Effort | None = None) -> dict[str, Seen]:
        """The caller's agency's entries, by id, as a partner of it would find them. Raises TooMany."""
        spend = effort.spend if effort is not None else lambda: None
        asked: Any = row.asked
        as_party = replace(caller, function=Function.PARTNER)
        found: dict[str, Seen] = {}
        times = when(asked["since"]), when(asked["until"])

        async def find(question: Question) -> None:
            spend()
            async for seen in self._searches.every(as_party, question, row.log, row.index):
                spend()
                # What its requester must not learn of is told to nobody: the requester may read the answer.
                if not seen.hit.requester:
                    continue
                found[seen.hit.id] = seen
                if len(found) > MOST:
                    raise TooMany("access_id", f"over {MOST} entries: begin one for a shorter time")

        for each in asked["subjects"]:
            await find(Question((), SubjectRef(**each), *times))
        # That a record did not arrive, what a human decided or said in review: found by the request alone.
        for request in {str(of) for seen in found.values() if (of := seen.hit.full.get("request_id"))}:
            await find(Question((("request", request),), None, *times))
        return found

    def told(self, seen: Seen) -> Told:
        """One of them as it would be told."""
        hit, view = seen.hit, seen.hit.views.get("requester")
        opened = canonical.decode_object(view) if view else None
        # The entry's own time: the full view may have another, which the requester must not learn.
        times = hit.id, hit.index, hit.at
        overridden = self.overridden(hit.full)
        return subject.told(*times, opened, hit.full, self.agencies(), law.load(), overridden=overridden)

    def agencies(self) -> Mapping[str, Agency]:
        """The directory, by id."""
        return self._reference.current.agencies

    def overridden(self, full: Mapping[str, Json]) -> bool:
        """Whether an emergency override was used, and may be told. Under neither confirm nor deny the
        requester, who may read the answer, must not learn that there was anything to go past; what cannot be
        told any more is not told."""
        agreement = self._reference.current.agreements.get(str(full.get("agreement") or "").partition("/")[0])
        return bool(full.get("override")) and agreement is not None and not agreement.ncnd

    async def check(self, caller: Caller, chosen: Sequence[str], own: dict[str, Seen], code: str) -> None:
        """That these are the caller's, and that the exemption, if there is one, is open to them."""
        reference = await self._reference.refresh()
        agency = reference.agencies.get(caller.agency)
        kind = reference.law.kinds.get(agency.kind) if agency else None
        for n, entry in enumerate(chosen):
            seen = own.get(entry)
            if seen is None:
                raise NotAllowed(f"entries.{n}: there is no such entry that your agency may clear")
            if not code:
                continue
            reason = exemptions.load()[code]
            side = "regime" if seen.hit.requester == caller.agency else "provider_regime"
            regime = seen.hit.full.get(side)
            competent = kind is not None and kind.competent_authority
            police = reference.law.regimes[reason.regime].law_enforcement
            # Where no agreement was found, no regime was decided on: whoever may be under Part 3 may say so.
            if not (regime == reason.regime if regime else competent or not police):
                raise InvalidRequest("code", f"{code} ({reason.source}) is not open to this entry")


def check_ruling(ruling: Ruling) -> None:
    """That what is left out has its reasons. Raises InvalidRequest."""
    if not ruling.code:
        return
    known = exemptions.load().get(ruling.code)
    if known is None:
        raise InvalidRequest("code", f"one of {', '.join(exemptions.load())}")
    if not ruling.words.strip():
        raise InvalidRequest("words", f"record the reasons for leaving it out ({known.source})")
    if known.opinion and not ruling.opinion.strip():
        raise InvalidRequest(
            "opinion", f"say which health professional gave their opinion, and when ({known.source})"
        )


def when(text: str | None) -> datetime | None:
    """A time as it is stored, or none."""
    return datetime.fromisoformat(text) if text else None
