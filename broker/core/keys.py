"""Owns the keys of notes (C2SP signed-note, tlog-cosignature): who signs, who is believed, their spelling.

Two kinds, told apart by a byte that their key id also commits to: `LOG` (0x01, Ed25519 over the text) and
`COSIGNER` (0x04, Ed25519 over a time and the text). Refused: other kinds, key ids that do not belong to
their key, and every spelling of a key but the one `vkey` or `skey` gives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.core import base64_strict
from broker.core.note import KEY_ID_BYTES, Note, NoteSignature, check_key_name
from broker.errors import IntegrityError

KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_TIME_BYTES = 8
_MAX_TIME = (1 << 63) - 1
_PRIVATE = "PRIVATE+KEY+"


class KeyKind(IntEnum):
    """The signature type byte of C2SP signed-note."""

    LOG = 0x01
    COSIGNER = 0x04


def key_id(name: str, kind: KeyKind, public: bytes) -> bytes:
    """Return the first 4 bytes of SHA-256(name || 0x0A || kind || public key)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes((kind,)) + public).digest()[:KEY_ID_BYTES]


def cosigned_message(text: str, timestamp: int) -> bytes:
    """Return what a cosigner signs at POSIX second `timestamp` (tlog-cosignature, Ed25519 message)."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key someone has decided to believe, under the name it signs by."""

    name: str
    kind: KeyKind
    public: bytes
    key_id: bytes = field(init=False)
    _key: Ed25519PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise IntegrityError(f"an Ed25519 public key is {KEY_BYTES} bytes, not {len(self.public)}")
        object.__setattr__(self, "key_id", key_id(self.name, self.kind, self.public))
        object.__setattr__(self, "_key", Ed25519PublicKey.from_public_bytes(self.public))

    @property
    def vkey(self) -> str:
        """`<name>+<key id in hex>+<base64 of kind and public key>`."""
        material = base64_strict.encode(bytes((self.kind,)) + self.public)
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def from_vkey(cls, text: str) -> Verifier:
        """Return the key spelled by `text`.

        Raises:
            IntegrityError: not a verifier key, of a kind not believed here, or not its one spelling.
        """
        name, kind, public = _parse(text, "verifier key")
        verifier = cls(name, kind, public)
        if verifier.vkey != text:
            raise IntegrityError("verifier key: its key id is not that of its name and key")
        return verifier

    def made(self, signature: NoteSignature) -> bool:
        """Whether a signature line claims this name and key id; a line that does not must be ignored."""
        return signature.name == self.name and signature.key_id == self.key_id

    def verify(self, text: str, signature: NoteSignature) -> int | None:
        """Check a signature over a note's text; return a cosigner's POSIX second, None for a log key.

        Raises:
            IntegrityError: this key did not make it over this text.
        """
        if not self.made(signature):
            raise IntegrityError(f"note: a signature of another key than {self.name}'s")
        if self.kind is KeyKind.LOG:
            self._verify(signature.signature, text.encode())
            return None
        timestamp = int.from_bytes(signature.signature[:_TIME_BYTES], "big")
        if timestamp > _MAX_TIME:
            raise IntegrityError(f"note: the cosignature of {self.name} has no possible time")
        self._verify(signature.signature[_TIME_BYTES:], cosigned_message(text, timestamp))
        return timestamp

    def _verify(self, signature: bytes, message: bytes) -> None:
        if len(signature) != _SIGNATURE_BYTES:
            raise IntegrityError(f"note: the signature of {self.name} has the wrong length")
        try:
            self._key.verify(signature, message)
        except InvalidSignature as error:
            raise IntegrityError(f"note: the signature of {self.name} does not verify") from error


