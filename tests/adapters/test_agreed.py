"""The provider's own check, against a real gRPC worker that asks for what nobody agreed to."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from adapters.sdk import AdapterSettings, Found, Provides, Question, SetupError
from adapters.sdk.answer import Answer
from adapters.sdk.attach import Attach
from adapters.sdk.copies import LOOK_EVERY, Copies
from adapters.sdk.settings import from_environment
from broker.core.signature import file_name
from broker.errors import ProviderTimeout
from broker.v1 import adapter_pb2
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2
from tests.support.certificates import Authority
from tests.support.signing import Signatory, agreement
from tests.support.worker import BROKER, RISK, Served, Worker

NAME = "premises.toml"
PATHS = ("uprn", "oxygen.state", "oxygen.kind")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs both ends' certificates."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def worker(authority: Authority) -> AsyncIterator[Worker]:
    """A broker worker, stolen or not."""
    one = await Worker(authority.server()).start()
    yield one
    await one.stop()


@dataclass
class Desk:
    """The agency's side: its key, its folder, and how often its source was asked."""

    folder: Path
    keys: Path
    cfrs: Signatory
    looked_up: int = 0

    def sign(self, **terms: object) -> None:
        """Put an agreement with these terms into the folder, signed."""
        self.cfrs.put(self.folder, NAME, agreement(**{"permitted": PATHS, **terms}))  # type: ignore[arg-type]

    async def answer(self, question: Question) -> Answer:
        """A record that holds far more than anybody agreed to."""
        self.looked_up += 1
        assert question.subject is not None
        record = fire.PremisesRisk(uprn=question.subject.value, crew_notes="dog in the yard")
        record.oxygen.state = fact_pb2.FACT_STATE_VALUE
        record.oxygen.kind = fire.OXYGEN_KIND_CONCENTRATOR
        record.oxygen.kept_in = "front bedroom"
        record.occupier.name = "Edith Exampleton"
        return Found(record, (question.subject,), datetime.now(UTC))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An agency that has signed one agreement."""
    folder, cfrs = tmp_path / "agreements", Signatory("cfrs")
    folder.mkdir()
    made = Desk(folder, cfrs.pin(tmp_path / "keys.pem"), cfrs)
    made.sign()
    return made


@asynccontextmanager
async def attached(
    authority: Authority, worker: Worker, desk: Desk, **changes: object
) -> AsyncIterator[Served]:
    """An adapter of cfrs with the check on, attached for as long as the block lasts."""
    files = authority.client("cfrs", "risk-system")
    values: dict[str, object] = {
        "target": worker.address,
        "ca": files.ca,
        "cert": files.cert,
        "key": files.key,
        "backoff_first": 0.02,
        "backoff_cap": 0.1,
        "drain_within": 2.0,
        "expected_broker": BROKER,
        "agreements": desk.folder,
        "agreement_keys": desk.keys,
    }
    attach = Attach(
        AdapterSettings(**(values | changes)),  # type: ignore[arg-type]
        [Provides(RISK, ("uprn",), matches_queries=True)],
        desk.answer,
        software="test/1",
    )
    stop = asyncio.Event()
    running = asyncio.create_task(attach.run(stop))
    try:
        yield await worker.link()
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await running


async def ask(link: Served, **fields: object) -> adapter_pb2.Answer:
    """The answer to the question that was agreed to, but for `fields`."""
    asked = {"permitted_paths": PATHS, "actor": {"id": "a1", "role": "dispatcher", "assurance": 1}, **fields}
    return await link.answer(link.ask("100062990001", **asked))


async def test_a_question_that_was_agreed_to_is_answered_with_the_agreed_fields_alone(
    authority: Authority, worker: Worker, desk: Desk
) -> None:
    """What the answer function found beyond the agreement never leaves the adapter."""
    async with attached(authority, worker, desk) as link:
        answer = await ask(link)
        record = fire.PremisesRisk()
        assert answer.found.record.Unpack(record)
        expected = fire.PremisesRisk(uprn="100062990001")
        expected.oxygen.state = fact_pb2.FACT_STATE_VALUE
        expected.oxygen.kind = fire.OXYGEN_KIND_CONCENTRATOR
        assert record == expected
        assert b"Edith" not in answer.SerializeToString()
        # Asked for less than was agreed, it sends less.
        less = fire.PremisesRisk()
        assert (await ask(link, permitted_paths=["uprn"])).found.record.Unpack(less)
        assert less == fire.PremisesRisk(uprn="100062990001")


STOLEN: list[tuple[str, dict[str, object]]] = [
    ("fields", {"permitted_paths": [*PATHS, "occupier.name"]}),
    ("fields", {"permitted_paths": ["crew_notes"]}),
    ("fields", {"permitted_paths": ["no.such.field"]}),
    ("purpose", {"purpose": "law-enforcement"}),
    ("requester", {"requester": "cumbria-police"}),
    ("role", {"actor": {"id": "a1", "role": "officer", "assurance": 3}}),
    ("well enough", {"actor": {"id": "a1", "role": "dispatcher", "assurance": 1}}),
    ("traits", {"subject": None, "query": {"family_name": "Exampleton", "postcode": "LA12 7ZZ"}}),
    ("not among", {"agreement": "another-agreement"}),
    ("not among", {"agreement": ""}),
    ("not among", {"agreement_version": 2}),
    ("not among", {"agreement_version": 0}),
]


@pytest.mark.parametrize(("says", "change"), STOLEN)
async def test_a_stolen_broker_gets_nothing_that_was_not_agreed(
    authority: Authority, worker: Worker, desk: Desk, says: str, change: dict[str, object]
) -> None:
    """NotAgreed, naming the part; the source is not even asked; the link goes on."""
    desk.sign(assurance="roster")
    fine = {"actor": {"id": "a1", "role": "dispatcher", "assurance": 3}}
    async with attached(authority, worker, desk) as link:
        answer = await ask(link, **(fine | change))
        assert answer.WhichOneof("result") == "not_agreed"
        assert says in answer.not_agreed.why
        assert desk.looked_up == 0
        assert (await ask(link, **fine)).HasField("found")


async def test_traits_may_be_asked_with_where_that_was_agreed(
    authority: Authority, worker: Worker, desk: Desk
) -> None:
    """A flow with `queries` lets the question through to the answer function."""
    desk.sign(queries=True)
    async with attached(authority, worker, desk) as link:
        answer = await ask(link, subject=None, query={"family_name": "Exampleton", "postcode": "LA12 7ZZ"})
        assert not answer.HasField("not_agreed")
        assert desk.looked_up == 1


@pytest.mark.parametrize("schemes", ["nhs-number"])
async def test_a_subject_is_named_as_agreed(
    authority: Authority, worker: Worker, desk: Desk, schemes: str
) -> None:
    """An identifier of a scheme that the adapter answers for, but the agreement does not name, is refused."""
    file = agreement(permitted=PATHS).replace(b'["uprn"]\nqueries', f'["{schemes}"]\nqueries'.encode())
    desk.cfrs.put(desk.folder, NAME, file)
    async with attached(authority, worker, desk) as link:
        assert "named this way" in (await ask(link)).not_agreed.why


def _days(day: date) -> str:
    return day.isoformat()


TODAY = datetime.now(UTC).date()


def unsigned(desk: Desk) -> None:
    """The agency's signature is not there; another party's is."""
    (desk.folder / file_name(NAME, "cfrs")).unlink()
    other = Signatory("nwas")
    other.put(desk.folder, NAME, (desk.folder / NAME).read_bytes())


def edited(desk: Desk) -> None:
    """Someone added a field to the file."""
    path = desk.folder / NAME
    path.write_bytes(path.read_bytes().replace(b'"uprn",', b'"uprn", "crew_notes",'))


def signed_by_another_key(desk: Desk) -> None:
    """The agency's name, but a key that it has not pinned."""
    Signatory("cfrs").put(desk.folder, NAME, agreement(permitted=PATHS))


