"""From the wire to our types: every field has its refusal, which names it and repeats nothing personal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from broker.core.model import Assurance, Override
from broker.errors import InvalidRequest
from broker.rpc import parse, parse_agency
from broker.v1 import directory_pb2
from broker.v1 import exchange_pb2 as pb
from tests.support.world import caller

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
ID = "3f0e8f5e-6f0a-4a53-9d37-0b8b2f7c1a11"
ACTOR = {"id": "a.hill", "role": "ambulance-crew"}


def wire(**changes: Any) -> pb.RecordRequest:
    """A good request with these changes; None leaves a field out."""
    made: dict[str, Any] = {
        "request_id": ID,
        "record_type": "records.fire.v1.PremisesRisk",
        "provider": "cfrs",
        "subject": pb.SubjectRef(scheme="uprn", value="10000000001"),
        "purpose": "emergency-response",
        "actor": pb.Actor(**ACTOR),
    }
    return pb.RecordRequest(**{k: v for k, v in {**made, **changes}.items() if v is not None})


def query(**traits: Any) -> dict[str, Any]:
    """A request by traits."""
    return {"subject": None, "query": pb.SubjectQuery(**traits)}


def actor(**changes: Any) -> dict[str, Any]:
    """A request with another actor."""
    return {"actor": pb.Actor(**{**ACTOR, **changes})}


def nhs(value: str) -> dict[str, Any]:
    """A request by NHS number."""
    return {"subject": pb.SubjectRef(scheme="nhs-number", value=value)}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("request_id", {"request_id": None}),
    ("request_id", {"request_id": ID.upper()}),
    ("request_id", {"request_id": f"{{{ID}}}"}),
    ("request_id", {"request_id": ID.replace("-", "")}),
    ("request_id", {"request_id": f"urn:uuid:{ID}"}),
    ("request_id", {"request_id": f"{ID}\n"}),
    ("record_type", {"record_type": None}),
    ("record_type", {"record_type": "PremisesRisk"}),
    ("record_type", {"record_type": "records.fire.v1.PremisesRisk/../x"}),
    ("record_type", {"record_type": "a." + "b" * 200}),
    ("place.responsible_authority", {"place": pb.Place(responsible_authority="A B")}),
    ("provider", {"provider": "CFRS"}),
    ("provider", {"provider": "cfrs-"}),
    ("provider", {"provider": "c" * 65}),
    ("subject", {"subject": None}),
    ("subject", {"query": pb.SubjectQuery(family_name="Tyson", given_name="Joss")}),
    ("subject.scheme", {"subject": pb.SubjectRef(value="1")}),
    ("subject.scheme", {"subject": pb.SubjectRef(scheme="passport", value="1")}),
    ("subject.value", {"subject": pb.SubjectRef(scheme="uprn")}),
    ("subject.value", {"subject": pb.SubjectRef(scheme="uprn", value="010000000001")}),
    ("subject.value", nhs("9000000008")),
    ("subject.value", nhs("900 000 0009")),
    ("purpose", {"purpose": None}),
    ("purpose", {"purpose": "Emergency"}),
    ("actor.id", {"actor": None}),
    ("actor.id", actor(id="")),
    ("actor.id", actor(id="a\nb")),
    ("actor.id", actor(id="a" * 201)),
    ("actor.id", actor(id="p.moss\u200b")),
    ("actor.id", actor(id=" p.moss")),
    ("actor.id", actor(id="p.moss\u00a0")),
    ("actor.id", actor(id="p.m\u043ess")),
    ("actor.on_behalf_of", actor(on_behalf_of="p.moss\u200d")),
    ("actor.role", actor(role="")),
    ("actor.role", actor(role="Fire Crew")),
    ("actor.name", actor(name="Ada\u202ellih")),
    ("actor.name", actor(name="Ada\u2028Hill")),
    ("actor.name", actor(name="Ada\x85Hill")),
    ("actor.callsign", actor(callsign="\x1b[2J")),
    ("actor.assurance", actor(assurance=9)),
    ("reason.code", {"reason": pb.ReasonCode(code="Because")}),
    ("reason.words", {"reason": pb.ReasonCode(words="x" * 501)}),
    ("reason.words", {"reason": pb.ReasonCode(words="\0")}),
    ("request", {"reason": pb.ReasonCode(words="x" * 66_000)}),
    ("incident", {"incident": "4711"}),
    ("incident", {"incident": "nwas/2026-02-30/4711"}),
    ("incident", {"incident": "nwas/2026-11-21/"}),
    ("retry_of", {"retry_of": "first"}),
    ("timeout", {"timeout": duration_pb2.Duration()}),
    ("timeout", {"timeout": duration_pb2.Duration(seconds=-1)}),
    ("timeout", {"timeout": duration_pb2.Duration(seconds=30, nanos=1)}),
    ("timeout", {"timeout": duration_pb2.Duration(seconds=2**62)}),
    ("timeout", {"timeout": duration_pb2.Duration(seconds=5, nanos=-1)}),
    ("timeout", {"timeout": duration_pb2.Duration(nanos=2_000_000_000)}),
    ("place.latitude", {"place": pb.Place(latitude=54.5)}),
    ("place.latitude", {"place": pb.Place(latitude=-3.0, longitude=54.5)}),  # the wrong way round
    ("place.longitude", {"place": pb.Place(latitude=54.5, longitude=30.0)}),
    ("place.latitude", {"place": pb.Place(latitude=float("nan"), longitude=-3.0)}),
    ("place.longitude", {"place": pb.Place(latitude=54.5, longitude=float("-inf"))}),
    ("place.uprn", {"place": pb.Place(uprn="01")}),
    ("place.district", {"place": pb.Place(district="Copeland")}),
    ("query", query()),
    ("query", query(family_name="Tyson")),
    ("query", query(family_name="Tyson", given_name=" ")),
    ("query.birth_date", query(family_name="Tyson", birth_date="1.1.1980")),
    ("query.birth_date", query(family_name="Tyson", birth_date="19800101")),
    ("query.birth_date", query(family_name="Tyson", birth_date="1980-02-30")),
    ("query.approximate_age", query(family_name="Tyson", approximate_age=131)),
    ("query.phone", query(family_name="Tyson", phone="0" * 201)),
]


@pytest.mark.parametrize(("field", "change"), REFUSED, ids=[f"{n}-{f}" for n, (f, _) in enumerate(REFUSED)])
def test_what_is_wrong_is_named(field: str, change: dict[str, Any]) -> None:
    """By dotted proto path, so that the caller's engineer finds it."""
    with pytest.raises(InvalidRequest) as caught:
        parse.request(wire(**change), caller())
    assert caught.value.field == field
    for personal in ("Tyson", "Joss", "900 000 0009", "9000000008"):
        assert personal not in str(caught.value)


