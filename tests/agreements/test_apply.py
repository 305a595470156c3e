"""Applying an agreement: every party has signed this very file, with a key that counts."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest

from broker.core.signature import sign
from broker.rpc.signed import signature_message
from broker.v1 import agreement_pb2
from broker.v1.agreement_pb2_grpc import AgreementServiceStub
from tests.support.office import Office, Parties
from tests.support.postgres import ask
from tests.support.signing import Signatory, agreement, today


def refused(call: object, *arguments: object, **more: object) -> str:
    """The text with which the broker refuses a call as a bad argument."""
    assert callable(call)
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **more)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(error.value.details())


async def test_an_agreement_signed_by_every_party_is_applied_and_lists_who_signed(
    office: Office, parties: Parties
) -> None:
    """What is listed is what was signed: agency, key, day, signatory and post; the row holds the same."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    signatures = parties.both(file)
    applied = office.apply(file, *signatures)
    assert applied.agreement.status == "in force"
    expected = [signature_message(each) for each in sorted(signatures, key=lambda s: s.agency)]
    assert list(applied.agreement.signatures) == expected
    (listed,) = office.listed(parties.id)
    assert list(listed.signatures) == expected
    stored = await ask(
        office.dsn,
        "select count(*) from agreement_signature s join agreement a on (a.id, a.policy_from) ="
        f" (s.agreement, s.policy_from) where a.id = '{parties.id}' and a.digest = s.digest"
        " and s.policy_until is null",
    )
    assert stored == 2


def test_joint_work_may_be_held_by_any_agency_and_the_rest_by_its_own_kind(
    office: Office, parties: Parties
) -> None:
    """An ambulance service may provide an incident's record, and no police one."""
    terms = {**parties.terms(), "provider": parties.ambulance.agency, "requester": parties.fire.agency}
    joint = {
        "record_type": "records.incident.v1.MajorIncident",
        "scheme": "incident",
        "permitted": ["incident", "exercise"],
    }
    file = agreement(**{**terms, **joint})  # type: ignore[arg-type]
    assert office.apply(file, *parties.both(file)).agreement.status == "in force"
    police = {"record_type": "records.police.v1.AddressWarning", "version": 2}
    file = agreement(**{**terms, **police})  # type: ignore[arg-type]
    assert "this is a police one" in refused(office.apply, file, *parties.both(file))


def test_a_missing_party_stops_it_and_is_named(office: Office, parties: Parties) -> None:
    """Nothing is stored, and the error says who must sign and how."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    fire, ambulance = parties.fire.agency, parties.ambulance.agency
    said = refused(office.apply, file, parties.ambulance.sign(file))
    assert f"{fire} has not signed" in said
    assert f"--agency {fire}" in said
    assert f"{ambulance} has not signed" in refused(office.apply, file)
    assert office.listed(parties.id) == []


def test_a_signature_over_other_bytes_stops_it(office: Office, parties: Parties) -> None:
    """One party signed a file that permitted less."""
    file = agreement(**parties.terms(permitted=("uprn", "crew_notes")))  # type: ignore[arg-type]
    less = agreement(**parties.terms())  # type: ignore[arg-type]
    said = refused(office.apply, file, parties.ambulance.sign(file), parties.fire.sign(less))
    assert said.startswith("signatures.1.digest")
    assert f"{parties.fire.agency} signed other bytes" in said
    # And lying about the digest does not help.
    lied = signature_message(parties.fire.sign(less))
    lied.digest = signature_message(parties.fire.sign(file)).digest
    said = refused(office.apply_messages, file, [signature_message(parties.ambulance.sign(file)), lied])
    assert "does not verify" in said


def test_a_key_that_is_not_enrolled_stops_it(office: Office, parties: Parties) -> None:
    """Neither a stranger's key, nor another party's, signs for an agency."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    ambulance = parties.ambulance.sign(file)
    for key in (Signatory("x").key, parties.ambulance.key):
        forged = sign(file, parties.fire.agency, key, today(), "Pat", "SIRO")
        said = refused(office.apply, file, ambulance, forged)
        assert "not enrolled for it" in said
        assert "broker agency key enrol" in said
        assert parties.fire.agency in said


