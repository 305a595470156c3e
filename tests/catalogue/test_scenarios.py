"""What each everyday exchange needs to know can be named by an agreement, and what it must not carry cannot."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from broker.catalogue import standard_record_types
from broker.core.recordtype import RecordType
from broker.core.redaction import Redactor
from broker.core.subject import SCHEMES
from records.shared.v1.person_pb2 import Standing

TYPES = {name: RecordType.stored(data, name) for name, data in standard_record_types()}


class Need(NamedTuple):
    """Of one record type: the paths that an exchange needs, and labels that none of those may carry.

    `never` is a pattern that no path of the type matches: what is withheld has no field at all.
    """

    scenario: str
    record_type: str
    paths: str
    not_labelled: str = ""
    never: str = ""


NEEDS = (
    Need(
        "1 road collision, pushed to fire and police",
        "incident.v1.MajorIncident",
        "incident major_incident.status exact_location.latitude exact_location.longitude type hazards.state "
        "hazards.items.code access.state access.routes casualties.state casualties.total "
        "casualties.counts.severity casualties.counts.number services.service services.present "
        "services.required",
        "identifying offence third-party",
        r"history|diagnos",
    ),
    Need(
        "1 road collision, who accepted it and when",
        "incident.v1.IncidentTransfer",
        "step version sent_at references.agency references.number location.uprn location.status "
        "people.state people.items.status acknowledgement.answer acknowledgement.agency "
        "acknowledgement.role acknowledgement.at",
        "identifying offence",
        r"history|diagnos",
    ),
    Need(
        "2 forced entry: what the premises hold",
        "fire.v1.PremisesRisk",
        "uprn access.state access.directions hazards.state hazards.items.code",
        "special-category identifying",
    ),
    Need(
        "2 forced entry: why it is necessary",
        "ambulance.v1.Incident",
        "incident location.uprn access.state access.forced_entry_needed access.forced_entry_reason "
        "hazards.state hazards.items.code",
        "identifying contact",
    ),
    Need(
        "3 warning about a person",
        "police.v1.PersonWarning",
        "warnings.state warnings.items.code warnings.items.currency warnings.items.corrected_on "
        "warnings.items.provenance.review_by",
        "identifying free-text",
        r"intelligence|conviction|notes|words|description",
    ),
    Need(
        "3 warning about an address",
        "police.v1.AddressWarning",
        "uprn warnings.state warnings.items.code warnings.items.about warnings.items.occupancy_confirmed_on "
        "warnings.items.currency warnings.items.corrected_on warnings.items.provenance.review_by",
        "identifying free-text",
        r"intelligence|conviction|notes|words|description",
    ),
    Need(
        "4 who cannot evacuate",
        "council.v1.VulnerablePerson",
        "uprn needs.state needs.items.code evacuation.state evacuation.need destroy_by",
        "identifying contact free-text",
        r"diagnos|condition|medication",
    ),
    Need(
        "5 missing person: the search",
        "police.v1.MissingPerson",
        "report.state report.reported_at report.last_seen_at report.grade description.state "
        "description.clothing if_missing.state if_missing.likely_places if_missing.routine",
        "contact offence",
    ),
    Need(
        "5 missing person: what the council knows",
        "council.v1.SocialCareStatus",
        "if_missing.state if_missing.likely_places if_missing.approach if_missing.dangers "
        "if_missing.medication_is_urgent worker.phone",
        "identifying safe-contact",
        r"notes|case_file",
    ),
    Need(
        "5 missing person: what the NHS knows",
        "nhs.v1.PatientSummary",
        "medications.state medications.items.medicine.display alerts.state alerts.items.alert.display",
        "identifying contact",
    ),
    Need(
        "6 home fire safety referral, pushed",
        "council.v1.HomeFireSafetyReferral",
        "uprn contact.name contact.phone risks.state risks.items.factor agreed.state agreed.visit_agreed",
        "free-text",
        r"notes|care",
    ),
    Need(
        "6 home fire safety visit and its outcome",
        "fire.v1.HomeFireSafetyVisit",
        "uprn referral.state referral.reference risks.state risks.items.factor outcome.state outcome.result",
        "free-text third-party",
    ),
    Need(
        "7 hoarding and self-neglect, pushed",
        "fire.v1.SelfNeglectConcern",
        "concern.state concern.clutter_rating concern.observations.code concern.observations.words "
        "concern.observations.provenance.nature wishes.state wishes.words wishes.told wishes.agreed "
        "capacity.state capacity.decision capacity.outcome override.overridden override.reason",
        "offence",
    ),
    Need(
        "8 protection notice, pushed to the hub",
        "police.v1.ProtectionNotice",
        "person.family person.given person.birth_date concern.state concern.codes concern.circumstances "
        "parties.person.family parties.standing routing.council routing.out_of_hours",
        "safe-contact",
        r"intelligence",
    ),
    Need(
        "9 child on a plan, as the NHS shows it",
        "nhs.v1.ChildProtectionView",
        "plans.state plans.items.type council.responsible_authority council.phone council.out_of_hours_phone",
        "identifying free-text",
        r"case|file|notes",
    ),
    Need(
        "9 child on a plan, as the council answers",
        "council.v1.ChildPlan",
        "plan.state plan.type responsible_authority worker.phone worker.out_of_hours_phone unborn.state "
        "unborn.due_on",
        "identifying free-text",
        r"case|file|notes",
    ),
    Need(
        "9 handover at the emergency department, pushed",
        "ambulance.v1.PatientHandover",
        "times.accepted_at times.accepted_by_role presentation.state presentation.complaint allergies.state "
        "allergies.items.substance safeguarding.state safeguarding.concern",
        "offence contact",
    ),
    Need(
        "10 research for a conference",
        "marac.v1.ResearchReturn",
        "case_reference standing facts.state facts.items.code facts.items.words conflict.checked_on "
        "conflict.found",
        "safe-contact location contact",
        r"address|postcode|uprn",
    ),
    Need(
        "11 mental-health crisis, handed over",
        "police.v1.CrisisHandover",
        "detention.state detention.detained_at detention.arrived_at detention.expires_at risks.state "
        "risks.items.code risks.items.level responsibility.agency responsibility.role responsibility.since "
        "responsibility.until",
        "identifying offence free-text",
        r"history|conviction",
    ),
    Need(
        "12 storm: the utility's register",
        "utility.v1.PriorityServices",
        "uprn needs.state needs.items.code supply.state supply.off destroy_by",
        "identifying contact free-text",
        r"diagnos|condition|medical|notes",
    ),
    Need(
        "12 storm: who declared it",
        "incident.v1.MajorIncident",
        "incident major_incident.declared_by major_incident.declared_at",
        "identifying special-category",
    ),
    Need(
        "13 firearms marker",
        "nhs.v1.FirearmsMarker",
        "marker.state marker.placed_on marker.removed_on",
        "special-category identifying free-text",
        r"condition|medication|diagnos|notes",
    ),
    Need(
        "14 re-homed cases and referrals",
        "council.v1.CasePointer",
        "former_reference former_controller reference controller since expires_on",
        "special-category free-text contact",
    ),
)


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.scenario)
def test_an_agreement_can_name_what_is_needed_and_no_more(need: Need) -> None:
    """Its paths are leaves with their states, without the labels to be kept back; nothing else leaves."""
    of = TYPES[f"records.{need.record_type}"]
    paths = need.paths.split()
    of.check_paths(paths)
    for path in paths:
        assert not set(of.leaf(path).labels) & set(need.not_labelled.split()), path
    assert len(Redactor(of, paths).withheld) == len(of.leaves) - len(paths)
    if need.never:
        assert [leaf.path for leaf in of.leaves if re.search(need.never, leaf.path)] == []


def test_every_scenario_and_every_record_type_is_in_the_table() -> None:
    """Fourteen scenarios; and no type that none of them needs."""
    assert sorted({int(need.scenario.split()[0]) for need in NEEDS}) == list(range(1, 15))
    assert {f"records.{need.record_type}" for need in NEEDS} == TYPES.keys()


@pytest.mark.parametrize(
    ("record_type", "effects"),
    [
        ("nhs.v1.ChildProtectionView", True),
        ("council.v1.ChildPlan", True),
        ("council.v1.SocialCareStatus", False),
        ("police.v1.PersonWarning", False),
    ],
)
def test_a_view_that_tells_a_social_worker_says_so(record_type: str, effects: bool) -> None:
    """Asking whether a child is on a plan has an effect; asking about others has none."""
    assert TYPES[f"records.{record_type}"].viewing_has_effects is effects


def test_people_in_several_standings_are_told_apart() -> None:
    """Suspect, convicted, victim, witness and other are values of their own."""
    assert [name.removeprefix("STANDING_") for name in Standing.keys()[1:]] == [
        "SUSPECT",
        "CONVICTED",
        "VICTIM",
        "WITNESS",
        "OTHER",
    ]


def test_an_incident_names_a_subject_where_there_is_no_address() -> None:
    """What happens on a fell or a motorway is asked for by the incident's number."""
    assert "incident" in SCHEMES
    by_incident = {name for name, of in TYPES.items() if "incident" in of.subject_schemes}
    assert {
        "records.ambulance.v1.Incident",
        "records.incident.v1.MajorIncident",
        "records.incident.v1.IncidentTransfer",
    } <= by_incident
