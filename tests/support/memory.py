"""The ports of the use cases in memory: a log with real receipts, facts, reference, providers and a clock.

What PostgreSQL does with an append (inputs that moved, claims, expiry) is done here in plain Python; one suite
runs over both. On top, each can be scripted: to fail before or after the commit, and to have something happen
just before an append.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.catalogue import Approval, Catalogue
from broker.core import agreement as agreements
from broker.core import routing
from broker.core.acting import Acting
from broker.core.agreement import Agreement
from broker.core.canonical import Json, encode
from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.decision import subject_key
from broker.core.directive import Directive
from broker.core.directory import Agency, System
from broker.core.entry import SealedEntry, seal_entry
from broker.core.forms import (
    acting_from,
    agency_from,
    directive_from,
    signing_key_from,
    suspension_from,
    system_from,
)
from broker.core.keys import Signer
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.core.model import Request, SubjectRef
from broker.core.receipt import Receipt
from broker.core.recordtype import Pin
from broker.core.reference import Reference
from broker.core.searchterms import parties, terms_of
from broker.core.signingkey import SigningKey
from broker.core.suspension import Suspension
from broker.core.vocabulary import OUTCOMES
from broker.errors import AuditUnavailable, ProviderTimeout
from broker.law import load
from broker.ports import (
    Answer,
    Appended,
    Asked,
    Change,
    Claimed,
    Draft,
    Facts,
    Hit,
    Hits,
    NotAppended,
    ProviderFailed,
    Question,
    RecordedDirective,
    Remains,
    StoredAgreement,
    StoredDirective,
)
from broker.workers import Beat
from tests.support.cases import MemoryCases
from tests.support.erasureplans import MemoryErasurePlans
from tests.support.keeping import MemoryKeeping
from tests.support.queues import MemoryEscalations, MemoryQueues
from tests.support.values import replace

ORIGIN = "blue-light.test/log/2026h2"


class FakeClock:
    """Time that passes only when somebody waits for it or a test says so."""

    def __init__(self, now: datetime = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)) -> None:
        self._start = now
        self.seconds = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds)

    def loop_time(self) -> float:
        return 1000.0 + self.seconds

    async def until(self, loop_time: float) -> None:
        self.seconds = max(self.seconds, loop_time - 1000.0)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Kept:
    """An entry that stands: what was drafted, and its evidence."""

    draft: Draft
    sealed: SealedEntry
    index: int
    change: Change | None = None


@dataclass
class MemoryStore:
    """What PostgreSQL holds, and the ports over it."""

    clock: Any
    entries: list[Kept] = field(default_factory=list)
    policy: int = 0
    reference_policy: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    claims: dict[tuple[str, str], Claimed] = field(default_factory=dict)
    directives: dict[str, tuple[SubjectRef, Directive]] = field(default_factory=dict)
    recorded: dict[str, datetime] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    agencies: dict[str, Agency] = field(default_factory=dict)
    systems: dict[str, System] = field(default_factory=dict)
    files: list[tuple[str, int, bytes]] = field(default_factory=list)
    signing_keys: dict[str, SigningKey] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    suspensions: dict[tuple[str, str], Suspension] = field(default_factory=dict)
    # Every change with the count it made, so that any count of the past can be built again.
    journal: list[tuple[int, Change]] = field(default_factory=list)
    routings: dict[str, bytes] = field(default_factory=dict)
    acting: dict[str, Acting] = field(default_factory=dict)
    queues: MemoryQueues = field(default_factory=MemoryQueues)

    def __post_init__(self) -> None:
        self.signer = Signer.from_seed(ORIGIN, bytes(range(32)))
        self.calls: list[str] = []
        self.cases = MemoryCases(lambda entry: self.log._find(entry).index)
        self.escalations = MemoryEscalations(lambda: [*self.queues.open(), *self.cases.unacknowledged()])
        self.log = MemoryLog(self)
        self.facts = MemoryFacts(self)
        self.reference = MemoryReference(self)
        self.keeping = MemoryKeeping(self)
        self.erasure_plans = MemoryErasurePlans(self)

    def moved(self, *keys: str | bytes, reference: bool = False) -> int:
        """A change of these keys: the new count."""
        self.policy += 1
        if reference:
            self.reference_policy = self.policy
        for key in keys:
            self.changed[_text(key)] = self.policy
        return self.policy

    @property
    def events(self) -> list[str]:
        """What the log says happened, in order."""
        return [str(kept.draft.full["event"]) for kept in self.entries]

    def content(self, request: Request) -> bytes:
        """A digest of what was asked, as the store's own."""
        asked = {
            name: str(getattr(request, name))
            for name in ("record_type", "provider", "subject", "query", "purpose", "actor", "reason", "place")
        }
        asked["override"] = str(request.override)
        return hashlib.sha256(encode({**asked, "incident": request.incident})).digest()

    def said(self, what: dict[str, Json]) -> bytes:
        """A digest of what was said, as the store's own."""
        return hashlib.sha256(b"said" + encode(what)).digest()

    async def by_id(self, directive_id: str) -> StoredDirective | None:
        """As `ports.DirectiveStore`."""
        if directive_id in self.withdrawn or directive_id not in self.directives:
            return None
        subject, directive = self.directives[directive_id]
        return StoredDirective(directive, subject_key(subject.scheme, subject.value).encode(), self.policy)

    async def about(self, subject: SubjectRef, recorder: str) -> list[RecordedDirective]:
        """As `ports.DirectiveStore`."""
        return [
            RecordedDirective(directive, self.recorded[identifier])
            for identifier, (about, directive) in self.directives.items()
            if (about, directive.recorder) == (subject, recorder) and identifier not in self.withdrawn
        ]

    async def stored(self, *, all_versions: bool) -> list[StoredAgreement]:
        """As `ports.AgreementStore`."""
        newest = {identifier: version for identifier, version, _ in self.files}
        ordered = sorted(self.files, key=lambda each: (each[0], -each[1]))
        return [
            StoredAgreement(file, agreements.digest(file), version != newest[identifier])
            for identifier, version, file in ordered
            if all_versions or version == newest[identifier]
        ]


