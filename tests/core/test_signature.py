"""Signatures of parties on agreements: over which bytes, by which key, on which day."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.core.signature import Paper, Signature, check_signed, sign
from broker.core.signingkey import Endorsement, Proposal, SigningKey, key_id
from broker.errors import BrokerError, IntegrityError, InvalidRequest
from tests.support.signing import Signatory, agreement
from tests.support.values import replace

SEED = bytes(range(32))
FILE = agreement()
DAY = date(2026, 11, 21)
NWAS = Signatory("nwas")
CFRS = Signatory("cfrs", Ed25519PrivateKey.from_private_bytes(SEED))
PARTIES = ("nwas", "cfrs")
KEYS = {each.agency: [each.enrolled(date(2026, 1, 1))] for each in (NWAS, CFRS)}


def both(file: bytes = FILE, on: date = DAY) -> list[Signature]:
    """Both parties' signatures."""
    return [NWAS.sign(file, on), CFRS.sign(file, on)]


def refused(*signatures: Signature, file: bytes = FILE, today: date = DAY, **keys: list[SigningKey]) -> str:
    """What `check_signed` says against these."""
    with pytest.raises(InvalidRequest) as error:
        check_signed(file, PARTIES, signatures, KEYS | keys, today)
    return str(error.value)


def test_what_is_signed_is_what_the_documentation_says() -> None:
    """The message is built here by hand, from docs/agreements.md, and the signature is over it."""
    signature = sign(FILE, "cfrs", CFRS.key, DAY, "Pat Ødegård", "SIRO")
    said = '{"role":"SIRO","signatory":"Pat Ødegård","signed_at":"2026-11-21"}'.encode()
    message = b"bluelight-broker/agreement/v1\x00cfrs\x00" + hashlib.sha256(FILE).digest() + said
    CFRS.key.public_key().verify(signature.signature, message)
    assert signature.signature == CFRS.key.sign(message)


def test_a_key_is_named_as_a_certificates_key_is() -> None:
    """The id is the SHA-256 of the DER SubjectPublicKeyInfo: RFC 8410 section 4's prefix, then the key."""
    prefix = bytes.fromhex("302a300506032b6570032100")
    assert key_id(CFRS.public) == hashlib.sha256(prefix + CFRS.public).hexdigest()


def test_every_party_having_signed_is_enough() -> None:
    """Signatures of all parties, in any order, with keys that count, pass."""
    check_signed(FILE, PARTIES, both(), KEYS, DAY)
    check_signed(FILE, PARTIES, both()[::-1], KEYS, DAY)


@given(st.data())
def test_any_changed_byte_of_the_file_is_refused(data: st.DataObject) -> None:
    """A signature holds for its very file: with any byte changed, added or cut it does not."""
    at = data.draw(st.integers(0, len(FILE) - 1))
    changed = bytearray(FILE)
    changed[at] ^= data.draw(st.integers(1, 255))
    other = data.draw(st.sampled_from([bytes(changed), FILE[:at], FILE + FILE[at:]]))
    assert "signed other bytes" in refused(*both(), file=other)
    with pytest.raises(IntegrityError):
        CFRS.sign(FILE).verify(other, KEYS["cfrs"][0])


SIGNATURE_FILE = CFRS.sign(FILE, DAY).to_bytes()


@given(st.integers(0, len(SIGNATURE_FILE) - 1), st.integers(1, 255))
def test_any_changed_byte_of_the_signature_file_is_refused(at: int, flip: int) -> None:
    """Agency, key, day, signatory, role, signature: not one byte can be changed."""
    changed = bytearray(SIGNATURE_FILE)
    changed[at] ^= flip

    def apply(cfrs: bytes) -> None:
        signatures = [NWAS.sign(FILE, DAY), Signature.from_bytes(cfrs)]
        check_signed(FILE, PARTIES, signatures, KEYS, date(2029, 1, 1))

    apply(SIGNATURE_FILE)
    with pytest.raises(BrokerError):
        apply(bytes(changed))


