"""Time stamps (RFC 3161): ours ask, OpenSSL answers, and nothing but what was asked for is believed."""

from __future__ import annotations

import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.anchor.authority import Authority, NotStamped, authority_of
from broker.anchor.order import in_order
from broker.anchor.token import ask, certificates, verify
from broker.errors import IntegrityError, SetupError
from tests.support.authority import OPENSSL, TestAuthority, authority_at

NOTE = b"blue-light.test/log/2026h2\n7\nroot\n"


def test_a_stamp_by_openssl_holds(authority: TestAuthority) -> None:
    """Over these bytes, at this time, by this authority; and OpenSSL says the same of it."""
    question = ask(NOTE)
    response = authority.reply(question.der)
    stamp = verify(response, NOTE, certificates(authority.root.read_bytes()), question.nonce)
    assert stamp.authority == "CN=Example Time-stamping"
    assert abs(stamp.at - datetime.now(UTC)) < timedelta(seconds=10)
    (authority.folder / "note").write_bytes(NOTE)
    (authority.folder / "x.tsr").write_bytes(response)
    line = [str(OPENSSL), "ts", "-verify", "-data", str(authority.folder / "note")]
    line += ["-in", str(authority.folder / "x.tsr"), "-CAfile", str(authority.root)]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0


def test_what_does_not_hold_says_why(authority: TestAuthority, tmp_path: Path) -> None:
    """Other bytes, another question, another authority, none, and what is no response."""
    question = ask(NOTE)
    response = authority.reply(question.der)
    roots = certificates(authority.root.read_bytes())
    with pytest.raises(IntegrityError, match="time stamp: it is over other bytes"):
        verify(response, NOTE + b"x", roots)
    with pytest.raises(IntegrityError, match="it answers another question"):
        verify(response, NOTE, roots, 7)
    other = TestAuthority(tmp_path / "other")
    with pytest.raises(IntegrityError, match="not that of an authority whose root was given"):
        verify(response, NOTE, certificates(other.root.read_bytes()))
    with pytest.raises(IntegrityError, match="no certificate"):
        verify(response, NOTE, ())
    with pytest.raises(IntegrityError, match="not a file of certificates"):
        certificates(b"x")


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_spoilt_response_is_more_than_refused(authority: TestAuthority) -> None:
    """Cut or changed anywhere it is refused by name, or what it says of these bytes still holds; never another
    error. Only what nobody signed may change unseen, and the time is signed."""
    right = authority.reply(ask(NOTE).der)
    roots = certificates(authority.root.read_bytes())
    stamp, chance, refused = verify(right, NOTE, roots), random.Random(3161), 0
    for n in range(400):
        spoilt = bytearray(right)
        if n % 3:
            spoilt[chance.randrange(len(right))] ^= 1 << chance.randrange(8)
        else:
            del spoilt[chance.randrange(len(right)) :]
        try:
            assert verify(bytes(spoilt), NOTE, roots).at == stamp.at
        except IntegrityError:
            refused += 1
    assert refused > 250


def test_certificates_in_any_order_are_read(authority: TestAuthority) -> None:
    """OpenSSL sends the chain as it is, which is not DER's order of a set: to sort them changes no more."""
    response = authority.reply(ask(NOTE).der)
    ordered = in_order(response)
    assert in_order(ordered) == ordered
    assert (len(ordered), sorted(ordered)) == (len(response), sorted(response))
    for nothing in (b"", b"\x30", b"\x30\x82", b"\x30\x03\x02\x01\x00", bytes(40), b"\x30\x84\xff\xff\xff\xff"):
        assert in_order(nothing) == nothing


MOODS = {
    "garbage": "this is no time-stamp response",
    "empty": "this is no time-stamp response",
    "other-bytes": "it answers another question",
    "replay": "it answers another question",
    "long": "its answer is too long",
    "refuses": "it answers 503",
    "slow": "it does not answer in time",
}


@pytest.mark.parametrize("mood", MOODS)
async def test_an_authority_that_misbehaves_is_named(authority: TestAuthority, mood: str) -> None:
    """Each in a few words of ours, within the time given."""
    asked = Authority(authority.url, certificates(authority.root.read_bytes()), seconds=1.0)
    try:
        _, stamp = await asked.stamp(NOTE)
        assert stamp.authority == "CN=Example Time-stamping"
        authority.mood = mood
        with pytest.raises(NotStamped, match=MOODS[mood]):
            await asked.stamp(NOTE)
    finally:
        await asked.close()


async def test_an_authority_that_is_away_is_named(tmp_path: Path) -> None:
    """And what the settings must name is asked for in one sentence."""
    with authority_at(tmp_path / "tsa") as gone:
        root = gone.root
    asked = authority_of(gone.url, root)
    with pytest.raises(NotStamped, match="it cannot be reached"):
        await asked.stamp(NOTE)
    await asked.close()
    for certificate, said in (
        (None, "needs BROKER_TIMESTAMP_CERT"),
        (tmp_path / "none", "cannot read"),
        (tmp_path / "tsa" / "serial", "not a file of certificates"),
    ):
        with pytest.raises(SetupError, match=said):
            authority_of(gone.url, certificate)
