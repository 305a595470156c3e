"""The stored form of what decisions read: plain JSON objects, and the way back from them.

Owns both directions side by side, so that neither can drift. A directive's identifier is not in its form: it
stands only as a blind key.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from broker.core.acting import Acting
from broker.core.canonical import Json
from broker.core.directive import Directive
from broker.core.directory import Agency, Awaited, Successor, System
from broker.core.model import Function
from broker.core.signature import Paper, Signature
from broker.core.signingkey import Proposal, SigningKey
from broker.core.suspension import Suspension


def _when(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def agency_from(detail: dict[str, Any]) -> Agency:
    """An agency from its stored form."""
    successors = tuple(Successor(s["agency"], frozenset(s["districts"])) for s in detail.get("successors", ()))
    times = {name: _when(detail.get(name)) for name in ("valid_from", "valid_until", "own_end")}
    awaited = _awaited(detail.get("awaited"))
    return Agency(**{**detail, **times, "successors": successors, "awaited": awaited})


def agency_detail(agency: Agency) -> dict[str, Json]:
    """The stored form of an agency."""
    detail = {name: getattr(agency, name) for name in Agency.__dataclass_fields__}
    for name in ("valid_from", "valid_until", "own_end"):
        detail[name] = detail[name].isoformat() if detail[name] else None
    detail["successors"] = [
        {"agency": each.agency, "districts": _sorted(each.districts)} for each in agency.successors
    ]
    detail["awaited"] = _awaited_detail(agency.awaited)
    return detail


def acting_from(detail: dict[str, Any]) -> Acting:
    """A relation of one agency acting for another, from its stored form."""
    return Acting(
        id=detail["id"],
        processor=detail["processor"],
        controller=detail["controller"],
        contract=detail["contract"],
        valid_from=datetime.fromisoformat(detail["valid_from"]),
        valid_until=_when(detail["valid_until"]),
        **{name: frozenset(detail[name]) for name in ("record_types", "purposes", "crews")},
    )


def acting_detail(acting: Acting) -> dict[str, Json]:
    """The stored form of such a relation."""
    return {
        "id": acting.id,
        "processor": acting.processor,
        "controller": acting.controller,
        "contract": acting.contract,
        "valid_from": acting.valid_from.isoformat(),
        "valid_until": acting.valid_until.isoformat() if acting.valid_until else None,
        **{name: _sorted(getattr(acting, name)) for name in ("record_types", "purposes", "crews")},
    }


def system_from(detail: dict[str, Any]) -> System:
    """A system from its stored form."""
    return System(
        agency=detail["agency"],
        system=detail["system"],
        function=Function(detail["function"]),
        key_digests=frozenset(detail["key_digests"]),
        valid_from=datetime.fromisoformat(detail["valid_from"]),
        valid_until=_when(detail["valid_until"]),
        suspended=detail["suspended"],
        revoked=frozenset(detail["revoked"]),
        ends_with_agency=detail.get("ends_with_agency", False),
        own_end=_when(detail.get("own_end")),
        roles=frozenset(detail.get("roles", ())),
        hands=detail.get("hands", {}),
        adapter=detail.get("adapter", False),
        awaited=_awaited(detail.get("awaited")),
    )


def system_detail(system: System) -> dict[str, Json]:
    """The stored form of a system."""
    return {
        "agency": system.agency,
        "system": system.system,
        "function": system.function.value,
        "key_digests": _sorted(system.key_digests),
        "valid_from": system.valid_from.isoformat(),
        "valid_until": system.valid_until.isoformat() if system.valid_until else None,
        "suspended": system.suspended,
        "revoked": _sorted(system.revoked),
        "ends_with_agency": system.ends_with_agency,
        "own_end": system.own_end.isoformat() if system.own_end else None,
        "roles": _sorted(system.roles),
        "hands": {**system.hands},
        "adapter": system.adapter,
        "awaited": _awaited_detail(system.awaited),
    }


def signing_key_from(detail: dict[str, Any]) -> SigningKey:
    """A signing key from its stored form."""
    return SigningKey(
        agency=detail["agency"],
        public=bytes.fromhex(detail["public"]),
        valid_from=date.fromisoformat(detail["valid_from"]),
        valid_until=_day(detail["valid_until"]),
        ended_on=_day(detail["ended_on"]),
        proposal=_proposal(detail["proposal"]),
    )


def signing_key_detail(key: SigningKey) -> dict[str, Json]:
    """The stored form of a signing key."""
    return {
        "agency": key.agency,
        "id": key.id,
        "public": key.public.hex(),
        "valid_from": key.valid_from.isoformat(),
        "valid_until": key.valid_until.isoformat() if key.valid_until else None,
        "ended_on": key.ended_on.isoformat() if key.ended_on else None,
        "proposal": _proposal_detail(key.proposal),
    }


def _proposal(detail: dict[str, Any] | None) -> Proposal | None:
    return Proposal(**{**detail, "at": datetime.fromisoformat(detail["at"])}) if detail else None


def _proposal_detail(proposal: Proposal | None) -> dict[str, Json] | None:
    if proposal is None:
        return None
    return {
        "system": proposal.system,
        "actor": proposal.actor,
        "key_digest": proposal.key_digest,
        "at": proposal.at.isoformat(),
    }


def _awaited(detail: dict[str, Any] | None) -> Awaited | None:
    proposal = _proposal(detail["proposal"]) if detail else None
    return Awaited(detail["asked"], proposal) if detail and proposal else None


def _awaited_detail(awaited: Awaited | None) -> dict[str, Json] | None:
    return {"asked": awaited.asked, "proposal": _proposal_detail(awaited.proposal)} if awaited else None


def signature_from(detail: dict[str, Any]) -> Signature:
    """A party's signature from its stored form."""
    paper = detail.get("paper")
    return Signature(
        agency=detail["agency"],
        key_id=detail["key_id"],
        digest=detail["digest"],
        signed_at=date.fromisoformat(detail["signed_at"]),
        signatory=detail["signatory"],
        role=detail["role"],
        signature=bytes.fromhex(detail["signature"]),
        paper=Paper(
            paper["paper"],
            date.fromisoformat(paper["attested_at"]),
            paper["delegation"],
            paper["gateway_reference"],
        )
        if paper
        else None,
    )


