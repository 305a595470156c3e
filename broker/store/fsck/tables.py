"""The tables that decisions read, row by row, in the form in which `told` has what entries say of them.

Owns which columns are compared, and nothing about what is right. Files are compared by their digest, which the
server makes of the bytes that lie there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from broker.core.canonical import Json
from broker.errors import IntegrityError
from broker.store.fsck.snapshot import parts
from broker.store.fsck.told import agreement_content, digest_of, moment

Row = Mapping[str, Any]
Content = Callable[[Row], Json]


@dataclass(frozen=True, slots=True)
class Table:
    """One table: `sql` gives rows of one name together, in the order in which they counted, each with `name`
    and `{counts}`: `since` and `until` (counts of changes), and `ended` (whether it counts no more). Nothing is
    ever taken from it but what an entry names."""

    name: str
    sql: str
    content: Content
    # Each state ends where the next begins, or not at all.
    follows: bool = True
    # The same, as an entry has it of which a part is gone.
    less: Content | None = None


@dataclass(frozen=True, slots=True)
class Stands:
    """A row as it stands; `digests` of what it says are empty where no entry could say it. `at` is when it was
    made, where it says that, `ended_at` when it ended."""

    name: str
    digests: frozenset[bytes]
    since: int
    until: int | None
    ended: bool
    at: datetime | None
    ended_at: datetime | None


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _detail(row: Row) -> Json:
    detail: Json = _json(row["detail"])
    return detail


def _agency_key(row: Row) -> Json:
    return {"agency": row["agency"], "detail": _detail(row)}


def _acting(row: Row) -> Json:
    return {"processor": row["processor"], "controller": row["controller"], "detail": _detail(row)}


def _agreement(row: Row) -> Json:
    signed = _json(row["signed"]) or []
    # The digest of the file that lies there; the column must say the same.
    digest = row["digest"] if row["digest"] == row["made"] else None
    return agreement_content({**row, "digest": digest, "pins": _json(row["pins"])}, signed)


def _routing(row: Row) -> Json:
    return {"version": row["version"], "digest": row["digest"] if row["digest"] == row["made"] else None}


def _record_type(row: Row) -> Json:
    digest = row["digest"] if row["digest"] == row["made"] else None
    return {"digest": digest, "approved_at": moment(row["approved_at"])}


def _directive(row: Row) -> Json:
    return {
        "recorder": row["recorder"],
        "detail": _json(row["detail"]),
        "subject": bytes(row["subject"]).hex(),
        "at": moment(row["at"]),
    }


def _unexplained(row: Row) -> Json:
    """As its entry has it whose words were erased."""
    return _directive({**row, "detail": {**_json(row["detail"]), "explained": None}})


def _hold(row: Row) -> Json:
    subject = row["subject"]
    return {
        **{each: row[each] for each in ("agency", "everything", "kind", "agreement", "reference")},
        **{each: [*row[each]] for each in ("agencies", "parties", "terms", "rare")},
        "subject": None if subject is None else bytes(subject).hex(),
        "at": moment(row["at"]),
    }


_NO_COUNTS = "0 as since, null::bigint as until"
_COUNTS = "policy_from as since, policy_until as until, policy_until is not null as ended"
_SIGNED = """
select coalesce(jsonb_agg(jsonb_build_object(
    'agency', s.agency, 'key_id', s.key_id, 'digest', s.digest, 'signature', encode(s.signature, 'hex'),
    'signed_at', to_char(s.signed_at, 'YYYY-MM-DD'), 'signatory', s.signatory, 'role', s.role,
    'paper', s.paper)), '[]')
from agreement_signature s
where s.agreement = a.id and s.policy_from = a.policy_from and s.version = a.version
  and s.policy_until is not distinct from a.policy_until
"""
TABLES = (
    Table("agency", "select id as name, detail, {counts} from agency order by id, policy_from", _detail),
    Table("system", "select name, detail, {counts} from system order by name, policy_from", _detail),
    Table(
        "agency_key",
        "select id as name, agency, detail, {counts} from agency_key order by id, policy_from",
        _agency_key,
    ),
    Table(
        "acting",
        "select id::text as name, processor, controller, detail, {counts} from acting"
        " order by acting.id, policy_from",
        _acting,
    ),
    Table(
        "agreement",
        "select a.id as name, a.version, a.digest, a.pins, encode(sha256(a.file), 'hex') as made,"
        " ({signed}) as signed, {counts} from agreement a order by a.id, a.policy_from",
        _agreement,
    ),
    Table(
        "agreement_suspension",
        "select agreement || ' by ' || agency as name, detail, {counts} from agreement_suspension"
        " order by agreement, agency, policy_from",
        _detail,
        follows=False,
    ),
    Table(
        "routing",
        "select id as name, version, digest, encode(sha256(file), 'hex') as made, {counts} from routing"
        " order by id, policy_from",
        _routing,
    ),
    Table(
        "record_type",
        "select full_name as name, digest, approved_at, encode(sha256(descriptor), 'hex') as made, {counts}"
        " from record_type order by full_name, policy_from",
        _record_type,
    ),
    Table(
        "directive",
        "select id::text as name, subject, recorder, detail, recorded_at as at, withdrawn_at as ended_at,"
        " {counts} from directive",
        _directive,
        follows=False,
        less=_unexplained,
    ),
    Table(
        "hold",
        "select id::text as name, agency, everything, agencies, parties, kind, terms, rare, subject, agreement,"
        " reference, placed_at as at, released_at as ended_at, {no_counts},"
        " released_at is not null as ended from hold",
        _hold,
        follows=False,
    ),
)


async def rows(connection: asyncpg.Connection, table: Table) -> AsyncIterator[Stands]:
    """Every row of it."""
    async for some in parts(connection, table.sql.format(counts=_COUNTS, no_counts=_NO_COUNTS, signed=_SIGNED)):
        for row in some:
            found = dict(row)
            try:
                digests = {digest_of(content(found)) for content in (table.content, table.less) if content}
            except (LookupError, TypeError, ValueError, IntegrityError):
                digests = set()
            yield Stands(
                found["name"],
                frozenset(digests),
                found["since"],
                found["until"],
                found["ended"],
                found.get("at"),
                found.get("ended_at"),
            )
