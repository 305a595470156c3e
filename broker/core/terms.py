"""The parts of a data-sharing agreement's file, each a table of the TOML (docs/agreements.md has every key).

Owns their shapes; how they fit together is `agreement.py`'s, and whether the law bears them `lawfulness.py`'s.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.core.model import Assurance

MAX_PER_MINUTE = 1_000_000

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Words = Annotated[str, StringConstraints(max_length=500)]
RetentionName = Annotated[str, StringConstraints(pattern=r"^[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$")]
Level = Literal["asserted", "shared-device", "roster", "personal-login", "signed-token"]


class Part(BaseModel):
    """A table of the file: no other keys, no conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OwnLegal(Part):
    """What one party stands on where it differs from `[legal]`: a police force under Part 3, say."""

    basis: Text | None = None
    condition: Text | None = None
    offence_condition: Text | None = None
    gateway: Text | None = None


class Party(Part):
    """One agency that signs, under which regime, and whom it answers through."""

    agency: Id
    role: Literal["controller", "joint-controller", "processor"] = "controller"
    regime: Text
    dpo: Words = ""
    siro: Words = ""
    caldicott_guardian: Words = ""
    legal: OwnLegal | None = None


class Legal(Part):
    """The law the flows stand on; codes from `broker/law`."""

    basis: Text
    # For special-category data: UK GDPR Art. 9, or DPA 2018 Sch. 8.
    condition: str = ""
    # For offence data: UK GDPR Art. 10 with DPA 2018 Sch. 1.
    offence_condition: str = ""
    gateway: str = ""
    # Tried after it, in this order.
    other_gateways: tuple[Text, ...] = ()
    confidentiality: str = ""
    # Caldicott: why the public interest outweighs confidence here.
    justification: Words = ""
    # DPA 2018 s.36(4): the gateway that authorises police law-enforcement data for another purpose.
    further_use_law: str = ""


class Directives(Part):
    """What weight a person's word carries, and whose record of a consent counts."""

    weight: Literal["required", "respected", "recorded"]
    recorders: tuple[Id, ...] = ()
    # The national data opt-out; where it applies, it stands in the way as an objection does.
    opt_out: Literal["applies", "does-not-apply"] = "does-not-apply"


class Actors(Part):
    """The least a requester must know of who is at the keyboard."""

    minimum_assurance: Level

    @property
    def minimum(self) -> Assurance:
        """As a comparable level."""
        return level(self.minimum_assurance)


def level(name: str) -> Assurance:
    """An assurance by its name in files."""
    return Assurance[name.upper().replace("-", "_")]


class FlowTerms(Part):
    """Who gives what to whom: the permitted leaf paths, and the roles that may ask."""

    provider: Id
    requester: Id
    record_type: Text
    permitted: Annotated[tuple[Text, ...], Field(min_length=1)]
    roles: Annotated[tuple[Id, ...], Field(min_length=1)]
    subject_schemes: Annotated[tuple[Id, ...], Field(min_length=1)]
    queries: bool = False
    # A CEL expression that must be true.
    context: Annotated[str, StringConstraints(max_length=1000)] = ""
    # A named human of the provider decides each request.
    judgement: bool = False
    # What an override is answered with: fewer of the permitted paths. Empty: there is none.
    override: tuple[Text, ...] = ()
    latency_ms: Annotated[int, Field(ge=1, le=31_536_000_000)] | None = None


class OverrideTerms(Part):
    """Break-glass: on whose word, for how long, and who looks at it afterwards."""

    codes: Annotated[tuple[Id, ...], Field(min_length=1)]
    minimum_assurance: Literal["personal-login", "signed-token"] = "personal-login"
    hours: Annotated[int, Field(ge=1, le=72)] = 4
    review_hours: Annotated[int, Field(ge=1, le=720)] = 72


class ReferralTerms(Part):
    """The provider's named humans who decide what is referred to them, and by when."""

    hours: Annotated[int, Field(ge=1, le=8760)] = 24
    phone: Annotated[str, StringConstraints(max_length=32)] = ""
    role: Words = ""


class Governance(Part):
    """What stands behind the agreement on paper."""

    dpia: Words = ""
    dpia_status: Literal["", "not-started", "in-progress", "approved", "not-required"] = ""
    # DPA 2018 s.42 and Sch. 1 Part 4: the appropriate policy document.
    policy_document: Words = ""
    retention: Words = ""
    security_lead: Words = ""
    breach_lead: Words = ""


class ObligationTerms(Part):
    """What the requester takes on with every record."""

    code: Literal["notify-owner", "review-by", "retain-until", "no-onward-sharing"]
    detail: Words = ""
    days: Annotated[int, Field(ge=1, le=36525)] | None = None


class EvidenceTerms(Part):
    """How far the evidence must have come before a record leaves, and how long it is kept."""

    # A quorum of witnesses has cosigned it; where they do not in time, nothing is released.
    witnessed: bool = False
    # A class of the deployment's retention policy; without one it is `standard`.
    retention: RetentionName = "standard"


class Limits(Part):
    """How much each requester may ask for under the agreement, and how much of that in the emergency lane."""

    per_minute: Annotated[int, Field(ge=1, le=MAX_PER_MINUTE)] | None = None
    # Absent: there is no emergency lane.
    emergency_per_minute: Annotated[int, Field(ge=1, le=MAX_PER_MINUTE)] | None = None
