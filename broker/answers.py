"""The answer to a request for access: what it holds is fixed when it is first given, and only ever shrinks.

Owns what is told: an entry only where every agency that was party to it when the answer was given had cleared
it for this very request, and none had left it out. Whoever looks before learns of their own entries alone. What
is erased afterwards is told no more, and the answer says how much that is, and which erasures did it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker import law
from broker.administration import Administration, Made, Plan
from broker.cases import AccessStore, StoredAccess, StoredClearing
from broker.clearing import Holdings, when
from broker.core import canonical
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.reports import subject
from broker.core.reports.document import Document
from broker.core.reports.subject import Gone, Scope, Told
from broker.erased import erasures
from broker.errors import AuditUnavailable, InvalidRequest, NotAllowed
from broker.keeping import erasure_key
from broker.ports import Asked, Change, Clock, FactsSource, Hit, LogView, Reads
from broker.searches import Searches

NONE = "there is no such request for access that your agency may see"


class Stands(Struct, frozen=True):
    """How an answer stands for the controller that gives it: whether it was given, and of its own entries how
    many it has cleared, left out, and not decided."""

    answered: bool
    told: int
    left_out: int
    undecided: int


class Answers:
    """Gives answers."""

    def __init__(
        self,
        administration: Administration,
        store: AccessStore,
        searches: Searches,
        holdings: Holdings,
        log: LogView,
        facts: FactsSource,
        clock: Clock,
        bucket: float,
    ) -> None:
        self._administration = administration
        self._store = store
        self._searches = searches
        self._holdings = holdings
        self._log = log
        self._facts = facts
        self._clock = clock
        self._bucket = bucket

    async def preview(self, caller: Caller, access: str, actor: Actor, reason: Reason) -> tuple[Stands, Made]:
        """How it stands, before it is given for good. Of nobody else's entries. The look is an entry."""
        row = await self._given_by(caller, access, reason)
        detail: dict[str, Json] = {"access": access}
        made = await self._administration.note_look(caller, "access-previewed", detail, actor, reason)
        if row.issued_at is not None:
            return Stands(True, 0, 0, 0), made
        own = await self._holdings.of(replace(caller, agency=row.agency), row)
        ruled = {each.entry: each.code for each in await self._store.cleared(access, row.agency)}
        left_out = sum(bool(ruled.get(entry)) for entry in own)
        told = sum(ruled.get(entry) == "" for entry in own)
        return Stands(False, told, left_out, len(own) - told - left_out), made

    async def issue(self, caller: Caller, access: str, actor: Actor, reason: Reason) -> tuple[Document, Made]:
        """The answer. From the first time on it holds nothing more, and nothing else is cleared.

        Only whoever began it, and auditors. Raises InvalidRequest, NotAllowed, AuditUnavailable.
        """
        begun = self._clock.loop_time()
        row = await self._given_by(caller, access, reason)
        scope = await self.scope(row)
        made = await self._close(caller, access, actor, reason)
        told, gone = list[Told](), set[str]()
        for entry in await self._store.told(access):
            each = await self._told(entry)
            if each is None:
                gone.add(entry)
            else:
                told.append(each)
        since = await self._gone(gone, made)
        document = subject.answer(scope, told, self._holdings.agencies(), since)
        buckets = max(1, math.ceil((self._clock.loop_time() - begun) / self._bucket))
        await self._clock.until(begun + buckets * self._bucket)
        return document, made

    async def row(self, access: str) -> StoredAccess:
        """One of them. Raises NotAllowed, in the same words for none."""
        row = await self._store.by_id(access)
        if row is None or not row.asked:
            raise NotAllowed(NONE)
        return row

    async def scope(self, row: StoredAccess) -> Scope:
        """What it is about. Raises AuditUnavailable while the index is behind."""
        own, *earlier = await self._searches.reach(row.log)
        size = row.index + 1
        for done, end, log in ((own.done, size, own.log), *((p.done, p.size, p.log) for p in earlier)):
            if done < end:
                raise AuditUnavailable(
                    f"the search index reaches {done} of {end} entries of {log}; try again in a moment"
                )
        root = await self._log.root(size, row.log)
        asked: Any = row.asked
        return Scope(
            row.log,
            size,
            root.hex(),
            tuple((page.log, page.size) for page in earlier),
            when(asked["since"]),
            when(asked["until"]),
            asked["deceased"],
            row.id,
            row.agency,
        )

    async def _given_by(self, caller: Caller, access: str, reason: Reason) -> StoredAccess:
        if caller.function is Function.OPERATOR:
            raise NotAllowed("operators run the broker; controllers answer requests for access")
        if not reason.code:
            raise InvalidRequest("reason.code", "say why")
        row = await self.row(access)
        if caller.function is not Function.AUDITOR and row.agency != caller.agency:
            raise NotAllowed(NONE)
        return row

    async def _close(self, caller: Caller, access: str, actor: Actor, reason: Reason) -> Made:
        async def plan() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            row = await self.row(access)
            detail: dict[str, Json] = {"access": access, "reason": reason.code}
            if row.issued_at is not None:
                return Plan("access-answer-viewed", detail, None, words=reason.words)
            told, parties = await self._agreed(await self._store.rulings(access))
            at = self._clock.now().isoformat()
            stored: dict[str, Json] = {**detail, "id": access, "at": at, "told": [*told]}
            detail |= {"told": len(told), "told_sha256": _digest(told)}
            change = Change("access-issue", stored, lock(access), reference=False)
            # An erasure by one of their parties, or a clearing, has it be looked at again: what is fixed here
            # stood.
            reads = Reads(policy, lock(access) | {cleared_key(access), *map(erasure_key, parties)})
            return Plan("access-answered", detail, change, reads, reason.words)

        return await self._administration.make(caller, plan, actor)

    async def _agreed(self, rulings: Iterable[StoredClearing]) -> tuple[list[str], set[str]]:
        """The entries that all their parties have cleared, and those parties. One that anybody has left out is
        never among them, though they keep nothing of it any more."""
        by, left_out = dict[str, set[str]](), set[str]()
        for each in rulings:
            by.setdefault(each.entry, set()).add(each.agency)
            if each.code:
                left_out.add(each.entry)
        agreed, parties = list[str](), set[str]()
        for entry in sorted(by.keys() - left_out):
            hit = await self._standing(entry)
            keep = {hit.requester, hit.provider} - {""} if hit is not None else set[str]()
            parties |= keep
            if keep and keep <= by[entry]:
                agreed.append(entry)
        return agreed, parties

    async def _standing(self, entry: str) -> Hit | None:
        """An entry that some party keeps, and that its requester was told of: it is told in those words,
        whether or not the requester keeps them."""
        try:
            hit = await self._searches.entry(entry)
        except KeyError:
            return None
        return hit if "requester" in hit.views else None

    async def _told(self, entry: str) -> Told | None:
        """What is told of an entry; None where it has been erased since."""
        hit = await self._standing(entry)
        if hit is None:
            return None
        opened = canonical.decode_object(hit.views["requester"])
        agencies, overridden = self._holdings.agencies(), self._holdings.overridden(hit.full)
        return subject.told(
            entry, hit.index, hit.at, opened, hit.full, agencies, law.load(), overridden=overridden
        )

    async def _gone(self, entries: set[str], made: Made) -> Gone:
        if not entries:
            return Gone()
        by = [
            (each.id, each.at)
            async for each in erasures(self._searches, made.log, made.receipt.index)
            if not entries.isdisjoint(each.entries)
        ]
        return Gone(len(entries), tuple(by))


def _digest(entries: Iterable[str]) -> str:
    """Hex SHA-256 of the ids of entries in their order, each in a line: which they were, in whatever number."""
    return hashlib.sha256("".join(f"{each}\n" for each in entries).encode()).hexdigest()


def lock(access: str) -> frozenset[str | bytes]:
    """Under this key stands one request for access, and that it was answered."""
    return frozenset({f"access:{access}"})


def cleared_key(access: str, agency: str = "") -> str:
    """Key of what was cleared for it: by everybody, for whoever answers it; and by one agency, for that one
    alone, since what others clear is no reason for it to look again."""
    return f"access-cleared:{access}:{agency}"
