"""The words of an exchange as types: who asks, for what, why, and what was decided.

Everything here has been parsed at an edge and is valid by construction; nothing here knows the wire.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum, StrEnum

from msgspec import Struct

from broker.core.subject import SubjectRef

__all__ = [
    "Actor",
    "Assurance",
    "Caller",
    "Decision",
    "Function",
    "Grant",
    "Obligation",
    "OneOff",
    "Outcome",
    "Override",
    "Place",
    "Reason",
    "Refused",
    "Request",
    "RuleApplied",
    "SubjectRef",
    "Traits",
]


class Function(StrEnum):
    """What a system is enrolled to do."""

    PARTNER = "partner"
    AUDITOR = "auditor"
    OPERATOR = "operator"


class Caller(Struct, frozen=True):
    """The system at the other end of the channel, as its certificate and the directory say."""

    agency: str
    system: str
    function: Function
    key_digest: str
    # Of whom reads in another's place: districts that others took over. Never of who speaks for itself.
    but: frozenset[str] = frozenset()
    # Of an auditor's system: in which it may act. Of others none: agreements say in which their people ask.
    roles: frozenset[str] = frozenset()
    # Whether it has answered for its agency: software, at which nobody sits.
    adapter: bool = False

    @property
    def name(self) -> str:
        """`agency/system`, the form used in keys, claims and metrics."""
        return f"{self.agency}/{self.system}"


class Assurance(IntEnum):
    """How sure the requester's system is of the actor, weakest first."""

    UNSPECIFIED = 0
    ASSERTED = 1
    SHARED_DEVICE = 2
    ROSTER = 3
    PERSONAL_LOGIN = 4
    SIGNED_TOKEN = 5


class Actor(Struct, frozen=True):
    """The person at the keyboard: a claim of the calling system."""

    id: str
    role: str
    name: str = ""
    on_behalf_of: str = ""
    callsign: str = ""
    device: str = ""
    employer: str = ""
    assurance: Assurance = Assurance.UNSPECIFIED


class Reason(Struct, frozen=True):
    """Why, in a code and in words. The words are erasable and never enter a leaf or a trace."""

    code: str = ""
    words: str = ""


class Override(Struct, frozen=True):
    """Break-glass by a named human."""

    code: str
    words: str
    until: datetime | None = None


class Place(Struct, frozen=True):
    """Where, for routing and for the provider: any of a UPRN, a WGS 84 point, a district's ONS code.

    `responsible_authority` is the council that answers for a looked-after child, wherever the child is.
    """

    uprn: str = ""
    latitude: float | None = None
    longitude: float | None = None
    district: str = ""
    responsible_authority: str = ""


class Traits(Struct, frozen=True):
    """What is known of somebody without a number; the provider matches."""

    family_name: str = ""
    given_name: str = ""
    birth_date: str = ""
    approximate_age: int = 0
    sex: str = ""
    address_line: str = ""
    postcode: str = ""
    phone: str = ""


class Request(Struct, frozen=True):
    """One ask for one record. `requester` and `system` come from the channel, never from the message.

    As asked, `provider` may be empty: whoever holds it for `place` now. As decided, it is the holder; and where
    the system's agency acts for another, `requester` is that other and `processor` the system's own agency.
    """

    request_id: str
    requester: str
    system: str
    key_digest: str
    record_type: str
    provider: str
    subject: SubjectRef | None
    query: Traits | None
    purpose: str
    actor: Actor
    reason: Reason = Reason()
    override: Override | None = None
    incident: str = ""
    place: Place | None = None
    retry_of: str = ""
    timeout: float = 5.0
    traceparent: str = ""
    # In the emergency lane: granted by its agreement, said by nobody, and no part of what is asked.
    urgent: bool = False
    processor: str = ""

    @property
    def caller(self) -> str:
        """`agency/system`: whose request ids these are."""
        return f"{self.processor or self.requester}/{self.system}"

    @property
    def trace(self) -> str | None:
        """The W3C trace id, 32 hex digits, if the caller sent one."""
        return self.traceparent.split("-")[1] if self.traceparent else None