class MemorySearch:
    """Implements `ports.LogSearch`: every entry is found as soon as it stands."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def find(
        self,
        terms: frozenset[str],
        beyond: int,
        limit: int,
        *,
        newest_first: bool,
        since: datetime | None,
        until: datetime | None,
        log: str = "",
        party: str = "",
    ) -> Hits:
        if log not in ("", ORIGIN):
            raise KeyError(log)
        found = [
            self._hit(kept)
            for kept in self._store.entries
            if party in ("", kept.draft.requester_agency, kept.draft.provider_agency)
            and terms
            <= terms_of(kept.draft.full) | parties(kept.draft.requester_agency, kept.draft.provider_agency)
            and (kept.index < beyond if newest_first else kept.index > beyond)
            and (since is None or kept.draft.at >= since)
            and (until is None or kept.draft.at < until)
        ]
        ordered = sorted(found, key=lambda hit: hit.index, reverse=newest_first)
        size = len(self._store.entries)
        return Hits(tuple(ordered[:limit]), size, size, ORIGIN)

    async def entry(self, entry: str) -> Hit:
        for kept in self._store.entries:
            if kept.draft.id == entry:
                return self._hit(kept)
        raise KeyError(entry)

    async def remains(self, entries: Sequence[str]) -> dict[str, Remains]:
        wanted = set(entries)
        return {
            kept.draft.id: Remains(kept.draft.at.replace(microsecond=0), bool(kept.draft.full), ORIGIN, index)
            for index, kept in enumerate(self._store.entries)
            if kept.draft.id in wanted
        }

    async def progress(self) -> tuple[int, int]:
        return len(self._store.entries), len(self._store.entries)

    def _hit(self, kept: Kept) -> Hit:
        sealed, draft = kept.sealed, kept.draft
        openings = {"requester": sealed.requester, "provider": sealed.provider, "full": sealed.full}
        views = {n: opening.view for n, opening in openings.items() if opening is not None}
        sides = draft.requester_agency, draft.provider_agency
        return Hit(kept.index, draft.id, draft.at, *sides, views, draft.full, ORIGIN)


class MemoryLog:
    """Implements `ports.Log` and `ports.LogView`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.fail = 0
        self.fail_after_commit = 0
        # Run, one for each append in turn, just before it: what overtakes it.
        self.overtaken_by: list[Callable[[], Awaitable[object]] | None] = []
        # Awaited inside every append: lets a test hold it.
        self.gate: Callable[[], Awaitable[object]] | None = None

    async def append(self, draft: Draft) -> Appended | NotAppended:
        self._store.calls.append(f"append {draft.full['event']}")
        return await self._append(draft, None)

    async def change(self, draft: Draft, change: Change) -> Appended | NotAppended:
        return await self._append(draft, change)

    async def _append(self, draft: Draft, change: Change | None) -> Appended | NotAppended:
        if self.overtaken_by and change is None and (event := self.overtaken_by.pop(0)) is not None:
            await event()
        if self.gate is not None:
            await self.gate()
        if self.fail:
            self.fail -= 1
            raise AuditUnavailable("the evidence store cannot be reached")
        if why := self._conditions(draft):
            return NotAppended(why)
        assert draft.full.get("outcome") in (None, *OUTCOMES), "an outcome that no search knows"
        draft = replace(draft, requester=draft.requester_view, provider=draft.provider_view)
        at = draft.at.replace(microsecond=0)
        sealed = seal_entry(at, draft.id, draft.requester_view, draft.provider_view, draft.full, os.urandom)
        kept = Kept(draft, sealed, len(self._store.entries), change)
        self._store.entries.append(kept)
        if draft.queued is not None:
            self._store.queues.add(draft.id, draft.queued)
        if change is not None:
            self._apply(change)
        if self.fail_after_commit:
            self.fail_after_commit -= 1
            raise AuditUnavailable("the evidence store cannot be reached")
        return Appended(self._receipt(kept, "requester"))

    def _conditions(self, draft: Draft) -> str:
        reads, claim = draft.reads, draft.claim
        if reads is not None:
            if reads.valid_until is not None and reads.valid_until <= self._store.clock.now():
                return "expired"
            if any(self._store.changed.get(_text(key), -1) > reads.policy for key in reads.keys):
                return "stale"
        if claim is None:
            return ""
        key = (claim.system, claim.request_id)
        known = self._store.claims.get(key)
        if known is not None:
            same = known.content == claim.content and known.retry_of == claim.retry_of
            if known.settled or not claim.settled or not same:
                return "claimed"
        effect = known.effect if known else claim.effect
        self._store.claims[key] = Claimed(draft.id, claim.content, claim.retry_of, claim.settled, effect)
        return ""

    def _apply(self, change: Change) -> None:
        store, detail = self._store, change.detail
        inner: Any = detail.get("detail")
        if change.kind == "agency":
            agency = agency_from(inner)
            store.agencies[agency.id] = agency
        elif change.kind == "system":
            system = system_from(inner)
            store.systems[system.name] = system
        elif change.kind == "agency-ended":
            store.agencies[inner["id"]] = agency_from(inner)
            ended: Any = detail["systems"]
            for each in ended:
                store.systems[each["name"]] = system_from(each["detail"])
        elif change.kind == "routing":
            store.routings[str(detail["id"])] = change.blob
        elif change.kind == "acting":
            store.acting[inner["id"]] = acting_from(inner)
        elif change.kind == "agency-key":
            key = signing_key_from(inner)
            store.signing_keys[key.id] = key
        elif change.kind == "agreement":
            store.files.append((str(detail["id"]), int(str(detail["version"])), change.blob))
        elif change.kind == "agreement-suspension":
            suspension = suspension_from(inner)
            store.suspensions[suspension.agreement, suspension.agency] = suspension
        elif change.kind == "agreement-suspension-lifted":
            lifted: Any = detail["agencies"]
            for by in lifted:
                store.suspensions.pop((str(detail["agreement"]), by), None)
        elif change.kind == "record-type":
            name, digest = str(detail["full_name"]), str(detail["digest"])
            at = datetime.fromisoformat(str(detail["approved_at"]))
            store.approvals.append(Approval(name, digest, at, change.blob))
        elif change.kind == "directive":
            assert change.subject is not None
            directive = directive_from(str(detail["id"]), str(detail["recorder"]), inner)
            store.directives[directive.id] = (change.subject, directive)
            at = detail.get("at")
            store.recorded[directive.id] = datetime.fromisoformat(str(at)) if at else store.clock.now()
        elif change.kind == "directive-withdrawal":
            ids: Any = detail["ids"]
            store.withdrawn.update(ids)
        elif change.kind == "escalation":
            store.escalations.apply(change)
            store.moved(*change.writes)
            return
        elif change.kind in ("hold", "hold-released", "erasure", "erasure-plan", "erasure-plan-ended"):
            store.erasure_plans.apply(change)
            store.keeping.apply(change)
            store.moved(*change.writes)
            return
        else:
            # What a human decided stands in the entries that heard of it: nothing to be built again.
            if not store.cases.apply(change):
                store.queues.apply(change)
            used = store.queues.overrides.rows.get(str(detail["id"]))
            if change.kind == "override-review" and used is not None and used.status == "wrong-person":
                store.cases.breaches.begins(used)
            store.moved(*change.writes, reference=change.reference)
            return
        store.journal.append((store.moved(*change.writes, reference=change.reference), change))

    def _receipt(self, kept: Kept, audience: str) -> Receipt:
        leaves = [leaf_hash(one.sealed.entry) for one in self._store.entries]
        grown, proofs = extend_with_proofs(EMPTY_RANGE, leaves)
        note = sign_checkpoint(Checkpoint(ORIGIN, grown.size, grown.root()), self._store.signer)
        opening = getattr(kept.sealed, audience)
        return Receipt(kept.sealed.entry, kept.index, proofs[kept.index], note, opening)

    def _find(self, entry: str) -> Kept:
        for kept in self._store.entries:
            if kept.draft.id == entry:
                return kept
        raise KeyError(entry)

    async def receipt(
        self, entry: str, audience: str, *, archived: bool = False
    ) -> tuple[Receipt, dict[str, Json]]:
        kept = self._find(entry)
        receipt = self._receipt(kept, audience)
        if audience != "full" and not getattr(kept.draft, f"{audience}_agency"):
            receipt = replace(receipt, opening=None)
        return receipt, kept.draft.full

    async def parties(self, entry: str) -> tuple[str, str]:
        draft = self._find(entry).draft
        return draft.requester_agency, draft.provider_agency

    async def proof_at(self, index: int, size: int, log: str = "") -> tuple[bytes, ...]:
        leaves = [leaf_hash(one.sealed.entry) for one in self._store.entries[:size]]
        return extend_with_proofs(EMPTY_RANGE, leaves)[1][index]

    async def id_at(self, index: int, log: str = "") -> str:
        if log not in ("", ORIGIN) or index >= len(self._store.entries):
            raise KeyError(index)
        return self._store.entries[index].draft.id

    async def root(self, size: int, log: str) -> bytes:
        if log != ORIGIN or not 0 < size <= len(self._store.entries):
            raise KeyError(size)
        return EMPTY_RANGE.extend(leaf_hash(one.sealed.entry) for one in self._store.entries[:size]).root()

    async def consistency(self, old: int, new: int, log: str = "") -> tuple[tuple[bytes, ...], bytes]:
        if log not in ("", ORIGIN):
            raise KeyError(log)
        leaves = [leaf_hash(one.sealed.entry) for one in self._store.entries]
        new = new or len(leaves)
        if not 0 <= old <= new <= len(leaves):
            raise KeyError(new)
        root = EMPTY_RANGE.extend(leaves[:new]).root()
        note = sign_checkpoint(Checkpoint(ORIGIN, new, root), self._store.signer)
        return (_subproof(old, leaves[:new], True) if old else ()), note


