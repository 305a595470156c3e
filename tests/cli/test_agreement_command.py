"""`broker agreement` against a real broker."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.cli.conftest import AGREEMENT, Parties, Run, run
from tests.support.running import RunningBroker, command


def test_what_was_applied_is_listed(broker: Run, parties: Parties) -> None:
    """The list has the file's digest and every flow; a party sees it and a stranger does not."""
    listed = {each["id"]: each for each in broker("agreement", "list", "--json").rows}
    ours = listed["summaries-for-crews"]
    assert ours["digest"] == hashlib.sha256(parties.file.read_bytes()).hexdigest()
    assert ours["status"] == "in force"
    assert ours["parties"] == ["clifire", "clinhs"]
    (flow,) = ours["flows"]
    assert flow["permitted_paths"] == [
        *("nhs_number", "allergies.state", "allergies.as_at"),
        "allergies.items.substance.display",
    ]
    shown = broker("agreement", "list", "--as", parties.provider).out
    row = next(line for line in shown.splitlines() if "Patient summaries for fire crews" in line)
    cells = [cell.strip() for cell in row.split("│")]
    assert cells[5:9] == ["clifire", "clinhs", "records.nhs.v1.PatientSummary", "fire-crew"]


def test_the_whole_of_an_agreement_is_shown(broker: Run, parties: Parties, auditor: str) -> None:
    """Law with its meaning, weight, assurance, flow, every path and the signatures, to each who may see it."""
    for name in (parties.requester, parties.provider, auditor, "operator-cli"):
        shown = broker("agreement", "show", "summaries-for-crews", "--as", name)
        assert shown.code == 0, shown.err
        text = shown.out
        lines = dict(line.split("  ", 1) for line in text.splitlines() if "  " in line.strip())
        assert lines["purpose"].strip() == "emergency-response (Response to an emergency now)"
        assert lines["minimum assurance"].strip() == "asserted"
        assert lines["weight of a person's word"].strip() == "respected"
        assert lines["roles that may ask"].strip() == "fire-crew"
        assert lines["subjects named by"].strip() == "nhs-number"
        assert lines["basis"].strip().startswith("art6-1-e (")
        assert "2026-01-01 to 2099-12-31" in lines["in force"]
        for path in ("nhs_number", "allergies.state", "allergies.items.substance.display"):
            assert f" {path}\n" in text
        assert text.count("Caldicott Guardian") == 2
        assert "no obligations" in text
    told = broker("agreement", "show", "summaries-for-crews", "--json").json
    assert told["directives"] == {"weight": "respected", "recorders": [], "opt_out": "does-not-apply"}
    assert [each["agency"] for each in told["signatures"]] == ["clifire", "clinhs"]
    assert told["digest"] == hashlib.sha256(parties.file.read_bytes()).hexdigest()


def test_the_stored_file_comes_back_to_the_byte(
    parties: Parties, running_broker: RunningBroker, broker: Run
) -> None:
    """What is printed by --file is what was signed; a version that is not there is nobody's to see."""
    state = ("--state", running_broker.state, "--as", parties.provider)
    file = command("agreement", "show", "summaries-for-crews", "--file", *state)
    assert file.stdout.encode() == parties.file.read_bytes()
    assert broker("agreement", "show", "summaries-for-crews", "--version", "1", "--file").out == file.stdout
    assert broker("agreement", "show", "summaries-for-crews", "--version", "7").code == 1
    assert broker("agreement", "show", "summaries-for-crews", "--file", "--json").code == 2


def test_purposes_are_listed_with_their_meaning(broker: Run) -> None:
    """The codes that a request may give, without a broker."""
    listed = run("agreement", "purposes", "--json").rows
    meant = {each["code"]: each["meaning"] for each in listed}
    assert meant["home-fire-safety"] == "Preventing fire in someone's home"
    assert "Preventing fire in someone's home" in run("agreement", "purposes").out


def test_a_stranger_sees_no_agreement(broker: Run, parties: Parties, running_broker: RunningBroker) -> None:
    """A partner that is no party is told that there are none."""
    stranger = running_broker.join("agrstranger", "x", "police")
    assert broker("agreement", "list", "--as", stranger, "--json").rows == []
    assert "no agreements" in broker("agreement", "list", "--as", stranger).out
    theirs = broker("agreement", "show", "summaries-for-crews", "--as", stranger)
    none = broker("agreement", "show", "there-is-none", "--as", stranger)
    assert (theirs.code, theirs.err) == (none.code, none.err) == (1, theirs.err)
    assert "no such agreement" in none.err


