"""Who saw what about one person: a draft that each controller clears for its own entries, and what is given.

Owns the words of both. What is given depends on what was cleared and on the checkpoint, and on nothing else:
the same words, shape and facts stand in it whether or not something was left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core.acted import DECIDED, LATE, acted_for
from broker.core.directory import Agency
from broker.core.reports import words
from broker.core.reports.document import Cell, Document, Table, spoken
from broker.core.reports.line import RELEASED
from broker.core.reports.times import in_words
from broker.law import Law

_COLUMNS = spoken(
    when="When",
    what="What happened",
    by="By whom",
    role="In what role",
    asked="Of whom",
    record="What record",
    fields="Which parts of it",
    purpose="What for",
    why="Why it was not given",
    basis="On what legal basis",
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
    """What the person is told of one entry. `index` orders those of one second, and is not told; `agencies` are
    those that the words name, by id."""

    at: datetime
    index: int
    entry: str
    cells: tuple[Cell, ...]
    agencies: tuple[str, ...] = ()


class Gone(Struct, frozen=True):
    """How many entries of an answer have been erased since it was first given, and the entries that say so."""

    entries: int = 0
    by: tuple[tuple[str, datetime], ...] = ()


class Scope(Struct, frozen=True):
    """What it is about: the log up to a checkpoint, and which time of it; and which agency answers."""

    origin: str
    size: int
    root: str
    # The logs before it, newest first, each with how many entries it has: all of these.
    earlier: tuple[tuple[str, int], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    deceased: bool = False
    access: str = ""
    agency: str = ""


def told(
    entry: str,
    index: int,
    at: datetime,
    requester_view: Mapping[str, Any] | None,
    full: Mapping[str, Any],
    agencies: Mapping[str, Agency],
    law: Law,
    *,
    overridden: bool = False,
) -> Told:
    """One entry in the words of the report. What came of it is what its requester was told, since it may read
    this too; the names of staff are not the person's to have, their roles are. `overridden` says that an
    emergency override was used, and that it may be told."""
    view = requester_view or full
    event = str(view.get("event") or "")
    released = event == RELEASED
    actor, fields = full.get("actor"), full.get("permitted") if released else ()
    late = view.get("told")
    if event == LATE and isinstance(late, Mapping):
        at, actor, fields = datetime.fromisoformat(late["occurred"]), late["took"], late["fields"]
    # A human's decision on a request is its provider's.
    by = str(full.get("requester") or "") if event == LATE else acted_for(full)
    provider = "" if event in DECIDED else str(view.get("provider") or "")
    cells: tuple[Cell, ...] = (
        in_words(at),
        _what(event, view, full, overridden=overridden and released),
        _name(by, agencies),
        words.plain(str(actor.get("role") or "")) if isinstance(actor, Mapping) else "",
        _name(provider, agencies),
        words.record_type(str(view.get("record_type") or "")),
        words.fields(fields or ()),
        _purpose(full, law),
        words.REFUSED.get(str(view.get("code") or ""), "") if event == "refusal" else "",
        _basis(full, law) if released else "",
        str(view.get("agreement") or ""),
        entry,
    )
    return Told(at, index, entry, cells, tuple(each for each in (by, provider) if each))


def _what(kind: str, view: Mapping[str, Any], full: Mapping[str, Any], *, overridden: bool) -> str:
    said = words.event(kind)
    if overridden:
        past = words.gone_past(full)
        return f"{said} under an emergency override{f', {past}' if past else ''}"
    if kind in DECIDED and (outcome := words.OUTCOMES.get(str(view.get("outcome") or ""))):
        return f"{said}. {outcome}"
    return said


def _purpose(full: Mapping[str, Any], law: Law) -> str:
    """What it was for; of what has no purpose, such as a search, the reason that was given."""
    code = str(full.get("purpose") or "")
    if code:
        purpose = law.purposes.get(code)
        return purpose.meaning if purpose else words.plain(code)
    detail = full.get("detail")
    return words.sentence(words.plain(str(detail.get("reason") or ""))) if isinstance(detail, Mapping) else ""


def _name(agency: str, agencies: Mapping[str, Agency]) -> str:
    known = agencies.get(agency)
    return known.name if known else agency


def _basis(full: Mapping[str, Any], law: Law) -> str:
    parts = []
    for codes, name in ((law.bases, "basis"), (law.conditions, "condition"), (law.gateways, "gateway")):
        code = str(full.get(name) or "")
        row = codes.get(code)
        parts.append(f"{row.meaning} ({row.source})" if row is not None else code)
    return "; ".join(part for part in parts if part)


def answer(
    scope: Scope, cleared: Iterable[Told], agencies: Mapping[str, Agency], gone: Gone | None = None
) -> Document:
    """What is given to the person: the entries that every controller concerned has cleared, oldest first; and
    how to reach those that it names."""
    rows = sorted(cleared, key=lambda each: (each.at, each.index))
    about = (_DECEASED, _STATEMENT) if scope.deceased else (_STATEMENT, _RIGHTS)
    shown = () if rows else (NONE,)
    table = Table("Who saw what, when, why and on what basis", _COLUMNS, tuple(each.cells for each in rows))
    facts = (*_facts(scope, agencies), *_gone(gone or Gone()))
    concerned = sorted({each for row in rows for each in row.agencies} | {scope.agency} - {""})
    tables = (table, _reach(concerned, agencies))
    return Document("subject", "Who has seen what about you", (*about, *shown), facts, tables, NONE)


def draft(
    scope: Scope,
    own: Iterable[tuple[Told, str]],
    agencies: Mapping[str, Agency],
    notes: tuple[str, ...] = (),
) -> Document:
    """What one controller has to clear: its own entries, each with how it stands."""
    rows = sorted(own, key=lambda each: (each[0].at, each[0].index))
    about = (_DRAFT, _DECEASED) if scope.deceased else (_DRAFT,)
    heads = (*_COLUMNS, *spoken(status="How it stands"))
    table = Table("Entries to clear", heads, tuple((*each.cells, status) for each, status in rows), notes=notes)
    facts = _facts(scope, agencies)
    return Document("subject-draft", "Draft for a request for access", about, facts, (table,), NONE)


def _facts(scope: Scope, agencies: Mapping[str, Agency]) -> tuple[tuple[str, str], ...]:
    since = in_words(scope.since) if scope.since else "the beginning of the log"
    until = in_words(scope.until) if scope.until else "the checkpoint"
    return (
        ("Answered by", _name(scope.agency, agencies)),
        ("Request", scope.access),
        ("Time", f"from {since} to {until}"),
        ("Log", scope.origin),
        ("Checkpoint", f"{scope.size} entries, root {scope.root}"),
        ("Index", f"reaches {scope.size} entries: all of them"),
        *(("Log before", f"{log}: {size} entries, all of them in the index") for log, size in scope.earlier),
    )


def _gone(gone: Gone) -> tuple[tuple[str, str], ...]:
    """What the person was told before and is told no more. It says nothing that the first answer did not."""
    if not gone.entries:
        return ()
    by = "; ".join(f"entry {entry} of {in_words(at)}" for entry, at in gone.by) or "the end of its time"
    told = f"{gone.entries} of the entries that this answer first had; by {by}"
    return (("Erased since it was first given", told),)


def _reach(concerned: Iterable[str], agencies: Mapping[str, Agency]) -> Table:
    """The controllers that the answer names, and whoever gives it."""
    rows = [
        (_name(each, agencies), known.contact if known else "", known.phone if known else "")
        for each in concerned
        for known in (agencies.get(each),)
    ]
    heads = spoken(controller="Controller", contact="Contact", phone="Telephone")
    return Table("How to reach each controller named here", heads, tuple(sorted(rows)), "Whom to ask")