@dataclass(frozen=True, slots=True)
class Signer:
    """A log's private key, under the log's origin."""

    name: str
    _key: Ed25519PrivateKey = field(repr=False)
    verifier: Verifier = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verifier", Verifier(self.name, KeyKind.LOG, _public(self._key)))

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Signer:
        """Return the signer of a 32-byte Ed25519 seed (RFC 8032 section 5.1.5)."""
        return cls(name, _private(seed))

    @classmethod
    def from_skey(cls, text: str) -> Signer:
        """Return the signer spelled by `PRIVATE+KEY+<name>+<key id in hex>+<base64 of 0x01 and seed>`."""
        if not text.startswith(_PRIVATE):
            raise IntegrityError("signing key: does not begin as one")
        name, kind, seed = _parse(text.removeprefix(_PRIVATE), "signing key")
        signer = cls.from_seed(name, seed)
        if kind is not KeyKind.LOG or signer.skey != text:
            raise IntegrityError("signing key: not a log's, or its key id is not that of its name and key")
        return signer

    @property
    def skey(self) -> str:
        """The secret spelling of this key; the caller keeps it as one keeps keys."""
        return _skey(self.verifier, self._key)

    @property
    def vkey(self) -> str:
        """The public spelling of this key."""
        return self.verifier.vkey

    def sign(self, text: str) -> NoteSignature:
        """Return this key's signature over a note's text."""
        return NoteSignature(self.name, self.verifier.key_id, self._key.sign(text.encode()))


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's private key, under the witness's name. Never the key of another witness or of a log."""

    name: str
    _key: Ed25519PrivateKey = field(repr=False)
    verifier: Verifier = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verifier", Verifier(self.name, KeyKind.COSIGNER, _public(self._key)))

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Cosigner:
        """Return the cosigner of a 32-byte Ed25519 seed."""
        return cls(name, _private(seed))

    @classmethod
    def from_skey(cls, text: str) -> Cosigner:
        """Return the cosigner spelled by `PRIVATE+KEY+<name>+<key id in hex>+<base64 of 0x04 and seed>`."""
        if not text.startswith(_PRIVATE):
            raise IntegrityError("witness key: does not begin as one")
        name, kind, seed = _parse(text.removeprefix(_PRIVATE), "witness key")
        cosigner = cls.from_seed(name, seed)
        if kind is not KeyKind.COSIGNER or cosigner.skey != text:
            raise IntegrityError("witness key: not a witness's, or its key id is not that of its name and key")
        return cosigner

    @property
    def skey(self) -> str:
        """The secret spelling of this key; the caller keeps it as one keeps keys."""
        return _skey(self.verifier, self._key)

    @property
    def vkey(self) -> str:
        """The public spelling of this key."""
        return self.verifier.vkey

    def cosign(self, text: str, timestamp: int) -> NoteSignature:
        """Return the cosignature over a checkpoint's text at POSIX second `timestamp`."""
        if not 0 <= timestamp <= _MAX_TIME:
            raise IntegrityError("a cosignature's time is a POSIX second")
        signature = self._key.sign(cosigned_message(text, timestamp))
        stamped = timestamp.to_bytes(_TIME_BYTES, "big") + signature
        return NoteSignature(self.name, self.verifier.key_id, stamped)


def verified_signatures(note: Note, verifiers: tuple[Verifier, ...]) -> tuple[tuple[Verifier, int | None], ...]:
    """Return which of these distinct keys signed the note, with each cosigner's time; ignore other lines.

    Raises:
        IntegrityError: a line of a known key does not verify, or a known key stands twice.
    """
    found: dict[Verifier, int | None] = {}
    for signature in note.signatures:
        for verifier in verifiers:
            if verifier.made(signature):
                if verifier in found:
                    raise IntegrityError(f"note: {verifier.name} signed twice")
                found[verifier] = verifier.verify(note.text, signature)
    return tuple(found.items())


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _skey(verifier: Verifier, key: Ed25519PrivateKey) -> str:
    material = base64_strict.encode(bytes((verifier.kind,)) + key.private_bytes_raw())
    return f"{_PRIVATE}{verifier.name}+{verifier.key_id.hex()}+{material}"


def _private(seed: bytes) -> Ed25519PrivateKey:
    if len(seed) != KEY_BYTES:
        raise IntegrityError(f"an Ed25519 seed is {KEY_BYTES} bytes")
    return Ed25519PrivateKey.from_private_bytes(seed)


def _parse(text: str, what: str) -> tuple[str, KeyKind, bytes]:
    """Split `<name>+<key id>+<base64>`; the caller compares spellings, and so the key id."""
    parts = text.split("+", 2)  # base64 may hold a plus, a name may not
    if len(parts) != 3:
        raise IntegrityError(f"{what}: not a name, a key id and a key")
    material = base64_strict.decode(parts[2], what)
    try:
        kind = KeyKind(material[0])
    except (IndexError, ValueError) as error:
        raise IntegrityError(f"{what}: not of a kind that is believed here") from error
    return parts[0], kind, material[1:]