def test_a_signature_file_has_one_spelling() -> None:
    """What is read is written back the same; other spellings of the same values are refused."""
    assert Signature.from_bytes(SIGNATURE_FILE).to_bytes() == SIGNATURE_FILE
    text = SIGNATURE_FILE.decode()
    lines = text.splitlines(keepends=True)
    for other in (
        text + "\n",
        text.replace("  ", " "),
        text.replace('"ed25519"', '"\\u0065d25519"'),
        "".join([lines[0], *lines[2:3], lines[1], *lines[3:]]),
        text.replace('"role"', '"role": "x",\n  "role"'),
        text.replace('"2026-11-21"', '"20261121"'),
        text.replace('"2026-11-21"', "null"),
        text.replace('"ed25519"', '"none"'),
        text.replace("agreement/v1", "agreement/v2"),
        '"' + "x" * 9000 + '"',
        "[" * 4000,
        '{"format": "\\ud800"}\n',
    ):
        with pytest.raises(IntegrityError):
            Signature.from_bytes(other.encode())


@pytest.mark.parametrize("words", ["", " Pat", "Pat\n", "Pat\x1b[2J", "P" * 201, "Pat\u2028"])
def test_a_signatory_cannot_steer_a_terminal(words: str) -> None:
    """Names and posts are printable, bounded and not empty."""
    with pytest.raises(IntegrityError, match="printable"):
        sign(FILE, "cfrs", CFRS.key, DAY, words, "SIRO")
    with pytest.raises(IntegrityError, match="printable"):
        sign(FILE, "cfrs", CFRS.key, DAY, "Pat", words)


def test_a_missing_party_is_named_with_what_to_do() -> None:
    """The error names the party and the command that mends it."""
    said = refused(NWAS.sign(FILE, DAY))
    assert said.startswith("signatures: cfrs has not signed")
    assert "broker agreement sign FILE --agency cfrs" in said
    assert "FILE.cfrs.sig" in said
    assert "cfrs has not signed" in refused()


def test_a_second_signature_of_one_party_is_refused() -> None:
    """One party cannot stand for two."""
    assert refused(*both(), CFRS.sign(FILE, DAY)).startswith("signatures.2.agency: cfrs signed twice")
    assert "signed twice" in refused(CFRS.sign(FILE, DAY), CFRS.sign(FILE, DAY))


def test_a_stranger_signs_nothing() -> None:
    """A signature of no party is refused rather than ignored."""
    stranger = Signatory("wf")
    said = refused(*both(), stranger.sign(FILE, DAY), wf=[stranger.enrolled(DAY)])
    assert said.startswith("signatures.2.agency: wf is no party")


def test_one_agencys_key_does_not_sign_for_another() -> None:
    """A party's own enrolled key under another party's name is refused, however it is enrolled."""
    forged = sign(FILE, "cfrs", NWAS.key, DAY, "Pat", "SIRO")
    assert "not enrolled for it" in refused(NWAS.sign(FILE, DAY), forged)
    # Nor does a true signature pass under another name, even where both agencies hold the key.
    moved = replace(NWAS.sign(FILE, DAY), agency="cfrs")
    said = refused(NWAS.sign(FILE, DAY), moved, cfrs=[SigningKey("cfrs", NWAS.public, date(2026, 1, 1))])
    assert "does not verify" in said


def test_a_signature_is_verified_as_its_agencys_own() -> None:
    """A key that an agency has pinned verifies nothing that is signed in another's name."""
    with pytest.raises(IntegrityError, match="another key than cfrs's"):
        sign(FILE, "nwas", CFRS.key, DAY, "Pat", "SIRO").verify(FILE, KEYS["cfrs"][0])
    with pytest.raises(IntegrityError, match="another key than cfrs's"):
        NWAS.sign(FILE).verify(FILE, KEYS["cfrs"][0])


