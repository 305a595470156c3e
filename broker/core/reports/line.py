"""One entry as a report may use it: what its reader's own view says, and what the reader said itself.

Owns which facts of the full view reach whom. A requester's line never holds an identifier that the provider
matched or an outcome that its view does not give; a provider's has the actor and never the asking system.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core.acted import acted_for
from broker.core.model import SubjectRef
from broker.core.receipt import Audience

RELEASED = "disclosure"
# How the asking of a record ends.
ASKED = frozenset({RELEASED, "refusal", "not-found", "provider-failure", "referral-asked"})
_LAW = ("basis", "condition", "gateway")


class Line(Struct, frozen=True, kw_only=True):
    """An entry for one audience; what is not that audience's is empty.

    `regimes` are the requester's and the provider's as the full view has them, for leaving out what may not be
    counted; they are shown to nobody. `traits` are those asked with, `subjects` identifiers. `acted_for` is the
    agency whose human and system it was, `detail` what they looked at or changed: for auditors and that agency.
    """

    index: int
    id: str
    at: datetime
    audience: Audience
    event: str
    requester: str = ""
    provider: str = ""
    outcome: str = ""
    code: str = ""
    record_type: str = ""
    agreement: str = ""
    request: str = ""
    regimes: tuple[str, str] = ("", "")
    purpose: str = ""
    actor: Mapping[str, str] = {}
    system: str = ""
    key: str = ""
    incident: str = ""
    override: str = ""
    subjects: tuple[SubjectRef, ...] = ()
    traits: Mapping[str, str] = {}
    permitted: tuple[str, ...] = ()
    law: tuple[str, str, str] = ("", "", "")
    acted_for: str = ""
    detail: Mapping[str, Any] = {}

    @property
    def released(self) -> bool:
        """A record went out."""
        return self.event == RELEASED

    @property
    def asks(self) -> bool:
        """It is how the asking of a record ended."""
        return self.event in ASKED


def line(
    index: int,
    id: str,
    at: datetime,
    parties: tuple[str, str],
    audience: Audience,
    view: Mapping[str, Any],
    full: Mapping[str, Any],
) -> Line:
    """The line of an entry: `view` is its reader's, `full` what stands there, `parties` who asked and who
    was asked."""
    whole, asked = audience is Audience.FULL, audience is Audience.REQUESTER
    own = whole or asked
    released = view.get("event") == RELEASED
    held = full if whole or released or audience is Audience.PROVIDER else {}
    detail, acted = full.get("detail"), acted_for(full)
    did = whole or acted == parties[not asked]
    return Line(
        index=index,
        id=id,
        at=at,
        audience=audience,
        event=str(view.get("event") or ""),
        requester=str(full.get("requester") or parties[0]),
        provider=str(view.get("provider") or parties[1]),
        outcome=_text(view, "outcome"),
        code=_text(view, "code"),
        record_type=_text(view, "record_type"),
        agreement=_text(view, "agreement"),
        request=_text(view, "request_id"),
        regimes=(_text(full, "regime"), _text(full, "provider_regime")),
        purpose=_text(full, "purpose"),
        actor=_actor(full if own else view),
        system=_text(full, "system") if own else "",
        key=_text(full, "key") if own else "",
        incident=_text(full, "incident") if own else "",
        override=_text(held, "override"),
        subjects=_subjects(full, view, audience, detail),
        traits=_traits(full) if own else {},
        permitted=tuple(full.get("permitted") or ()) if released else (),
        acted_for=acted if did else "",
        detail=detail if did and isinstance(detail, Mapping) else {},
        law=tuple(_text(full, name) for name in _LAW) if released else ("", "", ""),  # type: ignore[arg-type]
    )


def _subjects(
    full: Mapping[str, Any], view: Mapping[str, Any], audience: Audience, detail: Any
) -> tuple[SubjectRef, ...]:
    """Identifiers: those that the requester gave, and for the others those that the provider matched."""
    found: list[Any] = list(view.get("identifiers") or ())
    if audience is not Audience.PROVIDER:
        asked = full.get("asked_by")
        found += [asked] if isinstance(asked, Mapping) and asked.get("scheme") else []
        about = detail.get("subject") if isinstance(detail, Mapping) else None
        found += [about] if isinstance(about, Mapping) else []
        shown = detail.get("subjects") if isinstance(detail, Mapping) else None
        found += [each for each in shown or () if isinstance(each, Mapping) and each.get("scheme")]
    return tuple(dict.fromkeys(SubjectRef(str(each["scheme"]), str(each["value"])) for each in found))


def _traits(full: Mapping[str, Any]) -> dict[str, str]:
    asked = full.get("asked_by")
    traits = asked.get("traits") if isinstance(asked, Mapping) else None
    return {str(k): str(v) for k, v in traits.items()} if isinstance(traits, Mapping) else {}


def _actor(view: Mapping[str, Any]) -> dict[str, str]:
    actor = view.get("actor")
    return {str(k): str(v) for k, v in actor.items()} if isinstance(actor, Mapping) else {}


def _text(view: Mapping[str, Any], key: str) -> str:
    value = view.get(key)
    return value if isinstance(value, str) else ""
