"""What the broker keeps of a record that it passed on: nothing. What it seals stands nowhere in clear."""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from broker.client import Reason
from broker.errors import Denied
from tests.e2e import words
from tests.support import traces
from tests.support.postgres import open_folder
from tests.support.stack import Deployment, deployed, environment
from tests.support.values import replace

# What belongs to others: the trust's server, the fire service's database, and what the client saved.
SOURCES = ("fhir", "fire-risk", "receipts")


def _word(kind: str) -> str:
    """A word that stands nowhere else in the world."""
    return f"{kind}{secrets.token_hex(10)}"


@dataclass(frozen=True)
class Planted:
    """Unique words: in fields that are released, in one that is not, and in what the asker says."""

    released: str
    family: str
    withheld: str
    reason: str
    actor: str
    callsign: str

    def all(self, someone: words.Person) -> tuple[str, ...]:
        """Every word that must stand nowhere, the person's numbers among them."""
        said = (self.released, self.family, self.withheld, self.reason, self.actor, self.callsign)
        return (*said, someone.number, someone.old)


def test_the_search_finds_what_is_there(tmp_path: Path):
    """A planted word is found as it is, in hexadecimal, UTF-16 and base64 wherever it lies, and in a name."""
    word = _word("canary")
    for data in (
        word.upper().encode(),
        b"x" + word.encode("utf-16-le"),
        word.encode().hex().upper().encode(),
        *(base64.b64encode(b"x" * before + word.encode() + b"y" * 5) for before in range(7)),
    ):
        assert traces.traces([word], b"\0\1" + data + b"\2") == [word]
    assert traces.traces([word], b"nothing" * 100) == []
    (tmp_path / word).touch()
    assert list(traces.found_in([word], tmp_path)) == [word]


async def _tables(stack: Deployment) -> bytes:
    """Every row of every table as COPY writes it: values decompressed, bytes in hexadecimal."""
    connection = await asyncpg.connect(stack.database_url)
    dump = bytearray()

    async def take(data: bytes) -> None:
        dump.extend(data)

    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        assert {"entry", "view", "claim", "policy_change"} <= {row["tablename"] for row in tables}
        for row in tables:
            await connection.copy_from_table(row["tablename"], output=take)
    finally:
        await connection.close()
    return bytes(dump)


async def _disclose(stack: Deployment, someone: words.Person, planted: Planted) -> int:
    """Have the planted record disclosed, refused and objected to; the disclosure's place in the log."""
    reaction = {"manifestation": [{"text": planted.withheld}], "severity": "severe"}
    await stack.fhir.put(someone.as_patient())
    await stack.fhir.put(someone.allergy(planted.released, reaction=[reaction]))
    actor = replace(words.PARAMEDIC, id=planted.actor, name=planted.actor, callsign=planted.callsign)
    asking = {
        "record_type": words.PATIENT,
        "provider": "ncic",
        "subject": someone.subject,
        "purpose": "direct-care",
        "actor": actor,
        "reason": Reason("treatment", f"because {planted.reason}"),
        "timeout": words.TIMEOUT,
    }
    async with stack.client("nwas-cad") as broker:
        told = await broker.request(**asking)
        assert told.record.allergies.items[0].substance.display == planted.released
        assert planted.withheld.encode() not in told.record_any.value
        told.save(stack.state.folder / "receipts")
        # What somebody said is kept, and so is who they are; both sealed.
        await words.add_directive(stack, "objection", someone.old, "direct-care")
        with pytest.raises(Denied):
            await broker.request(**asking)
    return told.receipt.index


def _as_started(pid: int) -> bytes:
    return b"".join(Path(f"/proc/{pid}/{part}").read_bytes() for part in ("environ", "cmdline"))


async def _while_it_runs(stack: Deployment, someone: words.Person, planted: Planted) -> None:
    """Disclose, then look at what the running broker holds."""
    await words.apply(stack, words.DIRECT_CARE)
    index = await _disclose(stack, someone, planted)
    pid = stack.child("broker").pid
    running = _as_started(pid)
    assert environment(pid)["BROKER_DATABASE_URL"].encode() in running
    tables = await _tables(stack)
    assert str(index).encode() in tables
    assert traces.traces(planted.all(someone), running) == []
    assert traces.traces(planted.all(someone), tables) == []


def test_after_a_disclosure_nothing_of_the_record_or_the_asker_stands_in_clear():
    """No table, WAL segment, log, setting or file of the broker holds a word of what it released."""
    planted = Planted(*map(_word, ("released", "family", "withheld", "reason", "actor", "callsign")))
    someone = words.Person("9000200008", "9000200016", planted.family)
    secret = planted.all(someone)
    with open_folder() as folder:
        with deployed(folder) as stack:
            state = stack.state.folder
            excluded = [state / name for name in SOURCES]
            asyncio.run(_while_it_runs(stack, someone, planted))
            assert traces.found_in(secret, state, excluded) == {}
        # The servers wrote everything out as they ended: pages that were only in memory until then.
        assert traces.found_in(secret, state, excluded) == {}
        assert any("pg_wal" in str(path) for path in traces.files(state / "postgres"))
        # The search would have found them: the trust's own server has the record, our client its copy.
        there = traces.found_in(secret, state / "fhir")
        assert {planted.released, planted.withheld, planted.family, someone.number} <= _all(there)
        kept = traces.found_in(secret, state / "receipts")
        assert _all(kept) == {planted.released, planted.family, someone.number}


def _all(found: dict[str, list[str]]) -> set[str]:
    return {word for hits in found.values() for word in hits}
