"""The index of flows: what is taken over from one snapshot to the next is what would be made anew."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core import agreement as agreements
from broker.core.agreement import Agreement
from broker.core.directory import Agency
from broker.core.flowindex import FlowIndex
from broker.law import load
from tests.support.values import replace
from tests.support.world import PERMITTED, RISK, flow, terms, toml

LAW = load()
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
AGENCIES = {
    name: Agency(name, name.upper(), kind, "england", SINCE)
    for name, kind in (("nwas", "ambulance"), ("cfrs", "fire"), ("cumberland", "council"))
}
LABELS = {RISK: dict.fromkeys(PERMITTED, frozenset({"plain"}))}
OTHER_LABELS = {RISK: dict.fromkeys(PERMITTED, frozenset({"special-category"}))}


def agreed(name: str, version: int, requester: str, **more: object) -> Agreement:
    """One agreement; two of them may have the same flow on different days."""
    parties = [{"agency": requester, "regime": "uk-gdpr"}, {"agency": "cfrs", "regime": "uk-gdpr"}]
    made = terms(id=name, version=version, parties=parties, flows=[flow(requester=requester)], **more)
    return agreements.parse(toml(made), LAW)


POOL = [agreed(name, version, who) for name in "abc" for version in (1, 2) for who in ("nwas", "cumberland")]
# One that ends another, on two days.
POOL += [agreed("d", month, "nwas", supersedes="a", valid_from=date(2026, month, 1)) for month in (3, 6)]
STATES = st.tuples(
    st.lists(st.sampled_from(POOL), max_size=6),
    st.sampled_from([AGENCIES, {**AGENCIES, "nwas": replace(AGENCIES["nwas"], kind="police")}, {}]),
    st.sampled_from([LABELS, OTHER_LABELS]),
)


def content(index: FlowIndex) -> object:
    """What decisions see of it."""
    return {
        str(key): [(f.agreement.label, f.ends, sorted(f.flaws), sorted(f.reaching)) for f in flows]
        for key, flows in index.flows.items()
        if flows
    }


@given(st.lists(STATES, min_size=1, max_size=6))
@settings(max_examples=60)
def test_an_index_moved_along_is_the_one_made_anew(
    states: list[tuple[list[Agreement], Mapping[str, Agency], object]],
) -> None:
    """Through any changes of agreements, agencies and labels."""
    index = FlowIndex.of(LAW, {}, {})
    for listed, agencies, labels in states:
        by_id = {a.id: a for a in listed}
        index = index.moved(by_id, agencies, labels)  # type: ignore[arg-type]
        anew = FlowIndex.of(LAW, agencies, labels).moved(by_id, agencies, labels)  # type: ignore[arg-type]
        assert content(index) == content(anew)
        assert {k: [f.agreement.id for f in v] for k, v in index.flows.items() if v} == {
            k: sorted(f.agreement.id for f in v) for k, v in anew.flows.items()
        }


def test_what_has_not_changed_is_the_very_same() -> None:
    """A change of one agreement makes its own flows anew and no others."""
    one, two, newer = agreed("a", 1, "nwas"), agreed("b", 1, "cumberland"), agreed("b", 2, "cumberland")
    before = FlowIndex.of(LAW, AGENCIES, LABELS).moved({"a": one, "b": two}, AGENCIES, LABELS)
    after = before.moved({"a": one, "b": newer}, dict(AGENCIES), LABELS)
    assert after.agreements["a"] is before.agreements["a"]
    assert after.agreements["b"] is not before.agreements["b"]
