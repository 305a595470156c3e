"""What is saved verifies offline; what is asked is checked before it leaves; development identities."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from broker.cli.audit_verify import GOOD, verify_files
from broker.client import Actor, Assurance, Broker, Override, Place, Reason, SubjectRef, Traits
from broker.client.recordclass import record_class
from broker.core.record import Record
from broker.errors import IntegrityError, InvalidRequest, SetupError
from broker.v1 import exchange_pb2 as wire
from tests.client.conftest import ASK, RECORD, Setup


async def test_saved_evidence_verifies_offline_and_is_never_overwritten(setup: Setup, tmp_path: Path) -> None:
    """The four files are what `broker audit verify` takes; only their owner may read them."""
    async with setup.client() as client:
        got = await client.request(**ASK)
    saved = got.save(tmp_path / "evidence")
    vkey = tmp_path / "log.vkey"
    vkey.write_text(setup.signer.vkey + "\n")
    code, verdict = verify_files(saved.proof, saved.entry, vkey, saved.opening, saved.record)
    assert code == GOOD, verdict
    assert verdict.endswith("the record is the one released")
    names = sorted(path.name for path in (tmp_path / "evidence").iterdir())
    kinds = ("entry", "opening", "record", "tlog-proof")
    assert names == [f"{got.request_id}.{kind}" for kind in kinds]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "evidence").iterdir())
    with pytest.raises(SetupError, match="already exists"):
        got.save(tmp_path / "evidence")


async def test_a_type_without_generated_class_comes_as_bytes(setup: Setup) -> None:
    """A record type that is not among our own is handed over unparsed, its evidence verified all the same."""
    async with setup.client() as client:
        got = await client.request(**ASK | {"record_type": "records.fire.v1.Unheard"})
    assert got.record == RECORD.SerializeToString()


@pytest.mark.parametrize(
    "name", ["os.path.Join", "records.fire.v1", "records.fire.v9.X", "records.fire.v1.x", ""]
)
def test_only_record_types_are_looked_for(name: str) -> None:
    """No other module is imported for a name, and a name that is no message's finds nothing."""
    assert record_class(name) is None


async def test_a_record_that_is_not_of_its_type_is_refused(setup: Setup) -> None:
    """Bytes that the log does commit to but that are no message of the type asked for are not handed over."""

    def garbled(request: wire.RecordRequest) -> wire.Outcome:
        outcome = setup.broker.disclose(request)
        record = Record(outcome.disclosure.record.type_url, b"\xff\xff\xff")
        setup.broker.commit(request, response=record.digest())
        outcome.disclosure.record.value = record.value
        return outcome

    setup.broker.answer = garbled
    async with setup.client() as client:
        with pytest.raises(IntegrityError, match="not a message of its type"):
            await client.request(**ASK)


async def test_everything_that_may_be_said_arrives(setup: Setup) -> None:
    """Every argument lands in its own field of the wire request."""
    query = Traits(family_name="Bell", birth_date="1950-01-02", approximate_age=76)
    async with setup.client() as client:
        await client.request(
            **ASK | {"subject": None, "actor": Actor("r.bell", "fire-crew", callsign="R1")},
            query=query,
            reason=Reason("fire", "smoke showing"),
            override=Override("life", "persons reported"),
            incident="cfrs/2026-11-21/1",
            place=Place(latitude=54.6, longitude=-2.9),
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            retry_of=str(uuid.uuid4()),
        )
    sent = setup.broker.requests[0]
    assert not sent.HasField("subject")
    assert (sent.query.family_name, sent.query.approximate_age) == ("Bell", 76)
    assert (sent.reason.code, sent.override.code, sent.incident) == ("fire", "life", "cfrs/2026-11-21/1")
    assert (sent.place.latitude, sent.actor.callsign, sent.purpose) == (54.6, "R1", "emergency-response")
    assert 4.9 < sent.timeout.ToNanoseconds() / 1e9 <= 5


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"record_type": ""}, "record_type"),
        ({"purpose": ""}, "purpose"),
        ({"actor": Actor("", "x")}, "actor.id"),
        ({"actor": Actor("x", "")}, "actor.role"),
        ({"subject": None}, "subject"),
        ({"query": Traits("Bell")}, "subject"),
        ({"subject": ("uprn", "00100110")}, "subject.value"),
        ({"subject": SubjectRef("nhs-number", "943 476 5919")}, "subject.value"),
        ({"subject": ("telepathy", "1")}, "subject.scheme"),
        ({"request_id": "ABC"}, "request_id"),
        ({"request_id": str(uuid.uuid4()).upper()}, "request_id"),
        ({"retry_of": "x"}, "retry_of"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": 31.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"reason": Reason("x", "w" * 501)}, "reason.words"),
        ({"place": Place(latitude=1.0)}, "place"),
        ({"actor": Actor("x" * 70_000, "y")}, "request"),
        # Of the wrong kind altogether, as a caller without a type checker may write them.
        ({"record_type": 7}, "record_type"),
        ({"provider": 7}, "provider"),
        ({"actor": "r.bell"}, "actor"),
        ({"actor": None}, "actor"),
        ({"actor": Actor(7, "x")}, "actor.id"),  # type: ignore[arg-type]
        ({"actor": Actor("x", "y", assurance="rooster")}, "actor.assurance"),  # type: ignore[arg-type]
        ({"actor": Actor("x", "y", assurance=9)}, "actor.assurance"),  # type: ignore[arg-type]
        ({"actor": Actor("x", "y", assurance=None)}, "actor.assurance"),  # type: ignore[arg-type]
        ({"subject": 100110734613}, "subject"),
        ({"subject": ("uprn", 100110734613)}, "subject"),
        ({"subject": SubjectRef("uprn", 100110734613)}, "subject.value"),  # type: ignore[arg-type]
        ({"subject": "100110734613"}, "subject.scheme"),
        ({"subject": None, "query": "Bell"}, "query"),
        ({"subject": None, "query": Traits(approximate_age="76")}, "query.approximate_age"),  # type: ignore[arg-type]
        ({"reason": "fire"}, "reason"),
        ({"reason": Reason("fire", 7)}, "reason.words"),  # type: ignore[arg-type]
        ({"override": Override("life", "smoke", "soon")}, "override.until"),  # type: ignore[arg-type]
        ({"place": Place(uprn=7)}, "place.uprn"),  # type: ignore[arg-type]
        ({"timeout": "5"}, "timeout"),
        ({"request_id": uuid.uuid4()}, "request_id"),
    ],
)
async def test_bad_input_is_refused_by_field_before_it_leaves(
    setup: Setup, change: dict[str, Any], field: str
) -> None:
    """Nothing is dialled for a request that the broker would have to refuse."""
    async with setup.client() as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.request(**ASK | change)
    assert caught.value.field == field
    assert setup.broker.streams == 0


