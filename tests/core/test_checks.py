"""The static checks of an agreement: each rule finds its fault, at its key, and nothing in a good file."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import pytest

from broker.catalogue import standard_record_types
from broker.core import agreement as agreements
from broker.core import checks, lawfulness
from broker.core.agreement import Agreement
from broker.core.directory import Agency
from broker.core.recordtype import RecordType
from broker.law import load
from tests.support import world
from tests.support.values import replace
from tests.support.world import terms, toml

LAW = load()
TODAY = date(2026, 11, 21)
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
SUMMARY = "records.nhs.v1.PatientSummary"
WARNING = "records.police.v1.PersonWarning"
CURRENCY = "warnings.items.currency"
PLAN = "records.council.v1.ChildPlan"
INCIDENT = "records.ambulance.v1.Incident"
KEY_SAFE = "access.key_safe_code"
PERMITTED = (*world.PERMITTED, "hazards.as_at")
PAPERS = {"policy_document": "APD-7", "dpia": "DPIA-12", "dpia_status": "approved"}
S18 = {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18", "gateway": "frsa-2004-s7"}
PATIENT = ("nhs_number", "allergies.state", "allergies.items.substance.display")


def flow(**changes: Any) -> dict[str, Any]:
    """The flow of `terms`, with all that its facts go with."""
    return world.flow(**{"permitted": list(PERMITTED)} | changes)


def agency(name: str, kind: str, jurisdiction: str = "england", **more: Any) -> Agency:
    """An agency of the directory."""
    return Agency(name, name.upper(), kind, jurisdiction, SINCE, **more)


AGENCIES = {
    each.id: each
    for each in (
        agency("nwas", "ambulance"),
        agency("cfrs", "fire"),
        agency("cumberland", "council"),
        agency("ncic", "nhs"),
        agency("cumbria-police", "police"),
        agency("dgfire", "fire", "scotland"),
        agency("charity", "other"),
        agency("gone", "council", valid_until=datetime(2023, 4, 1, tzinfo=UTC)),
    )
}


@cache
def types() -> dict[str, RecordType]:
    """The record types that are shipped."""
    return {name: RecordType.stored(data, name) for name, data in standard_record_types()}


def parsed(**changes: Any) -> Agreement:
    """The agreement of `terms` with these changes; its file is one that has no fault at all."""
    return agreements.parse(toml(terms(**{"flows": [flow()]} | changes)), LAW)


def found(*others: Agreement, whole: bool = True, today: date = TODAY, **changes: Any) -> list[tuple[str, str]]:
    """Rule and key of all that is found in an agreement with these changes."""
    setting = checks.Setting(parsed(**changes), LAW, AGENCIES, types(), today, others, whole=whole)
    return [(each.rule, each.key) for each in checks.check(setting)]


def parties(*names: str, **own: Any) -> list[dict[str, Any]]:
    """These parties under UK GDPR."""
    return [{"agency": name, "regime": "uk-gdpr", **own} for name in names]


def asks(requester: str, provider: str, record_type: str, *permitted: str, **more: Any) -> dict[str, Any]:
    """Parties and one flow between them."""
    scheme = types()[record_type].subject_schemes[0]
    one = flow(
        requester=requester,
        provider=provider,
        record_type=record_type,
        permitted=list(permitted),
        subject_schemes=[scheme],
        roles=["crew"],
        **more,
    )
    return {"parties": parties(requester, provider), "flows": [one]}


def police(**more: Any) -> dict[str, Any]:
    """The ambulance service asks the police for a warning before it attends, with all that this needs."""
    leaves = [leaf.path for leaf in types()[WARNING].leaves if "offence" in leaf.labels]
    states = {state for path in leaves for leaf in [types()[WARNING].leaf(path)] for state in leaf.states}
    legal = {
        "basis": "art6-1-e",
        "condition": "art9-2-h",
        "offence_condition": "art10-sch1-para30",
        "gateway": "common-law-police",
        "further_use_law": "common-law-police",
    }
    duties = [{"code": "no-onward-sharing"}, {"code": "review-by", "days": 1}]
    made = {
        "legal": legal,
        "obligations": duties,
        **asks("nwas", "cumbria-police", WARNING, *sorted({*leaves, *states}), "warnings.as_at", CURRENCY),
    }
    return made | more


def test_a_good_file_has_nothing_against_it() -> None:
    """Not even a warning: what follows is found because of what was changed."""
    assert found() == []
    assert found(whole=False) == []
    assert found(**police()) == []


def test_what_a_fact_goes_without_is_told_once() -> None:
    """However many fields of one group are permitted without their date, there is one thing to mend."""
    facts = ["uprn", "oxygen.kind", "oxygen.kept_in", "oxygen.state", "hoarding.state"]
    told = [rule for rule, _ in found(flows=[flow(permitted=facts)])]
    assert told.count("path.dated") == 1


CHANGED: list[tuple[str, str, dict[str, Any]]] = [
    ("agency.known", "parties.2.agency", {"parties": parties("nwas", "cfrs", "lancs")}),
    ("type.known", "flows.0.record_type", {"flows": [flow(record_type="records.fire.v1.PremisesRisks")]}),
    ("type.held", "flows.0.provider", asks("cfrs", "nwas", "records.fire.v1.PremisesRisk", *PERMITTED)),
    ("path.leaf", "flows.0.permitted.7", {"flows": [flow(permitted=[*PERMITTED, "oxygen.knd"])]}),
    ("path.leaf", "flows.0.permitted.1", {"flows": [flow(permitted=["uprn", "oxygen"])]}),
    ("path.state", "flows.0.permitted.1", {"flows": [flow(permitted=["uprn", "oxygen.kind"])]}),
    ("path.dated", "flows.0.permitted.1", {"flows": [flow(permitted=["uprn", "oxygen.kind", "oxygen.state"])]}),
    (
        "path.holds",
        "flows.0.permitted.2",
        asks("cfrs", "cumberland", PLAN, "plan.state", "plan.as_at", "plan.type"),
    ),
    (
        "path.holds",
        "flows.0.permitted.2",
        asks("nwas", "cumbria-police", WARNING, "warnings.state", "warnings.as_at", "warnings.items.code"),
    ),
    ("path.exercise", "flows.0.permitted", asks("cfrs", "nwas", INCIDENT, "incident", "status")),
    ("path.concern", "flows.0.permitted", asks("cfrs", "nwas", INCIDENT, "exercise", "safeguarding.state")),
    ("path.point", "flows.0.permitted.0", asks("cfrs", "nwas", INCIDENT, "location.latitude")),
    ("path.point", "flows.0.permitted.0", asks("cfrs", "nwas", INCIDENT, "location.longitude")),
    (
        "path.plotted",
        "flows.0.permitted.0",
        asks("cfrs", "nwas", INCIDENT, "location.latitude", "location.longitude", "location.status"),
    ),
    ("scheme.known", "flows.0.subject_schemes.1", {"flows": [flow(subject_schemes=["uprn", "nhs-number"])]}),
    ("supersedes.known", "supersedes", {"supersedes": "nobody-heard-of-it"}),
    (
        "regime.fits",
        "parties.1.regime",
        {"parties": [*parties("nwas"), {"agency": "cfrs", "regime": "dpa-2018-part-3"}]},
    ),
    ("basis.stands", "legal.basis", {"legal": {**S18, "basis": "art6-1-f"}}),
    ("basis.stands", "legal.basis", {"legal": {**S18, "basis": "art6-1-a"}}),
    (
        "condition.special-category",
        "legal.condition",
        {"legal": {"basis": "art6-1-e", "gateway": "frsa-2004-s7"}},
    ),
    (
        "condition.special-category",
        "legal.condition",
        {
            "legal": {**S18, "condition": "art9-2-h", "confidentiality": "consent-implied"},
            **asks("cfrs", "ncic", SUMMARY, *PATIENT),
        },
    ),
    (
        "condition.offence",
        "legal.offence_condition",
        police(legal=police()["legal"] | {"offence_condition": ""}),
    ),
    (
        "further-use.authorised",
        "legal.further_use_law",
        police(legal=police()["legal"] | {"further_use_law": ""}),
    ),
    (
        "confidence.set-aside",
        "legal.confidentiality",
        {"legal": S18, **asks("cfrs", "ncic", SUMMARY, *PATIENT)},
    ),
    (
        "confidence.set-aside",
        "legal.justification",
        {"legal": {**S18, "confidentiality": "public-interest"}, **asks("cfrs", "ncic", SUMMARY, *PATIENT)},
    ),
    ("gateway.opens", "legal.gateway", {"legal": {**S18, "gateway": "policing-and-crime-act-2017-s1"}}),
    ("gateway.opens", "legal.gateway", {"legal": {**S18, "gateway": "care-act-2014-s42"}}),
    (
        "gateway.opens",
        "legal.gateway",
        {"parties": parties("nwas", "dgfire"), "flows": [flow(provider="dgfire")]},
    ),
    (
        "gateway.shut",
        "legal.other_gateways.0",
        {"legal": {**S18, "other_gateways": ["care-act-2014-s42"]}},
    ),
    ("gateway.named", "legal.gateway", {"legal": {k: v for k, v in S18.items() if k != "gateway"}}),
    ("document.policy", "governance.policy_document", {"governance": {**PAPERS, "policy_document": ""}}),
    (
        "document.dpia-approved",
        "governance.dpia_status",
        {"governance": {**PAPERS, "dpia_status": "in-progress"}},
    ),
    (
        "document.dpia-approved",
        "governance.dpia_status",
        {"governance": {**PAPERS, "dpia_status": "not-started"}},
    ),
    ("document.dpia-stated", "governance.dpia_status", {"governance": {"policy_document": "APD-7"}}),
    (
        "document.dpia-stated",
        "governance.dpia_status",
        {"governance": {**PAPERS, "dpia_status": "not-required"}},
    ),
    ("document.dpia-stated", "governance.dpia", {"governance": {**PAPERS, "dpia": ""}}),
    ("opt-out.stated", "directives.opt_out", {"directives": {"weight": "respected", "opt_out": "applies"}}),
    (
        "override.safe-contact",
        "flows.0.override.0",
        {
            "override": {"codes": ["life-at-risk"]},
            "flows": [flow(permitted=["access.state", KEY_SAFE], override=[KEY_SAFE, "access.state"])],
        },
    ),
    ("ncnd.queries", "flows.0.queries", {"ncnd": True, "flows": [flow(queries=True)]}),
    ("context.ever", "flows.0.context", {"flows": [flow(context="now.hour > 24")]}),
    ("recorders.count", "directives.recorders", {"directives": {"weight": "required", "recorders": ["nwas"]}}),
    ("obligations.asked", "obligations", {"obligations": [{"code": "retain-until", "days": 3}]}),
    (
        "obligations.due",
        "obligations.0.code",
        {"obligations": [{"code": "review-by"}, {"code": "no-onward-sharing"}]},
    ),
    (
        "lane.vital",
        "limits.emergency_per_minute",
        {"purpose": "emergency-planning", "limits": {"emergency_per_minute": 5}},
    ),
    ("type.fits", "type", {"type": "reciprocal"}),
    ("type.fits", "type", {"type": "joint-controllers"}),
    (
        "dates.over",
        "valid_until",
        {"valid_from": date(2025, 1, 1), "valid_until": date(2026, 11, 20), "review_on": date(2026, 11, 20)},
    ),
    ("review.inside", "review_on", {"review_on": date(2029, 1, 1)}),
    ("review.inside", "review_on", {"review_on": date(2025, 12, 31)}),
    ("review.due", "review_on", {"review_on": date(2026, 11, 20)}),
    ("review.soon", "review_on", {"valid_until": date(2040, 1, 1), "review_on": date(2028, 11, 23)}),
]


@pytest.mark.parametrize(
    ("rule", "key", "changes"), CHANGED, ids=[f"{n}-{rule}" for n, (rule, _, _) in enumerate(CHANGED)]
)
def test_what_is_wrong_is_found_under_its_rule_at_its_key(rule: str, key: str, changes: dict[str, Any]) -> None:
    """Each rule has a row that fails without it."""
    assert (rule, key) in found(**changes)


def test_every_rule_has_a_row() -> None:
    """Or a test of its own below: those that compare files, and those of the law alone."""
    among = {"version.higher", "version.signed", "version.begins", "overlap", "supersedes.given"}
    among |= {"supersedes.signed", "supersedes.ends", "agency.ended"}
    among |= {"supersedes.never", "roles.known", "roles.alike", "agency.assumed"}
    law = {"gateway.waits", "opt-out.silent", "opt-out.needless"}
    assert {rule.id for rule in checks.RULES} == {rule for rule, _, _ in CHANGED} | among | law
    assert len({rule.id for rule in checks.RULES}) == len(checks.RULES)
    assert set(lawfulness.CHECKS) <= {rule.id for rule in checks.RULES if rule.severity == checks.ERROR}


def test_a_gateway_of_a_later_day_is_told_or_refused() -> None:
    """A warning where it begins inside the agreement's days, an error where it begins after them."""
    row = LAW.gateways["frsa-2004-s7"]
    for begins, rule in ((date(2027, 1, 1), "gateway.waits"), (date(2030, 1, 1), "gateway.opens")):
        law = replace(LAW, gateways={**LAW.gateways, row.code: replace(row, commences=begins)})
        setting = checks.Setting(parsed(), law, AGENCIES, types(), TODAY, whole=True)
        assert [(each.rule, each.key) for each in checks.check(setting)] == [(rule, "legal.gateway")]