class MemoryFacts:
    """Implements `ports.FactsSource`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def read(self, asked: Asked) -> Facts:
        store = self._store
        store.calls.append("read")
        said: dict[SubjectRef, list[Directive]] = {}
        for identifier, (subject, directive) in store.directives.items():
            if subject in asked.subjects and identifier not in store.withdrawn:
                said.setdefault(subject, []).append(directive)
        claims = {r: c for r in asked.request_ids if (c := store.claims.get((asked.system, r))) is not None}
        grant, referral = store.queues.ruling(asked.system, asked.retry_of, store.claims)
        restricted = store.queues.restricted(asked.restrictions)
        known = {s: tuple(d) for s, d in said.items()}
        return Facts(store.policy, store.reference_policy, known, claims, grant, referral, restricted)


class MemoryReference:
    """Implements `ports.ReferenceSource`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.refreshed = 0
        self._parsed: dict[bytes, Agreement] = {}
        self.catalogue = Catalogue.load(())
        self.current = Reference.build(-1, load(), (), (), (), {})

    async def refresh(self) -> Reference:
        self.refreshed += 1
        store = self._store
        newest: dict[str, Agreement] = {}
        for identifier, _, file in store.files:
            if file not in self._parsed:
                self._parsed[file] = agreements.parse(file, load())
            newest[identifier] = self._parsed[file]
        self.catalogue = Catalogue.load(store.approvals, self.catalogue)
        self.current = Reference.build(
            store.reference_policy,
            load(),
            store.agencies.values(),
            store.systems.values(),
            newest.values(),
            {a.full_name: a.digest for a in store.approvals},
            store.signing_keys.values(),
            labels=self.catalogue.labels,
            routings=[routing.parse(file, load()) for file in store.routings.values()],
            acting=store.acting.values(),
            suspensions=store.suspensions.values(),
            before=self.current,
        )
        return self.current

    def pins(self, agreement: str, record_type: str) -> dict[str, Pin]:
        """What a version of an agreement bound: here always as the record type is now."""
        known = self.catalogue.newest(record_type)
        bound = [a for a in self._parsed.values() if a.label == agreement]
        flows = [f for a in bound for f in a.flows if f.record_type == record_type]
        return {pin.path: pin for flow in flows for pin in known.pin(flow.permitted)}

    async def at_least(self, policy: int) -> Reference:
        return self.current if self.current.policy >= policy else await self.refresh()


