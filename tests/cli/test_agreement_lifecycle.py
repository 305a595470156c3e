"""`broker agreement sign --paper`, `suspend` and what `list` and `show` tell of it, against a real broker."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from broker.core.signature import Signature
from broker.pki.files import write_new
from tests.cli.conftest import AGREEMENT, Parties, Run, run
from tests.support.signing import Signatory

SCAN = b"%PDF-1.7\nsigned by hand\n"
TODAY = datetime.now(UTC).date()


def variant(parties: Parties, folder: Path, name: str, purpose: str, gateway: str, days: str = "") -> Path:
    """A further agreement of the same parties, for another purpose, signed by both."""
    text = AGREEMENT.replace("summaries-for-crews", name).replace("emergency-response", purpose)
    text = text.replace("frsa-2004-s7", gateway).replace(
        "valid_from = 2026-01-01", days or "valid_from = 2026-01-01"
    )
    file = folder / f"{name}.toml"
    file.write_text(text)
    parties.sign(file)
    return file


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The trust's signing key as a file."""
    return tmp_path / "signing.pem"


def put_key(path: Path, signatory: Signatory) -> None:
    """Write a private key as `broker agency key new` does."""
    pem = signatory.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_new(path, pem, 0o600)


def test_a_paper_is_attested_applied_and_shown(
    broker: Run, parties: Parties, tmp_path: Path, key: Path
) -> None:
    """The scan's digest, who signed, when, on whose authority and where it is filed."""
    file = variant(parties, tmp_path, "on-paper", "safeguarding-adult", "care-act-2014-s42")
    (tmp_path / "on-paper.toml.clinhs.sig").unlink()
    put_key(key, parties.signatories[1])
    scan = tmp_path / "scan.pdf"
    scan.write_bytes(SCAN)
    arguments = ("agreement", "sign", file, "--agency", "clinhs", "--key", key, "--paper", scan)
    who = ("--signatory", "Pat Example", "--role", "Medical Director")
    more = ("--delegation", "Scheme of delegation 4.2", "--gateway-reference", "ISG-114")
    signed = run(*arguments, *who, *more, "--signed-on", "2026-01-15", "--json")
    assert signed.code == 0, signed.err
    digest = hashlib.sha256(SCAN).hexdigest()
    assert (signed.json["paper"], signed.json["signed_at"]) == (digest, "2026-01-15")
    assert broker("agreement", "apply", file).code == 0
    shown = broker("agreement", "show", "on-paper").out
    for words in ("signed on paper", digest[:16], "Scheme of delegation 4.2", "ISG-114", "2026-01-15"):
        assert words in shown
    told = {
        each["agency"]: each for each in broker("agreement", "show", "on-paper", "--json").json["signatures"]
    }
    assert told["clifire"]["paper"] is None
    assert told["clinhs"]["paper"] == {
        "sha256": digest,
        "delegation": "Scheme of delegation 4.2",
        "gateway_reference": "ISG-114",
        "attested_at": TODAY.isoformat(),
    }
    kept = Signature.from_bytes(Path(signed.json["signature"]).read_bytes())
    assert (kept.signatory, kept.role) == ("Pat Example", "Medical Director")


