"""The rows of humans' work as the entries say that they are: requests referred, overrides, complaints, requests
for access, breaches, restrictions, what was told on, months published.

Owns which entry makes which row, and which changes it. Nothing about a person is kept: of what is sealed in a
row only that it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from broker.core.canonical import Json
from broker.core.granting import override_key
from broker.core.model import SubjectRef
from broker.core.reports.times import BREACH
from broker.store.blind import Blind
from broker.store.fsck.report import StoreReport

MANY = 50_000  # rows that are remembered at once
# What an entry's `detail` and a row call the same.
Columns = dict[str, Any]


@dataclass(slots=True)
class Expected:
    """One row. `made` is what the entry says that made it, None where that was not heard; `steps` what each
    later one says, by the column that dates it, with its place. `there` are sealed columns that hold something;
    `free` says that another row may stand for it."""

    report: StoreReport
    index: int
    made: Columns | None = None
    steps: dict[str, tuple[int, Columns]] = field(default_factory=dict)
    there: tuple[str, ...] = ()
    free: bool = False


class Expectations:
    """Hears full views in the order of the log."""

    def __init__(self, blind: Blind) -> None:
        self.rows: dict[tuple[str, str], Expected] = {}
        self.more = 0
        self._blind = blind
        self._asks = dict[str, Callable[[_Heard], None]](
            {
                "override-reviewed": self._reviewed,
                "referral-decided": self._decided,
                "override-restricted": self._restricted,
                "override-restriction-lifted": self._lifted,
                "complaint-received": self._complained,
                "complaint-acknowledged": self._acknowledged,
                "complaint-closed": self._closed,
                "access-started": self._asked,
                "access-answered": self._answered,
                "figures-published": self._published,
                "escalated": self._escalated,
            }
        )

    def hear(self, report: StoreReport, index: int, entry: str, full: Mapping[str, Json]) -> None:
        """One full view that has been verified."""
        heard = _Heard(report, index, entry, full)
        ask = self._asks.get(str(full.get("event")))
        try:
            if ask is not None:
                ask(heard)
            elif full.get("consulted") and full.get("override") and not full.get("failure"):
                self._overrode(heard)
            elif full.get("decided", full.get("outcome")) == "refer" and full.get("event") != "intent":
                self._referred(heard)
        except (LookupError, TypeError, ValueError, AttributeError):
            return  # nothing of ours writes such a view

    def _make(self, table: str, row: str, heard: _Heard, columns: Columns, *there: str) -> Expected | None:
        found = self._row(table, row, heard)
        if found is not None:
            found.made, found.there, found.report, found.index = columns, there, heard.report, heard.index
        return found

    def _step(self, table: str, row: str, heard: _Heard, dated: str, columns: Columns) -> None:
        found = self._row(table, row, heard)
        if found is not None:
            found.steps[dated] = heard.index, columns  # a grant may be taken back: the last counts

    def _row(self, table: str, row: str, heard: _Heard) -> Expected | None:
        found = self.rows.get((table, row))
        if found is None:
            if len(self.rows) >= MANY:
                self.more += 1
                return None
            found = self.rows[table, row] = Expected(heard.report, heard.index)
        return found

    def _overrode(self, heard: _Heard) -> None:
        asked = heard.view["overridden"]
        columns = {**heard.request(), "code": asked["code"], "used_at": heard.now}
        columns["due_at"] = heard.view["agreement"]  # which says how long after
        words = ("words",) if asked["said_why"] else ()
        self._make("override_use", heard.entry, heard, columns, "used", *words)

    def _referred(self, heard: _Heard) -> None:
        view = heard.view
        due = _at(view["refer_by"]) or heard.now
        said = view.get("words") is not None and not (view.get("overridden") or {}).get("said_why")
        words = ("words",) if said else ()
        columns = {**heard.request(), "opened_at": heard.now, "due_at": due}
        row = self._make("referral", heard.entry, heard, columns, "asked", *words)
        # What repeats a request that waits already is not put beside it.
        if row is not None:
            row.free = bool(view.get("retry_of")) and view["event"] != "referral-asked"

    def _reviewed(self, heard: _Heard) -> None:
        said = heard.detail
        at = _at(said["at"])
        columns = {"status": said["status"], "reviewed_at": at, "reviewed_by": said["by"], "told": said["told"]}
        self._step("override_use", said["id"], heard, "reviewed_at", columns)
        if said["status"] == "wrong-person" and at is not None:
            about = {"provider": said["by"], "requester": heard.view["requester"], "aware_at": at}
            used = self.rows.get(("override_use", said["id"]))
            if used is not None and used.made is not None:
                about |= {name: used.made[name] for name in ("requester", "system", "used_at")}
            self._make("breach", said["id"], heard, {**about, "due_at": at + BREACH})

    def _decided(self, heard: _Heard) -> None:
        said = heard.detail
        columns = {"status": said["status"], "decided_at": _at(said["at"]), "until": _at(said["until"])}
        self._step("referral", said["id"], heard, "decided_at", columns)

    def _restricted(self, heard: _Heard) -> None:
        said = heard.detail
        columns = {name: said[name] for name in ("override", "provider", "district", "requester", "what")}
        key = override_key(said["requester"], said["what"], said["who"])
        columns |= {"made_at": _at(said["at"]), "until": _at(said["until"]), "subject": self._blind.key(key)}
        self._make("override_restriction", said["id"], heard, columns, "detail")

    def _lifted(self, heard: _Heard) -> None:
        lifted = {"lifted_at": _at(heard.detail["at"])}
        self._step("override_restriction", heard.detail["id"], heard, "lifted_at", lifted)

    def _complained(self, heard: _Heard) -> None:
        said = heard.detail
        columns = {"agency": said["agency"], "received_at": _at(said["received"]), "due_at": _at(said["due"])}
        columns["subject"] = self._subject(said["subject"]) if said.get("subject") else None
        self._make("complaint", said["id"], heard, columns, "detail")

    def _acknowledged(self, heard: _Heard) -> None:
        said = {"acknowledged_at": _at(heard.detail["at"])}
        self._step("complaint", heard.detail["complaint"], heard, "acknowledged_at", said)

    def _closed(self, heard: _Heard) -> None:
        said = {"closed_at": _at(heard.detail["at"]), "outcome": heard.detail["outcome"]}
        self._step("complaint", heard.detail["complaint"], heard, "closed_at", said)

    def _asked(self, heard: _Heard) -> None:
        said = heard.detail
        columns = {"agency": said["agency"], "started_at": _at(said["at"]), "due_at": _at(said["due"])}
        columns["subjects"] = [self._subject(each) for each in said["subjects"]]
        self._make("access_request", said["id"], heard, columns, "asked")

    def _answered(self, heard: _Heard) -> None:
        # Its row is dated as it was decided, the entry as it was written, a moment later.
        self._step(
            "access_request",
            heard.detail["access"],
            heard,
            "issued_at",
            {"issued_at": heard.now, "subjects": []},
        )

    def _published(self, heard: _Heard) -> None:
        said = heard.detail
        columns = {"id": said["id"], "at": _at(said["at"]), "page": said["page"]}
        self._make("published_month", said["month"], heard, columns)

    def _escalated(self, heard: _Heard) -> None:
        said = heard.detail
        columns = {name: said[name] for name in ("queue", "item", "provider", "district", "requester")}
        columns |= {"due_at": _at(said["due"]), "at": _at(said["at"])}
        row = self._make("escalation", said["id"], heard, columns)
        if row is not None:
            row.free = True  # it goes with what it is about

    def _subject(self, said: Mapping[str, str]) -> bytes:
        return self._blind.subject(SubjectRef(said["scheme"], said["value"]))


@dataclass(frozen=True, slots=True)
class _Heard:
    """An entry: where it stands, its id, its full view."""

    report: StoreReport
    index: int
    entry: str
    view: Mapping[str, Any]

    @property
    def detail(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.view["detail"]
        return found

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.view["now"])

    def request(self) -> Columns:
        """Whose request it was, of whom."""
        view = self.view
        return {
            "provider": view["provider"] or "",
            "requester": view["requester"],
            "system": f"{view['processor'] or view['requester']}/{view['system']}",
            "request": view["request_id"],
            "district": (view["place"] or {}).get("district", ""),
        }


def _at(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
