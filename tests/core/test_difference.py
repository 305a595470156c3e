"""What one version of an agreement changes against another: which way each change goes, and in what words."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from broker.core import agreement as agreements
from broker.core.agreement import Agreement
from broker.core.difference import CHANGES, NARROWS, WIDENS, Difference, differences
from broker.law import load
from tests.support.world import PERMITTED, RISK, flow, terms, toml

LAW = load()
LABELS = {RISK: {"oxygen.kept_in": frozenset({"free-text", "location"}), "uprn": frozenset({"plain"})}}
UK = "uk-gdpr"


def parsed(**changes: Any) -> Agreement:
    """The agreement of `terms` with these changes."""
    return agreements.parse(toml(terms(**changes)), LAW)


def compared(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    """Differences of two variants of it."""
    return differences(parsed(**old), parsed(**new), LABELS)


OVERRIDE = {"codes": ["life-at-risk"]}
# Old and new; how it goes from old to new; a part of its words.
PAIRS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    (
        {},
        {"flows": [flow(permitted=[*PERMITTED, "oxygen.kept_in"])]},
        WIDENS,
        "more: field oxygen.kept_in (free-text",
    ),
    ({}, {"flows": [flow(roles=["ambulance-crew", "dispatcher"])]}, WIDENS, "more: role dispatcher"),
    ({}, {"flows": [flow(subject_schemes=["uprn", "incident"])]}, WIDENS, "name the subject incident"),
    ({}, {"flows": [flow(queries=True)]}, WIDENS, "may be asked with traits"),
    ({"flows": [flow(judgement=True)]}, {}, WIDENS, "no longer for a human"),
    ({"flows": [flow(context="place.known")]}, {}, WIDENS, "no longer only where place.known"),
    (
        {"override": OVERRIDE},
        {"override": OVERRIDE, "flows": [flow(override=["uprn"])]},
        WIDENS,
        "field after an override uprn",
    ),
    ({}, {"override": OVERRIDE}, WIDENS, "an override is granted for life-at-risk"),
    ({"override": OVERRIDE}, {"override": {"codes": ["life-at-risk", "child"]}}, WIDENS, "granted for child"),
    ({"override": OVERRIDE}, {"override": {**OVERRIDE, "hours": 8}}, WIDENS, "hours: 8, was 4"),
    (
        {"override": {**OVERRIDE, "minimum_assurance": "signed-token"}},
        {"override": OVERRIDE},
        WIDENS,
        "minimum assurance: personal-login",
    ),
    (
        {},
        {
            "flows": [
                flow(),
                flow(requester="cfrs", provider="nwas", record_type="records.ambulance.v1.Incident"),
            ]
        },
        WIDENS,
        "new flow: cfrs asks nwas for records.ambulance.v1.Incident, with uprn",
    ),
    (
        {},
        {"parties": [{"agency": each, "regime": UK} for each in ("nwas", "cfrs", "ncic")]},
        WIDENS,
        "ncic becomes a party",
    ),
    ({}, {"directives": {"weight": "recorded"}}, WIDENS, "is recorded, was respected"),
    (
        {"directives": {"weight": "respected", "opt_out": "applies"}},
        {},
        WIDENS,
        "opt-out no longer applies",
    ),
    (
        {},
        {"directives": {"weight": "respected", "recorders": ["ncic"]}},
        WIDENS,
        "a consent that ncic recorded",
    ),
    ({}, {"actors": {"minimum_assurance": "asserted"}}, WIDENS, "at least asserted, was roster"),
    ({"ncnd": True}, {}, WIDENS, "no longer neither confirms nor denies"),
    ({}, {"valid_until": date(2030, 1, 1)}, WIDENS, "last day is 2030-01-01, was 2028-12-31"),
    ({}, {"valid_from": date(2025, 1, 1)}, WIDENS, "begins on 2025-01-01"),
    (
        {},
        {"obligations": [{"code": "retain-until", "days": 30}]},
        WIDENS,
        "no longer takes on no-onward-sharing",
    ),
    ({"limits": {"per_minute": 5}}, {}, WIDENS, "any number of requests a minute, was 5"),
    ({"limits": {"per_minute": 5}}, {"limits": {"per_minute": 9}}, WIDENS, "9 requests a minute, was 5"),
    ({}, {"limits": {"emergency_per_minute": 5}}, WIDENS, "5 requests a minute in the emergency lane, was 0"),
]


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"), PAIRS, ids=[f"{n}-{p[3]}" for n, p in enumerate(PAIRS)]
)
def test_what_widens_one_way_narrows_the_other(
    old: dict[str, Any], new: dict[str, Any], kind: str, words: str
) -> None:
    """One difference each way, and the words of the one that is asked for."""
    (there,) = compared(old, new)
    assert there.kind == kind
    assert words in there.words
    (back,) = compared(new, old)
    assert {there.kind, back.kind} == {WIDENS, NARROWS}


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ({"legal": {**terms()["legal"], "basis": "art6-1-d"}}, "legal.basis is art6-1-d, was art6-1-e"),
        ({"purpose": "emergency-planning"}, "purpose is emergency-planning, was emergency-response"),
        ({"title": "Another"}, "title is Another, was Premises risk"),
        ({"supersedes": "older"}, "takes the place of older, which ends on 2026-01-01"),
        ({"governance": None}, "governance.dpia is not given, was DPIA-12"),
        ({"referral": {"hours": 2}}, "referral.hours is 2, was 24"),
        ({"flows": [flow(latency_ms=2000)]}, "wanted within 2000 ms"),
        (
            {"obligations": [{"code": "no-onward-sharing"}, {"code": "retain-until", "days": 60}]},
            "obligations.retain-until.days is 60, was 30",
        ),
        (
            {"parties": [{"agency": "nwas", "regime": UK, "dpo": "D"}, {"agency": "cfrs", "regime": UK}]},
            "parties.nwas.dpo is D, was not given",
        ),
        (
            {
                "parties": [
                    {"agency": "nwas", "regime": UK},
                    {"agency": "cfrs", "regime": "dpa-2018-part-3"},
                ]
            },
            "parties.cfrs.regime is dpa-2018-part-3, was uk-gdpr",
        ),
    ],
)
def test_law_and_names_are_told_as_they_were_and_are(new: dict[str, Any], words: str) -> None:
    """They neither widen nor narrow by themselves."""
    assert words in next(each.words for each in compared({}, new) if each.kind == CHANGES)


def test_what_is_the_same_has_no_difference() -> None:
    """Another version number, or another order, is none."""
    other = {"version": 2, "flows": [flow(permitted=list(reversed(PERMITTED)))]}
    assert compared({}, other) == []


def test_what_widens_comes_first() -> None:
    """Whoever signs reads that before anything else."""
    new = {
        "title": "Another",
        "flows": [flow(permitted=["uprn", "oxygen.state", "oxygen.kept_in"])],
    }
    kinds = [each.kind for each in compared({}, new)]
    assert kinds == [WIDENS, *[NARROWS] * 4, CHANGES]