class Outcome(StrEnum):
    """What a decision comes to."""

    PERMIT = "permit"
    REFUSE = "refuse"
    REFER = "refer"


class Obligation(Struct, frozen=True):
    """What the requester must now do, or not do."""

    code: str
    detail: str = ""
    due: datetime | None = None


class Refused(Struct, frozen=True):
    """A refusal as the requester may read it. `rule` is never finer than `code`."""

    code: str
    message: str
    remedy: str

    @property
    def rule(self) -> str:
        """The closed code again: a finer rule would say what the person said."""
        return self.code


class RuleApplied(Struct, frozen=True):
    """One step of the walk, for the full view: what it looked at and what it said."""

    rule: str
    verdict: str
    detail: str = ""


class Stand(Struct, frozen=True):
    """What one side of a one-off request stands on; codes of `broker/law`."""

    regime: str
    basis: str
    condition: str = ""
    offence_condition: str = ""


class OneOff(Struct, frozen=True):
    """The law on which a human let through a request that no agreement foresaw, and its fields as bound then:
    paths with their numbers, since either alone can come to mean another field."""

    requester: Stand
    provider: Stand
    gateway: str = ""
    confidentiality: str = ""
    justification: str = ""
    further_use_law: str = ""
    pins: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Signed(Struct, frozen=True):
    """A statement of an agency, with its signature by one of the agency's keys."""

    statement: bytes
    key_id: str
    signature: bytes


class Grant(Struct, frozen=True):
    """What a named human of the provider decided on this very request, for so long and these fields at most.

    `granted` is false where they decided against it. `request` is the id of the request that was referred, of
    the same system. `one_off` is the law where no agreement is to be asked; `signed` is the agency's own word.
    """

    referral: str
    permitted: tuple[str, ...]
    until: datetime
    granted: bool = True
    request: str = ""
    one_off: OneOff | None = None
    signed: Signed | None = None
    # The agency that was asked: it counts for that one's records and for those of whoever has taken its place.
    provider: str = ""


class Decision(Struct, frozen=True):
    """What was decided, on what, and until when it holds.

    `reads` names every stored input, so that an append can tell whether any has changed since; `valid_until`
    is the first moment at which time alone could change the outcome; `about_person` says that the walk came to
    the person; `ncnd` says that from there on, every refusal must look alike. `override` is the code of an
    override that was used, `grant` the referral under which a human let it through; `waived` are the rules
    that one of them went past. `refer_by` is when the provider's human is to have decided. Regime, basis,
    condition and gateway are the requester's; the provider's regime stands beside them. `one_off` is there
    where no agreement was asked, `override_due` where an override is to be reviewed. `retention` is the class
    that the agreement gives to the evidence; empty: none.

    `requester`, `processor` and `provider` are the agencies it was made for; `answered_by` are those whose
    adapters may answer in the provider's stead. `named` are the permitted fields and those that are kept back
    for the person's sake: the requester is told what neither holds.
    """

    outcome: Outcome
    rules: tuple[RuleApplied, ...]
    reads: frozenset[str]
    decided_at: datetime
    valid_until: datetime | None = None
    refused: Refused | None = None
    agreement: str = ""
    agreement_version: int = 0
    controller: str = ""
    regime: str = ""
    basis: str = ""
    condition: str = ""
    gateway: str = ""
    permitted: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    ncnd: bool = False
    witnessed: bool = False
    about_person: bool = False
    provider_regime: str = ""
    override: str = ""
    grant: str = ""
    waived: tuple[str, ...] = ()
    refer_by: datetime | None = None
    requester: str = ""
    processor: str = ""
    provider: str = ""
    answered_by: tuple[str, ...] = ()
    one_off: OneOff | None = None
    signed: Signed | None = None
    override_due: datetime | None = None
    named: tuple[str, ...] = ()
    retention: str = ""
