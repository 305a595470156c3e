"""Rows as OpenTelemetry log records, one OTLP/JSON message a line, for whatever collects logs of security.

Attributes are of a closed list that holds nobody's name, number or words; the chain's are among them, so that a
record found in a SIEM years later is still proven to stand in the log. With details, and only then, the body is
the whole view and the opening goes along: whoever exports must be allowed to put that where it goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any

from broker.core import base64_strict
from broker.errors import IntegrityError
from broker.offline.export.jsonlines import parsed, row_of
from broker.offline.export.row import Row, Said

NAME = "otlp"
DETAILED = "otlp-details"
HEAD = b""
# Of the view, whoever exports: agencies, systems, codes. Never an actor, an incident, a person.
ATTRIBUTES = (
    *("event", "outcome", "code", "record_type", "requester", "system", "provider", "purpose", "agreement"),
    *("regime", "controller", "acted_for", "override"),
)
_PREFIX = "bluelight."
_TRACE = re.compile(r"(?!0{32})[0-9a-f]{32}", re.ASCII)
# OpenTelemetry logs data model, SeverityNumber.
_INFO, _WARN = (9, "INFO"), (13, "WARN")
_WARNED = frozenset({"refuse", "refer"})


def write(said: Said) -> bytes:
    """The line without details."""
    facts = {name: text for name in (*ATTRIBUTES, "trace") if (text := said.fact(name))}
    return _line(said, {**facts, "audience": said.row.audience}, None)


def write_detailed(said: Said) -> bytes:
    """The line with the view and what opens it."""
    facts = {name: text for name in (*ATTRIBUTES, "trace") if (text := said.fact(name))}
    return _line(said, {**facts, "audience": said.row.audience}, said.row.opening)


def read(line: bytes) -> Row:
    """The row of a line without details: as one that nothing opens. Raises IntegrityError."""
    chain, _ = _read(line)
    return row_of({**chain, "audience": "", "opening": None})


def read_detailed(line: bytes) -> Row:
    """The row of a line with details. Raises IntegrityError."""
    chain, facts = _read(line)
    return row_of({**chain, "audience": facts.get("audience")})


def same(line: bytes, said: Said) -> bool:
    """Whether a line without details is what would be written of the row, its facts being as it says: nothing
    in it opens the entry, so that only the file's own digests vouch for them."""
    _, facts = _read(line)
    return _line(said, {name: facts[name] for name in _order(facts)}, None) == line


def _order(facts: Mapping[str, str]) -> list[str]:
    return [name for name in (*ATTRIBUTES, "trace", "audience") if name in facts]


def _line(said: Said, facts: Mapping[str, str], opening: bytes | None) -> bytes:
    row, b64 = said.row, base64_strict.encode
    warned = facts.get("outcome") in _WARNED or "override" in facts
    number, text = _WARN if warned else _INFO
    event = facts.get("event", "entry")
    details = opening is not None
    view = json.dumps(said.view, ensure_ascii=False, separators=(",", ":")) if details and said.view else event
    record: dict[str, Any] = {
        "timeUnixNano": str(int(said.entry.at.replace(tzinfo=UTC).timestamp()) * 1_000_000_000),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"bluelight.audit.{event}",
        "body": _string(view),
        "attributes": [
            _pair("entry.id", _string(said.entry.id)),
            _pair("index", {"intValue": str(row.index)}),
            _pair("leaf", _string(said.leaf.hex())),
            _pair("agency", _string(row.agency)),
            *(_pair(name, _string(value)) for name, value in facts.items() if name != "trace"),
            _pair("entry", _string(b64(row.entry))),
            *([_pair("opening", _string(b64(opening)))] if opening else []),
            _pair("proof", {"arrayValue": {"values": [_string(b64(each)) for each in row.proof]}}),
        ],
    }
    if _TRACE.fullmatch(trace := facts.get("trace", "")):
        record["traceId"] = trace
    resource = [
        {"key": "service.name", "value": _string("bluelight-broker")},
        _pair("log", _string(said.origin)),
        _pair("checkpoint", _string(b64(row.checkpoint))),
    ]
    scope = {"scope": {"name": "bluelight.audit"}, "logRecords": [record]}
    message = {"resourceLogs": [{"resource": {"attributes": resource}, "scopeLogs": [scope]}]}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _read(line: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of the chain, and the facts that the line states."""
    try:
        (logs,) = parsed(line)["resourceLogs"]
        (scope,) = logs["scopeLogs"]
        (record,) = scope["logRecords"]
        told = _values(logs["resource"]["attributes"]) | _values(record["attributes"])
        chain = {
            "index": int(told["index"]["intValue"]),
            "agency": told["agency"]["stringValue"],
            "entry": told["entry"]["stringValue"],
            "opening": told["opening"]["stringValue"] if "opening" in told else None,
            "proof": [each["stringValue"] for each in told["proof"]["arrayValue"]["values"]],
            "checkpoint": told["checkpoint"]["stringValue"],
        }
        known = (*ATTRIBUTES, "audience")
        facts = {name: str(told[name]["stringValue"]) for name in known if name in told}
        if "traceId" in record:
            facts["trace"] = str(record["traceId"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError("row: not a log record as they are exported") from error
    return chain, facts


def _values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"].removeprefix(_PREFIX): each["value"] for each in attributes}


def _pair(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"key": f"{_PREFIX}{name}", "value": value}


def _string(text: str) -> dict[str, Any]:
    return {"stringValue": text}
