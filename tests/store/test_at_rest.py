"""What lies on disk: nothing that anybody asked, said or wrote can be read in tables or write-ahead log."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from broker.core.decision import subject_key
from broker.core.model import SubjectRef
from broker.ports import Appended, Claim
from broker.store.blind import Blind
from broker.store.pool import migrate
from tests.store.test_change import directive
from tests.support.evidence import a_draft, node
from tests.support.postgres import ask, open_folder, tcp_server
from tests.support.values import replace

CANARY = "kanarienvogel-4711"


@pytest.fixture
async def own_server() -> AsyncIterator[tuple[str, Path]]:
    """A server whose files nobody else writes to."""
    with open_folder() as folder, tcp_server(folder) as dsn:
        yield dsn, folder / "data"


async def test_a_canary_is_nowhere_in_clear(own_server: tuple[str, Path], tmp_path: Path) -> None:
    """In a view, in words, as an identifier: we can open it, nobody finds it in the files."""
    dsn, data = own_server
    await migrate(dsn)
    async with node(dsn, tmp_path / "state") as one:
        claim = Claim("cfrs/mdt", str(uuid.uuid4()), b"c" * 32)
        draft = a_draft(words=f"{CANARY} words", detail=f"{CANARY} view", claim=claim)
        await one.append(draft)
        person = SubjectRef("nhs-number", CANARY)
        change = replace(directive(str(uuid.uuid4())), subject=person)
        answer = await one.log.change(a_draft(subject=CANARY), change)
        assert isinstance(answer, Appended)
        _, full = await one.reader.receipt(draft.id, "full")
        assert full["detail"] == f"{CANARY} view"
        key = await one.seals.current(datetime.now(UTC))
        words = await ask(
            dsn, f"select words from view v join entry e using (log, idx) where e.id = '{draft.id}'"
        )
        assert key.open(words, draft.id, "words")[32:].decode() == f"{CANARY} words"

        connection = await asyncpg.connect(dsn)
        try:
            tables = await connection.fetch("select relname from pg_stat_user_tables")
            assert len(tables) >= 14
            for table in tables:
                for row in await connection.fetch(f"select t::text as row from {table['relname']} t"):
                    assert CANARY not in row["row"]
                    assert CANARY.encode().hex() not in row["row"]
        finally:
            await connection.close()
    async with node(dsn, tmp_path / "state") as one:
        await ask(dsn, "create table marker as select 'in-clear-0815' as text", "select 1")
        files = [p for p in data.rglob("*") if p.is_file()]
        found = {
            needle: [p for p in files if needle in p.read_bytes()]
            for needle in (CANARY.encode(), b"in-clear-0815")
        }
        assert found[b"in-clear-0815"], "the search finds what is in clear"
        assert found[CANARY.encode()] == []
        assert [
            p for p in (tmp_path / "state").rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()
        ] == []


def test_an_identifier_is_not_kept_in_memory() -> None:
    """Keys of agencies and agreements are remembered; whom somebody asked about is not."""
    blind = Blind(bytes(32))
    for n in range(3):
        blind.subject(SubjectRef("uprn", f"10011073461{n}"))
        blind.key("agency:cfrs")
    assert blind._remembered.cache_info().currsize == 1
    assert blind.key(subject_key("uprn", "1")) == blind.subject(SubjectRef("uprn", "1"))
