"""A proposed key and time, and changes that meet: the use cases on a real log, under a clock of the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.administration import Administration
from broker.agreements import Agreements
from broker.catalogue import standard_record_types
from broker.clock import SystemClock
from broker.core.directory import Agency
from broker.core.keys import Signer
from broker.core.model import Actor, Caller, Function
from broker.core.reference import Reference
from broker.core.signingkey import SigningKey
from broker.errors import InvalidRequest
from broker.keys import FolderKeys
from broker.registry import Registry
from broker.secondperson import LASTS
from broker.signing import SigningKeys
from broker.store.agreements import AgreementReader
from broker.store.blind import Blind
from broker.store.guard import Guard
from broker.store.log import PostgresLog
from broker.store.notary import Notary
from broker.store.pool import Database, migrate
from broker.store.reader import LogReader
from broker.store.reference import ReferenceReader
from broker.store.seal import Seals
from tests.support.postgres import Server
from tests.support.signing import Signatory, agreement, today
from tests.support.values import replace

ANN = Caller("operator", "cli", Function.OPERATOR, "aa" * 32), Actor("ann", "operator")
BOB = Caller("operator", "second", Function.OPERATOR, "bb" * 32), Actor("bob", "operator")


class LaterClock(SystemClock):
    """Shows a later time than it is."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        """UTC, ahead."""
        return super().now() + self.ahead


@dataclass
class Parts:
    """The use cases, on a database of their own."""

    database: Database
    clock: LaterClock
    administration: Administration
    reference: ReferenceReader
    signing: SigningKeys


@pytest.fixture
async def parts(postgres: Server, tmp_path: Path) -> AsyncIterator[Parts]:
    """Two agencies without keys; the log's own clock is the real one."""
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(postgres.fresh())
        await migrate(dsn)
        database, ring = Database(dsn, size=4), FolderKeys(tmp_path / "keys")
        await database.open()
        stack.push_async_callback(database.close)
        guard = Guard(tmp_path / "guard")
        stack.callback(guard.close)
        notary = Notary(Signer.from_seed("blue-light.test/log/2026h2", ring.signing_seed()), guard)
        seals, blind = Seals(database, ring), Blind(ring.index_key())
        reader = LogReader(database, seals, notary)
        await reader.open()
        log = PostgresLog(database, seals, blind, notary, reader, SystemClock())
        await stack.enter_async_context(log.appends)
        administration, reference, clock = (
            Administration(log, SystemClock()),
            ReferenceReader(database),
            LaterClock(),
        )
        registry = Registry(administration, reference, clock)
        for name, kind in (("cfrs", "fire"), ("nwas", "ambulance")):
            await registry.add_agency(
                ANN[0], Agency(name, name, kind, "england", datetime(2023, 4, 1, tzinfo=UTC))
            )
        operators = Agency("operator", "operator", "operator", "england", datetime(2023, 4, 1, tzinfo=UTC))
        await registry.add_agency(ANN[0], operators)
        for who, _ in (ANN, BOB):
            await registry.enrol(
                who, who.agency, who.system, who.function, who.key_digest, None, None, at_start=True
            )
        for full_name, descriptor_set in standard_record_types():
            await registry.approve(ANN[0], full_name, descriptor_set)
        signing = SigningKeys(administration, reference, clock)
        yield Parts(database, clock, administration, reference, signing)


async def enrol(parts: Parts, key: SigningKey, by: tuple[Caller, Actor]) -> str:
    """Ask for a key; its status."""
    stored, _ = await parts.signing.enrol(by[0], key, None, by[1])
    return stored.status(today())


async def test_a_forgotten_proposal_begins_anew(parts: Parts) -> None:
    """Within seven days a second person confirms; after that, who asks again is the first person again."""
    await enrol(parts, Signatory("cfrs").enrolled(today()), ANN)
    early, late = (Signatory("cfrs").enrolled(today()) for _ in range(2))
    for key in (early, late):
        assert await enrol(parts, key, ANN) == "proposed"
    parts.clock.ahead = LASTS - timedelta(minutes=1)
    assert await enrol(parts, early, BOB) == "in force"
    parts.clock.ahead = LASTS + timedelta(minutes=1)
    assert await enrol(parts, late, BOB) == "proposed"
    with pytest.raises(InvalidRequest, match="second person"):
        await enrol(parts, late, BOB)
    assert await enrol(parts, late, ANN) == "in force"


class Meanwhile:
    """The reference; after its first look something else happens, before what was decided on it is stored."""

    def __init__(self, reference: ReferenceReader, happens: Callable[[], Awaitable[object]]) -> None:
        self.looks = 0
        self._reference = reference
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reference, name)

    async def refresh(self) -> Reference:
        """What is stored, as of before."""
        seen = await self._reference.refresh()
        self.looks += 1
        if self.looks == 1:
            await self._happens()
        return seen


def meanwhile(parts: Parts, happens: Callable[[], Awaitable[object]]) -> tuple[Parts, Meanwhile]:
    """The same parts, but for signing keys decided on before something happened."""
    racing = Meanwhile(parts.reference, happens)
    return replace(parts, signing=SigningKeys(parts.administration, racing, parts.clock)), racing


async def test_of_two_first_keys_at_once_one_is_in_force(parts: Parts) -> None:
    """The second to commit is decided again, finds the first, and becomes a proposal."""
    first, second = (Signatory("cfrs").enrolled(today()) for _ in range(2))
    racing, reference = meanwhile(parts, lambda: enrol(parts, first, ANN))
    assert await enrol(racing, second, BOB) == "proposed"
    assert reference.looks == 2


async def test_one_key_is_not_given_to_two_agencies_at_once(parts: Parts) -> None:
    """However close together they are asked for."""
    public = Signatory("cfrs").public
    theirs, ours = (SigningKey(name, public, today()) for name in ("cfrs", "nwas"))
    racing, _ = meanwhile(parts, lambda: enrol(parts, theirs, ANN))
    with pytest.raises(InvalidRequest, match="enrolled before"):
        await enrol(racing, ours, BOB)


async def test_a_key_that_ends_while_an_agreement_is_applied_stops_it(parts: Parts) -> None:
    """The check of the signatures is made again at the head of the log, where the key has ended."""
    cfrs, nwas = Signatory("cfrs"), Signatory("nwas")
    for each in (cfrs, nwas):
        assert await enrol(parts, each.enrolled(today()), ANN) == "in force"
    file, key = agreement(), cfrs.enrolled(today())
    racing = Meanwhile(parts.reference, lambda: parts.signing.end(BOB[0], "cfrs", key.id, "stolen", BOB[1]))
    store = AgreementReader(parts.database)
    agreements = Agreements(parts.administration, racing, store, parts.clock)
    with pytest.raises(InvalidRequest, match="was ended"):
        await agreements.apply(ANN[0], file, [cfrs.sign(file), nwas.sign(file)])
    assert racing.looks == 2
    assert await store.stored(all_versions=True) == []
