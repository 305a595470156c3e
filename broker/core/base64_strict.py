"""Owns base64 (RFC 4648 section 4) that has one spelling for each value.

Refuses missing padding, foreign characters, and altered trailing bits, which strict decoders accept: text is
compared with what encoding its value again gives, or a changed byte of a receipt would still verify.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

from broker.errors import IntegrityError


def encode(value: bytes) -> str:
    """Return standard base64 with padding."""
    return b64encode(value).decode("ascii")


def decode(text: str, what: str, *, length: int | None = None) -> bytes:
    """Return the bytes spelled by `text`, `length` of them if given; `what` names it in the error.

    Raises:
        IntegrityError: not the one spelling of its value, or of another length.
    """
    try:
        value = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IntegrityError(f"{what}: not base64") from error
    if encode(value) != text:
        raise IntegrityError(f"{what}: base64 that is not written the one way")
    if length is not None and len(value) != length:
        raise IntegrityError(f"{what}: {len(value)} bytes, not {length}")
    return value