def test_an_override_is_a_code_words_and_perhaps_an_end() -> None:
    """Whether it counts is for the decision; what is no override at all is named."""
    asked = pb.EmergencyOverride(code="life-at-risk", words="the roof\nis coming down")
    asked.until.FromJsonString("2026-11-21T12:00:00Z")
    read = parse.request(wire(override=asked), caller()).override
    assert read == Override("life-at-risk", asked.words, datetime(2026, 11, 21, 12, tzinfo=UTC))
    for field, wrong in (
        ("override.words", pb.EmergencyOverride(code="life-at-risk", words="  ")),
        ("override.words", pb.EmergencyOverride(code="life-at-risk", words="x" * 501)),
        ("override.code", pb.EmergencyOverride(words="why")),
        ("override.code", pb.EmergencyOverride(code="Life at risk", words="why")),
    ):
        with pytest.raises(InvalidRequest) as caught:
            parse.request(wire(override=wrong), caller())
        assert caught.value.field == field


def test_who_asks_is_the_channels_to_say() -> None:
    """Requester, system and key come from the caller; what is left out has its default."""
    asked = parse.request(wire(), caller("cfrs", "mdt"))
    assert (asked.requester, asked.system, asked.caller) == ("cfrs", "mdt", "cfrs/mdt")
    assert (asked.timeout, asked.trace, asked.retry_of, asked.incident) == (5.0, None, "", "")
    assert asked.actor.assurance is Assurance.UNSPECIFIED


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "garbage",
        f"ff-{'a' * 32}-{'b' * 16}-01",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'A' * 32}-{'b' * 16}-01",
    ],
)
def test_a_trace_that_does_not_parse_stops_nobody(traceparent: str) -> None:
    """W3C Trace Context section 4.3: it is ignored."""
    assert parse.request(wire(traceparent=traceparent), caller()).traceparent == ""