@pytest.mark.parametrize("change", [{"signed_at": date(2026, 11, 20)}, {"signatory": "Eve"}, {"role": "SIRO"}])
def test_nobody_gives_a_signature_another_day_or_name(change: dict[str, object]) -> None:
    """Day, signatory and role are signed too."""
    changed = replace(CFRS.sign(FILE, DAY), **change)  # type: ignore[arg-type]
    assert "does not verify" in refused(NWAS.sign(FILE, DAY), changed)


@pytest.mark.parametrize(
    ("key", "signed", "today", "says"),
    [
        (CFRS.enrolled(date(2026, 11, 22)), DAY, DAY, "counts from 2026-11-22, not yet on 2026-11-21"),
        (CFRS.enrolled(DAY), date(2026, 11, 20), DAY, "not yet on 2026-11-20"),
        (CFRS.enrolled(date(2026, 1, 1), DAY), DAY, date(2026, 11, 22), "counted until 2026-11-21"),
        (CFRS.enrolled(date(2026, 1, 1)), date(2026, 11, 22), DAY, "a day that is still to come"),
        (replace(CFRS.enrolled(date(2026, 1, 1)), ended_on=DAY), date(2026, 2, 1), DAY, "was ended on"),
    ],
)
def test_a_key_counts_on_its_days_only(key: SigningKey, signed: date, today: date, says: str) -> None:
    """It must count on the day of signing and on the day of applying, and not have been ended."""
    said = refused(NWAS.sign(FILE, DAY), CFRS.sign(FILE, signed), today=today, cfrs=[key])
    assert says in said
    assert "cfrs" in said


def test_a_key_counts_from_its_first_day_to_its_last() -> None:
    """Both ends are inclusive."""
    check_signed(FILE, PARTIES, both(), KEYS | {"cfrs": [CFRS.enrolled(DAY, DAY)]}, DAY)


def test_a_proposed_key_signs_nothing() -> None:
    """Until a second person has confirmed it, a key does not count."""
    proposal = Proposal("operator/cli", "ann", "ab" * 32, datetime(2026, 11, 20, tzinfo=UTC))
    waiting = replace(CFRS.enrolled(date(2026, 1, 1)), proposal=proposal)
    assert "waits for a second person" in refused(*both(), cfrs=[waiting])
    assert waiting.status(DAY) == "proposed"


def test_an_endorsement_holds_for_one_key_agency_and_days() -> None:
    """With anything in it changed, or by another key, it was not made by the old one."""
    old, new = CFRS.enrolled(date(2026, 1, 1)), Signatory("cfrs")
    made = Endorsement.make("cfrs", CFRS.key, new.public, DAY, None)
    assert made.made_by(old)
    assert not made.made_by(new.enrolled(DAY))
    assert not made.made_by(SigningKey("nwas", CFRS.public, DAY))
    for changed in (
        replace(made, agency="nwas"),
        replace(made, public=NWAS.public),
        replace(made, valid_from=date(2026, 11, 20)),
        replace(made, valid_until=date(2036, 1, 1)),
        replace(made, signature=bytes(64)),
        replace(made, signature=b""),
    ):
        assert not changed.made_by(old)


ENDORSEMENT_FILE = Endorsement.make("cfrs", CFRS.key, NWAS.public, DAY, date(2028, 1, 1)).to_bytes()


@given(st.integers(0, len(ENDORSEMENT_FILE) - 1), st.integers(1, 255))
def test_any_changed_byte_of_an_endorsement_is_refused(at: int, flip: int) -> None:
    """It is unreadable, or the old key did not make it."""
    assert Endorsement.from_bytes(ENDORSEMENT_FILE).made_by(CFRS.enrolled(DAY))
    changed = bytearray(ENDORSEMENT_FILE)
    changed[at] ^= flip
    try:
        endorsement = Endorsement.from_bytes(bytes(changed))
    except IntegrityError:
        return
    assert not endorsement.made_by(CFRS.enrolled(DAY))