def test_a_key_counts_from_its_first_day_only(office: Office, parties: Parties) -> None:
    """A signature dated before the key's first day, and one dated tomorrow, are refused."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    day = timedelta(days=1)
    assert "not yet on" in refused(office.apply, file, *parties.both(file, today() - day))
    assert "still to come" in refused(office.apply, file, *parties.both(file, today() + day))


def test_an_ended_key_signs_nothing_more_but_what_was_applied_stays(office: Office, parties: Parties) -> None:
    """Ending a key refuses its signatures whatever their day; an agreement applied before is untouched."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    office.apply(file, *parties.both(file))
    (key,) = office.keys(parties.fire)
    office.end(parties.fire, key.key_id)
    assert [each.status for each in office.keys(parties.fire)] == ["ended"]
    second = agreement(**parties.terms(version=2))  # type: ignore[arg-type]
    assert "was ended on" in refused(office.apply, second, *parties.both(second))
    (listed,) = office.listed(parties.id)
    assert (listed.version, listed.status) == (1, "in force")


def test_signing_twice_and_signing_as_no_party_are_refused(office: Office, parties: Parties) -> None:
    """Each party once, and nobody else."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    both = parties.both(file)
    assert "signed twice" in refused(office.apply, file, *both, both[0])
    stranger = office.agency("police")
    office.enrol(stranger)
    assert "is no party" in refused(office.apply, file, *both, stranger.sign(file))


async def test_a_new_version_is_signed_anew_and_the_old_signatures_are_kept(
    office: Office, parties: Parties
) -> None:
    """Old signatures do not carry over; each version lists its own; the old rows say until when they held."""
    first = agreement(**parties.terms())  # type: ignore[arg-type]
    second = agreement(**parties.terms(version=2))  # type: ignore[arg-type]
    office.apply(first, *parties.both(first))
    assert "signed other bytes" in refused(office.apply, second, *parties.both(first))
    office.apply(second, *parties.both(second))
    versions = office.listed(parties.id, all_versions=True)
    assert [(each.version, {s.digest for s in each.signatures}) for each in versions] == [
        (2, {versions[0].digest}),
        (1, {versions[1].digest}),
    ]
    rows = await ask(
        office.dsn,
        "select array_agg(version || ':' || (policy_until is null) order by version, agency)"
        f" from agreement_signature where agreement = '{parties.id}'",
    )
    assert rows == ["1:false", "1:false", "2:true", "2:true"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("algorithm", "rsa", "signatures.0.algorithm: must be ed25519"),
        ("signature", b"short", "64 bytes"),
        ("key_id", "AB" * 32, "64 lower-case hex digits"),
        ("digest", "", "64 lower-case hex digits"),
        ("signed_at", "21 November", "a day is written"),
        ("signatory", "Pat\x1b[2J", "printable"),
        ("role", "", "printable"),
        ("agency", "No Agency", "not an agency's id"),
    ],
)
def test_a_malformed_signature_is_refused_by_its_part(
    office: Office, parties: Parties, field: str, value: object, says: str
) -> None:
    """What is not a signature does not reach the check of one."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    messages = [signature_message(each) for each in parties.both(file)]
    setattr(messages[0], field, value)
    assert says in refused(office.apply_messages, file, messages)


def test_a_heap_of_signatures_is_refused_unread(office: Office, parties: Parties) -> None:
    """At most a hundred are looked at."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    many = [signature_message(parties.fire.sign(file))] * 101
    assert "at most 100" in refused(office.apply_messages, file, many)


def test_one_agreement_is_asked_for_by_id_alone_or_with_a_version(office: Office, parties: Parties) -> None:
    """Its file comes with it to the byte; lists have none, and what contradicts itself is refused."""
    file = agreement(**parties.terms())  # type: ignore[arg-type]
    office.apply(file, *parties.both(file))
    stub = AgreementServiceStub(office.channel())

    def asked(**wanted: object) -> list[agreement_pb2.Agreement]:
        request = agreement_pb2.ListAgreementsRequest(**wanted)  # type: ignore[arg-type]
        return list(stub.ListAgreements(request, timeout=10).agreements)

    for version in (0, 1):
        (one,) = asked(id=parties.id, version=version)
        assert (one.id, one.file) == (parties.id, file)
    assert {each.file for each in asked()} == {b""}
    for wanted, code in (
        ({"id": parties.id, "version": 2}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"id": "there-is-none"}, grpc.StatusCode.PERMISSION_DENIED),
        ({"id": parties.id, "all_versions": True}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"version": 1}, grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.RpcError) as error:
            asked(**wanted)
        assert error.value.code() is code