def test_good_values_are_taken_as_they_are() -> None:
    """The bounds themselves are allowed."""
    asked = parse.request(
        wire(
            timeout=duration_pb2.Duration(seconds=30),
            incident="nwas/2026-11-21/4711",
            place=pb.Place(uprn="1", latitude=54.5, longitude=-3.5, district="E07000028"),
            reason=pb.ReasonCode(code="welfare", words="two lines\n\tof words"),
            traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
            **actor(name="Zoë Ó Briain", assurance=pb.ASSURANCE_SIGNED_TOKEN),
        ),
        caller(),
    )
    assert asked.timeout == 30.0
    assert asked.trace == "a" * 32
    assert asked.place is not None
    assert (asked.place.latitude, asked.place.longitude) == (54.5, -3.5)
    assert asked.reason.words == "two lines\n\tof words"


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_give_a_request_or_a_refusal(data: bytes) -> None:
    """Nothing but a named refusal comes of what protobuf can read."""
    message = pb.RecordRequest()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return
    with contextlib.suppress(InvalidRequest):
        assert parse.request(message, caller()).requester == "nwas"


def stamp(at: datetime) -> timestamp_pb2.Timestamp:
    """On the wire."""
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(at)
    return made


AGENCIES: list[tuple[str, Callable[[directory_pb2.Agency], object]]] = [
    ("agency.id", lambda a: setattr(a, "id", "")),
    ("agency.id", lambda a: setattr(a, "id", "CFRS")),
    ("agency.name", lambda a: setattr(a, "name", "")),
    ("agency.name", lambda a: setattr(a, "name", "x\ny")),
    ("agency.kind", lambda a: setattr(a, "kind", "army")),
    ("agency.jurisdiction", lambda a: setattr(a, "jurisdiction", "france")),
    ("agency.code", lambda a: setattr(a, "code", "x" * 33)),
    ("agency.phone", lambda a: setattr(a, "phone", "x" * 33)),
    ("agency.valid_until", lambda a: a.valid_until.CopyFrom(stamp(NOW))),
]


@pytest.mark.parametrize(("field", "spoil"), AGENCIES, ids=[f"{n}-{f}" for n, (f, _) in enumerate(AGENCIES)])
def test_an_agency_that_is_wrong_is_named_by_field(
    field: str, spoil: Callable[[directory_pb2.Agency], object]
) -> None:
    """As it is entered in the directory."""
    message = directory_pb2.Agency(id="cfrs", name="Cumbria Fire", kind="fire")
    assert parse_agency.agency(message, NOW).jurisdiction == "england"
    spoil(message)
    with pytest.raises(InvalidRequest) as caught:
        parse_agency.agency(message, NOW)
    assert caught.value.field == field


def test_a_change_by_operators_is_somebodys() -> None:
    """Software of their own that names nobody is told so."""
    message = directory_pb2.AddAgencyRequest()
    with pytest.raises(InvalidRequest, match=r"actor\.id: is required"):
        parse_agency.somebody(message)
    message.actor.CopyFrom(pb.Actor(id="ops", role="operator"))
    assert parse_agency.somebody(message).id == "ops"


@pytest.mark.parametrize("value", [0, 99])
def test_a_function_nobody_defined_is_refused(value: int) -> None:
    """An unspecified function is not a partner by default."""
    with pytest.raises(InvalidRequest):
        parse_agency.function(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "A" * 64, "a" * 63, "a" * 65, "g" * 64])
def test_a_key_digest_has_one_form(value: str) -> None:
    """64 lower-case hex digits."""
    with pytest.raises(InvalidRequest):
        parse.key_digest("key_digest", value)
