"""What the log's entries say of the tables that decisions read: each row's states, in the order of the log.

Every change of such a table is an entry, whose full view holds what was stored. Heard are views that have been
held against their leaf. Of each state stands here only where it was said, where it was ended, and a digest of
what it said, in one form for entries and rows alike: nothing about a person, and some 300 bytes a row.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from broker.core import canonical
from broker.core.canonical import Json
from broker.core.model import SubjectRef
from broker.core.searchterms import person, term
from broker.errors import IntegrityError
from broker.store.blind import Blind

_STATE = struct.Struct(">QQ16s")
_LOG_BITS = 40  # a place is the number of its log, and so many bits of an index
_RECORDED = "directive-recorded"
View = Mapping[str, Json]


class State(NamedTuple):
    """What one entry says of a row: its place, the place of what ended it (0: nothing did), and a digest."""

    place: int
    ended: int
    digest: bytes


class Told:
    """What has been heard of all logs of a database."""

    def __init__(self, blind: Blind) -> None:
        self._blind = blind
        self._rows: dict[str, dict[str, bytes]] = {}
        # The last place of an entry that may have said something and cannot be heard; 0: there is none.
        self.gap = 0

    def hear(self, full: View, log: int, index: int, words: str | None = None) -> None:
        """A full view that has been verified, and its words: None where they are gone."""
        event, detail = str(full.get("event")), full.get("detail")
        heard = _HEARD.get(event)
        if heard is None or not isinstance(detail, dict):
            return
        try:
            if event == _RECORDED:  # what was explained stands in the entry's words
                said: dict[str, Any] = {**detail}
                detail = {**said, "detail": {**said["detail"], "explained": words}}
            heard(self, detail, place_of(log, index))
        except (LookupError, TypeError, ValueError, IntegrityError):
            self.not_heard(log, index)  # of a form that this release does not know

    def not_heard(self, log: int, index: int) -> None:
        """An entry that may have said something."""
        self.gap = max(self.gap, place_of(log, index))

    def take(self, table: str, name: str) -> list[State]:
        """What is said of one row, or of all rows of one name, oldest first; it is forgotten here."""
        packed = self._rows.get(table, {}).pop(name, b"")
        return [State(*each) for each in _STATE.iter_unpack(packed)]

    def names(self, table: str) -> list[str]:
        """The rows of which anything is said, and that nobody took."""
        return [*self._rows.get(table, {})]

    def put(self, table: str, name: str, place: int, content: Json) -> None:
        """A row's state, which ends the one before."""
        self.end(table, name, place)
        rows = self._rows.setdefault(table, {})
        rows[name] = rows.get(name, b"") + _STATE.pack(place, 0, digest_of(content))

    def end(self, table: str, name: str, place: int) -> None:
        """A row's state is over."""
        packed = self._rows.get(table, {}).get(name, b"")
        if packed:
            last = State(*_STATE.unpack(packed[-_STATE.size :]))
            if not last.ended:
                ended = _STATE.pack(last.place, place, last.digest)
                self._rows[table][name] = packed[: -_STATE.size] + ended

    def directive(self, detail: dict[str, Any], place: int) -> None:
        """What somebody said was taken down."""
        content = {
            "recorder": detail["recorder"],
            "detail": detail["detail"],
            "subject": self.subject(detail["subject"]),
            "at": moment(detail["at"]),
        }
        self.put("directive", detail["id"], place, content)

    def hold(self, detail: dict[str, Any], place: int) -> None:
        """A legal hold was placed."""
        what, value = detail["what"], detail["value"] or ""
        about = detail["subject"]
        wanted = person(_subject(about)) if about else term(what, value)
        common, few = self._blind.terms.anyhow({wanted})
        parties, _ = self._blind.terms.anyhow({term("agency", each) for each in detail["agencies"]})
        content = {
            **{each: detail[each] for each in ("agency", "everything", "agencies", "reference")},
            "kind": what,
            "parties": [*parties],
            "terms": [*common],
            "rare": [*few],
            "subject": self.subject(about) if about else None,
            "agreement": value if what == "agreement" else "",
            "at": moment(detail["at"]),
        }
        self.put("hold", detail["id"], place, content)

    def subject(self, about: dict[str, Any]) -> str:
        """An identifier as tables have it."""
        return self._blind.subject(_subject(about)).hex()