def signature_detail(signature: Signature) -> dict[str, Json]:
    """The stored form of a party's signature."""
    return {
        "agency": signature.agency,
        "key_id": signature.key_id,
        "digest": signature.digest,
        "signed_at": signature.signed_at.isoformat(),
        "signatory": signature.signatory,
        "role": signature.role,
        "signature": signature.signature.hex(),
        "paper": {**signature.paper.said} if signature.paper else None,
    }


def suspension_from(detail: dict[str, Any]) -> Suspension:
    """A suspension of an agreement from its stored form."""
    return Suspension(**{**detail, "at": datetime.fromisoformat(detail["at"])})


def suspension_detail(suspension: Suspension) -> dict[str, Json]:
    """The stored form of a suspension of an agreement."""
    return {
        "agreement": suspension.agreement,
        "agency": suspension.agency,
        "system": suspension.system,
        "reason": suspension.reason,
        "at": suspension.at.isoformat(),
        "operator": suspension.operator,
    }


def directive_from(directive_id: str, recorder: str, detail: dict[str, Any]) -> Directive:
    """A directive from its stored form, the one that `directive_detail` gives."""
    return Directive(
        id=directive_id,
        recorder=recorder,
        kind=detail["kind"],
        said_at=datetime.fromisoformat(detail["said_at"]),
        standing=detail["standing"],
        manner=detail["manner"],
        purposes=frozenset(detail["purposes"]),
        record_types=frozenset(detail["record_types"]),
        requesters=frozenset(detail["requesters"]),
        providers=frozenset(detail["providers"]),
        valid_until=_when(detail["valid_until"]),
        actors=frozenset(detail["actors"]),
        assessed_on=_day(detail["assessed_on"]),
        reconsider_at=_when(detail["reconsider_at"]),
        matter=detail["matter"],
        speaker=detail["speaker"],
        authority=detail["authority"],
        capacity=detail["capacity"],
        assessor=detail["assessor"],
        assessed=detail["assessed"],
        taken_by=detail["taken_by"],
        explained=detail["explained"],
        company=detail["company"],
    )


# Words of a directive that are stored as they are.
_SAID = (
    "matter",
    "speaker",
    "authority",
    "capacity",
    "assessor",
    "assessed",
    "taken_by",
    "explained",
    "company",
)


def directive_detail(directive: Directive) -> dict[str, Json]:
    """The stored form: everything but the identifier, which stands only as a blind key."""
    return {
        "kind": directive.kind,
        "said_at": directive.said_at.isoformat(),
        "standing": directive.standing,
        "manner": directive.manner,
        "purposes": _sorted(directive.purposes),
        "record_types": _sorted(directive.record_types),
        "requesters": _sorted(directive.requesters),
        "providers": _sorted(directive.providers),
        "valid_until": directive.valid_until.isoformat() if directive.valid_until else None,
        "actors": _sorted(directive.actors),
        "assessed_on": directive.assessed_on.isoformat() if directive.assessed_on else None,
        "reconsider_at": directive.reconsider_at.isoformat() if directive.reconsider_at else None,
        **{name: getattr(directive, name) for name in _SAID},
    }


def _sorted(texts: frozenset[str]) -> list[Json]:
    return [*sorted(texts)]
