"""Suspending and superseding over gRPC: who may, what others see, and that nothing flows in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from broker.core.signature import Paper, sign
from broker.rpc.signed import signature_message
from broker.v1 import agreement_pb2, exchange_pb2
from broker.v1.agreement_pb2_grpc import AgreementServiceStub
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests.support.office import Office, Parties, numbers
from tests.support.postgres import ask
from tests.support.running import OPERATOR
from tests.support.signing import agreement, today

WHY = "a reported breach"
WHO = exchange_pb2.Actor(id="ann", role="ig-lead")
Suspend = Callable[..., agreement_pb2.Agreement]


@pytest.fixture
def systems(office: Office, parties: Parties) -> dict[str, str]:
    """A system of each party, and of others."""
    made = {
        "requester": (parties.ambulance.agency, "ambulance", "partner"),
        "provider": (parties.fire.agency, "fire", "partner"),
        "stranger": (f"stranger{next(numbers)}", "police", "partner"),
        "auditor": (f"auditor{next(numbers)}", "auditor", "auditor"),
    }
    joined = {who: office.broker.join(agency, "x", kind, does) for who, (agency, kind, does) in made.items()}
    return {**joined, "operator": OPERATOR}


@pytest.fixture
def suspend(office: Office, parties: Parties, systems: dict[str, str]) -> Suspend:
    """Suspend the agreement, which both have signed, as one of the systems."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    office.apply(file, *parties.both(file))

    def call(by: str, **more: Any) -> agreement_pb2.Agreement:
        said: dict[str, Any] = {"id": parties.id, "reason": WHY, "actor": WHO, **more}
        request = agreement_pb2.SuspendAgreementRequest(**said)
        stub = AgreementServiceStub(office.channel(systems[by]))
        return stub.SuspendAgreement(request, timeout=10).agreement

    return call


def asked(office: Office, parties: Parties, system: str) -> str:
    """What becomes of a request: there is no adapter, so a permitted one fails for that."""
    request = exchange_pb2.RecordRequest(
        request_id=f"00000000-0000-4000-8000-{next(numbers):012d}",
        record_type="records.fire.v1.PremisesRisk",
        provider=parties.fire.agency,
        subject=exchange_pb2.SubjectRef(scheme="uprn", value="100062990001"),
        purpose="emergency-response",
        actor=exchange_pb2.Actor(
            id="a.hill", role="dispatcher", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN
        ),
    )
    with pytest.raises(grpc.RpcError) as error:
        ExchangeServiceStub(office.channel(system)).Request(request, timeout=10)
    return f"{error.value.code().name}: {error.value.details()}"


@pytest.mark.parametrize(
    "who", [None, exchange_pb2.Actor(id="ann"), exchange_pb2.Actor(role="ig-lead")], ids=["none", "id", "role"]
)
def test_whoever_stops_an_agreement_says_who_they_are(suspend: Suspend, who: exchange_pb2.Actor | None) -> None:
    """Without an actor, or half of one, nothing is stopped and nothing lifted."""
    for lift in (False, True):
        with pytest.raises(grpc.RpcError) as error:
            suspend("provider", actor=who, lift=lift)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "actor." in (error.value.details() or "")
    suspend("provider")
    suspend("provider", lift=True)


@pytest.mark.parametrize("by", ["requester", "provider", "operator"])
def test_a_party_and_an_operator_may(
    office: Office, parties: Parties, systems: dict[str, str], suspend: Suspend, by: str
) -> None:
    """The requester is told that it is suspended, every party who did it and why; lifted, it goes on."""
    assert "UNAVAILABLE" in asked(office, parties, systems["requester"])
    actor = exchange_pb2.Actor(id="ann", role="information-governance")
    assert suspend(by, actor=actor).status == "suspended"
    assert "PERMISSION_DENIED: The agreement" in asked(office, parties, systems["requester"])
    for who in ("requester", "provider", "operator", "auditor"):
        stub = AgreementServiceStub(office.channel(systems[who]))
        listed = stub.ListAgreements(agreement_pb2.ListAgreementsRequest(), timeout=10).agreements
        (one,) = [each for each in listed if each.id == parties.id]
        (stop,) = one.suspensions
        assert (one.status, stop.reason, stop.operator) == ("suspended", WHY, by == "operator")
        assert f"{stop.agency}-{stop.system.split('/')[1]}" == systems[by]
        assert stop.HasField("suspended_at")
    assert suspend(by, lift=True).status == "in force"
    assert "UNAVAILABLE" in asked(office, parties, systems["requester"])


