"""A recorded decision, read back from its full view: what was asked, on what it was decided, and how.

Owns the way back from what `drafts` writes, and the comparison of what was decided with what would be. Refused:
a view that a decision was not made in, and one that lacks what a decision is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.core.canonical import Json
from broker.core.granting import grant_from
from broker.core.model import (
    Actor,
    Assurance,
    Decision,
    Grant,
    Outcome,
    Override,
    Place,
    Reason,
    Request,
    SubjectRef,
    Traits,
)
from broker.errors import IntegrityError

# Words are kept apart and erasable; that there were some is all that a decision reads of them.
_KEPT_APART = "(kept apart)"


class Ruling(Struct, frozen=True):
    """What a decision came to, in the form in which two can be compared.

    `verdicts` are a rule and its verdict each, in order, without the owner's sentence.
    """

    outcome: str
    verdicts: tuple[str, ...]
    agreement: str
    refused: str
    permitted: tuple[str, ...]
    regime: str
    provider_regime: str
    basis: str
    condition: str
    gateway: str
    obligations: tuple[str, ...]
    override: str
    grant: str

    @classmethod
    def of(cls, decision: Decision) -> Ruling:
        """The ruling of a decision."""
        return cls(
            outcome=decision.outcome.value,
            verdicts=tuple(f"{r.rule} {r.verdict}" for r in decision.rules),
            agreement=f"{decision.agreement}/{decision.agreement_version}" if decision.agreement else "",
            refused=decision.refused.code if decision.refused else "",
            permitted=tuple(decision.permitted),
            regime=decision.regime,
            provider_regime=decision.provider_regime,
            basis=decision.basis,
            condition=decision.condition,
            gateway=decision.gateway,
            obligations=tuple(o.code for o in decision.obligations),
            override=decision.override,
            grant=decision.grant,
        )

    def differs_from(self, other: Ruling) -> tuple[str, ...]:
        """What differs, each as `name: this one's, not that one's`; empty where the two are the same."""
        return tuple(
            f"{name}: {_shown(mine)}, not {_shown(theirs)}"
            for name in self.__struct_fields__
            if (mine := getattr(self, name)) != (theirs := getattr(other, name))
        )


class Recorded(Struct, frozen=True):
    """One decision as it stands in the log: everything to make it again, and what it came to.

    `policy` is the count of changes at which what people said was read, `reference` that of everything else,
    `law` the digest of the law files, `said` the ids of the directives that were read, `learnt` the identifiers
    that the provider knew the subject by.
    """

    event: str
    request: Request
    policy: int
    reference: int
    now: datetime
    law: str
    learnt: tuple[SubjectRef, ...]
    said: frozenset[str]
    grant: Grant | None
    restricted: Mapping[str, datetime | None]
    ruling: Ruling
    rules: tuple[tuple[str, str, str], ...]
    # The provider as asked; empty for whoever holds the record.
    asked_of: str = ""

    @property
    def asked(self) -> Request:
        """The request as it was asked, before it was found for whom and of whom."""
        request = self.request
        own = request.processor or request.requester
        return replace(request, requester=own, processor="", provider=self.asked_of)

    @property
    def subjects(self) -> tuple[SubjectRef, ...]:
        """Every identifier that it read directives of, the one asked with first."""
        asked = self.request.subject
        return ((asked,) if asked else ()) + self.learnt

    @classmethod
    def of(cls, full: Mapping[str, Json]) -> Recorded:
        """The decision in a full view. Raises IntegrityError where it lacks something or is not of its form."""
        try:
            return _recorded(full)
        except KeyError as e:
            raise IntegrityError(f"view: no {e.args[0]}, so the decision cannot be made again") from e
        except (TypeError, ValueError, AttributeError) as e:
            raise IntegrityError("view: a value of a decision is not of its form") from e


def is_decision(full: Mapping[str, Json]) -> bool:
    """Whether this is the full view of a request that was decided."""
    return "decided" in full


def _recorded(full: Mapping[str, Any]) -> Recorded:
    rules = tuple(_rule(text) for text in full["rules"])
    return Recorded(
        event=full["event"],
        request=request_of(full),
        policy=int(full["policy"]),
        reference=int(full["reference"]),
        now=datetime.fromisoformat(full["now"]),
        law=full["law"] or "",
        learnt=tuple(SubjectRef(s["scheme"], s["value"]) for s in full["learnt"]),
        said=frozenset(full["directives"]),
        grant=_grant(full["granted"]),
        restricted=_restricted(full["overridden"]),
        ruling=_ruling(full, rules),
        rules=rules,
        asked_of=full["asked_of"] or "",
    )


def _rule(text: str) -> tuple[str, str, str]:
    """Rule, verdict and the owner's sentence of one line of the walk."""
    head, _, sentence = text.partition(": ")
    rule, _, verdict = head.partition(" ")
    return rule, verdict, sentence


