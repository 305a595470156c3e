"""Agencies' signing keys: the first by one operator, every later one by the old key or by two people."""

from __future__ import annotations

from datetime import date, timedelta

import grpc
import pytest

from broker.core.signingkey import Endorsement, key_id
from broker.v1 import directory_pb2, exchange_pb2
from broker.v1.directory_pb2_grpc import DirectoryServiceStub
from tests.support.office import SECOND, Office
from tests.support.postgres import ask
from tests.support.signing import Signatory, today


def refused(office: Office, *arguments: object, **more: object) -> str:
    """The text with which the broker refuses to enrol a key."""
    with pytest.raises(grpc.RpcError) as error:
        office.enrol(*arguments, **more)  # type: ignore[arg-type]
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(error.value.details())


def endorsed(old: Signatory, new: Signatory, since: date | None = None, agency: str = "") -> dict[str, object]:
    """The fields of a request by which `old` vouches for `new`."""
    day = since or today()
    made = Endorsement.make(agency or old.agency, old.key, new.public, day, None)
    return {
        "valid_from": day.isoformat(),
        "endorsement": directory_pb2.KeyEndorsement(key_id=made.key_id, signature=made.signature),
    }


@pytest.fixture
def agency(office: Office) -> Signatory:
    """An agency with its first key in force."""
    made = office.agency("fire")
    office.enrol(made)
    return made


def another(agency: Signatory) -> Signatory:
    """A further key of the agency."""
    return Signatory(agency.agency)


async def test_a_first_key_is_in_force_at_once_and_is_an_entry(office: Office) -> None:
    """One operator enrols it; the reply names its entry, which the log holds."""
    agency = office.agency("fire")
    made = office.enrol(agency)
    assert (made.key.status, made.key.key_id) == ("in force", key_id(agency.public))
    assert made.key.valid_from == today().isoformat()
    assert await ask(office.dsn, f"select count(*) from entry where id = '{made.event_id}'") == 1
    assert [each.public_key for each in office.keys(agency)] == [agency.public]


async def test_a_further_key_waits_for_a_second_person(office: Office, agency: Signatory) -> None:
    """The first request is a proposal; the same person, or another name on the same system, does not confirm
    it; a second person on a second operator system does."""
    new = another(agency)
    assert office.enrol(new, actor="ann").key.status == "proposed"
    assert "second person" in refused(office, new, actor="ann")
    assert "second person" in refused(office, new, actor="bob")
    assert "second person" in refused(office, new, actor="ann", by=SECOND)
    assert [each.status for each in office.keys(agency)] == ["in force", "proposed"]
    assert office.enrol(new, actor="bob", by=SECOND).key.status == "in force"
    assert [each.status for each in office.keys(agency)] == ["in force", "in force"]
    states = await ask(
        office.dsn,
        "select array_agg((detail -> 'proposal') = 'null' order by policy_from) from agency_key"
        f" where id = '{key_id(new.public)}'",
    )
    assert states == [False, True]


def test_a_confirmation_is_of_the_very_same(office: Office, agency: Signatory) -> None:
    """Asked for with other days, it is a proposal of its own, which a second person must confirm."""
    new = another(agency)
    office.enrol(new, actor="ann")
    until = (today() + timedelta(days=30)).isoformat()
    assert office.enrol(new, actor="bob", by=SECOND, valid_until=until).key.status == "proposed"
    assert "second person" in refused(office, new, actor="bob", by=SECOND, valid_until=until)
    made = office.enrol(new, actor="ann", valid_until=until)
    assert (made.key.status, made.key.valid_until) == ("in force", until)


def test_a_further_key_is_vouched_for_by_one_in_force(office: Office, agency: Signatory) -> None:
    """One operator is enough with the old key's word, and the new key can vouch for the next."""
    new, third = another(agency), another(agency)
    assert office.enrol(new, **endorsed(agency, new)).key.status == "in force"
    assert office.enrol(third, **endorsed(new, third)).key.status == "in force"


def test_a_word_that_does_not_hold_is_refused(office: Office, agency: Signatory) -> None:
    """By a stranger's key, for another key, for other days, for another agency, without days: each is refused,
    and none becomes a proposal."""
    new = another(agency)
    other = office.agency("fire")
    office.enrol(other)
    days = endorsed(agency, new, today() - timedelta(days=1)) | {"valid_from": today().isoformat()}
    for fields, says in (
        (endorsed(Signatory(agency.agency), new), "not a key enrolled"),
        (endorsed(other, new, agency=agency.agency), "not a key enrolled"),
        (endorsed(agency, another(agency)), "does not verify"),
        (days, "does not verify"),
        (endorsed(agency, new, agency=other.agency), "does not verify"),
        (endorsed(agency, new) | {"valid_from": ""}, "valid_from: is required"),
    ):
        assert says in refused(office, new, **fields)
    assert len(office.keys(agency)) == 1