def test_nobody_else_may(office: Office, parties: Parties, suspend: Suspend) -> None:
    """A stranger learns nothing of it, an auditor changes nothing, and a party lifts its own stop only."""
    words = set()
    for by, more in (("stranger", {}), ("stranger", {"id": "there-is-none"}), ("stranger", {"lift": True})):
        with pytest.raises(grpc.RpcError) as error:
            suspend(by, **more)
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
        words.add(error.value.details())
    assert len(words) == 1
    suspend("provider")
    for by, lift in (("auditor", False), ("auditor", True), ("requester", True)):
        with pytest.raises(grpc.RpcError) as error:
            suspend(by, lift=lift)
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    (listed,) = office.listed(parties.id)
    assert listed.status == "suspended"
    assert suspend("operator", lift=True).status == "in force"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "with\x1b[2Jcontrol"}, "reason"),
        ({"id": "No Such Thing"}, "id"),
        ({"lift": True}, "lift"),
        ({"actor": exchange_pb2.Actor(id="ann")}, "actor.role"),
    ],
)
def test_a_bad_wish_is_refused_by_its_field(suspend: Suspend, more: dict[str, Any], field: str) -> None:
    """And nothing is suspended."""
    with pytest.raises(grpc.RpcError) as error:
        suspend("operator", **more)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(error.value.details()).startswith(f"{field}: ")


def test_one_agreement_takes_the_place_of_another(office: Office, parties: Parties) -> None:
    """Both say so: what it supersedes, by which it is superseded, and until when it is in force."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    office.apply(file, *parties.both(file))
    later = today() + timedelta(days=9)
    text = agreement(**parties.terms(id=f"{parties.id}-b", valid_from=later.isoformat())).decode()  # type: ignore[arg-type]
    text = text.replace("review_on = 2026-06-30", f'review_on = {later}\nsupersedes = "{parties.id}"')
    applied = office.apply(text.encode(), *parties.both(text.encode())).agreement
    assert (applied.status, applied.supersedes) == ("not yet in force", parties.id)
    (older,) = office.listed(parties.id)
    assert (older.status, older.superseded_by) == ("in force", applied.id)
    assert older.valid_until == applied.valid_from
    assert (older.review_on, applied.review_on) == ("2026-06-30", later.isoformat())


# On paper.


def paper(parties: Parties, file: bytes, **changes: Any) -> agreement_pb2.AgreementSignature:
    """The fire service's word that its director signed on paper a year ago."""
    day = today()
    said = {"sha256": "ab" * 32, "attested_at": day, "delegation": "Scheme of delegation 4.2"} | changes
    on = said.pop("signed_at", day - timedelta(days=365))
    fire = parties.fire
    made = sign(file, fire.agency, fire.key, on, "Pat Example", "Director", Paper(**said))
    return signature_message(made)


async def test_a_paper_counts_as_the_partys_signature(office: Office, parties: Parties) -> None:
    """Signed before the agency had a key: the key must count on the day on which it attests."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    message = paper(parties, file, gateway_reference="ISG-114")
    own = signature_message(parties.ambulance.sign(file))
    office.apply_messages(file, [own, message])
    (listed,) = office.listed(parties.id)
    assert sorted(listed.signatures, key=lambda each: each.agency) == sorted(
        [own, message], key=lambda each: each.agency
    )
    stored = await ask(
        office.dsn,
        f"select paper ->> 'gateway_reference' from agreement_signature where agreement = '{parties.id}'"
        f" and agency = '{parties.fire.agency}'",
    )
    assert stored == "ISG-114"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("paper.sha256", "cd" * 32, "does not verify"),
        ("paper.delegation", "none", "does not verify"),
        ("paper.gateway_reference", "ISG-115", "does not verify"),
        ("signed_at", "2026-01-01", "does not verify"),
        ("paper.sha256", "scan.pdf", "64 lower-case hex digits"),
        ("paper.attested_at", "today", "a day is written"),
        ("paper.delegation", "x\x1b[2J", "printable"),
    ],
)
def test_every_fact_of_a_paper_is_attested(
    office: Office, parties: Parties, field: str, value: str, says: str
) -> None:
    """Whoever changes one of them makes the attestation void."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    message = paper(parties, file)
    part, _, name = field.rpartition(".")
    setattr(message.paper if part else message, name, value)
    own = signature_message(parties.ambulance.sign(file))
    with pytest.raises(grpc.RpcError) as error:
        office.apply_messages(file, [own, message])
    assert says in str(error.value.details())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"signed_at": 1}, "still to come"),
        ({"attested_at": 1}, "still to come"),
        ({"attested_at": -400}, "before it was signed"),
        ({"attested_at": -5, "signed_at": -9}, "not yet on"),
    ],
)
def test_a_paper_is_attested_after_it_was_signed_and_with_a_key_of_that_day(
    office: Office, parties: Parties, changes: dict[str, int], says: str
) -> None:
    """Days are counted from today."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    days = {name: today() + timedelta(days=days) for name, days in changes.items()}
    own = signature_message(parties.ambulance.sign(file))
    with pytest.raises(grpc.RpcError) as error:
        office.apply_messages(file, [own, paper(parties, file, **days)])
    assert says in str(error.value.details())


def test_a_paper_cannot_pass_for_a_signature_by_key(office: Office, parties: Parties) -> None:
    """Nor the other way round: each is signed under words of its own."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    own = signature_message(parties.ambulance.sign(file))
    stripped = paper(parties, file, signed_at=today())
    stripped.ClearField("paper")
    dressed = signature_message(parties.fire.sign(file))
    dressed.paper.CopyFrom(paper(parties, file).paper)
    for message in (stripped, dressed):
        with pytest.raises(grpc.RpcError) as error:
            office.apply_messages(file, [own, message])
        assert "does not verify" in str(error.value.details())
