"""Receipts: what they prove, step by step, and the record they are about."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from google.protobuf.any_pb2 import Any
from hypothesis import given
from hypothesis import strategies as st

from broker.core import canonical
from broker.core.checkpoint import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from broker.core.entry import Opening, Rotation, commit
from broker.core.merkle import leaf_hash
from broker.core.proof_file import ProofFile
from broker.core.receipt import NOT_AT_HAND, Receipt, verify_against, verify_receipt
from broker.core.record import Record
from broker.core.views import RequesterView
from broker.errors import IntegrityError

AT = datetime(2026, 11, 21, 10, 0, 7, tzinfo=UTC)


def test_a_good_receipt_verifies(make_evidence) -> None:
    """A receipt anywhere in a log proves its entry, its view and its record."""
    for before, after in ((0, 0), (0, 5), (5, 6), (255, 1), (256, 0), (300, 40)):
        good = make_evidence(before, after)
        for record in (good.record, NOT_AT_HAND):
            verified = verify_receipt(good.receipt, [good.signer.verifier], record=record)
            assert verified.index == before
            assert verified.checkpoint.size == before + after + 1
            assert verified.view.response == good.record.digest()
        opened = open_checkpoint(good.receipt.checkpoint, [good.signer.verifier])
        elsewhere = dataclasses.replace(good.receipt, checkpoint=b"")
        assert verify_against(elsewhere, opened, record=good.record) == verified


def test_each_step_that_fails_is_named(make_evidence, signer) -> None:
    """The first word of the error is the step: checkpoint, inclusion, entry, opening, view or record."""
    good = make_evidence()
    receipt, record = good.receipt, good.record
    stranger = Signer.from_seed(signer.name, b"z" * 32)
    garbage = b'{"v":1}'
    alone = sign_checkpoint(Checkpoint(signer.name, 1, leaf_hash(garbage)), signer)
    other = Record(record.type_url, record.value + b"\x00")

    def replaced(**fields: object) -> Receipt:
        return dataclasses.replace(receipt, **fields)

    cases = [
        ("checkpoint", receipt, [stranger.verifier], record),
        ("checkpoint", replaced(checkpoint=b""), [signer.verifier], record),
        ("inclusion", replaced(index=4), [signer.verifier], record),
        ("inclusion", replaced(proof=receipt.proof[1:]), [signer.verifier], record),
        ("inclusion", replaced(entry=receipt.entry + b" "), [signer.verifier], record),
        ("entry", Receipt(garbage, 0, (), alone, None), [signer.verifier], NOT_AT_HAND),
        ("opening", replaced(opening=Opening(bytes(32), b"{}")), [signer.verifier], record),
        ("opening", replaced(opening=good.sealed.provider), [signer.verifier], record),
        ("opening", replaced(opening=good.sealed.full), [signer.verifier], record),
        ("record", receipt, [signer.verifier], other),
        ("record", receipt, [signer.verifier], Record("x/" + record.type_url, record.value)),
        ("record", receipt, [signer.verifier], None),
        ("record", replaced(opening=None), [signer.verifier], record),
    ]
    for step, case, verifiers, received in cases:
        with pytest.raises(IntegrityError, match=f"^{step}: "):
            verify_receipt(case, verifiers, record=received)


def alone_in_a_log(signer: Signer, entry: bytes, opening: Opening | None) -> Receipt:
    """The receipt of an entry that is the whole log."""
    note = sign_checkpoint(Checkpoint(signer.name, 1, leaf_hash(entry)), signer)
    return Receipt(entry, 0, (), note, opening)


def leaf(opening: Opening) -> bytes:
    """An entry whose requester's commitment is opened by `opening`."""
    head = '{"at":"2026-11-21T10:00:07Z","full":"%s","id":"0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f"' % ("0" * 64)
    return f'{head},"provider":"{"0" * 64}","requester":"{opening.commitment()}","v":1}}'.encode()


def test_a_view_that_is_committed_to_must_still_be_one(signer) -> None:
    """A commitment that opens to something else than a requester's view is named so."""
    for view in (b"{}", b"null", b'{"v":1}', b" ", b"\xff"):
        opening = Opening(bytes(32), view)
        with pytest.raises(IntegrityError, match=r"^view: "):
            verify_receipt(alone_in_a_log(signer, leaf(opening), opening), [signer.verifier], record=None)


def test_a_refusal_speaks_of_no_record(signer) -> None:
    """A view without a response goes with no record, and refuses one that turns up."""
    view = canonical.encode(RequesterView("request", outcome="refuse", code="agreement").as_json())
    opening = Opening(b"r" * 32, view)
    receipt = alone_in_a_log(signer, leaf(opening), opening)
    assert verify_receipt(receipt, [signer.verifier], record=None).view.code == "agreement"
    with pytest.raises(IntegrityError, match=r"^record: "):
        verify_receipt(receipt, [signer.verifier], record=Record("a/b", b""))


def test_a_receipt_whose_opening_was_erased_still_proves_its_place(make_evidence) -> None:
    """Without an opening a receipt proves the entry, and nothing about a record."""
    good = make_evidence()
    verified = verify_receipt(
        dataclasses.replace(good.receipt, opening=None), [good.signer.verifier], record=None
    )
    assert verified.view is None


