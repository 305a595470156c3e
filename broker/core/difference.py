"""What a version of an agreement changes against another, in words: what widens, narrows, or is different.

A change widens where something may flow afterwards that might not before: more fields, roles, parties, days, or
less weight of what the person has said. It narrows the other way round. Law and names neither widen nor narrow
by themselves: they are told as they were and as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.lawfulness import Labels
from broker.core.model import Assurance
from broker.core.terms import FlowTerms, Limits, OverrideTerms, level

WIDENS, NARROWS, CHANGES = "widens", "narrows", "changes"
_WEIGHTS = ("recorded", "respected", "required")
_NO_LABELS: Labels = {}
# Told below in words of their own; everything else as it was and as it is.
_TOLD = frozenset(
    {
        "version",
        "flows",
        "parties",
        "directives",
        "actors",
        "limits",
        "override",
        "obligations",
        "ncnd",
        "supersedes",
    }
    | {"valid_from", "valid_until"}
)


class Difference(Struct, frozen=True):
    """One change: which way it goes, the key of the file, and words."""

    kind: str
    key: str
    words: str


def differences(old: Agreement, new: Agreement, labels: Labels = _NO_LABELS) -> list[Difference]:
    """Everything that `new` changes against `old`, what widens first. `labels` say what a field gives away."""
    found = [
        *_days(old, new),
        *_parties(old, new),
        *_flows(old, new, labels),
        *_person(old, new),
        *_conduct(old, new),
        *_rest(old, new),
    ]
    return sorted(found, key=lambda each: (WIDENS, NARROWS, CHANGES).index(each.kind))


def _more(more: bool) -> str:
    return WIDENS if more else NARROWS


def _days(old: Agreement, new: Agreement) -> Iterator[Difference]:
    if old.valid_from != new.valid_from:
        earlier = new.valid_from < old.valid_from
        yield Difference(_more(earlier), "valid_from", f"begins on {new.valid_from}, was {old.valid_from}")
    if old.valid_until != new.valid_until:
        later = new.valid_until > old.valid_until
        yield Difference(_more(later), "valid_until", f"last day is {new.valid_until}, was {old.valid_until}")
    if old.supersedes != new.supersedes:
        if new.supersedes:
            words = f"takes the place of {new.supersedes}, which ends on {new.valid_from}"
            yield Difference(CHANGES, "supersedes", words)
        if old.supersedes:
            yield Difference(CHANGES, "supersedes", f"no longer takes the place of {old.supersedes}")


def _parties(old: Agreement, new: Agreement) -> Iterator[Difference]:
    was = {each.agency: each for each in old.parties}
    now = {each.agency: each for each in new.parties}
    for agency in sorted(now.keys() - was.keys()):
        yield Difference(WIDENS, "parties", f"{agency} becomes a party")
    for agency in sorted(was.keys() - now.keys()):
        yield Difference(NARROWS, "parties", f"{agency} is no longer a party")
    for agency in sorted(was.keys() & now.keys()):
        yield from _changed(f"parties.{agency}", was[agency].model_dump(), now[agency].model_dump())


def _flows(old: Agreement, new: Agreement, labels: Labels) -> Iterator[Difference]:
    def keyed(agreement: Agreement) -> dict[tuple[str, str, str], FlowTerms]:
        return {(f.requester, f.provider, f.record_type): f for f in agreement.flows}

    was, now = keyed(old), keyed(new)
    for key in sorted(was.keys() | now.keys()):
        words = f"{key[0]} asks {key[1]} for {key[2]}"
        if key not in was:
            fields = ", ".join(_labelled(now[key].permitted, labels.get(key[2], {})))
            yield Difference(WIDENS, "flows", f"new flow: {words}, with {fields}")
        elif key not in now:
            yield Difference(NARROWS, "flows", f"no longer: {words}")
        else:
            yield from _flow(words, was[key], now[key], labels.get(key[2], {}))


def _flow(
    words: str, old: FlowTerms, new: FlowTerms, labels: Mapping[str, frozenset[str]]
) -> Iterator[Difference]:
    for key, what in (
        ("permitted", "field"),
        ("roles", "role"),
        ("subject_schemes", "way to name the subject"),
        ("override", "field after an override"),
    ):
        was, now = set(getattr(old, key)), set(getattr(new, key))
        for more, each in ((True, sorted(now - was)), (False, sorted(was - now))):
            shown = _labelled(each, labels) if key in ("permitted", "override") else each
            for one in shown:
                yield Difference(
                    _more(more), f"flows.{key}", f"{words}: {'more' if more else 'less'}: {what} {one}"
                )
    if old.queries != new.queries:
        said = "may be asked with traits" if new.queries else "no longer asked with traits"
        yield Difference(_more(new.queries), "flows.queries", f"{words}: {said}")
    if old.judgement != new.judgement:
        said = "each request is for a human to decide" if new.judgement else "no longer for a human to decide"
        yield Difference(_more(not new.judgement), "flows.judgement", f"{words}: {said}")
    if old.context != new.context:
        if old.context and new.context:
            said = f"only where {new.context}, was {old.context}"
            yield Difference(CHANGES, "flows.context", f"{words}: {said}")
        else:
            said = f"only where {new.context}" if new.context else f"no longer only where {old.context}"
            yield Difference(_more(not new.context), "flows.context", f"{words}: {said}")
    if old.latency_ms != new.latency_ms:
        said = f"wanted within {new.latency_ms} ms, was {old.latency_ms} ms"
        yield Difference(CHANGES, "flows.latency_ms", f"{words}: {said}")


def _labelled(paths: Iterable[str], labels: Mapping[str, frozenset[str]]) -> list[str]:
    """Paths with what releasing each gives away, where that is known."""

    def shown(path: str) -> str:
        known = sorted(labels.get(path, frozenset()) - {"plain"})
        return f"{path} ({', '.join(known)})" if known else path

    return [shown(path) for path in paths]


def _person(old: Agreement, new: Agreement) -> Iterator[Difference]:
    was, now = old.directives, new.directives
    if was.weight != now.weight:
        less = _WEIGHTS.index(now.weight) < _WEIGHTS.index(was.weight)
        words = f"what the person has said is {now.weight}, was {was.weight}"
        yield Difference(_more(less), "directives.weight", words)
    for agency in sorted(set(now.recorders) - set(was.recorders)):
        yield Difference(WIDENS, "directives.recorders", f"a consent that {agency} recorded counts")
    for agency in sorted(set(was.recorders) - set(now.recorders)):
        yield Difference(NARROWS, "directives.recorders", f"a consent that {agency} recorded no longer counts")
    if was.opt_out != now.opt_out:
        applies = now.opt_out == "applies"
        words = (
            "the national data opt-out applies" if applies else "the national data opt-out no longer applies"
        )
        yield Difference(_more(not applies), "directives.opt_out", words)
    if old.actors.minimum != new.actors.minimum:
        low, was_low = new.actors.minimum_assurance, old.actors.minimum_assurance
        words = f"an actor must be known by at least {low}, was {was_low}"
        yield Difference(_more(new.actors.minimum < old.actors.minimum), "actors.minimum_assurance", words)
    if old.ncnd != new.ncnd:
        words = "neither confirms nor denies" if new.ncnd else "no longer neither confirms nor denies"
        yield Difference(_more(not new.ncnd), "ncnd", words)


def _conduct(old: Agreement, new: Agreement) -> Iterator[Difference]:
    was = {each.code: each for each in old.obligations}
    now = {each.code: each for each in new.obligations}
    for code in sorted(now.keys() - was.keys()):
        yield Difference(NARROWS, "obligations", f"the requester takes on {code}")
    for code in sorted(was.keys() - now.keys()):
        yield Difference(WIDENS, "obligations", f"the requester no longer takes on {code}")
    for code in sorted(was.keys() & now.keys()):
        yield from _changed(f"obligations.{code}", was[code].model_dump(), now[code].model_dump())
    yield from _limits(old.limits or Limits(), new.limits or Limits())
    yield from _override(old.override, new.override)


def _limits(old: Limits, new: Limits) -> Iterator[Difference]:
    for key, what, none in (
        ("per_minute", "requests a minute", float("inf")),
        ("emergency_per_minute", "requests a minute in the emergency lane", 0.0),
    ):
        was, now = getattr(old, key), getattr(new, key)
        if was != now:
            more = (none if now is None else now) > (none if was is None else was)
            words = f"{_many(now)} {what}, was {_many(was)}" if none else f"{now or 0} {what}, was {was or 0}"
            yield Difference(_more(more), f"limits.{key}", words)


def _many(number: int | None) -> str:
    return "any number of" if number is None else str(number)


def _override(old: OverrideTerms | None, new: OverrideTerms | None) -> Iterator[Difference]:
    if old is None or new is None:
        if old is not new:
            words = f"an override is granted for {', '.join(new.codes)}" if new else "no override any more"
            yield Difference(_more(new is not None), "override", words)
        return
    for more, codes in ((True, set(new.codes) - set(old.codes)), (False, set(old.codes) - set(new.codes))):
        for code in sorted(codes):
            words = f"an override is {'granted' if more else 'no longer granted'} for {code}"
            yield Difference(_more(more), "override.codes", words)
    for key, more in (
        ("hours", new.hours > old.hours),
        ("review_hours", new.review_hours > old.review_hours),
        ("minimum_assurance", _level(new) < _level(old)),
    ):
        if getattr(old, key) != getattr(new, key):
            words = f"an override's {key.replace('_', ' ')}: {getattr(new, key)}, was {getattr(old, key)}"
            yield Difference(_more(more), f"override.{key}", words)


def _level(terms: OverrideTerms) -> Assurance:
    return level(terms.minimum_assurance)


def _rest(old: Agreement, new: Agreement) -> Iterator[Difference]:
    was = {key: value for key, value in old.model_dump().items() if key not in _TOLD}
    now = {key: value for key, value in new.model_dump().items() if key not in _TOLD}
    yield from _changed("", was, now)


def _changed(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Values that differ, by their keys, tables walked."""
    for name in dict.fromkeys((*old, *new)):
        was, now, key = old.get(name), new.get(name), f"{where}.{name}".removeprefix(".")
        if was == now:
            continue
        if isinstance(was, dict) or isinstance(now, dict):
            yield from _changed(key, was or {}, now or {})
        else:
            yield Difference(CHANGES, key, f"{key} is {_shown(now)}, was {_shown(was)}")


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        value = ", ".join(str(each) for each in value)
    return "not given" if value in (None, "") else str(value)
