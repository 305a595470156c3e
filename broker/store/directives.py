"""Directives by id, for those who may withdraw them, and by subject, for those who recorded them."""

from __future__ import annotations

from broker.core.forms import directive_from
from broker.core.model import SubjectRef
from broker.ports import RecordedDirective, StoredDirective
from broker.store.blind import Blind
from broker.store.pool import Database


class DirectiveReader:
    """Implements `ports.DirectiveStore`."""

    def __init__(self, database: Database, blind: Blind) -> None:
        self._database = database
        self._blind = blind

    async def by_id(self, directive_id: str) -> StoredDirective | None:
        """A directive that has not been withdrawn, and the policy count it was read at."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "select d.*, h.policy from directive d, head h where d.id = $1 and d.policy_until is null",
                directive_id,
            )
        if row is None:
            return None
        directive = directive_from(str(row["id"]), row["recorder"], row["detail"])
        return StoredDirective(directive, bytes(row["subject"]), row["policy"])

    async def about(self, subject: SubjectRef, recorder: str) -> list[RecordedDirective]:
        """What one agency has recorded about one identifier and nobody has withdrawn, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select id, recorder, detail, recorded_at from directive"
                " where subject = $1 and recorder = $2 and policy_until is null order by policy_from",
                self._blind.subject(subject),
                recorder,
            )
        return [
            RecordedDirective(
                directive_from(str(row["id"]), row["recorder"], row["detail"]), row["recorded_at"]
            )
            for row in rows
        ]
