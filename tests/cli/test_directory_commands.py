"""`broker agency` and `broker system` against a real broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.pki.files import read_certificates
from broker.pki.identity import key_digest
from tests.cli.conftest import Run, run
from tests.support.running import RunningBroker, command

ADD = ("agency", "add", "dirlancs", "--name", "Lancashire Fire", "--kind", "fire", "--code", "E1234")


def test_an_agency_added_is_listed(broker: Run) -> None:
    """What is added stands in the list, for people and as JSON, and it is replaced where that is said."""
    assert broker(*ADD, "--from", "2026-04-01", "--json").json["changed"] == []
    again = (*ADD, "--until", "2099-03-31T12:00:00+01:00", "--phone", "01772 000000")
    refused = broker(*again)
    assert (refused.code, refused.out) == (1, "")
    assert "--replace" in refused.err
    assert "phone: none -> 01772 000000; valid from: 2026-03-31T23:00:00Z -> now" in refused.err
    assert broker(*again, "--replace", "--json").json["changed"][0] == "phone: none -> 01772 000000"
    listed = {each["id"]: each for each in broker("agency", "list", "--json").rows}
    assert listed["dirlancs"] | {"valid_from": ""} == {
        "id": "dirlancs",
        "name": "Lancashire Fire",
        "kind": "fire",
        "jurisdiction": "england",
        "code": "E1234",
        "valid_from": "",
        "valid_until": "2099-03-31T11:00:00Z",
        "contact": "",
        "phone": "01772 000000",
        "successors": [],
        "succession_proposed_by": None,
        "succeeded_by": [],
    }
    shown = broker("agency", "list").out
    assert "Lancashire Fire" in shown
    assert "valid until" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("agency", "add", "Dir_X", "--name", "X", "--kind", "fire"), 1, "agency.id: not 1 to 63 lower-case"),
        (("agency", "add", "dirx", "--name", "X", "--kind", "army"), 2, "Invalid value for '--kind'"),
        (
            ("agency", "add", "dirx", "--name", "X", "--kind", "fire", "--from", "soon"),
            2,
            "2027-03-31T09:00:00Z",
        ),
        (
            ("agency", "add", "dirx", "--name", "X", "--kind", "fire", "--from", "2027-01-01T09:00:00"),
            2,
            "with its offset",
        ),
        (
            ("agency", "add", "dirx", "--name", "X", "--kind", "fire", "--until", "2020-01-01"),
            1,
            "before it begins",
        ),
    ],
)
def test_a_wrong_agency_is_named_wrong(broker: Run, arguments: tuple[str, ...], code: int, says: str) -> None:
    """A bad id, kind or time is refused, in words that say which."""
    result = broker(*arguments)
    assert (result.code, result.out) == (code, "")
    assert says in result.err


def test_a_system_goes_through_its_life(broker: Run, running_broker: RunningBroker) -> None:
    """Enrolled by the printed command it can call; suspended it cannot, and is told; lifted it can again."""
    assert broker("agency", "add", "dirlife", "--name", "Life", "--kind", "police").code == 0
    certs = ("--dir", running_broker.certs)
    printed = run("certs", "issue", "dirlife", "cad", *certs).out
    line = next(each for each in printed.splitlines() if each.startswith("Enrol with"))
    typed = line.removeprefix("Enrol with").split()
    assert typed[0] == "broker"
    speak = ("agency", "list", "--as", "dirlife-cad")

    unknown = broker(*speak)
    assert unknown.code == 1
    assert "not enrolled; the operator does it with `broker system enrol`" in unknown.err
    assert "this was dirlife-cad" in unknown.err

    assert broker(*typed[1:]).code == 0
    assert broker(*speak).code == 0
    assert broker("system", "suspend", "dirlife", "cad", "--reason", "stolen").code == 0
    assert "suspended or out of its dates; ask the operator" in broker(*speak).err
    assert broker("system", "suspend", "dirlife", "cad", "--reason", "again").code == 1
    found = broker("system", "list", "--agency", "dirlife", "--json").rows
    assert [(each["system"], each["function"], each["suspended"]) for each in found] == [
        ("cad", "partner", True)
    ]
    lifted = broker("system", "suspend", "dirlife", "cad", "--reason", "found", "--lift", "--json").json
    assert lifted["suspended"] is False
    assert broker(*speak).code == 0


def test_a_certificate_gives_its_digest(broker: Run, running_broker: RunningBroker) -> None:
    """--certificate enrols the key of a certificate that names the system, and of no other."""
    assert broker("agency", "add", "dircert", "--name", "Cert", "--kind", "council").code == 0
    name = running_broker.issue("dircert", "mash")
    file = running_broker.certs / name / "cert.pem"
    enrol = ("system", "enrol", "dircert", "mash", "--function", "partner")
    wrong = broker("system", "enrol", "dircert", "other", "--function", "partner", "--certificate", file)
    assert wrong.code == 1
    assert "is of dircert/mash, not of this system" in wrong.err
    assert broker(*enrol).code == 2
    assert broker(*enrol, "--certificate", "/none.pem").code == 2
    until = ("--until", "2099-01-01")
    assert broker(*enrol, "--certificate", file, *until).code == 0
    (found,) = broker("system", "list", "--agency", "dircert", "--json").rows
    assert found["key_digests"] == [key_digest(read_certificates(file)[0])]
    assert found["valid_until"] == "2099-01-01T00:00:00Z"
    assert f"{found['key_digests'][0][:16]}..." in broker("system", "list").out


def test_what_may_not_be_enrolled_is_refused(broker: Run, running_broker: RunningBroker) -> None:
    """Unknown agency, bad digest, another system's key, another function, and an end before the beginning."""
    name = running_broker.join("dirkeys", "one", "nhs")
    digest = key_digest(read_certificates(running_broker.certs / name / "cert.pem")[0])
    partner = ("--function", "partner", "--key-digest")
    cases = [
        (("nobody", "x", *partner, "0" * 64), "agency: is not in the directory; add it first"),
        (("dirkeys", "two", *partner, "abc"), "key_digest: not 64 lower-case hex digits"),
        (("dirkeys", "two", *partner, digest), "key_digest: this key is enrolled for another system"),
        (("dirkeys", "one", "--function", "auditor", "--key-digest", "1" * 64), "enrolled as partner"),
        (("dirkeys", "two", *partner, "2" * 64, "--until", "2020-01-01"), "valid_until: ends before it begins"),
    ]
    for arguments, says in cases:
        result = broker("system", "enrol", *arguments)
        assert (result.code, result.out) == (1, "")
        assert says in result.err


