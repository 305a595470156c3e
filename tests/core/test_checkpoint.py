"""Signed notes, their keys, checkpoints and cosignatures, against the published examples and attacks."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from broker.core import base64_strict
from broker.core.checkpoint import (
    Checkpoint,
    Cosignature,
    Cosigner,
    Note,
    NoteSignature,
    Signer,
    Verifier,
    open_checkpoint,
    open_with_cosignatures,
    sign_checkpoint,
)
from broker.core.keys import verified_signatures
from broker.core.merkle import EMPTY_ROOT
from broker.core.note import MAX_NOTE_BYTES, MAX_SIGNATURES
from broker.errors import IntegrityError

# The example of the Go reference implementation, golang.org/x/mod/sumdb/note.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_NOTE = f"{GO_TEXT}\n— PeterNeumann {GO_SIGNATURE}\n"
# The example of C2SP signed-note, "Verifier keys".
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

ORIGIN = "blue-light.test/log/2026h2"
LOG = Signer.from_seed(ORIGIN, b"l" * 32)
WITNESS = Cosigner.from_seed("witness.example/w1", b"w" * 32)
CHECKPOINT = Checkpoint(ORIGIN, 20852163, bytes(range(32)))
NOTE = Note.parse(sign_checkpoint(CHECKPOINT, LOG))


def test_the_go_example_is_made_byte_for_byte() -> None:
    """The reference implementation's key, signature and note come out the same here."""
    signer = Signer.from_skey(GO_SKEY)
    assert signer.skey == GO_SKEY
    assert signer.vkey == GO_VKEY
    assert Note(GO_TEXT, (signer.sign(GO_TEXT),)).to_bytes() == GO_NOTE.encode()


@pytest.mark.parametrize(("vkey", "note"), [(GO_VKEY, GO_NOTE), (C2SP_VKEY, C2SP_NOTE)])
def test_published_notes_verify(vkey: str, note: str) -> None:
    """The published example notes verify under their published keys."""
    verifier = Verifier.from_vkey(vkey)
    assert verifier.vkey == vkey
    assert verified_signatures(Note.parse(note.encode()), (verifier,)) == ((verifier, None),)


def test_the_published_cosignature_is_read() -> None:
    """The example checkpoint of C2SP tlog-cosignature parses: a log's line of 64 bytes, a witness's of 72."""
    data = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    ).encode()
    note = Note.parse(data)
    assert [len(each.signature) for each in note.signatures] == [64, 72]
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1679315147
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert note.to_bytes() == data


def test_a_checkpoint_opens_under_its_logs_key() -> None:
    """What was signed is what is opened, also when keys of other logs and years are believed."""
    older = Signer.from_seed("blue-light.test/log/2026h1", b"o" * 32).verifier
    assert open_checkpoint(NOTE.to_bytes(), (older, LOG.verifier, LOG.verifier)) == CHECKPOINT


def test_a_checkpoint_of_another_key_is_refused() -> None:
    """No key, another key of the same name, a key of another name, and a witness's key open nothing."""
    for verifiers in (
        (),
        (Signer.from_seed(ORIGIN, b"x" * 32).verifier,),
        (Signer.from_seed("other.test/log", b"l" * 32).verifier,),
        (Cosigner.from_seed(ORIGIN, b"l" * 32).verifier,),
    ):
        with pytest.raises(IntegrityError, match="not signed by a known key"):
            open_checkpoint(NOTE.to_bytes(), verifiers)


def test_the_origin_must_be_the_keys_name() -> None:
    """A believed log cannot sign for another origin, neither here nor by a hand-made note."""
    other = Signer.from_seed("other.test/log", b"l" * 32)
    with pytest.raises(IntegrityError, match="does not sign"):
        sign_checkpoint(CHECKPOINT, other)
    note = Note(CHECKPOINT.text(), (other.sign(CHECKPOINT.text()),))
    with pytest.raises(IntegrityError, match="not signed by a known key"):
        open_checkpoint(note.to_bytes(), (other.verifier, LOG.verifier))


def test_a_cosigner_alone_opens_nothing() -> None:
    """A checkpoint with a good cosignature but without the log's own signature is refused."""
    cosigner = Cosigner.from_seed(ORIGIN, b"c" * 32)
    note = Note(CHECKPOINT.text(), (cosigner.cosign(CHECKPOINT.text(), 1),))
    with pytest.raises(IntegrityError, match="not signed by a known key"):
        open_checkpoint(note.to_bytes(), (cosigner.verifier, LOG.verifier))


def test_unknown_signatures_are_ignored_and_known_bad_ones_are_not() -> None:
    """A stranger's line changes nothing; a line of a believed key that fails refuses the whole note."""
    stranger = NoteSignature("stranger.example", b"abcd", b"anything")
    same_id = NoteSignature("stranger.example", LOG.verifier.key_id, bytes(64))
    noisy = Note(NOTE.text, (stranger, same_id)).signed_by_also(*NOTE.signatures)
    assert open_checkpoint(noisy.to_bytes(), (LOG.verifier,)) == CHECKPOINT
    forged = NOTE.signed_by_also(NoteSignature(WITNESS.name, WITNESS.verifier.key_id, bytes(72)))
    assert open_checkpoint(forged.to_bytes(), (LOG.verifier,)) == CHECKPOINT
    with pytest.raises(IntegrityError, match="does not verify"):
        open_checkpoint(forged.to_bytes(), (LOG.verifier, WITNESS.verifier))