def test_a_rotation_entry_has_no_opening(signer) -> None:
    """The link between two logs verifies by itself, and refuses an opening."""
    rotation = Rotation(AT, "0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f", "x")
    receipt = alone_in_a_log(signer, rotation.to_bytes(), None)
    assert verify_receipt(receipt, [signer.verifier], record=None).entry == rotation
    with pytest.raises(IntegrityError, match=r"^opening: "):
        verify_receipt(
            dataclasses.replace(receipt, opening=Opening(bytes(32), b"{}")), [signer.verifier], record=None
        )


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200),
    st.binary(max_size=300),
)
def test_a_record_is_read_as_protobuf_writes_it(type_url: str, value: bytes) -> None:
    """The strict reading of an Any agrees with the protobuf library, both ways."""
    data = Any(type_url=type_url, value=value).SerializeToString(deterministic=True)
    record = Record.from_any(data)
    assert (record.type_url, record.value) == (type_url, value)
    assert record.to_any() == data
    assert record.digest() == hashlib.sha256(type_url.encode() + b"\0" + value).hexdigest()


@given(st.binary(max_size=24))
def test_a_record_has_one_spelling(data: bytes) -> None:
    """Whatever bytes are read as a record are the bytes that record is written as."""
    try:
        record = Record.from_any(b"\x0a\x01a" + data)
    except IntegrityError:
        return
    assert record.to_any() == b"\x0a\x01a" + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a",
        b"\x0a\x00",
        b"\x0a\x00\x12\x01x",
        b"\x12\x01x",
        b"\x12\x01x\x0a\x01a",
        b"\x0a\x01a\x12\x00",
        b"\x0a\x01a\x12",
        b"\x0a\x01a\x12\x02x",
        b"\x0a\x01a\x12\x01xy",
        b"\x0a\x01a\x0a\x01a",
        b"\x0a\x01a\x12\x01x\x12\x01x",
        b"\x0a\x01a\x1a\x01x",
        b"\x0a\x01a\x18\x01",
        b"\x0a\x81\x00a",
        b"\x8a\x00\x01a",
        b"\x0a\x01\x00",
        b"\x0a\x01\xff",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
        b"\x0a\x01a\x12\xff\xff\xff\x7f",
        b"\x0a\x01a" + b"\x12\x81\x80\x40" + bytes((1 << 20) + 1),
        b"\x0a\x01a" + bytes(2 << 20),
    ],
)
def test_other_spellings_of_a_record_are_refused(data: bytes) -> None:
    """Repeats, another order, unknown fields, empty or long fields, and long varints are refused."""
    with pytest.raises(IntegrityError):
        Record.from_any(data)


def test_a_type_url_cannot_slide_into_the_value() -> None:
    """The digest of (a, NUL b) is not that of another pair, since a type URL holds no NUL."""
    with pytest.raises(IntegrityError):
        Record("a\0b", b"")
    assert Record("a", b"\0b").digest() != Record("a", b"b").digest()


@pytest.mark.parametrize("module", ["broker.core.receipt", "broker.core.tiles", "broker.cli.audit_verify"])
def test_verifying_needs_only_cryptography(module: str) -> None:
    """The verifier imports no gRPC, protobuf, database or web library."""
    code = f"import sys, {module}; print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    foreign = {"grpc", "google", "asyncpg", "httpx", "starlette", "typer", "pydantic", "uvloop", "structlog"}
    assert "hashlib" in loaded
    assert not [name for name in foreign if f"'{name}'" in loaded]
    asynchronous = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; sys.exit('asyncio' in sys.modules)"], check=False
    )
    assert asynchronous.returncode == 0


HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)


@given(
    st.builds(
        ProofFile,
        st.integers(0, 2**63 - 2),
        HASHES,
        st.binary(min_size=1, max_size=50),
        st.none() | st.binary(min_size=1, max_size=40),
    )
)
def test_proof_files_come_back(file: ProofFile) -> None:
    """A proof file reads back as written, whatever its index, hashes, checkpoint and extra data."""
    assert ProofFile.from_bytes(file.to_bytes()) == file


def test_a_proof_file_is_exactly_these_bytes() -> None:
    """Header, extra data, index, hashes, an empty line and the checkpoint, as C2SP tlog-proof says."""
    file = ProofFile(73894, (bytes(32), b"\xff" * 32), b"example.com\n1\n", b"more")
    assert file.to_bytes() == (
        b"c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 73894\n"
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n//////////////////////////////////////////8=\n"
        b"\nexample.com\n1\n"
    )
    assert ProofFile(0, (), b"c\n").to_bytes() == b"c2sp.org/tlog-proof@v1\nindex 0\n\nc\n"


ZERO = b"A" * 43 + b"=\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\nindex 0\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nc\n",
        b"c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\nc\n",
        b" c2sp.org/tlog-proof@v1\nindex 0\n\nc\n",
        b"c2sp.org/tlog-proof@v1\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 01\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex -1\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex  1\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 1 \n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 9999999999999999999\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 99999999999999999999\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex \xd9\xa3\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra bW9yZQ==\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nextra bW9yZR==\nindex 0\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nextra bW9y\nextra bW9y\nindex 0\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + b"A" * 42 + b"B=\n\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + ZERO * 64 + b"\nc\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + b"c" * (1 << 18),
    ],
)
def test_other_bytes_are_no_proof_file(data: bytes) -> None:
    """Other headers, indexes, orders, spellings, too many hashes, and no checkpoint are refused."""
    with pytest.raises(IntegrityError):
        ProofFile.from_bytes(data)


def test_hashes_of_commitments_do_not_confuse_salt_and_view() -> None:
    """Moving a byte from the salt into the view gives another commitment, as a salt is exactly 32 bytes."""
    assert commit(b"s" * 32, b"v") != commit(b"s" * 31, b"sv")
