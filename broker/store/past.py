"""What decisions read, as at a count of changes, from the rows that say from when and until when we knew them.

Implements `broker.past.Past`. Never on the path of a request: it keeps the few snapshots used last, and takes
a connection of the pool for each statement.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from broker import law
from broker.catalogue import Approval, Catalogue
from broker.core import agreement as agreements
from broker.core import routing
from broker.core.agreement import Agreement
from broker.core.canonical import Json, decode_object
from broker.core.directive import Directive
from broker.core.entry import Entry, parse_entry
from broker.core.forms import (
    acting_from,
    agency_from,
    directive_from,
    signing_key_from,
    suspension_from,
    system_from,
)
from broker.core.merkle import CompactRange
from broker.core.model import SubjectRef
from broker.core.reference import Reference
from broker.errors import IntegrityError, KeyDestroyed
from broker.past import MOST, Leaf
from broker.store.blind import Blind
from broker.store.elsewhere import kept_elsewhere
from broker.store.onelog import final_tree
from broker.store.packed import unpack
from broker.store.pool import Database
from broker.store.said import Said
from broker.store.seal import Seals

_SNAPSHOTS = 8
_PARSED = 1024  # files of agreements
_AT = {
    "agency": "select detail from agency where policy_from <= $1 and coalesce(policy_until > $1, true)",
    "system": "select detail from system where policy_from <= $1 and coalesce(policy_until > $1, true)",
    "agreement": "select file, digest from agreement"
    " where policy_from <= $1 and coalesce(policy_until > $1, true)",
    "routing": "select file from routing where policy_from <= $1 and coalesce(policy_until > $1, true)",
    "acting": "select detail from acting"
    " where policy_from <= $1 and coalesce(policy_until > $1, true) order by policy_from",
    "agency_key": "select detail from agency_key"
    " where policy_from <= $1 and coalesce(policy_until > $1, true) order by policy_from",
    "suspension": "select detail from agreement_suspension"
    " where policy_from <= $1 and coalesce(policy_until > $1, true) order by policy_from",
    # Superseded versions too, as in the snapshot of now; the newest one known then counts.
    "record_type": "select * from record_type where policy_from <= $1 order by policy_from",
}
# Each half by an index of its own: what stands, and what was withdrawn since.
_SAID = """
select k.n, d.id, d.recorder, d.detail, d.policy_from
from unnest($1::bytea[], $2::bigint[]) with ordinality k(subject, policy, n)
join directive d on d.subject = k.subject and d.policy_until is null and d.policy_from <= k.policy
union all
select k.n, d.id, d.recorder, d.detail, d.policy_from
from unnest($1::bytea[], $2::bigint[]) with ordinality k(subject, policy, n)
join directive d on d.subject = k.subject and d.policy_until > k.policy and d.policy_from <= k.policy
order by 1, 5, 2
"""
_LEAVES = """
select e.idx, e.id, e.leaf, v.key, v.views from entry e left join view v using (log, idx)
where e.log = $3 and e.idx >= $1 and e.idx < $2 order by e.idx
"""
_LOG = """
select l.id, l.origin, l.entries, l.final, h.size, h.range from log l left join head h on h.log = l.id
where case when $1 = '' then l.closed_at is null else $1 in (l.origin, split_part(l.origin, '/log/', 2)) end
"""
# Of what went with its month the index was emptied too; of what somebody deleted it still finds the entry.
_ERASED = """
select i.item, i.month, e.by is not null as named, coalesce(e.by, d.id) as by,
    array(select g.by from given_up g where g.item = i.item) as before
from unnest($1::uuid[], $2::text[]) i(item, month)
left join erased e on e.item = i.item
left join lateral (
    select id from destroyed where month = i.month and not exists (
        select from entry n join search s using (log, idx) where n.id = i.item and cardinality(s.terms) > 0
    ) order by at desc limit 1
) d on true
where coalesce(e.by, d.id) is not null
"""
_SAYS = """
select e.idx, e.id, e.leaf, v.key, v.views from entry e join view v using (log, idx) where e.id = any ($1)
"""


class ReferenceAsAt:
    """Snapshots as at a count of changes, under the law files of this release."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._law = law.load()
        self._lock = asyncio.Lock()
        self._made: OrderedDict[int, Reference] = OrderedDict()
        self._parsed: OrderedDict[str, Agreement] = OrderedDict()
        self._catalogue = Catalogue.load(())

    async def read(self, policy: int) -> Reference:
        """As `Past.reference`."""
        async with self._lock:
            made = self._made.get(policy)
            if made is None:
                made = self._made[policy] = await self._load(policy)
                if len(self._made) > _SNAPSHOTS:
                    self._made.popitem(last=False)
            self._made.move_to_end(policy)
            return made

    async def _load(self, policy: int) -> Reference:
        async with self._database.connection() as connection:
            # Rows of a count that has been are never changed but for where they end, so each by itself will do.
            rows = {kind: await connection.fetch(sql, policy) for kind, sql in _AT.items()}
        approvals = [
            Approval(row["full_name"], row["digest"], row["approved_at"], bytes(row["descriptor"]))
            for row in rows["record_type"]
        ]
        self._catalogue = Catalogue.load(approvals, self._catalogue)
        return Reference.build(
            policy,
            self._law,
            [agency_from(row["detail"]) for row in rows["agency"]],
            [system_from(row["detail"]) for row in rows["system"]],
            [self._agreement(row["digest"], bytes(row["file"])) for row in rows["agreement"]],
            {a.full_name: a.digest for a in approvals},
            [signing_key_from(row["detail"]) for row in rows["agency_key"]],
            labels=self._catalogue.labels,
            routings=[routing.parse(bytes(row["file"]), self._law) for row in rows["routing"]],
            acting=[acting_from(row["detail"]) for row in rows["acting"]],
            suspensions=[suspension_from(row["detail"]) for row in rows["suspension"]],
            before=next(reversed(self._made.values()), None),
        )

    def _agreement(self, digest: str, file: bytes) -> Agreement:
        known = self._parsed.get(digest)
        if known is None:
            known = self._parsed[digest] = agreements.parse(file, self._law)
            if len(self._parsed) > _PARSED:
                self._parsed.popitem(last=False)
        return known