def another_agencys_signature(desk: Desk) -> None:
    """The pinned key, but for another agency, under this agency's file name."""
    other = Signatory("nwas", desk.cfrs.key).sign((desk.folder / NAME).read_bytes())
    (desk.folder / file_name(NAME, "cfrs")).write_bytes(other.to_bytes())


def expired(desk: Desk) -> None:
    """Its last day was yesterday."""
    desk.sign(valid_until=_days(TODAY - timedelta(days=1)))


def not_yet(desk: Desk) -> None:
    """Its first day is tomorrow."""
    desk.sign(valid_from=_days(TODAY + timedelta(days=1)))


def of_other_parties(desk: Desk) -> None:
    """Signed by this agency although others provide."""
    desk.sign(provider="lancashire")


def two_of_one_name(desk: Desk) -> None:
    """Two different files say they are the same version."""
    desk.cfrs.put(desk.folder, "other.toml", agreement(permitted=("uprn",)))


def truncated_signature(desk: Desk) -> None:
    """The signature file was never whole."""
    path = desk.folder / file_name(NAME, "cfrs")
    path.write_bytes(path.read_bytes()[:100])


def no_agreement_at_all(desk: Desk) -> None:
    """Signed, but not an agreement."""
    desk.cfrs.put(desk.folder, NAME, b"id = 1\n")