def _ruling(full: Mapping[str, Any], rules: tuple[tuple[str, str, str], ...]) -> Ruling:
    overridden = full["overridden"] or {}
    # After a permit, a refusal is what the provider's answer came to (nobody, too many), and not the decision.
    refused = full["refused"] if full["decided"] != Outcome.PERMIT.value else None
    return Ruling(
        outcome=full["decided"],
        verdicts=tuple(f"{rule} {verdict}" for rule, verdict, _ in rules),
        agreement=full["agreement"] or "",
        refused=refused["code"] if refused else "",
        permitted=tuple(full["permitted"]),
        regime=full["regime"] or "",
        provider_regime=full["provider_regime"] or "",
        basis=full["basis"] or "",
        condition=full["condition"] or "",
        gateway=full["gateway"] or "",
        obligations=tuple(full["obligations"]),
        override=overridden["code"] if overridden and overridden["used"] else "",
        grant=full["grant"] or "",
    )


def request_of(full: Mapping[str, Any]) -> Request:
    """The request in a full view, as it was decided. Raises KeyError, TypeError, ValueError or AttributeError
    where it has none."""
    asked = full["asked_by"]
    traits = asked.get("traits")
    return Request(
        request_id=full["request_id"] or "",
        requester=full["requester"],
        system=full["system"],
        key_digest=full["key"],
        record_type=full["record_type"],
        provider=full["provider"] or "",
        subject=None if "traits" in asked else SubjectRef(asked["scheme"], asked["value"]),
        query=_traits(traits) if traits is not None else None,
        purpose=full["purpose"],
        actor=_actor(full["actor"]),
        reason=Reason(full["reason"] or ""),
        override=_override(full["overridden"]),
        incident=full["incident"] or "",
        place=_place(full["place"]),
        retry_of=full["retry_of"] or "",
        urgent=full["lane"] == "emergency",
        processor=full["processor"] or "",
    )


def _actor(actor: Mapping[str, str]) -> Actor:
    assurance = Assurance[actor["assurance"].upper().replace("-", "_")]
    said = {name: text for name, text in actor.items() if name not in ("assurance", "processor")}
    return Actor(**said, assurance=assurance)


def _override(asked: Mapping[str, Any] | None) -> Override | None:
    if asked is None:
        return None
    words = _KEPT_APART if asked["said_why"] else ""
    return Override(asked["code"], words, _when(asked["until"]))


def _restricted(asked: Mapping[str, Any] | None) -> dict[str, datetime | None]:
    return {key: _when(until) for key, until in asked["restricted"].items()} if asked else {}


def _grant(granted: Mapping[str, Any] | None) -> Grant | None:
    if granted is None:
        return None
    return grant_from(
        granted["referral"],
        granted["request"] or "",
        {**granted, "signed": None},
        granted.get("provider") or "",
        granted=granted["granted"],
    )


def _place(place: Mapping[str, str] | None) -> Place | None:
    if place is None:
        return None
    point = {name: float(place[name]) for name in ("latitude", "longitude") if name in place}
    texts = {name: place.get(name, "") for name in ("uprn", "district", "responsible_authority")}
    return Place(**texts, **point)  # type: ignore[arg-type]  # texts and numbers, each where it belongs


def _traits(traits: Mapping[str, str]) -> Traits:
    age = int(traits.get("approximate_age", 0))
    return Traits(approximate_age=age, **{k: v for k, v in traits.items() if k != "approximate_age"})


def _when(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value) or "none"