def test_an_endorsement_is_no_signature_on_an_agreement() -> None:
    """What a key signs for one purpose never passes for the other: the messages cannot be equal."""
    endorsement = Endorsement.make("cfrs", CFRS.key, NWAS.public, DAY, None)
    crossed = replace(CFRS.sign(FILE, DAY), signature=endorsement.signature)
    assert "does not verify" in refused(NWAS.sign(FILE, DAY), crossed)
    swapped = replace(endorsement, signature=CFRS.sign(FILE, DAY).signature)
    assert not swapped.made_by(CFRS.enrolled(DAY))


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33)])
def test_a_key_that_is_none_is_refused(public: bytes) -> None:
    """An Ed25519 public key is 32 bytes."""
    with pytest.raises(IntegrityError, match="32 bytes"):
        SigningKey("cfrs", public, DAY)


def test_a_key_cannot_end_before_it_begins() -> None:
    """Days the wrong way round are refused."""
    with pytest.raises(IntegrityError, match="before valid_from"):
        CFRS.enrolled(DAY, date(2026, 11, 20))


ON_PAPER = Paper("ab" * 32, DAY, "Scheme of delegation 4.2", "ISG-114")
SIGNED_ON = date(2025, 3, 4)


def attested(paper: Paper = ON_PAPER) -> Signature:
    """The fire service's word that somebody signed on paper."""
    return sign(FILE, "cfrs", CFRS.key, SIGNED_ON, "Pat Ødegård", "SIRO", paper)


def test_what_is_attested_of_a_paper_is_what_the_documentation_says() -> None:
    """Built here by hand: other first words, and the paper's facts among what is said."""
    facts = (
        b'{"attested_at":"2026-11-21","delegation":"Scheme of delegation 4.2",'
        b'"gateway_reference":"ISG-114","sha256":"' + b"ab" * 32 + b'"}'
    )
    said = '"role":"SIRO","signatory":"Pat Ødegård","signed_at":"2025-03-04"}'.encode()
    digest = hashlib.sha256(FILE).digest()
    message = (
        b"bluelight-broker/agreement-on-paper/v1\x00cfrs\x00" + digest + b'{"paper":' + facts + b"," + said
    )
    CFRS.key.public_key().verify(attested().signature, message)


def test_a_paper_is_kept_in_a_signature_file_of_one_spelling() -> None:
    """It comes back whole; what leaves a name out, or has another form's, is refused."""
    for paper in (ON_PAPER, Paper("cd" * 32, DAY)):
        data = attested(paper).to_bytes()
        assert Signature.from_bytes(data) == attested(paper)
        for old, new in (
            (b"agreement-on-paper/v1", b"agreement/v1"),
            (b'  "attested_at": "2026-11-21",\n', b""),
            (b"2026-11-21", b"2026-11-2"),
            (b'"paper"', b'"scan"'),
        ):
            with pytest.raises(IntegrityError):
                Signature.from_bytes(data.replace(old, new))
    plain = CFRS.sign(FILE, DAY).to_bytes()
    with pytest.raises(IntegrityError):
        Signature.from_bytes(plain.replace(b"agreement/v1", b"agreement-on-paper/v1"))


def test_a_paper_counts_with_a_key_of_the_day_of_attesting() -> None:
    """Signed on paper before there was a key; the key counts on the day on which it says so, and today."""
    check_signed(FILE, PARTIES, [NWAS.sign(FILE, DAY), attested()], KEYS, DAY)
    early = attested(replace(ON_PAPER, attested_at=date(2025, 12, 31)))
    assert "not yet on" in refused(NWAS.sign(FILE, DAY), early)
    before = attested(replace(ON_PAPER, attested_at=date(2025, 3, 3)))
    assert "before it was signed" in refused(NWAS.sign(FILE, DAY), before)


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "AB" * 32}, {"sha256": ""}, {"delegation": " x"}, {"gateway_reference": "x\n"}],
)
def test_facts_of_a_paper_are_of_their_form(changes: dict[str, str]) -> None:
    """They are shown to people."""
    with pytest.raises(IntegrityError):
        replace(ON_PAPER, **changes)