def place_of(log: int, index: int) -> int:
    """One number for a place in all logs; places compare as the entries follow each other."""
    return log << _LOG_BITS | index


def log_and_index(place: int) -> tuple[int, int]:
    """The way back."""
    return place >> _LOG_BITS, place & ((1 << _LOG_BITS) - 1)


def digest_of(content: Json) -> bytes:
    """16 bytes for what a row, or an entry of one, says. Raises IntegrityError where it is no plain JSON."""
    return hashlib.sha256(canonical.encode(content)).digest()[:16]


def moment(at: datetime | str | None) -> str | None:
    """A moment in one spelling."""
    if at is None:
        return None
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC).isoformat()


def agreement_content(row: Mapping[str, Any], signatures: list[dict[str, Json]]) -> dict[str, Json]:
    """A version of an agreement, with who signed it."""
    signed = sorted(signatures, key=lambda each: str(each["agency"]))
    return {**{each: row[each] for each in ("version", "digest", "pins")}, "signatures": [*signed]}


def _subject(about: dict[str, Any]) -> SubjectRef:
    return SubjectRef(about["scheme"], about["value"])


def _agency(told: Told, detail: dict[str, Any], place: int) -> None:
    told.put("agency", detail["detail"]["id"], place, detail["detail"])
    for each in detail.get("systems", ()):
        _system(told, each, place)


def _system(told: Told, detail: dict[str, Any], place: int) -> None:
    told.put("system", detail["name"], place, detail["detail"])


def _agency_key(told: Told, detail: dict[str, Any], place: int) -> None:
    key = detail["detail"]
    told.put("agency_key", key["id"], place, {"agency": key["agency"], "detail": key})


def _acting(told: Told, detail: dict[str, Any], place: int) -> None:
    said = detail["detail"]
    content = {"processor": said["processor"], "controller": said["controller"], "detail": said}
    told.put("acting", said["id"], place, content)


def _agreement(told: Told, detail: dict[str, Any], place: int) -> None:
    told.put("agreement", detail["id"], place, agreement_content(detail, detail["signatures"]))


def _suspended(told: Told, detail: dict[str, Any], place: int) -> None:
    name = f"{detail['agreement']} by {detail['agency']}"
    told.put("agreement_suspension", name, place, detail)


def _suspension_lifted(told: Told, detail: dict[str, Any], place: int) -> None:
    for agency in detail["agencies"]:
        told.end("agreement_suspension", f"{detail['agreement']} by {agency}", place)


def _routing(told: Told, detail: dict[str, Any], place: int) -> None:
    told.put("routing", detail["id"], place, {each: detail[each] for each in ("version", "digest")})


def _record_type(told: Told, detail: dict[str, Any], place: int) -> None:
    content = {"digest": detail["digest"], "approved_at": moment(detail["approved_at"])}
    told.put("record_type", detail["full_name"], place, content)


def _withdrawn(told: Told, detail: dict[str, Any], place: int) -> None:
    for each in detail["ids"]:
        told.end("directive", each, place)


def _ends(table: str) -> Callable[[Told, dict[str, Any], int], None]:
    return lambda told, detail, place: told.end(table, detail["id"], place)


_HEARD: dict[str, Callable[[Told, dict[str, Any], int], None]] = {
    **dict.fromkeys(
        (
            *("agency-added", "agency-changed", "agency-left", "agency-succeeded"),
            *("agency-succession-proposed", "agency-succession-corrected", "agency-succession-taken-back"),
        ),
        _agency,
    ),
    **dict.fromkeys(
        (
            *("system-enrolled", "system-proposed", "system-attached", "system-suspended"),
            *("suspension-lifted", "key-revoked"),
        ),
        _system,
    ),
    **dict.fromkeys(("agency-key-proposed", "agency-key-enrolled", "agency-key-ended"), _agency_key),
    **dict.fromkeys(("acting-entered", "acting-ended"), _acting),
    "agreement-applied": _agreement,
    "agreement-suspended": _suspended,
    "agreement-suspension-lifted": _suspension_lifted,
    "routes-applied": _routing,
    "record-type-approved": _record_type,
    _RECORDED: Told.directive,
    "directive-withdrawn": _withdrawn,
    "hold-placed": Told.hold,
    "hold-released": _ends("hold"),
}