class PastReader:
    """Implements `broker.past.Past`."""

    def __init__(self, database: Database, blind: Blind, seals: Seals) -> None:
        self._database = database
        self._blind = blind
        self._seals = seals
        self._references = ReferenceAsAt(database)

    async def reference(self, policy: int) -> Reference:
        """As `Past.reference`."""
        return await self._references.read(policy)

    async def directives(
        self, asked: Sequence[tuple[SubjectRef, int]]
    ) -> Mapping[tuple[SubjectRef, int], tuple[Directive, ...]]:
        """As `Past.directives`."""
        pairs = list(dict.fromkeys(asked))
        said: defaultdict[tuple[SubjectRef, int], list[Directive]] = defaultdict(list)
        for start in range(0, len(pairs), MOST):
            some = pairs[start : start + MOST]
            keys, counts = [self._blind.subject(s) for s, _ in some], [policy for _, policy in some]
            async with self._database.connection() as connection:
                rows = await connection.fetch(_SAID, keys, counts)
            for row in rows:
                directive = directive_from(str(row["id"]), row["recorder"], row["detail"])
                said[some[row["n"] - 1]].append(directive)
        return {pair: tuple(found) for pair, found in said.items()}

    async def chain(self) -> tuple[str, ...]:
        """As `Past.chain`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select origin from log order by id desc")
        return tuple(row["origin"] for row in rows)

    async def leaves(self, start: int, end: int, log: str = "") -> list[Leaf]:
        """As `Past.leaves`."""
        async with self._database.connection() as connection:
            number = (await _named(connection, log))["id"]
            rows = await connection.fetch(_LEAVES, start, min(end, start + MOST), number)
            gone = next((row["idx"] for row in rows if row["leaf"] is None), None)
            if gone is not None:
                raise await kept_elsewhere(connection, number, gone)
        return [await self._leaf(row) for row in rows]

    async def erased_by(self, items: Sequence[tuple[str, datetime | None]]) -> Mapping[str, str]:
        """As `Past.erased_by`. Of an entry that went with its month, the newest end of that month is named:
        which class it was of went too. Of one whose parties gave up a part each, the later erasure. Tables only
        lead to the entries, which are opened and must say so."""
        ids = [item for item, _ in items]
        months = [f"{at:%Y-%m}" if at else "" for _, at in items]
        async with self._database.connection() as connection:
            rows = await connection.fetch(_ERASED, ids, months)
            asked = {by for row in rows for by in (row["by"], *row["before"])}
            says = await connection.fetch(_SAYS, [*asked]) if rows else []
        full = {row["id"]: await self._verified(row) for row in says}
        return {
            str(row["item"]): str(row["by"])
            for row in rows
            if _names(_heard([full[by] for by in (row["by"], *row["before"]) if by in full]), row)
        }

    async def _verified(self, row: asyncpg.Record) -> Mapping[str, Json]:
        """The full view of an entry, if it is the one that the entry commits to; else nothing."""
        leaf = await self._leaf(row) if row["leaf"] is not None else None
        if leaf is None or leaf.opening is None:
            return {}
        try:
            entry, opening = parse_entry(leaf.entry), leaf.opening
            good = isinstance(entry, Entry) and opening.opens(entry.full)
            return decode_object(opening.view) if good else {}
        except IntegrityError:
            return {}

    async def head(self, log: str = "") -> tuple[int, bytes]:
        """As `Past.head`."""
        async with self._database.connection() as connection:
            row = await _named(connection, log)
            if row["entries"] is None:
                return row["size"], CompactRange(row["size"], tuple(bytes(h) for h in row["range"])).root()
        tree = final_tree(row["id"], row["entries"], bytes(row["final"]))
        return tree.size, tree.root

    async def _leaf(self, row: asyncpg.Record) -> Leaf:
        index, entry = row["idx"], bytes(row["leaf"])
        if row["key"] is None:
            return Leaf(index, entry, None)
        try:
            key = await self._seals.by_id(row["key"])
        except KeyDestroyed:
            return Leaf(index, entry, None)
        try:
            opened = unpack(key.open(row["views"], str(row["id"]), "views"))
        except IntegrityError as e:
            return Leaf(index, entry, None, str(e))
        return Leaf(index, entry, opened.full)


def _heard(views: Sequence[Mapping[str, Json]]) -> Said:
    said = Said()
    for full in views:
        said.hear(full)
    return said


def _names(said: Said, row: asyncpg.Record) -> bool:
    """Whether what the tables led to says that this went. What has no month is a directive; for an entry that
    went with its month no table names an erasure (`named`)."""
    item: bytes = row["item"].bytes
    if not row["month"]:
        return said.directive(item)
    return said.is_erased(item) or (not row["named"] and any(month == row["month"] for month, _ in said.ended))


async def _named(connection: asyncpg.Connection, log: str) -> asyncpg.Record:
    """The log of this origin or half-year; empty: the current one. KeyError where there is none."""
    row = await connection.fetchrow(_LOG, log)
    if row is None:
        raise KeyError(log)
    return row
