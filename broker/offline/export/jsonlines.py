"""Rows as lines of JSON: the view as an object for whoever reads, and the bytes that prove it in base64."""

from __future__ import annotations

import json
from typing import Any

from broker.core import base64_strict
from broker.core.merkle import HASH_BYTES
from broker.errors import IntegrityError
from broker.offline.export.row import Row, Said

NAME = "jsonl"
HEAD = b""
_KEYS = {
    *("index", "id", "at", "log", "agency", "audience", "view", "leaf"),
    *("entry", "opening", "proof", "checkpoint"),
}


def write(said: Said) -> bytes:
    """The line."""
    row, b64 = said.row, base64_strict.encode
    line = {
        "index": row.index,
        "id": said.entry.id,
        "at": said.at,
        "log": said.origin,
        "agency": row.agency,
        "audience": row.audience or None,
        "view": said.view or None,
        "leaf": said.leaf.hex(),
        "entry": b64(row.entry),
        "opening": b64(row.opening) or None,
        "proof": [b64(each) for each in row.proof],
        "checkpoint": b64(row.checkpoint),
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read(line: bytes) -> Row:
    """The row of a line; nothing of it is verified. Raises IntegrityError."""
    fields = parsed(line)
    if fields.keys() != _KEYS:
        raise IntegrityError("row: not exactly the keys of one")
    return row_of(fields)


def parsed(line: bytes) -> dict[str, Any]:
    """A line's JSON object. Raises IntegrityError."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise IntegrityError("row: not JSON") from error
    if not isinstance(value, dict):
        raise IntegrityError("row: not a JSON object")
    return value


def row_of(fields: dict[str, Any]) -> Row:
    """The row that these texts spell. Raises IntegrityError."""
    index, agency, audience = fields.get("index"), fields.get("agency"), fields.get("audience") or ""
    proof = fields.get("proof")
    if type(index) is not int or not isinstance(agency, str) or not isinstance(audience, str):
        raise IntegrityError("row: no index, agency or audience where they belong")
    if not isinstance(proof, list):
        raise IntegrityError("row: no proof")
    return Row(
        index,
        _bytes(fields, "entry"),
        agency,
        audience,
        _bytes(fields, "opening") if fields.get("opening") else b"",
        tuple(base64_strict.decode(_text(each), "row proof", length=HASH_BYTES) for each in proof),
        _bytes(fields, "checkpoint"),
    )


def _bytes(fields: dict[str, Any], name: str) -> bytes:
    return base64_strict.decode(_text(fields.get(name)), f"row {name}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise IntegrityError("row: a text is missing")
    return value
