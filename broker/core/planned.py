"""What an agreement not yet applied would change: flow by flow, and decision by decision.

Owns the comparison of two versions of an agreement, of two decisions on one request, and what "as if it had
been in force then" means: it looks away from the dates of agreements that are, or would be, in force, and from
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.flow import FlowKey
from broker.core.lawfulness import Labels
from broker.core.model import Decision, Outcome
from broker.core.recorded import Ruling
from broker.core.reference import Reference
from broker.core.terms import FlowTerms

_ALWAYS = {"valid_from": date(1900, 1, 1), "valid_until": date(2200, 12, 31)}
# What every version has its own of, and no flow changes by.
_BESIDE = frozenset({"id", "version", "title", "flows", "supersedes"})
FIELDS = "fields"


class FlowChange(Struct, frozen=True):
    """What becomes of one flow: `new`, `changed` or `ended`; which paths come and go, and what else does."""

    change: str
    agreement: str
    key: FlowKey
    terms: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class Flip(Struct, frozen=True):
    """How one decision would come out otherwise. `rule` and `code` say why it would be refused, or was."""

    kind: str
    rule: str = ""
    code: str = ""
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def flow_changes(
    now: Agreement | None, planned: Agreement, superseded: Agreement | None = None
) -> tuple[FlowChange, ...]:
    """What the planned version makes of each flow, also of an agreement whose place it takes; one that stays as
    it is has no row."""
    old, new = {**_flows(superseded), **_flows(now)}, _flows(planned)
    common = tuple(_differing(_outer(now), _outer(planned))) if now is not None else ()
    found = []
    for key in sorted({*old, *new}, key=str):
        was, will = old.get(key), new.get(key)
        if will is None and was is not None:
            found.append(FlowChange("ended", planned.id, key, lost=tuple(sorted(was.permitted))))
        elif was is None and will is not None:
            found.append(FlowChange("new", planned.id, key, gained=tuple(sorted(will.permitted))))
        elif was is not None and will is not None:
            gained, lost = _moved(was.permitted, will.permitted)
            terms = (*_differing(_inner(was), _inner(will)), *common)
            if gained or lost or terms:
                found.append(FlowChange("changed", planned.id, key, terms, gained, lost))
    return tuple(found)


def flip(before: Decision, after: Decision) -> Flip | None:
    """How a decision would flip, None where it would not."""
    gained, lost = _moved(before.permitted, after.permitted)
    if before.outcome is not after.outcome:
        ended = after.outcome is not Outcome.PERMIT
        rule = after.rules[-1].rule if ended else before.rules[-1].rule
        refused = after.refused if ended else before.refused
        code = refused.code if refused else ""
        return Flip(f"{before.outcome.value}-to-{after.outcome.value}", rule, code, gained, lost)
    return Flip(FIELDS, gained=gained, lost=lost) if gained or lost else None


def came_out_as(decision: Decision, ruling: Ruling) -> bool:
    """Whether a decision has the outcome, and permits the fields, that were recorded."""
    return decision.outcome.value == ruling.outcome and decision.permitted == ruling.permitted


def of_today(agreements: Iterable[Agreement], at: datetime) -> list[Agreement]:
    """Those in force at this moment, as if they had always been."""
    return [a.model_copy(update=_ALWAYS) for a in agreements if a.begins <= at < a.ends]


def as_planned(planned: Iterable[Agreement], others: Iterable[Agreement], at: datetime) -> list[Agreement]:
    """The planned versions that have not ended by then, as if they had always been in force, and beside them
    what the others still give that none of them does. `others` are those `of_today`."""
    made = {a.id: a for a in planned}
    opened = [a.model_copy(update=_ALWAYS) for a in made.values() if at < a.ends]
    taken = {key for a in opened for key in _flows(a)}
    gone = made.keys() | {a.supersedes for a in made.values()}
    for other in others:
        if other.id not in gone:
            left = tuple(f for f in other.flows if _key(other, f) not in taken)
            opened.append(other if left == other.flows else other.model_copy(update={"flows": left}))
    return opened


def swapped(then: Reference, now: Reference, agreements: Iterable[Agreement], labels: Labels) -> Reference:
    """The directory and its keys as they were `then`, with these agreements, and everything else as it is."""
    return Reference.build(
        then.policy,
        now.law,
        {**now.agencies, **then.agencies}.values(),
        then.systems.values(),
        agreements,
        now.record_types,
        labels=labels,
        suspended=now.suspended,
        routings=then.routings.values(),
        acting=[each for some in then.acting.values() for each in some],
        suspensions=now.suspensions,
    )


def _key(agreement: Agreement, flow: FlowTerms) -> FlowKey:
    return FlowKey(flow.requester, flow.provider, flow.record_type, agreement.purpose)


def _flows(agreement: Agreement | None) -> dict[FlowKey, FlowTerms]:
    return {_key(agreement, flow): flow for flow in agreement.flows} if agreement is not None else {}


def _moved(before: Iterable[str], after: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What came and what went, each sorted."""
    was, will = frozenset(before), frozenset(after)
    return tuple(sorted(will - was)), tuple(sorted(was - will))


def _outer(agreement: Agreement | None) -> dict[str, Any]:
    return agreement.model_dump(exclude=set(_BESIDE)) if agreement is not None else {}


def _inner(flow: FlowTerms) -> dict[str, Any]:
    return flow.model_dump(exclude={"permitted"})


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """A line for each value that differs: its key, what it was, and what it would be."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}"


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, dict):
            yield from _leaves(each, f"{path}{name}.")
        elif isinstance(each, list | tuple) and any(isinstance(item, dict) for item in each):
            for n, item in enumerate(each):
                yield from _leaves(item, f"{path}{name}.{n}.")
        else:
            yield f"{path}{name}", each


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value) or "none"
    return "none" if value in (None, "") else str(value)
