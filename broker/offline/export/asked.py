"""Whether a row is one that its export asked for, as far as the row's own view and the manifest can tell.

Nobody signs a manifest: this shows that file and manifest fit each other, and nothing of what was left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from broker.core.acted import acted_for
from broker.core.receipt import Audience
from broker.errors import IntegrityError
from broker.offline.export.manifest import Manifest
from broker.offline.export.row import Said

# By these an agency finds an entry only where its own view has them; others may stand in what it said itself.
_IN_EVERY_VIEW = {
    "event": "event",
    "outcome": "outcome",
    "code": "code",
    "record-type": "record_type",
    "trace": "trace",
}
# A full view has all that it is found by, but for the agencies that may read it.
_IN_FULL = {**_IN_EVERY_VIEW, "purpose": "purpose", "override": "override", "key": "key"}


def check(one: Said, manifest: Manifest) -> None:
    """Raises IntegrityError, which says what does not fit."""
    if not manifest.first <= one.row.index < manifest.before:
        raise IntegrityError(f"is not of its manifest's range: {manifest.first} to {manifest.before - 1}")
    if manifest.since and one.entry.at < _time(manifest.since):
        raise IntegrityError(f"is of {one.at}, and its manifest says that it began at {manifest.since}")
    if manifest.until and one.entry.at >= _time(manifest.until):
        raise IntegrityError(f"is of {one.at}, and its manifest says that it ended before {manifest.until}")
    if manifest.whole:
        return
    if not one.row.audience:
        raise IntegrityError("has no opening, and only an export of a whole range has such rows")
    for fact in manifest.facts:
        kind, _, value = fact.partition("=")
        ways = {value, *manifest.incidents} if kind == "incident" else {value}
        known = _known(kind, one)
        if known is not None and ways.isdisjoint(known):
            raise IntegrityError(f"is not by {fact}, which its manifest says was asked for")


def _known(kind: str, one: Said) -> frozenset[str] | None:
    """What the row's view has of a kind; None where it cannot tell."""
    view, full = one.view, one.row.audience == Audience.FULL
    if kind == "agreement":
        agreement = one.fact("agreement")
        return frozenset({agreement, agreement.partition("/")[0]})
    if key := (_IN_FULL if full else _IN_EVERY_VIEW).get(kind):
        return frozenset({one.fact(key)})
    if full and kind in ("actor", "callsign"):
        actor = view.get("actor")
        said = actor.get("id" if kind == "actor" else kind) if isinstance(actor, Mapping) else None
        return frozenset({str(said)})
    if full and kind == "system":
        return frozenset({f"{acted_for(view)}/{one.fact('system')}", *_refused(view)})
    if full and kind == "incident":
        return frozenset(_incidents(view))
    if full and kind == "rule":
        return frozenset(str(each).partition(" ")[0] for each in view.get("rules") or ())
    return None


def _refused(view: Mapping[str, Any]) -> Iterator[str]:
    """Whose calls were refused at the door."""
    detail = view.get("detail")
    for call in (detail.get("calls") or ()) if isinstance(detail, Mapping) else ():
        if isinstance(call, Mapping):
            yield str(call.get("system"))


def _incidents(view: Mapping[str, Any]) -> Iterator[str]:
    asked, detail = view.get("asked_by"), view.get("detail")
    yield str(view.get("incident"))
    if isinstance(asked, Mapping) and asked.get("scheme") == "incident":
        yield str(asked.get("value"))
    if isinstance(detail, Mapping):
        yield from (str(each) for each in detail.get("incidents") or ())


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise IntegrityError("manifest: a time that is none") from error