def test_a_version_that_was_never_applied_is_told_from_an_agreement_that_is_not_there(
    broker: Run, parties: Parties, running_broker: RunningBroker
) -> None:
    """Whoever may see the agreement is told which versions there are; nobody else learns that there is one."""
    for asked in (
        ("show", "summaries-for-crews", "--version", "99"),
        ("diff", "summaries-for-crews/99", parties.file),
    ):
        told = broker("agreement", *asked)
        assert told.code == 1
        assert "version: there is no 99 of summaries-for-crews that you may see; there is 1" in told.err
    stranger = running_broker.join("agrstranger", "x", "police")
    theirs = broker("agreement", "show", "summaries-for-crews", "--version", "99", "--as", stranger)
    assert "no such agreement" in theirs.err


def test_versions_supersede_and_files_before_a_bad_one_stay(
    broker: Run, parties: Parties, tmp_path: Path
) -> None:
    """The first file that does not hold stops the command and is named; what came before it is printed."""
    first, second, bad = (tmp_path / f"{n}.toml" for n in range(3))
    other = AGREEMENT.replace("summaries-for-crews", "agr-other").replace(
        "emergency-response", "emergency-planning"
    )
    first.write_text(other)
    second.write_text(other.replace("version = 1", "version = 2"))
    bad.write_text(other.replace("version = 1", "version = 3").replace('"allergies.state"', '"allergies"'))
    parties.sign(first, second, bad)
    result = broker("agreement", "apply", first, second, bad, "--json")
    assert result.code == 1
    assert [(each["file"], each["version"]) for each in result.rows] == [(str(first), 1), (str(second), 2)]
    assert f"{bad}: flows.0.permitted" in result.err

    def versions(*more: str) -> list[tuple[int, str]]:
        listed = broker("agreement", "list", "--json", *more).rows
        return sorted((each["version"], each["status"]) for each in listed if each["id"] == "agr-other")

    assert versions() == [(2, "in force")]
    assert versions("--all-versions") == [(1, "superseded"), (2, "in force")]
    assert broker("agreement", "show", "agr-other", "--file").out == second.read_text()
    assert broker("agreement", "show", "agr-other", "--version", "1", "--file").out == first.read_text()
    again = broker("agreement", "apply", first)
    assert again.code == 1
    assert "version 2 is applied; the next needs a higher one" in again.err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('agency = "clinhs"', 'agency = "nowhere"', "flows.0.provider: clinhs is not among the parties"),
        ("clinhs", "nowhere", "parties.1.agency: nowhere is not in the directory"),
        ('"nhs_number"', '"shoe_size"', "flows.0.permitted"),
        ("art6-1-e", "art6-1-z", "legal.basis: unknown code"),
        ("PatientSummary", "Nothing", "flows.0.record_type"),
        ("version = 1", "version = ", "file: not TOML"),
    ],
)
def test_a_file_that_does_not_hold(
    broker: Run, parties: Parties, tmp_path: Path, old: str, new: str, says: str
) -> None:
    """The file and the key in it are named, and nothing is stored."""
    file = tmp_path / "bad.toml"
    file.write_text(AGREEMENT.replace("summaries-for-crews", "agr-bad").replace(old, new))
    result = broker("agreement", "apply", file)
    assert (result.code, result.out) == (1, "")
    assert f"{file}: {says}" in result.err
    listed = broker("agreement", "list", "--all-versions", "--json").rows
    assert "agr-bad" not in {each["id"] for each in listed}


def test_wrong_uses(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """A missing file is exit 2; a partner may not apply, and a file too large is not even sent."""
    assert broker("agreement", "apply", tmp_path / "none.toml").code == 2
    partner = broker("agreement", "apply", parties.file, "--as", parties.requester)
    assert partner.code == 1
    assert "only a system enrolled as operator" in partner.err
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (300 * 1024))
    assert "too large to be an agreement" in broker("agreement", "apply", large).err
