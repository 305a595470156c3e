"""What the law holds against a flow, where no row of the law files shows it; and how it is told."""

from __future__ import annotations

import re

import pytest

from broker.core import agreement as agreements
from broker.core.flow import flow_question
from broker.core.lawfulness import EVERYTHING, Question, flaws, labels_of, shuts
from broker.law import Gateway
from tests.decisions.cases import LAW, decided, rows
from tests.decisions.examples import FILES, LABELS, agencies
from tests.support.values import replace

AGREED = agreements.parse(FILES["14"].read_bytes(), LAW)
QUESTION = flow_question(AGREED, AGREED.flows[0], LAW, agencies(), LABELS)
OPEN = Gateway(code="x", meaning="", source="", read_on=AGREED.valid_from)
PERSONAL = ("identifying", "contact", "safe-contact", "special-category", "offence", "third-party", "free-text")


def labelled(*labels: str) -> Question:
    """The flow, if what it permits had these labels."""
    return replace(QUESTION, labels=frozenset(labels))


def test_a_gateway_that_says_nothing_lets_everybody_through() -> None:
    """An empty list of purposes, requesters, providers or nations means any."""
    assert shuts(OPEN, QUESTION) == ""
    assert shuts(replace(OPEN, purposes=frozenset({"audit"})), QUESTION) == "does not serve service-transition"


@pytest.mark.parametrize("label", PERSONAL)
def test_what_says_something_of_a_person_does_not_leave_a_closed_provider(label: str) -> None:
    """Each of these labels alone shuts it; where a place is, or what is plain, does not."""
    closed = replace(OPEN, closed_to_providers=frozenset({"council"}))
    assert shuts(closed, labelled(label)).startswith("does not let through what")
    assert shuts(closed, labelled("plain", "location")) == ""
    assert shuts(replace(closed, closed_to_providers=frozenset({"nhs"})), labelled(label)) == ""


def test_a_field_of_which_nothing_is_known_gives_away_everything() -> None:
    """So an agreement on a record type that is not approved needs every condition there is."""
    assert labels_of({}, "records.x", "y") == EVERYTHING == {*PERSONAL, "location"}
    assert labels_of(LABELS, "records.fire.v1.PremisesRisk", "uprn") == {"location"}
    unknown = flow_question(AGREED, AGREED.flows[0], LAW, agencies(), {})
    assert {"condition.special-category", "condition.offence", "confidence.set-aside"} <= flaws(unknown).keys()


def test_an_agency_of_no_known_kind_is_held_to_what_binds_everybody() -> None:
    """It owes no secrecy, is no authority, and no gateway that names kinds lets it through."""
    nobody = flow_question(AGREED, AGREED.flows[0], LAW, {}, LABELS)
    assert nobody.requester.kind.code == ""
    kind = nobody.requester.kind
    assert [kind.secrecy, kind.competent_authority, kind.public_authority, kind.holds_confidential] == [
        False
    ] * 4
    assert shuts(replace(OPEN, requesters=frozenset({"council"})), nobody).endswith("receive")


def test_every_flaw_says_which_key_is_wrong_what_with_it_and_what_would_mend_it() -> None:
    """In each row of the table that the law refuses, and never with a gap where a word should be."""
    law = {"regime", "basis", "confidentiality"}
    seen: set[str] = set()
    for row in rows():
        refused = decided(row)[0].refused
        flaw = row.step == "further-use.authorised" or (refused is not None and refused.code in law)
        if refused is None or not flaw:
            continue
        found = re.search(r"must mend it: ((?:legal|parties)\.[a-z_.0-9-]+): (\w.*)\.$", refused.remedy)
        assert found, row.case
        assert re.search(r" here: \w", refused.message), row.case
        seen.add(re.sub(r"^parties\.[a-z-]+", "parties.X", found[1]))
    assert seen == {
        "parties.X.regime",
        "legal.basis",
        "legal.condition",
        "legal.offence_condition",
        "legal.further_use_law",
        "legal.confidentiality",
        "legal.justification",
    }


def test_a_consent_that_must_be_required_is_told_so() -> None:
    """The key that makes it so is named."""
    row = next(row for row in rows() if row.case == "consent as a basis where none is required")
    refused = decided(row)[0].refused
    assert refused is not None
    assert refused.remedy.endswith("set directives.weight to required.")
