"""Who saw what about one person: a draft that each controller clears for its own entries, and what is given.

Owns the words of both. What is given depends on what was cleared and on the checkpoint, and on nothing else:
the same words, shape and facts stand in it whether or not something was left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core.reports.document import Cell, Document, Table, columns
from broker.core.reports.line import LATE, RELEASED
from broker.core.reports.times import shown
from broker.law import Law

_EVENTS = {
    "disclosure": "A record was given",
    "refusal": "Asked, and not given",
    "not-found": "Asked; nothing was found",
    "provider-failure": "Asked; there was no answer",
    "referral-asked": "Put before a person to decide",
    "referral-decided": "A person decided",
    "override-reviewed": "An emergency access was reviewed",
    "intent": "About to be asked",
    "log-searched": "The log was searched",
    "report-made": "A report was made of the log",
    "access-started": "An answer to a request for access was begun",
    "directive-recorded": "What was said was recorded",
    "undelivered": "A record could not be delivered",
    LATE: "Told by telephone or the like, and written down later",
}
_COLUMNS = columns(
    when="When",
    what="What happened",
    by="By whom",
    role="In what role",
    asked="From whom",
    record="What record",
    fields="Which parts of it",
    purpose="Why",
    basis="On what basis",
    agreement="Under what agreement",
    entry="Entry of the log",
)
_STATEMENT = (
    "It holds every entry about the identifiers given, of the time given and up to the checkpoint named here, "
    "that each controller concerned has cleared for it. Where the law lets or requires a controller to leave "
    "something out, it is left out. These words stand in every such report: they do not say that something is "
    "left out here, nor that nothing is."
)
_RIGHTS = (
    "You may ask each controller what it holds about you, complain to it, complain to the Information "
    "Commissioner, and apply to a court (UK GDPR Art. 15, 77 and 79; DPA 2018 s.45, s.165 and s.167)."
)
_DECEASED = (
    "The person has died. UK GDPR and DPA 2018 Part 3 give no right of access to what is held about the dead, "
    "so this is no answer under Art. 15 or s.45. Confidentiality outlives the person: each controller decides "
    "what may be told, to whom and under what other law, such as the Access to Health Records Act 1990."
)
_DRAFT = (
    "DRAFT, for the controller alone. Each row is what the person would be told of an entry of yours; it is "
    "told only once every controller concerned has cleared it."
)
NONE = "No entry is shown."


class Told(Struct, frozen=True):
    """What the person is told of one entry. `index` orders those of one second, and is not told."""

    at: datetime
    index: int
    entry: str
    cells: tuple[Cell, ...]


class Scope(Struct, frozen=True):
    """What it is about: the log up to a checkpoint, and which time of it."""

    origin: str
    size: int
    root: str
    # The logs before it, newest first, each with how many entries it has: all of these.
    earlier: tuple[tuple[str, int], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    deceased: bool = False


def told(
    entry: str,
    index: int,
    at: datetime,
    requester_view: Mapping[str, Any] | None,
    full: Mapping[str, Any],
    names: Mapping[str, str],
    law: Law,
) -> Told:
    """One entry in the words of the report. What came of it is what its requester was told, since it may read
    this too; the names of staff are not the person's to have, their roles are."""
    view = requester_view or full
    event = str(view.get("event") or "")
    released = event == RELEASED
    actor, fields = full.get("actor"), full.get("permitted") if released else ()
    late = view.get("told")
    if event == LATE and isinstance(late, Mapping):
        at, actor, fields = datetime.fromisoformat(late["occurred"]), late["took"], late["fields"]
    provider = str(view.get("provider") or "")
    requester = str(full.get("requester") or "")
    purpose = law.purposes.get(str(full.get("purpose") or ""))
    cells: tuple[Cell, ...] = (
        shown(at),
        _EVENTS.get(event, event.replace("-", " ")),
        names.get(requester, requester),
        str(actor.get("role") or "") if isinstance(actor, Mapping) else "",
        names.get(provider, provider),
        str(view.get("record_type") or ""),
        ", ".join(fields or ()),
        purpose.meaning if purpose else str(full.get("purpose") or ""),
        _basis(full, law) if released else "",
        str(view.get("agreement") or ""),
        entry,
    )
    return Told(at, index, entry, cells)


def _basis(full: Mapping[str, Any], law: Law) -> str:
    parts = []
    for codes, name in ((law.bases, "basis"), (law.conditions, "condition"), (law.gateways, "gateway")):
        code = str(full.get(name) or "")
        row = codes.get(code)
        parts.append(f"{row.meaning} ({row.source})" if row is not None else code)
    return "; ".join(part for part in parts if part)


def answer(scope: Scope, cleared: Iterable[Told]) -> Document:
    """What is given to the person: the entries that every controller concerned has cleared, oldest first."""
    rows = sorted(cleared, key=lambda each: (each.at, each.index))
    about = (_DECEASED, _STATEMENT) if scope.deceased else (_STATEMENT, _RIGHTS)
    table = Table("Who saw what, when, why and on what basis", _COLUMNS, tuple(each.cells for each in rows))
    return Document("subject", "Who has seen what about you", about, _facts(scope), (table,), NONE)


def draft(scope: Scope, own: Iterable[tuple[Told, str]], notes: tuple[str, ...] = ()) -> Document:
    """What one controller has to clear: its own entries, each with how it stands."""
    rows = sorted(own, key=lambda each: (each[0].at, each[0].index))
    about = (_DRAFT, _DECEASED) if scope.deceased else (_DRAFT,)
    heads = (*_COLUMNS, *columns(status="How it stands"))
    table = Table("Entries to clear", heads, tuple((*each.cells, status) for each, status in rows), notes=notes)
    return Document("subject-draft", "Draft for a request for access", about, _facts(scope), (table,), NONE)


def _facts(scope: Scope) -> tuple[tuple[str, str], ...]:
    since = shown(scope.since) if scope.since else "the beginning of the log"
    until = shown(scope.until) if scope.until else "the checkpoint"
    return (
        ("Log", scope.origin),
        ("Checkpoint", f"{scope.size} entries, root {scope.root}"),
        ("Index", f"reaches {scope.size} entries: all of them"),
        *(("Log before", f"{log}: {size} entries, all of them in the index") for log, size in scope.earlier),
        ("Time", f"from {since} to {until}"),
    )
