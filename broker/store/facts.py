"""What has been said about people, and which request ids are taken: one statement for a whole batch.

One statement is one snapshot, so that everything read is true together at the policy count it carries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from broker.coalesce import Coalescer
from broker.core.directive import Directive
from broker.core.forms import directive_from
from broker.core.granting import grant_from, restricted_by
from broker.core.model import Grant, SubjectRef
from broker.ports import Asked, Claimed, Facts
from broker.store.blind import Blind
from broker.store.pool import Database
from broker.store.queued import REFERRAL_DECISION, opened
from broker.store.seal import Seals

_READ = """
select 'head' as what, 0::bigint as n, policy as a, reference_policy as b, null::uuid as id,
       null::bytea as content, null::uuid as other, null::boolean as settled, null::uuid as effect,
       null::text as recorder, null::jsonb as detail
from head
union all
select 'directive', k.n, null, null, d.id, null, null, null, null, d.recorder, d.detail
from unnest($1::bytea[]) with ordinality k(subject, n)
join directive d on d.subject = k.subject and d.policy_until is null
union all
select 'claim', r.n, null, null, c.entry, c.content, c.retry_of, c.settled, c.effect, null, null
from unnest($2::text[], $3::uuid[]) with ordinality r(system, request, n)
join claim c on c.system = r.system and c.request = r.request
union all
select 'ruling', r.n, null, null, q.id, q.decision, q.request, q.status = 'granted', null, q.status,
       jsonb_build_object('until', q.until, 'key', q.decision_key, 'provider', q.provider)
from unnest($4::text[], $5::uuid[]) with ordinality r(system, request, n)
cross join lateral (
    -- A repeat may name a repeat: whatever was decided on the first of them holds for all.
    with recursive chain (request, steps) as (
        select r.request, 1
        union all
        select c.retry_of, chain.steps + 1 from chain
        join claim c on c.system = r.system and c.request = chain.request
        where c.retry_of is not null and chain.steps < 16
    )
    select f.* from referral f join chain on f.request = chain.request
    where f.system = r.system order by f.opened_at desc limit 1
) q
union all
select 'restricted', k.n, null, null, null, null, null, null, null, o.provider,
       jsonb_build_object('until', o.until)
from unnest($6::bytea[]) with ordinality k(subject, n)
join override_restriction o on o.subject = k.subject and o.lifted_at is null
"""


class FactsReader:
    """Reads for many requests at once, whatever came together."""

    def __init__(self, database: Database, blind: Blind, seals: Seals) -> None:
        self._statement = database.keep(_READ)
        self._blind = blind
        self._seals = seals
        self.reads: Coalescer[Asked, Facts] = Coalescer("facts", self._flush)

    async def read(self, asked: Asked) -> Facts:
        """What is stored about these identifiers and request ids. Raises AuditUnavailable."""
        return await self.reads.submit(asked, owner=asked.system.partition("/")[0], urgent=asked.urgent)

    async def _flush(self, batch: Sequence[Asked]) -> list[Facts]:
        subjects = list(dict.fromkeys(s for asked in batch for s in asked.subjects))
        ids = list(dict.fromkeys((a.system, r) for a in batch for r in a.request_ids))
        repeats = list(dict.fromkeys((a.system, a.retry_of) for a in batch if a.retry_of))
        restrictions = list(dict.fromkeys(key for a in batch for key in a.restrictions))
        rows = await self._statement.fetch(
            lambda: [
                [self._blind.subject(s) for s in subjects],
                [system for system, _ in ids],
                [request for _, request in ids],
                [system for system, _ in repeats],
                [request for _, request in repeats],
                [self._blind.key(key) for key in restrictions],
            ]
        )
        found = _Found()
        for row in rows:
            n, what = row["n"] - 1, row["what"]
            if what == "head":
                found.policy, found.reference_policy = row["a"], row["b"]
            elif what == "directive":
                directive = directive_from(str(row["id"]), row["recorder"], row["detail"])
                found.said[subjects[n]].append(directive)
            elif what == "claim":
                found.taken[ids[n]] = _claimed(row)
            elif what == "restricted":
                found.restrict(restrictions[n], row)
            elif row["recorder"] == "open":
                found.waiting[repeats[n]] = str(row["id"])
            elif (grant := await self._grant(row)) is not None:
                found.ruled[repeats[n]] = grant
        return [found.of(asked) for asked in batch]

    async def _grant(self, row: asyncpg.Record) -> Grant | None:
        """What a human decided; None where it cannot be opened any more, and so lets nothing through."""
        referral = str(row["id"])
        decision = await opened(self._seals, row["detail"]["key"], row["content"], referral, REFERRAL_DECISION)
        if not decision:
            return None
        provider = row["detail"]["provider"]
        return grant_from(referral, str(row["other"]), decision, provider, granted=row["settled"])


@dataclass
class _Found:
    """What one statement read, for all who asked together."""

    policy: int = 0
    reference_policy: int = 0
    said: defaultdict[SubjectRef, list[Directive]] = field(default_factory=lambda: defaultdict(list))
    taken: dict[tuple[str, str], Claimed] = field(default_factory=dict)
    ruled: dict[tuple[str, str], Grant] = field(default_factory=dict)
    waiting: dict[tuple[str, str], str] = field(default_factory=dict)
    restricted: dict[str, datetime | None] = field(default_factory=dict)

    def restrict(self, key: str, row: asyncpg.Record) -> None:
        """One provider's restriction; of several the one that holds longest."""
        key, until = restricted_by(key, row["recorder"]), row["detail"]["until"]
        ends = datetime.fromisoformat(until) if until else None
        before = self.restricted.get(key, ends)
        self.restricted[key] = None if ends is None or before is None else max(before, ends)

    def of(self, asked: Asked) -> Facts:
        """What one of them asked for."""
        repeat = asked.system, asked.retry_of
        return Facts(
            self.policy,
            self.reference_policy,
            {s: tuple(self.said[s]) for s in asked.subjects if s in self.said},
            {r: self.taken[asked.system, r] for r in asked.request_ids if (asked.system, r) in self.taken},
            self.ruled.get(repeat),
            self.waiting.get(repeat, ""),
            {
                each: until
                for each, until in self.restricted.items()
                if each.rpartition("|")[0] in asked.restrictions
            },
        )


def _claimed(row: asyncpg.Record) -> Claimed:
    return Claimed(
        entry=str(row["id"]),
        content=bytes(row["content"]),
        retry_of=str(row["other"] or ""),
        settled=row["settled"],
        effect=str(row["effect"] or ""),
    )
