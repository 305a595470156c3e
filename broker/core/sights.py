"""By which terms whom finds an entry: each view in the words of `searchterms`.

A party finds an entry only by what it said itself or by what stands in its own view: finding one by a finer
rule, or by an identifier that the other side matched, would show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from broker.core.acted import DECIDED, acted_for
from broker.core.model import SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import CALLS_REFUSED, INCIDENT_ALIAS, heard, parties, person, term


def terms_of(
    full: Mapping[str, Any], audience: Audience = Audience.FULL, view: Mapping[str, Any] | None = None
) -> frozenset[str]:
    """The terms by which one audience finds an entry: from its own `view`, and of the full one what it said."""
    said, shared = _said(full, full), _shared(full if view is None else view)
    if audience is Audience.FULL:
        return frozenset(_of_auditors(said, shared, full))
    of_party = _of_provider if audience is Audience.PROVIDER else _of_requester
    return frozenset(of_party(said, shared, full, full))


class Sights(NamedTuple):
    """The terms by which each audience finds an entry; `full` are everybody's together. None: has no view."""

    full: frozenset[str]
    requester: frozenset[str] | None
    provider: frozenset[str] | None

    def __or__(self, other: Sights) -> Sights:
        """Of one entry that is said in two parts, with the same parties."""
        asked, held = self.requester, self.provider
        return Sights(
            self.full | other.full,
            None if asked is None else asked.union(other.requester or ()),
            None if held is None else held.union(other.provider or ()),
        )


def sights(
    full: Mapping[str, Any],
    requester: Mapping[str, Any] | None,
    provider: Mapping[str, Any] | None,
    of: Mapping[str, Any] | None = None,
) -> Sights:
    """All that `terms_of` says of an entry, by each of its views: the full one itself stands for what says the
    same. `of` says whose human and system it was, where that stands in another part of the full view.

    What stands in a party's view alone is the auditors' to find too: they may see it.
    """
    of = full if of is None else of
    said, shared = _said(full, of), frozenset(_shared(full))
    asked = held = None
    if requester is not None:
        own = shared if requester is full else _shared(requester)
        asked = frozenset(_of_requester(said, own, full, of))
    if provider is not None:
        own = shared if provider is full else _shared(provider)
        held = frozenset(_of_provider(said, own, full, of))
    every = frozenset(_of_auditors(said, shared, full))
    return Sights(every.union(asked or (), held or ()), asked, held)


def among(found: Sights, requester: str | None, provider: str | None) -> Sights:
    """The same with what its parties know of each other: who asked both, and auditors who was asked."""
    who = parties(requester)
    return Sights(
        found.full | parties(requester, provider),
        None if found.requester is None else found.requester | who,
        None if found.provider is None else found.provider | who,
    )


_IN_EVERY_VIEW = (
    ("event", "event"),
    ("outcome", "outcome"),
    ("code", "code"),
    ("record-type", "record_type"),
    ("trace", "trace"),
    ("request", "request_id"),
    ("agency", "provider"),
    ("agency", "requester"),
)


def _shared(full: Mapping[str, Any]) -> list[str]:
    """What stands in every view."""
    found = [f"{kind}|{value}" for kind, key in _IN_EVERY_VIEW if (value := full.get(key))]
    if agreement := full.get("agreement"):
        found += _agreement(str(agreement))
    return found


def _agreement(named: str) -> tuple[str, str]:
    """By its version, where one is named, and by its name."""
    return term("agreement", named), term("agreement", named.partition("/")[0])


class _Said(NamedTuple):
    """What the full view alone says, by who said or did it."""

    actor: list[str]
    system: list[str]
    own: list[str]
    matched: list[str]


def _said(full: Mapping[str, Any], of: Mapping[str, Any]) -> _Said:
    return _Said(_actor(full), _system(full, of), [*_own(full)], _matched(full))


def _of_auditors(said: _Said, shared: Iterable[str], full: Mapping[str, Any]) -> Iterable[str]:
    return (*shared, *said.actor, *said.system, *said.own, *said.matched, *_whole(full))


def _of_requester(
    said: _Said, shared: Iterable[str], full: Mapping[str, Any], of: Mapping[str, Any]
) -> Iterable[str]:
    # Who decided on a request is the provider's to know, and who wrote down what they gave by telephone.
    spoke = acted_for(of) == str(of.get("requester") or "")
    return (*shared, *said.own, *said.actor, *said.system) if spoke else (*shared, *said.own)


def _of_provider(
    said: _Said, shared: Iterable[str], full: Mapping[str, Any], of: Mapping[str, Any]
) -> Iterable[str]:
    # What its own human and system did.
    system = said.system if of.get("event") in DECIDED else ()
    # A provider's view says what for, and whether somebody's refusal was gone past.
    asked = [term(kind, str(full[kind])) for kind in ("purpose", "override") if full.get(kind)]
    return (*shared, *said.matched, *said.actor, *system, *asked)


def _actor(full: Mapping[str, Any]) -> list[str]:
    actor = full.get("actor")
    if not isinstance(actor, dict):
        return []
    return [term(kind, str(value)) for kind, key in _ACTED if (value := actor.get(key))]


_ACTED = (("actor", "id"), ("callsign", "callsign"))


def _system(full: Mapping[str, Any], of: Mapping[str, Any]) -> list[str]:
    agency, system = acted_for(of), full.get("system")
    if not (agency and system):
        return []
    found, key = [term("system", f"{agency}/{system}")], full.get("key")
    return [*found, term("key", str(key))] if key else found


def _own(full: Mapping[str, Any]) -> Iterator[str]:
    """What the requester's system said itself."""
    for kind in ("purpose", "incident"):
        if value := full.get(kind):
            yield term(kind, str(value))
    asked = full.get("asked_by")
    if isinstance(asked, dict) and asked.get("scheme"):
        yield person(SubjectRef(str(asked["scheme"]), str(asked["value"])))
        if asked["scheme"] == "incident":
            yield term("incident", str(asked["value"]))
    detail = full.get("detail")
    if not isinstance(detail, dict):
        return
    for incident in detail.get("incidents") or ():
        yield term("incident", str(incident))
    for agreement in detail.get("agreements") or ():
        yield from _agreement(str(agreement))
    for request in detail.get("requests") or ():
        yield term("request", str(request))
    for subject in (detail.get("subject"), *(detail.get("subjects") or ())):
        if isinstance(subject, dict) and subject.get("scheme"):
            yield person(SubjectRef(str(subject["scheme"]), str(subject["value"])))


def _matched(full: Mapping[str, Any]) -> list[str]:
    """Identifiers that the provider knows the subject by."""
    known = full.get("identifiers") or ()
    return [person(SubjectRef(str(each["scheme"]), str(each["value"]))) for each in known]


def _whole(full: Mapping[str, Any]) -> Iterator[str]:
    """What only auditors see: an override that was used, which rule refused, referred or was gone past, whose
    calls were refused at the door."""
    # That it was used says that something had to be gone past: under ncnd the requester may not learn it.
    if value := full.get("override"):
        yield term("override", str(value))
    for each in full.get("rules") or ():
        rule, _, verdict = str(each).partition(" ")
        if verdict != "pass":
            yield term("rule", rule)
    if full.get("event") == INCIDENT_ALIAS:
        yield from (heard(incident.partition("/")[0]) for incident in full["detail"]["incidents"])
    if full.get("event") == CALLS_REFUSED:
        for call in full["detail"]["calls"]:
            if system := call["system"]:
                yield term("system", system)
                yield term("agency", system.partition("/")[0])
