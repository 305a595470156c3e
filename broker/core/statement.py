"""Owns the one spelling of small signed files: a flat JSON object of texts, indented, in a fixed order.

People read them, so they are indented; each has exactly one spelling, so that no byte of one can change
unnoticed. Refused: any other spelling, other names or another order, values that are no text, and control
characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date

from broker.errors import IntegrityError

MAX_STATEMENT = 8 * 1024  # bytes
MAX_TEXT = 200
_AGENCY = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def encode(values: Mapping[str, str]) -> bytes:
    """The file that says these values, in their order."""
    return (json.dumps(dict(values), indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def decode(data: bytes, names: tuple[str, ...], what: str) -> dict[str, str]:
    """The values of a file that has exactly these names; `what` names it in the error.

    Raises:
        IntegrityError: not the one spelling of such values.
    """
    if len(data) > MAX_STATEMENT:
        raise IntegrityError(f"{what}: more than {MAX_STATEMENT} bytes")
    try:
        values = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what}: not JSON in UTF-8") from error
    if not isinstance(values, dict) or tuple(values) != names:
        raise IntegrityError(f"{what}: must hold exactly {', '.join(names)}, in that order")
    if not all(isinstance(value, str) for value in values.values()):
        raise IntegrityError(f"{what}: holds a value that is no text")
    try:
        spelled = encode(values)
    except UnicodeEncodeError as error:
        raise IntegrityError(f"{what}: holds a lone surrogate") from error
    if spelled != data:
        raise IntegrityError(f"{what}: is not written the one way that `broker` writes it")
    return values


def text(value: str, what: str) -> str:
    """`value` if it is 1 to 200 printable characters without space at its ends. Raises IntegrityError."""
    if not 1 <= len(value) <= MAX_TEXT or value != value.strip() or not value.isprintable():
        raise IntegrityError(f"{what}: must be 1 to {MAX_TEXT} printable characters, no space at its ends")
    return value


def agency(value: str, what: str) -> str:
    """`value` if it is an agency's id. Raises IntegrityError."""
    if _AGENCY.fullmatch(value) is None:
        raise IntegrityError(f"{what}: not an agency's id")
    return value


def day(value: str, what: str) -> date:
    """The day that `2026-11-21` spells. Raises IntegrityError for any other spelling."""
    found: date | None = None
    with suppress(ValueError):
        found = date.fromisoformat(value)
    if found is None or found.isoformat() != value:
        raise IntegrityError(f"{what}: a day is written 2026-11-21")
    return found