def test_a_known_key_signs_once() -> None:
    """A note in which a believed key stands twice is refused."""
    with pytest.raises(IntegrityError, match="twice"):
        open_checkpoint(NOTE.signed_by_also(*NOTE.signatures).to_bytes(), (LOG.verifier,))


def test_cosignatures_say_who_and_when() -> None:
    """A witness's cosignature verifies, over the message the standard gives, and is told with its time."""
    line = WITNESS.cosign(CHECKPOINT.text(), 1679315147)
    message = f"cosignature/v1\ntime 1679315147\n{CHECKPOINT.text()}".encode()
    Ed25519PublicKey.from_public_bytes(WITNESS.verifier.public).verify(line.signature[8:], message)
    verifier = Verifier.from_vkey(WITNESS.vkey)
    opened = open_with_cosignatures(NOTE.signed_by_also(line).to_bytes(), (LOG.verifier, verifier))
    assert opened.checkpoint == CHECKPOINT
    assert opened.cosignatures == (Cosignature(WITNESS.name, 1679315147),)


@pytest.mark.parametrize("at", range(72))
def test_a_cosignature_covers_its_time_and_every_byte(at: int) -> None:
    """A cosignature with any byte changed, its time included, is refused."""
    line = WITNESS.cosign(CHECKPOINT.text(), 1679315147)
    changed = bytearray(line.signature)
    changed[at] ^= 0x80
    note = NOTE.signed_by_also(NoteSignature(line.name, line.key_id, bytes(changed)))
    with pytest.raises(IntegrityError):
        open_checkpoint(note.to_bytes(), (LOG.verifier, WITNESS.verifier))


def test_a_cosignature_of_another_checkpoint_or_length_is_refused() -> None:
    """A cosignature does not carry over to another body, and has exactly 72 bytes."""
    elsewhere = WITNESS.cosign(Checkpoint(ORIGIN, 5, bytes(32)).text(), 7)
    good = WITNESS.cosign(CHECKPOINT.text(), 7)
    short = NoteSignature(good.name, good.key_id, good.signature[:-1])
    long = NoteSignature(good.name, good.key_id, good.signature + b"\0")
    for line in (elsewhere, short, long, NoteSignature(good.name, good.key_id, b"x")):
        with pytest.raises(IntegrityError):
            open_checkpoint(NOTE.signed_by_also(line).to_bytes(), (LOG.verifier, WITNESS.verifier))
    for timestamp in (-1, 1 << 63):
        with pytest.raises(IntegrityError):
            WITNESS.cosign(CHECKPOINT.text(), timestamp)


def test_a_key_of_one_kind_is_not_one_of_the_other() -> None:
    """The same private key as log and as witness has different key ids."""
    log, witness = Signer.from_seed("a", b"k" * 32).verifier, Cosigner.from_seed("a", b"k" * 32).verifier
    assert log.public == witness.public
    assert log.key_id != witness.key_id


@pytest.mark.parametrize(
    "body",
    [
        "",
        "a\n",
        "a\n1\n",
        f"a\n1\n{base64_strict.encode(bytes(32))}",
        f"\n1\n{base64_strict.encode(bytes(32))}\n",
        f"a\n01\n{base64_strict.encode(bytes(32))}\n",
        f"a\n-1\n{base64_strict.encode(bytes(32))}\n",
        f"a\n+1\n{base64_strict.encode(bytes(32))}\n",
        f"a\n1 \n{base64_strict.encode(bytes(32))}\n",
        f"a\n٣\n{base64_strict.encode(bytes(32))}\n",
        f"a\n{2**63}\n{base64_strict.encode(bytes(32))}\n",
        f"a\n{10**30}\n{base64_strict.encode(bytes(32))}\n",
        f"a\n0\n{base64_strict.encode(bytes(32))}\n",
        f"a\n1\n{base64_strict.encode(bytes(31))}\n",
        f"a\n1\n{base64_strict.encode(bytes(33))}\n",
        f"a\n1\n{base64_strict.encode(bytes(32))[:-1]}\n",
        f"a\n1\n{base64_strict.encode(bytes(32))[:-2]}B=\n",
        f"a\n1\n{base64_strict.encode(bytes(32))}\n\nx\n",
    ],
)
def test_bodies_that_are_no_checkpoint(body: str) -> None:
    """Bodies of another form, and an empty log with another root than that of nothing, are refused."""
    with pytest.raises(IntegrityError):
        Checkpoint.parse(body)


