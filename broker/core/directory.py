"""Who takes part: agencies and their systems, and the keys by which decisions name what they read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from broker.core.model import Function
from broker.core.signingkey import Proposal

# Where an auditor's enrolment names none.
AUDITOR_ROLES = frozenset({"auditor", "data-protection-officer", "information-governance-lead"})


@dataclass(frozen=True, slots=True)
class Awaited:
    """What one person has asked for and a second has yet to: `asked` is its canonical JSON."""

    asked: str
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Successor:
    """An agency that takes another's place, in these districts (ONS codes); none named: everywhere."""

    agency: str
    districts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Agency:
    """An organisation that is a controller, from `valid_from` until before `valid_until`.

    `successors` take its place from then on; `own_end` is when it would end without them.
    """

    id: str
    name: str
    kind: str
    jurisdiction: str
    valid_from: datetime
    valid_until: datetime | None = None
    code: str = ""
    contact: str = ""
    phone: str = ""
    successors: tuple[Successor, ...] = ()
    own_end: datetime | None = None
    # A succession that waits for a second person.
    awaited: Awaited | None = None


@dataclass(frozen=True, slots=True)
class System:
    """Software of an agency, and the keys that may speak for it."""

    agency: str
    system: str
    function: Function
    key_digests: frozenset[str]
    valid_from: datetime
    valid_until: datetime | None = None
    suspended: bool = False
    # Keys that spoke for it and never will again.
    revoked: frozenset[str] = frozenset()
    # Whether it ends because its agency does, and when it would end by itself.
    ends_with_agency: bool = False
    own_end: datetime | None = None
    # In which an auditor's may act; empty: AUDITOR_ROLES.
    roles: frozenset[str] = frozenset()
    # Of an operator's: whose each key is, revoked ones too, by the key that this person had here first.
    hands: Mapping[str, str] = field(default_factory=dict, hash=False)
    # Whether its certificate ever answered for the agency: an adapter's, at which nobody sits.
    adapter: bool = False
    # An enrolment that waits for a second person.
    awaited: Awaited | None = None

    @property
    def name(self) -> str:
        """`agency/system`."""
        return f"{self.agency}/{self.system}"


def valid(thing: Agency | System, now: datetime) -> bool:
    """Whether `now` lies inside its dates."""
    return thing.valid_from <= now and (thing.valid_until is None or now < thing.valid_until)


def acts_in(system: System) -> frozenset[str]:
    """The roles in which an auditor's system may act; of any other none, which is no limit."""
    if system.function is not Function.AUDITOR:
        return frozenset()
    return system.roles or AUDITOR_ROLES


# Key of who operates this broker, by how many hands.
OPERATORS_KEY = "operators"


def agency_key(agency: str) -> str:
    """Key of an agency's standing."""
    return f"agency:{agency}"


def system_key(system: str) -> str:
    """Key of a system's standing; `system` is `agency/system`."""
    return f"system:{system}"


def signers_key(agency: str) -> str:
    """Key of which keys sign for an agency."""
    return f"signers:{agency}"


def record_type_key(full_name: str) -> str:
    """Key of which descriptor of a record type is approved."""
    return f"type:{full_name}"