def test_ending_every_key_is_no_way_round(office: Office, agency: Signatory) -> None:
    """An agency whose keys have all ended still needs two people; an ended key vouches for nobody, and never
    comes back."""
    (key,) = office.keys(agency)
    office.end(agency, key.key_id)
    new = another(agency)
    assert "was ended" in refused(office, new, **endorsed(agency, new))
    assert "enrolled before" in refused(office, agency)
    assert office.enrol(new, actor="ann").key.status == "proposed"
    assert office.enrol(new, actor="bob", by=SECOND).key.status == "in force"
    assert "enrolled before" in refused(office, agency, **endorsed(new, agency))


def test_a_proposal_vouches_for_nobody_and_can_be_dropped(office: Office, agency: Signatory) -> None:
    """Before it is confirmed it counts for nothing; dropped, it cannot be confirmed."""
    new, third = another(agency), another(agency)
    office.enrol(new, actor="ann")
    assert "waits for a second person" in refused(office, third, **endorsed(new, third))
    office.end(agency, key_id(new.public))
    assert "enrolled before" in refused(office, new, actor="bob", by=SECOND)
    assert [each.status for each in office.keys(agency)] == ["in force", "ended"]


def test_one_key_is_one_agencys(office: Office, agency: Signatory) -> None:
    """Another agency's key is refused, a proposed one too."""
    other = office.agency("police")
    assert "enrolled before" in refused(office, Signatory(other.agency, agency.key))
    proposed = another(agency)
    office.enrol(proposed)
    assert "enrolled before" in refused(office, Signatory(other.agency, proposed.key))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"public_key": b"short"}, "32 bytes"),
        ({"agency": "nobody"}, "not in the directory"),
        ({"agency": "NOBODY"}, "agency: not"),
        ({"valid_from": "soon"}, "a day is written"),
        ({"valid_from": "2026-01-02", "valid_until": "2026-01-01"}, "before valid_from"),
        ({"valid_from": "2026-01-02", "valid_until": "2026-01-03"}, "never count"),
        ({"actor": exchange_pb2.Actor()}, "actor.id"),
    ],
)
def test_a_malformed_request_names_its_field(office: Office, fields: dict[str, object], says: str) -> None:
    """What cannot be a key, or could never count, is refused."""
    agency = office.agency("fire")
    request = directory_pb2.EnrolAgencyKeyRequest(
        **{  # type: ignore[arg-type]
            "agency": agency.agency,
            "public_key": agency.public,
            "actor": exchange_pb2.Actor(id="ann", role="operator"),
            **fields,
        }
    )
    with pytest.raises(grpc.RpcError) as error:
        DirectoryServiceStub(office.channel()).EnrolAgencyKey(request, timeout=10)
    assert says in str(error.value.details())
    assert office.keys(agency) == []


def test_partners_look_and_change_nothing(office: Office, agency: Signatory) -> None:
    """Any enrolled system sees by which keys others sign; only operators enrol and end them."""
    name = office.broker.join(agency.agency, "system", "fire")
    assert office.keys(agency), "an operator sees it, and the broker has taken up the new system"
    stub = DirectoryServiceStub(office.channel(name))
    assert stub.ListAgencyKeys(directory_pb2.ListAgencyKeysRequest(), timeout=10).keys
    actor = exchange_pb2.Actor(id="eve", role="operator")
    new = another(agency)
    request = directory_pb2.EnrolAgencyKeyRequest(
        agency=agency.agency,
        public_key=new.public,
        actor=actor,
        **endorsed(agency, new),  # type: ignore[arg-type]
    )
    end = directory_pb2.EndAgencyKeyRequest(
        agency=agency.agency, key_id=key_id(agency.public), reason="x", actor=actor
    )
    for call, asked in ((stub.EnrolAgencyKey, request), (stub.EndAgencyKey, end)):
        with pytest.raises(grpc.RpcError) as error:
            call(asked, timeout=10)  # type: ignore[operator]
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_an_unknown_key_and_an_ended_one_cannot_be_ended(office: Office, agency: Signatory) -> None:
    """The error says which."""
    with pytest.raises(grpc.RpcError, match="no such key"):
        office.end(agency, "ab" * 32)
    office.end(agency, key_id(agency.public))
    with pytest.raises(grpc.RpcError, match="ended already"):
        office.end(agency, key_id(agency.public))