def test_extension_lines_and_the_empty_log() -> None:
    """Extension lines are kept, and a log of nothing has the root of nothing."""
    for checkpoint in (Checkpoint("a", 1, bytes(32), ("x", "y z")), Checkpoint("a", 0, EMPTY_ROOT)):
        assert Checkpoint.parse(checkpoint.text()) == checkpoint
    for make in (
        lambda: Checkpoint("a", 1, bytes(32), ("",)),
        lambda: Checkpoint("a", 1, bytes(32), ("x\ny",)),
        lambda: Checkpoint("a", 1, bytes(31)),
        lambda: Checkpoint("a", -1, bytes(32)),
        lambda: Checkpoint("", 1, bytes(32)),
    ):
        with pytest.raises(IntegrityError):
            make()


SIGNED = NOTE.to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        SIGNED[:-1],
        SIGNED + b"\n",
        SIGNED + b"x\n",
        SIGNED.replace(b"\n\n", b"\n", 1),
        SIGNED.replace(b"\n", b"\r\n"),
        SIGNED.replace("—".encode(), b"--"),
        SIGNED.replace("— ".encode(), "—".encode()),
        SIGNED.replace("— ".encode(), "—  ".encode()),
        SIGNED.replace(b"blue", b"bl\x00e"),
        SIGNED.replace(b"blue", b"bl\te"),
        SIGNED.replace(b"blue", b"bl\xffe"),
        SIGNED.replace(b"blue", b"\xed\xa0\x80"),
        CHECKPOINT.text().encode() + b"\n",
        SIGNED + SIGNED.rpartition(b"\n\n")[2] * MAX_SIGNATURES,
        SIGNED + "— a YWJjZA==\n".encode(),
        SIGNED + "— a \n".encode(),
        SIGNED + "— a+b YWJjZGVm\n".encode(),
        SIGNED + "— a\u00a0b YWJjZGVm\n".encode(),
        SIGNED + "— a b YWJjZGVm\n".encode(),
        b"x" * MAX_NOTE_BYTES + SIGNED,
    ],
)
def test_bytes_that_are_no_note(data: bytes) -> None:
    """Other line ends, dashes, names, control characters, and notes past the bounds are refused."""
    with pytest.raises(IntegrityError):
        Note.parse(data)


def test_sixteen_signatures_of_five_kilobytes_are_within_bounds() -> None:
    """What the standard says a verifier must accept is accepted."""
    strangers = [NoteSignature(f"s{i}.example", b"abcd", bytes(5000)) for i in range(15)]
    assert open_checkpoint(NOTE.signed_by_also(*strangers).to_bytes(), (LOG.verifier,)) == CHECKPOINT


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a",
        "a+b",
        GO_VKEY[:-1],
        GO_VKEY + "\n",
        GO_VKEY.upper(),
        GO_VKEY.replace("c74f20a3", "C74F20A3"),
        GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("PeterNeumann", "PeterNeumanN"),
        GO_VKEY.replace("+ARpc", "+Ahpc"),
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "a b" + LOG.vkey[len(ORIGIN) :],
        "a+00000000+",
        f"a+00000000+{base64.b64encode(bytes([1]) + bytes(31)).decode()}",
        GO_SKEY,
    ],
)
def test_spellings_that_are_no_verifier_key(vkey: str) -> None:
    """A key id that is not the key's, another kind, another length or another spelling is refused."""
    with pytest.raises(IntegrityError):
        Verifier.from_vkey(vkey)


@pytest.mark.parametrize(
    "skey",
    ["", GO_VKEY, GO_SKEY[:-4], GO_SKEY.replace("c74f20a3", "c74f20a4"), "PRIVATE+KEY+a+b", GO_SKEY + "\n"],
)
def test_spellings_that_are_no_signing_key(skey: str) -> None:
    """A signing key has one spelling, and its key id is that of its own public key."""
    with pytest.raises(IntegrityError):
        Signer.from_skey(skey)


def test_a_signer_does_not_show_its_seed() -> None:
    """What is logged of a signer by accident holds its name, not its key."""
    signer = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"s" * 32))
    assert (b"s" * 32).hex() not in repr(signer)
    assert base64.b64encode(b"s" * 8).decode()[:8] not in repr(signer)
    assert ORIGIN in repr(signer)


@given(st.binary(min_size=1, max_size=70), st.data())
def test_base64_has_one_spelling(value: bytes, draw: st.DataObject) -> None:
    """Any one character changed in base64 gives other bytes or is refused, trailing bits included."""
    text = base64_strict.encode(value)
    assert base64_strict.decode(text, "it") == value
    at = draw.draw(st.integers(0, len(text) - 1))
    char = draw.draw(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=text[at]))
    try:
        other = base64_strict.decode(text[:at] + char + text[at + 1 :], "it")
    except IntegrityError:
        return
    assert other != value


@pytest.mark.parametrize(
    "text", ["YQ", "YQ=", "YR==", "YWK=", "YQ==\n", " YQ==", "Y Q==", "YQ==YQ==", "Y-_=", "é"]
)
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    """Missing padding, trailing bits, spaces and the URL alphabet are refused."""
    with pytest.raises(IntegrityError):
        base64_strict.decode(text, "it")