@pytest.mark.parametrize(
    ("options", "scan", "code", "says"),
    [
        (("--paper", "SCAN"), SCAN, 2, "--paper needs --signed-on"),
        (("--signed-on", "2026-01-15"), SCAN, 2, "go with --paper"),
        (("--delegation", "x"), SCAN, 2, "go with --paper"),
        (("--gateway-reference", "x"), SCAN, 2, "go with --paper"),
        (("--paper", "SCAN", "--signed-on", "2026-01-15"), b"PK\x03\x04", 1, "is no PDF"),
        (("--paper", "SCAN", "--signed-on", "2999-01-15"), SCAN, 1, "nothing is attested"),
        (("--paper", "SCAN", "--signed-on", "15 January"), SCAN, 2, "2026-11-21"),
    ],
)
def test_what_is_no_attestation_is_not_made(
    tmp_path: Path, key: Path, options: tuple[str, ...], scan: bytes, code: int, says: str
) -> None:
    """Nothing is written."""
    file, paper = tmp_path / "a.toml", tmp_path / "scan.pdf"
    file.write_text(AGREEMENT)
    paper.write_bytes(scan)
    put_key(key, Signatory("clinhs"))
    given = [str(paper) if each == "SCAN" else each for each in options]
    who = ("--signatory", "Pat Example", "--role", "Director")
    result = run("agreement", "sign", file, "--agency", "clinhs", "--key", key, *who, *given)
    assert result.code == code
    assert says in " ".join(result.err.replace("│", " ").split())
    assert not list(tmp_path.glob("*.sig"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"allergies.state"', '"allergies"', "flows.0.permitted.1: 'allergies' is not a leaf"),
        ('"allergies.state", ', "", "needs 'allergies.state' beside it"),
        ('["nhs-number"]', '["uprn"]', "flows.0.subject_schemes.0"),
        ("APD-7", "", "governance.policy_document"),
    ],
)
def test_nobody_signs_what_no_broker_would_apply(
    tmp_path: Path, key: Path, old: str, new: str, says: str
) -> None:
    """Group paths among it; a record type that is not shipped may well be approved elsewhere."""
    file = tmp_path / "a.toml"
    put_key(key, Signatory("clinhs"))
    sign = ("agreement", "sign", file, "--agency", "clinhs", "--key", key, "--signatory", "P", "--role", "D")
    file.write_text(AGREEMENT.replace(old, new))
    result = run(*sign)
    assert (result.code, list(tmp_path.glob("*.sig"))) == (1, [])
    assert says in result.err
    file.write_text(AGREEMENT.replace("records.nhs.v1.PatientSummary", "records.nhs.v1.Elsewhere"))
    assert run(*sign).code == 0


def test_a_party_suspends_and_lifts(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """The list and the agreement say who, when and why."""
    file = variant(parties, tmp_path, "to-stop", "crime-prevention", "crime-and-disorder-act-1998-s115")
    assert broker("agreement", "apply", file).code == 0
    stop = ("agreement", "suspend", "to-stop", "--reason", "a reported breach")
    assert broker(*stop, "--as", parties.provider, "--actor-id", "ann").code == 2
    who = ("--actor-id", "ann", "--role", "ig-lead")
    done = broker(*stop, "--as", parties.provider, *who, "--json").json
    assert (done["status"], done["suspended_by"]) == ("suspended", ["clinhs"])
    (listed,) = [each for each in broker("agreement", "list", "--json").rows if each["id"] == "to-stop"]
    assert (listed["status"], listed["suspended_by"]) == ("suspended", ["clinhs"])
    assert listed["suspensions"][0]["reason"] == "a reported breach"
    shown = broker("agreement", "show", "to-stop", "--as", parties.requester).out
    assert "suspended by" in shown
    assert "a reported breach" in shown
    lift = ("agreement", "suspend", "to-stop", "--lift", "--reason", "mended", *who)
    refused = broker(*lift, "--as", parties.requester)
    assert (refused.code, "only they, or an operator" in refused.err) == (1, True)
    assert broker(*lift, "--as", parties.provider, "--json").json["status"] == "in force"
    assert "not suspended" in broker(*lift).err
    assert broker("agreement", "suspend", "to-stop").code == 2


def test_the_last_day_is_listed_and_the_successor_named(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """Not the day after; of what is superseded, the day before the successor's first."""
    name, law = "to-follow", ("home-fire-safety", "frsa-2004-s6")
    assert broker("agreement", "apply", variant(parties, tmp_path, name, *law)).code == 0

    def days() -> tuple[str, str, str]:
        (one,) = [each for each in broker("agreement", "list", "--json").rows if each["id"] == name]
        return one["in_force_from"], one["in_force_until"], one["superseded_by"]

    assert days() == ("2026-01-01", "2099-12-31", "")
    row = next(line for line in broker("agreement", "list").out.splitlines() if name in line)
    assert "2099-12-31" in row
    begins = TODAY + timedelta(days=30)
    from_then = f'valid_from = {begins}\nsupersedes = "{name}"'
    second = variant(parties, tmp_path, f"{name}-b", *law, from_then)
    applied = broker("agreement", "apply", second, "--json")
    assert applied.code == 0, applied.err
    assert days() == ("2026-01-01", (begins - timedelta(days=1)).isoformat(), f"{name}-b")
    assert f"{name}-b, no longer in force from {begins}" in broker("agreement", "show", name).out
    assert any(
        line.split() == ["supersedes", name]
        for line in broker("agreement", "show", f"{name}-b").out.splitlines()
    )
