"""Owns signed notes (C2SP signed-note): text, and under it the lines of those who signed it.

Refuses text that is not UTF-8 or holds control characters, key names with spaces or plus, base64 that has
another spelling, and notes past the bounds. Parsing believes nothing: see `keys` for verification.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.core import base64_strict
from broker.errors import IntegrityError

MAX_NOTE_BYTES = 1 << 17  # sixteen post-quantum signatures of 5 kB, and room
MAX_SIGNATURES = 32
KEY_ID_BYTES = 4
_DASH = "— "  # em dash, U+2014, then space


def check_key_name(name: str) -> str:
    """Return a key name as it is.

    Raises:
        IntegrityError: it is empty, or holds a Unicode space, a control character or a plus.
    """
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise IntegrityError("a key name is not empty and holds no space, control character or plus")
    return name


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: who claims to have signed, with which key (4 bytes), and the bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise IntegrityError("a note signature is a key id of 4 bytes and at least one byte more")

    def line(self) -> str:
        """Return the signature line with its newline."""
        return f"{_DASH}{self.name} {base64_strict.encode(self.key_id + self.signature)}\n"

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Return the signature of one line, given without its newline."""
        name, space, text = line.removeprefix(_DASH).rpartition(" ")
        if not line.startswith(_DASH) or not space:
            raise IntegrityError("note: a signature line that is not a dash, a name and base64")
        value = base64_strict.decode(text, "note signature")
        return cls(name, value[:KEY_ID_BYTES], value[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """The signed text, its final newline included, and its signatures in order."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n"):
            raise IntegrityError("note: the text does not end in a newline")
        if any(char < " " and char != "\n" for char in self.text):
            raise IntegrityError("note: the text holds a control character")
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise IntegrityError(f"note: {len(self.signatures)} signatures, not 1 to {MAX_SIGNATURES}")

    def to_bytes(self) -> bytes:
        """Return the note as it is served: text, empty line, signature lines."""
        return f"{self.text}\n{''.join(each.line() for each in self.signatures)}".encode()

    def signed_by_also(self, *signatures: NoteSignature) -> Note:
        """Return the note with these signature lines after its own."""
        return Note(self.text, self.signatures + signatures)

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Return the note written as `data`.

        Raises:
            IntegrityError: not a signed note, or one past the bounds.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise IntegrityError(f"note: {len(data)} bytes, more than {MAX_NOTE_BYTES}")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise IntegrityError("note: not UTF-8") from error
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise IntegrityError("note: no empty line before the signatures, or no newline at the end")
        if lines.count("\n") > MAX_SIGNATURES:
            raise IntegrityError(f"note: more than {MAX_SIGNATURES} signatures")
        signatures = tuple(NoteSignature.parse(line) for line in lines[:-1].split("\n"))
        return cls(text + "\n", signatures)
