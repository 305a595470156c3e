"""What decisions read that is not about a person: agencies, systems and agreements, as of one policy counter.

A `Reference` is a snapshot: built once, never changed, replaced whole when the counter says that one of its
inputs has moved. Keys name inputs, so that an append can ask whether any has changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from broker.core.agreement import Agreement, FlowTerms
from broker.core.model import Assurance, Caller, Function
from broker.core.signingkey import SigningKey
from broker.law import Law


@dataclass(frozen=True, slots=True)
class Agency:
    """An organisation that is a controller, from `valid_from` until before `valid_until`."""

    id: str
    name: str
    kind: str
    jurisdiction: str
    valid_from: datetime
    valid_until: datetime | None = None
    code: str = ""
    contact: str = ""
    phone: str = ""


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

    @property
    def name(self) -> str:
        """`agency/system`."""
        return f"{self.agency}/{self.system}"


def valid(thing: Agency | System, now: datetime) -> bool:
    """Whether `now` lies inside its dates."""
    return thing.valid_from <= now and (thing.valid_until is None or now < thing.valid_until)


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


@dataclass(frozen=True, slots=True)
class FlowKey:
    """What an agreement is looked up by."""

    requester: str
    provider: str
    record_type: str
    purpose: str

    def __str__(self) -> str:
        """Key of which agreements exist for this flow: also of one that does not exist yet."""
        return f"flow:{self.requester}|{self.provider}|{self.record_type}|{self.purpose}"


def flow_keys(agreement: Agreement) -> frozenset[str]:
    """Keys of every flow the agreement speaks to."""
    return frozenset(
        str(FlowKey(f.requester, f.provider, f.record_type, agreement.purpose)) for f in agreement.flows
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow of one agreement, with what every decision on it reads made ready. Make one with `of`."""

    agreement: Agreement
    terms: FlowTerms
    begins: datetime
    ends: datetime
    regime: str
    permitted: tuple[str, ...]
    roles: frozenset[str]
    minimum: Assurance

    @classmethod
    def of(cls, agreement: Agreement, terms: FlowTerms) -> Flow:
        """The flow, `regime` being the requester's and `permitted` sorted."""
        return cls(
            agreement,
            terms,
            agreement.begins,
            agreement.ends,
            agreement.party(terms.requester).regime,
            tuple(sorted(terms.permitted)),
            frozenset(terms.roles),
            agreement.actors.minimum,
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """Everything a decision reads but the person's word, true at `policy`."""

    policy: int
    law: Law
    agencies: Mapping[str, Agency]
    systems: Mapping[str, System]
    agreements: Mapping[str, Agreement]
    # Digest of the newest approved descriptor of each record type.
    record_types: Mapping[str, str]
    _flows: Mapping[FlowKey, tuple[Flow, ...]] = field(repr=False)
    # Every key ever enrolled or proposed, by agency, in the order in which they came.
    signing_keys: Mapping[str, tuple[SigningKey, ...]] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        policy: int,
        law: Law,
        agencies: Iterable[Agency],
        systems: Iterable[System],
        agreements: Iterable[Agreement],
        record_types: Mapping[str, str],
        signing_keys: Iterable[SigningKey] = (),
    ) -> Reference:
        """A snapshot with its flows indexed. `agreements` holds one version of each, the one applied last."""
        by_id = {a.id: a for a in agreements}
        flows: dict[FlowKey, list[Flow]] = {}
        for agreement in sorted(by_id.values(), key=lambda a: a.id):
            for terms in agreement.flows:
                key = FlowKey(terms.requester, terms.provider, terms.record_type, agreement.purpose)
                flows.setdefault(key, []).append(Flow.of(agreement, terms))
        keys: dict[str, tuple[SigningKey, ...]] = {}
        for each in signing_keys:
            keys[each.agency] = (*keys.get(each.agency, ()), each)
        return cls(
            policy,
            law,
            {a.id: a for a in agencies},
            {s.name: s for s in systems},
            by_id,
            record_types,
            {k: tuple(v) for k, v in flows.items()},
            keys,
        )

    def flows(self, key: FlowKey) -> tuple[Flow, ...]:
        """Flows of agreements for this key, in force or not, in order of agreement id."""
        return self._flows.get(key, ())

    def in_force(self, key: FlowKey, at: datetime) -> Flow | None:
        """The flow of the agreement that is in force at this moment."""
        return next((flow for flow in self.flows(key) if flow.begins <= at < flow.ends), None)

    def identify(self, agency: str, system: str, key_digest: str, now: datetime) -> Caller | None:
        """The enrolled system that this certificate speaks for at `now`; None if it may not speak."""
        known = self.systems.get(f"{agency}/{system}")
        home = self.agencies.get(agency)
        if known is None or home is None or key_digest not in known.key_digests:
            return None
        if known.suspended or not valid(known, now) or not valid(home, now):
            return None
        return Caller(agency, system, known.function, key_digest)