VISIT = {
    "purpose": "home-fire-safety",
    "legal": {**S18, "gateway": "frsa-2004-s6", "confidentiality": "section-251"},
    **asks("cfrs", "ncic", SUMMARY, *PATIENT),
}


@pytest.mark.parametrize(
    ("said", "confidentiality", "rule"),
    [
        (None, "section-251", "opt-out.silent"),
        ("does-not-apply", "section-251", "opt-out.stated"),
        ("applies", "section-251", None),
        (None, "statute", None),
        ("does-not-apply", "statute", None),
    ],
)
def test_the_opt_out_is_stated_as_it_is(said: str | None, confidentiality: str, rule: str | None) -> None:
    """Patient information beyond the person's own care: written down where it applies, never denied."""
    directives = {"weight": "respected"} | ({"opt_out": said} if said else {})
    legal = {**S18, "gateway": "frsa-2004-s6", "confidentiality": confidentiality}
    told = found(**{**VISIT, "directives": directives, "legal": legal})
    assert [each for each, _ in told if each.startswith("opt-out")] == ([rule] if rule else [])


def test_an_opt_out_of_what_is_no_patient_information_is_needless() -> None:
    """The fire service's own records are not what it is about."""
    changes: dict[str, Any] = {
        "purpose": "emergency-planning",
        "directives": {"weight": "respected", "opt_out": "applies"},
        "obligations": [{"code": "no-onward-sharing"}, {"code": "retain-until", "days": 1}],
    }
    assert found(**changes) == [("opt-out.needless", "directives.opt_out")]
