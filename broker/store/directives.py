"""Single directives by id, for those who may withdraw them."""

from __future__ import annotations

from broker.core.forms import directive_from
from broker.ports import StoredDirective
from broker.store.pool import Database


class DirectiveReader:
    """Implements `ports.DirectiveStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
