"""Owns the three views of one event: what the requester, the provider and an auditor may be shown.

Each is canonical JSON, committed to by the entry with its own salt, so that one can be opened without the
others. Keys are only ever added, so a reader accepts keys it does not know. Refused: a view without the keys
of its kind, or with a value of another type than the kind gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.core import canonical
from broker.core.canonical import Json
from broker.errors import IntegrityError

VERSION = 1
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_REQUESTER_TEXTS = (
    "request_id",
    "outcome",
    "code",
    "record_type",
    "provider",
    "agreement",
    "response",
    "regime",
    "controller",
    "trace",
)
_FULL_KEYS = ("v", "event", "policy", "now")


@dataclass(frozen=True, slots=True)
class RequesterView:
    """What the requester sees: never matched identifiers, finer rules than `code`, or anyone's words.

    `response` is hex SHA-256(type_url || 0x00 || value) of the released Any, None without a record. `told` is
    what was shared without us and said afterwards; a view has that key only then.
    """

    event: str
    request_id: str | None = None
    outcome: str | None = None
    code: str | None = None
    record_type: str | None = None
    provider: str | None = None
    agreement: str | None = None
    response: str | None = None
    regime: str | None = None
    controller: str | None = None
    trace: str | None = None
    told: Mapping[str, Json] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.event:
            raise IntegrityError("view: an event without a name")
        if self.response is not None and _DIGEST.fullmatch(self.response) is None:
            raise IntegrityError("view: the response is not a hex SHA-256")

    def as_json(self) -> dict[str, Json]:
        """Return the view as an object with all its keys, null where none."""
        view: dict[str, Json] = {
            "v": VERSION,
            "event": self.event,
            "request_id": self.request_id,
            "outcome": self.outcome,
            "code": self.code,
            "record_type": self.record_type,
            "provider": self.provider,
            "agreement": self.agreement,
            "response": self.response,
            "regime": self.regime,
            "controller": self.controller,
            "trace": self.trace,
        }
        if self.told is not None:
            view["told"] = dict(self.told)
        return view

    @classmethod
    def parse(cls, data: bytes) -> RequesterView:
        """Return the requester's view written as `data`; keys added later are let by.

        Raises:
            IntegrityError: not canonical, another version, or a key missing or of another type.
        """
        return cls.from_json(canonical.decode_object(data))

    @classmethod
    def from_json(cls, view: Mapping[str, Json]) -> RequesterView:
        """Return the requester's view inside an object that has at least its keys."""
        if type(view.get("v")) is not int or view["v"] != VERSION:
            raise IntegrityError(f"view: not of version {VERSION}")
        event = view.get("event")
        if not isinstance(event, str):
            raise IntegrityError("view: the event is not a string")
        told = view.get("told")
        if told is not None and not isinstance(told, dict):
            raise IntegrityError("view: told is not an object")
        return cls(event, *(_text(view, key) for key in _REQUESTER_TEXTS), told=told)


@dataclass(frozen=True, slots=True)
class ProviderView:
    """What the provider sees: all that the requester's view says, and who asked about whom, and what for.

    `requester` is the agency and `purpose` its code; `actor` is the person at the keyboard as claimed;
    `identifiers` are the (scheme, value) pairs by which the subject was matched; `override` is the reason code
    of an emergency override.
    """

    common: RequesterView
    actor: Mapping[str, str] | None = None
    identifiers: tuple[tuple[str, str], ...] = ()
    override: str | None = None
    requester: str | None = None
    purpose: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the view as an object with all its keys, null where none."""
        view = self.common.as_json()
        view["actor"] = None if self.actor is None else dict(self.actor)
        view["identifiers"] = [{"scheme": scheme, "value": value} for scheme, value in self.identifiers]
        view["override"] = self.override
        view["requester"] = self.requester
        view["purpose"] = self.purpose
        return view

    @classmethod
    def parse(cls, data: bytes) -> ProviderView:
        """Return the provider's view written as `data`; keys added later are let by.

        Raises:
            IntegrityError: as `RequesterView.parse`.
        """
        return cls.from_json(canonical.decode_object(data))

    @classmethod
    def from_json(cls, view: Mapping[str, Json]) -> ProviderView:
        """Return the provider's view inside an object that has at least its keys."""
        if "actor" not in view or not isinstance(identifiers := view.get("identifiers"), list):
            raise IntegrityError("view: no actor, or no list of identifiers")
        actor = view["actor"]
        return cls(
            RequesterView.from_json(view),
            None if actor is None else _texts(actor, "actor"),
            tuple(_identifier(each) for each in identifiers),
            *(_text(view, key) for key in ("override", "requester", "purpose")),
        )


def check_full_view(full: Mapping[str, Json], *others: Mapping[str, Json]) -> None:
    """Check that the full view has its own keys and every key of the other views.

    Values may differ: a requester who may neither be told yes nor no is shown less than was decided.

    Raises:
        IntegrityError: a key is missing.
    """
    for needed in (_FULL_KEYS, *others):
        if missing := set(needed).difference(full):
            raise IntegrityError(f"view: the full view has no {min(missing)}")


def _text(view: Mapping[str, Json], key: str) -> str | None:
    if key not in view:
        raise IntegrityError(f"view: no {key}")
    value = view[key]
    if value is not None and not isinstance(value, str):
        raise IntegrityError(f"view: {key} is neither a string nor null")
    return value


def _texts(value: Json, what: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise IntegrityError(f"view: {what} is not an object")
    texts = {key: text for key, text in value.items() if isinstance(text, str)}
    if len(texts) != len(value):
        raise IntegrityError(f"view: {what} holds something else than strings")
    return texts


def _identifier(value: Json) -> tuple[str, str]:
    pair = _texts(value, "an identifier")
    if pair.keys() != {"scheme", "value"}:
        raise IntegrityError("view: an identifier is a scheme and a value")
    return pair["scheme"], pair["value"]
