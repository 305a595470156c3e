"""Every flow of every agreement by what it is looked up by; made anew only where something has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from broker.core import lineage
from broker.core.agreement import Agreement
from broker.core.directory import Agency
from broker.core.flow import Compiled, Flow, FlowKey, Heirs, compiled
from broker.core.lawfulness import Labels
from broker.core.succession import heirs
from broker.law import Law


class FlowIndex(Struct, frozen=True):
    """Compiled agreements by id, and their flows by key: what an agency has signed itself goes before what it
    took over, each in order of agreement id."""

    law: Law
    agencies: Mapping[str, Agency]
    labels: Labels
    agreements: Mapping[str, Compiled]
    flows: Mapping[FlowKey, tuple[Flow, ...]]
    heirs: Heirs

    @classmethod
    def of(cls, law: Law, agencies: Mapping[str, Agency], labels: Labels) -> FlowIndex:
        """An index without agreements."""
        return cls(law, agencies, labels, {}, {}, heirs(agencies))

    def moved(
        self, agreed: Mapping[str, Agreement], agencies: Mapping[str, Agency], labels: Labels
    ) -> FlowIndex:
        """The index of these agreements: what nothing has changed for is taken over as it is."""
        ready, flows = dict(self.agreements), dict(self.flows)
        places = self.heirs if _same(self.agencies, agencies) else heirs(agencies)
        ends = _Ends(agreed)
        for name in self._stale(agreed, agencies, labels, places, ends):
            if name in ready:
                for key, flow in ready.pop(name).flows:
                    flows[key] = tuple(f for f in flows[key] if f is not flow)
            if name in agreed:
                ready[name] = compiled(agreed[name], agencies, labels, self.law, places, ends.of(name))
                for key, flow in ready[name].flows:
                    flows[key] = tuple(sorted((*flows.get(key, ()), flow), key=_rank))
        return FlowIndex(self.law, agencies, labels, ready, flows, places)

    def _stale(
        self,
        agreed: Mapping[str, Agreement],
        agencies: Mapping[str, Agency],
        labels: Labels,
        places: Heirs,
        ends: _Ends,
    ) -> Iterator[str]:
        """Ids of agreements that are new, changed or gone, or stand on something that changed."""
        same = _same(self.agencies, agencies) and _same(self.labels, labels)
        known = self.agreements
        for name, agreement in agreed.items():
            was = known.get(name)
            if (
                was is None
                or was.agreement is not agreement
                or was.ends != ends.of(name)
                or (not same and not was.still(agreement, agencies, labels, places))
            ):
                yield name
        yield from known.keys() - agreed.keys()


def _rank(flow: Flow) -> tuple[bool, str]:
    return bool(flow.lineage), flow.agreement.id


class _Ends:
    """When each agreement ends: also by another that takes its place."""

    def __init__(self, agreed: Mapping[str, Agreement]) -> None:
        self._agreed = agreed
        self._by = lineage.successors(agreed.values())

    def of(self, name: str) -> datetime:
        """The first moment no longer in force."""
        return lineage.end(self._agreed[name], self._by)


def _same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return len(one) == len(other) and all(other.get(key) is value for key, value in one.items())