def nothing(desk: Desk) -> None:
    """The folder is empty."""
    for path in desk.folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        unsigned,
        edited,
        signed_by_another_key,
        another_agencys_signature,
        expired,
        not_yet,
        of_other_parties,
        two_of_one_name,
        truncated_signature,
        no_agreement_at_all,
        nothing,
    ],
    ids=lambda spoil: spoil.__name__,
)
async def test_an_agreement_that_does_not_count_opens_nothing(
    authority: Authority, worker: Worker, desk: Desk, spoil: object
) -> None:
    """The adapter starts, and refuses everything under it."""
    assert callable(spoil)
    spoil(desk)
    async with attached(authority, worker, desk) as link:
        assert (await ask(link)).HasField("not_agreed")
        assert desk.looked_up == 0


async def until(link: Served, result: str, within: float = 4 * LOOK_EVERY) -> float:
    """Ask until the answer is of that kind; seconds it took."""
    started = time.monotonic()
    while (await ask(link)).WhichOneof("result") != result:
        assert time.monotonic() - started < within, f"never {result}"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def test_the_folder_is_followed(
    authority: Authority, worker: Worker, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Edited: refused within about a second. Put right: answered. Signature half written: the last good stays.
    Taken away: refused. The key taken out of the pinned file: refused, although the file has not changed."""
    beside = desk.folder / file_name(NAME, "cfrs")
    async with attached(authority, worker, desk) as link:
        assert (await ask(link)).HasField("found")
        edited(desk)
        assert await until(link, "not_agreed") < 2 * LOOK_EVERY
        desk.sign()
        await until(link, "found")
        whole = beside.read_bytes()
        beside.write_bytes(whole[:50])
        await asyncio.sleep(1.2 * LOOK_EVERY)
        assert (await ask(link)).HasField("found")
        assert [r for r in caplog.records if "its last good version stays" in r.message]
        beside.unlink()
        await until(link, "not_agreed")
        beside.write_bytes(whole)
        await until(link, "found")
        Signatory("cfrs").pin(desk.keys)
        await until(link, "not_agreed")


async def test_a_folder_or_key_file_that_goes_away_changes_nothing_and_is_said_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """What was good stays, with one line in the log, and what comes back is taken up."""
    copies = Copies(desk.folder, desk.keys, "cfrs")
    assert len(await copies.current(1)) == 1
    away = desk.keys.with_name("away")
    desk.keys.rename(away)
    for _ in range(2):
        await asyncio.sleep(1.05 * LOOK_EVERY)
        assert len(await copies.current(1)) == 1
    assert len([r for r in caplog.records if "stay as they were" in r.message]) == 1
    (desk.folder / NAME).unlink()
    await asyncio.sleep(1.05 * LOOK_EVERY)
    assert len(await copies.current(1)) == 0, "an agreement that is taken away goes, keys or no keys"
    away.rename(desk.keys)
    desk.sign()
    await asyncio.sleep(1.05 * LOOK_EVERY)
    assert len(await copies.current(1)) == 1


async def test_files_are_looked_at_once_a_second_at_most(desk: Desk) -> None:
    """A change between two looks is not seen before the second is over, however many ask."""
    copies = Copies(desk.folder, desk.keys, "cfrs")
    (desk.folder / NAME).unlink()
    assert {len(await copies.current(1)) for _ in range(100)} == {1}
    await asyncio.sleep(LOOK_EVERY)
    assert len(await copies.current(1)) == 0


async def test_a_folder_that_hangs_is_a_failure_and_not_a_way_round(desk: Desk) -> None:
    """While the files cannot be read in time, questions fail; nothing is answered on old copies."""
    copies = Copies(desk.folder, desk.keys, "cfrs")
    # A pipe that nobody writes to: opening it waits for ever, as a dead network folder does.
    (desk.folder / NAME).unlink()
    os.mkfifo(desk.folder / NAME)
    await asyncio.sleep(LOOK_EVERY)
    try:
        for _ in range(2):
            with pytest.raises(ProviderTimeout):
                await copies.current(0.1)
    finally:
        # Whoever waits gets an end of file.
        os.close(os.open(desk.folder / NAME, os.O_WRONLY))
    assert len(await copies.current(5)) == 0, "an empty file is not what was signed"


async def test_without_the_settings_one_warning_says_that_the_check_is_off(
    authority: Authority, worker: Worker, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """The adapter serves as before, untrimmed, and says once what is missing."""
    with caplog.at_level(logging.WARNING, "adapters.sdk"):
        async with attached(authority, worker, desk, agreements=None, agreement_keys=None) as link:
            answer = await ask(link, purpose="law-enforcement")
            assert b"Edith" in answer.SerializeToString()
    off = [r.message for r in caplog.records if "check is OFF" in r.message]
    assert len(off) == 1
    assert "BROKER_ADAPTER_AGREEMENTS" in off[0]


async def test_another_broker_than_the_expected_one_gets_no_answer(
    authority: Authority, worker: Worker, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """The link ends at its welcome."""
    expected = "spiffe://blue-light.test/server/another"
    async with attached(authority, worker, desk, expected_broker=expected) as link:
        async with asyncio.timeout(5):
            await link.ended.wait()
    assert any("not 'spiffe://blue-light.test/server/another'" in r.message for r in caplog.records)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"AGREEMENTS": "/a"}, "BROKER_ADAPTER_AGREEMENTS and BROKER_ADAPTER_AGREEMENT_KEYS go together"),
        ({"AGREEMENT_KEYS": "/a"}, "BROKER_ADAPTER_AGREEMENTS and BROKER_ADAPTER_AGREEMENT_KEYS go together"),
        ({"AGREEMENTS": "/a", "AGREEMENT_KEYS": "/b"}, "BROKER_ADAPTER_EXPECTED_BROKER must name the broker"),
    ],
)
def test_half_a_check_is_refused(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], says: str) -> None:
    """Folder, keys and the broker's name go together."""
    for name, value in {"CA": "x", "CERT": "x", "KEY": "x", **given}.items():
        monkeypatch.setenv(f"BROKER_ADAPTER_{name}", value)
    with pytest.raises(SetupError, match=says):
        from_environment()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda desk: desk.keys.unlink(), "cannot read"),
        (lambda desk: desk.keys.write_bytes(b""), "public keys in PEM"),
        (lambda desk: desk.keys.write_bytes(desk.keys.read_bytes() + b"x"), "and nothing else"),
        (lambda desk: nothing(desk) or desk.folder.rmdir(), "is no folder"),
    ],
)
def test_a_check_that_can_never_work_stops_the_start(desk: Desk, spoil: object, says: str) -> None:
    """Without keys or folder the adapter does not start, and one sentence says why."""
    assert callable(spoil)
    spoil(desk)
    with pytest.raises(SetupError, match=says):
        Copies(desk.folder, desk.keys, "cfrs")