@pytest.mark.parametrize(
    ("given", "sent"),
    [(Assurance.ROSTER, 3), (3, 3), ("roster", 3), ("personal-login", 4), ("PERSONAL_LOGIN", 4)],
)
async def test_assurance_may_be_given_by_name(setup: Setup, given: Any, sent: int) -> None:
    """The level, its number and its name as agreements write it all arrive as the level."""
    async with setup.client() as client:
        await client.request(**ASK | {"actor": Actor("r.bell", "fire-crew", assurance=given)})
    assert setup.broker.requests[0].actor.assurance == sent


@pytest.mark.parametrize(
    "given", ["uprn:100110734613", ("uprn", "100110734613"), SubjectRef("uprn", "100110734613")]
)
async def test_a_subject_may_be_given_as_text(setup: Setup, given: Any) -> None:
    """Text as the command line takes it, a pair and a SubjectRef are one subject on the wire."""
    async with setup.client() as client:
        await client.request(**ASK | {"subject": given})
    assert setup.broker.requests[0].subject == wire.SubjectRef(scheme="uprn", value="100110734613")


async def test_a_development_identity_is_found_in_its_state_folder(setup: Setup, tmp_path: Path) -> None:
    """`from_state` takes certificates, the log's key and the port from where `broker up` leaves them."""
    (tmp_path / "certs").symlink_to(setup.certs)
    (tmp_path / "log.vkey").write_text(setup.signer.vkey + "\n")
    (tmp_path / "ports.json").write_text(json.dumps({"grpc": setup.port, "http": 1}))
    async with Broker.from_state(tmp_path, "cfrs-mdt") as client:
        assert (await client.request(**ASK)).record == RECORD
    with pytest.raises(SetupError, match="no system nwas-cad"):
        Broker.from_state(tmp_path, "nwas-cad")
    for bad in ('{"grpc": "7443"}', "[]", "{", '{"grpc": 0}'):
        (tmp_path / "ports.json").write_text(bad)
        with pytest.raises(SetupError, match="gRPC port"):
            Broker.from_state(tmp_path, "cfrs-mdt")


def test_keys_come_as_text_or_file(setup: Setup, tmp_path: Path) -> None:
    """A verifier key file, its name as text, or the key itself; anything else is refused."""
    files = {name: setup.certs / "cfrs-mdt" / f"{name}.pem" for name in ("cert", "key")} | {
        "ca": setup.certs / "ca.pem"
    }
    vkey = tmp_path / "log.vkey"
    vkey.write_text(setup.signer.vkey + "\n")
    for given in (vkey, str(vkey), setup.signer.vkey):
        Broker("localhost:1", **files, log_vkey=given)
    with pytest.raises(IntegrityError):
        Broker("localhost:1", **files, log_vkey=setup.signer.vkey.replace("+", "+0", 1))
    with pytest.raises(SetupError):
        Broker("localhost:1", **files, log_vkey=tmp_path / "none")