def test_an_operator_cannot_lock_everybody_out(broker: Run, running_broker: RunningBroker) -> None:
    """Its own system is not an operator's to suspend; another operator can, and can lift it again."""
    own = broker("system", "suspend", "operator", "cli", "--reason", "mistake")
    assert own.code == 1
    assert "system: is your own; another operator must suspend it" in own.err
    second = running_broker.join("operator", "second", "operator", "operator")
    reason = ("--reason", "keyboard stolen", "--as", second)
    assert broker("system", "suspend", "operator", "cli", *reason).code == 0
    try:
        assert "suspended or out of its dates" in broker("system", "list").err
    finally:
        assert broker("system", "suspend", "operator", "cli", "--lift", *reason).code == 0
    assert broker("system", "list").code == 0


def test_a_partner_is_no_operator(broker: Run, running_broker: RunningBroker) -> None:
    """Operator commands as a partner end with 1 and say who may; a partner lists its own systems only."""
    name = running_broker.join("dirpart", "cad", "ambulance")
    refused = [
        ("agency", "add", "dirnew", "--name", "New", "--kind", "fire"),
        ("system", "enrol", "dirpart", "x", "--function", "operator", "--key-digest", "3" * 64),
        ("system", "suspend", "operator", "cli", "--reason", "x"),
        ("records", "approve", "--shipped"),
    ]
    for arguments in refused:
        result = broker(*arguments, "--as", name)
        assert (result.code, result.out) == (1, "")
        assert "only a system enrolled as operator may do this (this was dirpart-cad; --as NAME" in result.err
    systems = broker("system", "list", "--as", name, "--json").rows
    assert {each["agency"] for each in systems} == {"dirpart"}


def test_files_and_environment_stand_in_for_options(running_broker: RunningBroker, tmp_path: Path) -> None:
    """As typed in a shell: BROKER_STATE and BROKER_AS, or --target with --ca, --cert and --key, no state."""
    spoken = command(
        "agency", "list", "--json", BROKER_STATE=str(running_broker.state), BROKER_AS="operator-cli"
    )
    assert spoken.returncode == 0
    assert '"operator"' in spoken.stdout
    files = ("--ca", running_broker.ca, "--cert", running_broker.cert, "--key", running_broker.key)
    away = ("--state", tmp_path, "--target", running_broker.target.replace("127.0.0.1", "localhost"))
    assert run("agency", "list", *files, *away).code == 0
