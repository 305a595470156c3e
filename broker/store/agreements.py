"""Agreements as their files, every version."""

from __future__ import annotations

from broker.core.forms import signature_from
from broker.ports import StoredAgreement
from broker.store.pool import Database


class AgreementReader:
    """Implements `ports.AgreementStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stored(self, *, all_versions: bool) -> list[StoredAgreement]:
        """By id, newest version first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select file, digest, policy_until is not null as superseded,"
                " coalesce((select jsonb_agg(jsonb_build_object('agency', s.agency, 'key_id', s.key_id,"
                " 'digest', s.digest, 'signed_at', s.signed_at, 'signatory', s.signatory, 'role', s.role,"
                " 'signature', encode(s.signature, 'hex'), 'paper', s.paper) order by s.agency)"
                " from agreement_signature s"
                " where (s.agreement, s.policy_from) = (a.id, a.policy_from)), '[]') as signatures"
                " from agreement a where $1 or policy_until is null order by id, version desc",
                all_versions,
            )
        return [
            StoredAgreement(
                bytes(r["file"]),
                r["digest"],
                r["superseded"],
                tuple(signature_from(each) for each in r["signatures"]),
            )
            for r in rows
        ]