Script = Callable[[Question], Awaitable[Answer]]


class ScriptedProviders:
    """Implements `ports.Providers`: answers as told, and remembers what it was asked and told."""

    def __init__(self, clock: Any, calls: list[str]) -> None:
        self._clock = clock
        self._calls = calls
        self.script: Script | None = None
        self.takes = 0.0
        self.asked: list[tuple[Question, float]] = []
        self.settled: list[tuple[str, str, bool]] = []

    def answers(self, *answers: Answer) -> None:
        """The next answers in turn; the last one again and again."""
        left = list(answers)

        async def script(_: Question) -> Answer:
            return left.pop(0) if len(left) > 1 else left[0]

        self.script = script

    async def ask(self, question: Question, deadline: float) -> Answer:
        self._calls.append("ask")
        self.asked.append((question, deadline))
        if self.takes and self._clock.loop_time() + self.takes > deadline:
            await self._clock.until(deadline)
            return ProviderFailed(ProviderTimeout("the provider did not answer in time"), "timed out")
        if self.takes:
            await self._clock.until(self._clock.loop_time() + self.takes)
        assert self.script is not None
        return await self.script(question)

    def settle(self, agency: str, effect_key: str, released: bool) -> None:
        self.settled.append((agency, effect_key, released))


def identifiers(*pairs: tuple[str, str]) -> tuple[SubjectRef, ...]:
    """References from pairs of scheme and value."""
    return tuple(SubjectRef(*pair) for pair in pairs)


