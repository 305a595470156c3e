"""By which terms whom finds an entry, said for each kind of thing that an entry can say."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.receipt import Audience
from broker.core.searchterms import CALLS_REFUSED, INCIDENT_ALIAS
from broker.core.sights import Sights, among, sights, terms_of

ASKED: dict[str, Any] = {
    "event": "refusal",
    "requester": "nwas",
    "provider": "cfrs",
    "system": "cad",
    "key": "ab",
}
ALL, REQUESTER, PROVIDER = "auditors", "requester", "provider"
EVERYBODY = {ALL, REQUESTER, PROVIDER}
UPRN, NHS = {"scheme": "uprn", "value": "1"}, {"scheme": "nhs-number", "value": "2"}
ALIAS: dict[str, Any] = {"event": INCIDENT_ALIAS, "detail": {"incidents": ["nwas/d/1", "cfrs/d/2"]}}
REFUSED: dict[str, Any] = {
    "event": CALLS_REFUSED,
    "requester": None,
    "provider": None,
    "detail": {"calls": [{"system": "ncic/ed"}, {"system": ""}]},
}
DECIDED: dict[str, Any] = {"event": "referral-decided"}


def found(more: dict[str, Any]) -> dict[str, set[str]]:
    """Whom each term leads to such an entry, both its parties being told of it in full."""
    full = {**ASKED, **more}
    each = dict(zip((ALL, REQUESTER, PROVIDER), sights(full, full, full), strict=True))
    terms = frozenset[str]().union(*(of or () for of in each.values()))
    for audience in (Audience.REQUESTER, Audience.PROVIDER):
        assert terms_of(full, audience, full) == each[audience.value]
    assert terms_of(full) == each[ALL]
    return {term: {who for who, of in each.items() if term in (of or ())} for term in terms}


@pytest.mark.parametrize(
    ("more", "terms", "who"),
    [
        ({}, {"event|refusal", "agency|nwas", "agency|cfrs"}, EVERYBODY),
        ({"outcome": "refuse", "code": "person"}, {"outcome|refuse", "code|person"}, EVERYBODY),
        ({"record_type": "a.B", "trace": "t"}, {"record-type|a.B", "trace|t"}, EVERYBODY),
        ({"request_id": "r"}, {"request|r"}, EVERYBODY),
        ({"agreement": "a/2"}, {"agreement|a/2", "agreement|a"}, EVERYBODY),
        ({"actor": {"id": "x", "callsign": "K1"}}, {"actor|x", "callsign|K1"}, EVERYBODY),
        ({"purpose": "p"}, {"purpose|p"}, EVERYBODY),
        ({}, {"system|nwas/cad", "key|ab"}, {ALL, REQUESTER}),
        ({"incident": "nwas/d/1"}, {"incident|nwas/d/1"}, {ALL, REQUESTER}),
        ({"asked_by": UPRN}, {"person|uprn|1"}, {ALL, REQUESTER}),
        (
            {"asked_by": {"scheme": "incident", "value": "nwas/d/1"}},
            {"person|incident|nwas/d/1", "incident|nwas/d/1"},
            {ALL, REQUESTER},
        ),
        (
            {"detail": {"subject": UPRN, "subjects": [NHS]}},
            {"person|uprn|1", "person|nhs-number|2"},
            {ALL, REQUESTER},
        ),
        ({"detail": {"agreements": ["a/2"]}}, {"agreement|a/2", "agreement|a"}, {ALL, REQUESTER}),
        ({"detail": {"requests": ["r"]}}, {"request|r"}, {ALL, REQUESTER}),
        ({"identifiers": [UPRN, NHS]}, {"person|uprn|1", "person|nhs-number|2"}, {ALL, PROVIDER}),
        ({"override": "life"}, {"override|life"}, {ALL, PROVIDER}),
        ({"rules": ["a.b refuse", "c.d waived"]}, {"rule|a.b", "rule|c.d"}, {ALL}),
        (ALIAS, {"incident|nwas/d/1", "incident|cfrs/d/2"}, {ALL, REQUESTER}),
        (ALIAS, {"heard|nwas", "heard|cfrs"}, {ALL}),
        (REFUSED, {"system|ncic/ed", "agency|ncic"}, {ALL}),
        ({**DECIDED, "actor": {"id": "x"}}, {"actor|x", "system|cfrs/cad", "key|ab"}, {ALL, PROVIDER}),
    ],
)
def test_who_finds_it_by_what_it_says(more: dict[str, Any], terms: set[str], who: set[str]) -> None:
    """Each kind of thing, by those who said it or in whose view it stands, and by nobody else."""
    known = found(more)
    assert {term: known.get(term) for term in terms} == dict.fromkeys(terms, who)


@pytest.mark.parametrize(
    "more",
    [
        {"rules": ["a.b pass"]},
        {"event": "log-searched", "detail": {"incidents": ["nwas/d/1"]}, "rules": []},
        {**REFUSED, "event": "refusal"},
        {"actor": {"id": "", "callsign": ""}, "asked_by": {"scheme": "", "value": "1"}, "identifiers": []},
    ],
    ids=["a rule that was passed", "an incident looked for", "calls of another event", "what is empty"],
)
def test_what_leads_nobody_to_an_entry(more: dict[str, Any]) -> None:
    """Neither a rule that stood in nobody's way, nor what another kind of entry would say by the same words."""
    kinds = {term.partition("|")[0] for term in found(more)}
    assert kinds.isdisjoint({"rule", "heard", "actor", "callsign", "person"})
    assert "agency|ncic" not in found(more)


def test_two_parts_of_an_entry_are_found_by_what_either_says() -> None:
    """By each of those who are told; a side that is not told finds by nothing."""
    one, other = {"event": "refusal"}, {"code": "person", "incident": "nwas/d/1"}
    both = sights(one, one, one, ASKED) | sights(other, other, other, ASKED)
    whole = {**one, **other}
    assert both == sights(whole, whole, whole, ASKED)
    assert (sights(one, None, one, ASKED) | sights(other, None, other, ASKED)).requester is None
    assert (sights(one, one, None, ASKED) | sights(other, other, None, ASKED)).provider is None


def test_parties_know_each_other_as_far_as_they_are_told() -> None:
    """Who asked is known to both; who was asked to auditors, and to the requester where its view says so."""
    nobody = frozenset[str]()
    asks, held = frozenset({"agency|nwas"}), frozenset({"agency|nwas", "agency|cfrs"})
    assert among(Sights(nobody, nobody, nobody), "nwas", "cfrs") == Sights(held, asks, asks)
    assert among(Sights(nobody, None, None), "nwas", None) == Sights(asks, None, None)
