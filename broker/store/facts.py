"""What has been said about people, and which request ids are taken: one statement for a whole batch.

One statement is one snapshot, so that everything read is true together at the policy count it carries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from broker.coalesce import Coalescer
from broker.core.directive import Directive
from broker.core.forms import directive_from
from broker.core.model import SubjectRef
from broker.ports import Asked, Claimed, Facts
from broker.store.blind import Blind
from broker.store.pool import Database

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
"""


class FactsReader:
    """Reads for many requests at once, whatever came together."""

    def __init__(self, database: Database, blind: Blind) -> None:
        self._statement = database.keep(_READ)
        self._blind = blind
        self.reads: Coalescer[Asked, Facts] = Coalescer("facts", self._flush)

    async def read(self, asked: Asked) -> Facts:
        """What is stored about these identifiers and request ids. Raises AuditUnavailable."""
        return await self.reads.submit(asked, owner=asked.system.partition("/")[0], urgent=asked.urgent)

    async def _flush(self, batch: Sequence[Asked]) -> list[Facts]:
        subjects = list(dict.fromkeys(s for asked in batch for s in asked.subjects))
        ids = list(dict.fromkeys((a.system, r) for a in batch for r in a.request_ids))
        rows = await self._statement.fetch(
            lambda: [
                [self._blind.subject(s) for s in subjects],
                [system for system, _ in ids],
                [request for _, request in ids],
            ]
        )
        policy = reference_policy = 0
        said: defaultdict[SubjectRef, list[Directive]] = defaultdict(list)
        taken: dict[tuple[str, str], Claimed] = {}
        for row in rows:
            if row["what"] == "head":
                policy, reference_policy = row["a"], row["b"]
            elif row["what"] == "directive":
                said[subjects[row["n"] - 1]].append(
                    directive_from(str(row["id"]), row["recorder"], row["detail"])
                )
            else:
                taken[ids[row["n"] - 1]] = Claimed(
                    entry=str(row["id"]),
                    content=bytes(row["content"]),
                    retry_of=str(row["other"] or ""),
                    settled=row["settled"],
                    effect=str(row["effect"] or ""),
                )
        return [
            Facts(
                policy,
                reference_policy,
                {s: tuple(said[s]) for s in asked.subjects if s in said},
                {r: taken[asked.system, r] for r in asked.request_ids if (asked.system, r) in taken},
            )
            for asked in batch
        ]
