"""What decisions read that is not about a person: agencies, systems and agreements, as of one policy counter.

A `Reference` is a snapshot: built once, never changed, replaced whole when the counter says that one of its
inputs has moved. Keys name inputs, so that an append can ask whether any has changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from broker.core.acting import Acting
from broker.core.agreement import Agreement
from broker.core.directory import Agency, System, acts_in, valid
from broker.core.flow import Flow, FlowKey, Heirs
from broker.core.flowindex import FlowIndex
from broker.core.lawfulness import Labels
from broker.core.model import Caller, Function
from broker.core.routing import Routes, Routing
from broker.core.signingkey import SigningKey
from broker.core.suspension import Suspension
from broker.law import Law

_NO_LABELS: Labels = {}

_NOBODY: frozenset[str] = frozenset()


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
    _index: FlowIndex = field(repr=False)
    # Every key ever enrolled or proposed, by agency, in the order in which they came.
    signing_keys: Mapping[str, tuple[SigningKey, ...]] = field(default_factory=dict)
    # Ids of agreements that are suspended, by whomever.
    suspended: frozenset[str] = frozenset()
    # Files of routes by id, and all their routes; who acts for whom, by controller.
    routings: Mapping[str, Routing] = field(default_factory=dict)
    routes: Routes = field(default_factory=Routes)
    acting: Mapping[str, tuple[Acting, ...]] = field(default_factory=dict)
    # Who suspended them, and why.
    suspensions: tuple[Suspension, ...] = ()
    # What releasing each field gives away, by record type and path.
    labels: Labels = field(repr=False, default_factory=dict)

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
        *,
        labels: Labels = _NO_LABELS,
        suspended: Iterable[str] = (),
        routings: Iterable[Routing] = (),
        acting: Iterable[Acting] = (),
        suspensions: Iterable[Suspension] = (),
        before: Reference | None = None,
    ) -> Reference:
        """A snapshot with its flows indexed. `agreements` holds one version of each, the one applied last.

        `suspended` are ids; those of `suspensions` count without being named there. What `before` has compiled
        and nothing has changed since is taken from it.
        """
        by_id, stops = {a.id: a for a in agreements}, tuple(suspensions)
        known = {a.id: a for a in agencies}
        earlier = before is not None and before.law is law and before._index
        index = (earlier or FlowIndex.of(law, known, labels)).moved(by_id, known, labels)
        keys: dict[str, tuple[SigningKey, ...]] = {}
        for signing_key in signing_keys:
            keys[signing_key.agency] = (*keys.get(signing_key.agency, ()), signing_key)
        relations: dict[str, tuple[Acting, ...]] = {}
        for one in acting:
            relations[one.controller] = (*relations.get(one.controller, ()), one)
        files = {r.file.id: r for r in routings}
        return cls(
            policy,
            law,
            known,
            {s.name: s for s in systems},
            by_id,
            record_types,
            index,
            keys,
            frozenset(suspended) | {each.agreement for each in stops},
            files,
            Routes.of(files.values()),
            relations,
            stops,
            labels,
        )

    @property
    def heirs(self) -> Heirs:
        """By agency that ends: who takes its place."""
        return self._index.heirs

    def forebears(self, agency: str, at: datetime) -> frozenset[str]:
        """Those whose place an agency has taken by then."""
        if not self.heirs:
            return _NOBODY
        return frozenset(
            heir.old for each in self.heirs.values() for heir in each if heir.new == agency and heir.since <= at
        )

    def hand(self, system: str, key_digest: str) -> str:
        """By whose hand an operator's key came to its system (`agency/system`); empty where nobody knows."""
        known = self.systems.get(system)
        return known.hands.get(key_digest, "") if known else ""

    @property
    def hands(self) -> frozenset[str]:
        """Of all who ever operated this broker: a second hand that was taken away was one all the same."""
        operators = (s for s in self.systems.values() if s.function is Function.OPERATOR)
        return frozenset(hand for each in operators for hand in each.hands.values())

    def speaking(self, now: datetime) -> frozenset[str]:
        """Those hands of which somebody may speak at `now`."""
        return frozenset(
            each.hands[key]
            for each in self.systems.values()
            if each.function is Function.OPERATOR
            for key in each.hands
            if self.identify(each.agency, each.system, key, now) is not None
        )

    def flows(self, key: FlowKey) -> tuple[Flow, ...]:
        """Flows of agreements for this key, in force or not: its parties' own first, by agreement id."""
        return self._index.flows.get(key, ())

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
        return Caller(agency, system, known.function, key_digest, roles=acts_in(known), adapter=known.adapter)