def _subproof(old: int, leaves: list[bytes], whole: bool) -> tuple[bytes, ...]:
    """SUBPROOF of RFC 6962 section 2.1.2, straight from its definition."""
    if old == len(leaves):
        return () if whole else (EMPTY_RANGE.extend(leaves).root(),)
    k = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = leaves[:k], leaves[k:]
    if old <= k:
        return (*_subproof(old, left, whole), EMPTY_RANGE.extend(right).root())
    return (*_subproof(old - k, right, False), EMPTY_RANGE.extend(left).root())


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


def all_texts(value: object) -> Iterable[str]:
    """Every string inside a JSON value, keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from all_texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from all_texts(inner)
    elif isinstance(value, str):
        yield value


@dataclass
class MemoryWorkers:
    """What the others say, in memory; it may be away."""

    others: tuple[Beat, ...] = ()
    away: bool = False
    own: list[Beat] = field(default_factory=list)

    async def beat(self, own: Beat, gone_after: float) -> tuple[Beat, ...]:
        """Note `own`; the others' beats."""
        if self.away:
            raise AuditUnavailable("away")
        self.own.append(own)
        return self.others

    async def leave(self, worker: str) -> None:
        """Forget one of them."""
        self.others = tuple(other for other in self.others if other.worker.id != worker)
