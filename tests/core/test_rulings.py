"""What humans of the provider have decided, as a decision reads it: grants, refusals, restricted overrides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.core.decision import is_subject_key
from broker.core.granting import override_key, restricted_by, ruling_key
from broker.core.model import Decision, Grant, OneOff, Outcome, Signed, Stand
from broker.core.oneoff import one_off_id
from tests.decisions.cases import Row, decided, requested, rows
from tests.support.values import replace

BY_NAME = {row.case: row for row in rows()}
JUDGED = BY_NAME["a human decided"]
VISIT = BY_NAME["override past a missing consent"]
SEARCH = BY_NAME["override past a role"]
PLAIN = BY_NAME["a grant with nothing in its way changes nothing"]
NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
SIGNED = Signed(b"{}", "k", b"s")
STAND = Stand("uk-gdpr", "art6-1-e", "art9-2-g-sch1-para18")
LAW = OneOff(STAND, STAND, gateway="care-act-2014-s42", confidentiality="public-interest", justification="why")
HOUR = timedelta(hours=1)


def grant(**changes: Any) -> Grant:
    """A human's decision on the request, for an hour, with everything that it may carry."""
    return replace(Grant("referral-7", ("standing", "facts.state"), NOW + HOUR, signed=SIGNED), **changes)


def of(row: Row, given: Grant | None = None, circumstances: str | None = None, **how: Any) -> Decision:
    """The decision on a row, with this human's decision instead of the row's."""
    kept = [c for c in row.circumstances.split("; ") if not c.startswith("grant")]
    row = replace(row, circumstances="; ".join(kept) if circumstances is None else circumstances)
    return decided(row, grant=given, **how)[0]


def test_a_grant_that_was_used_stands_in_the_decision() -> None:
    """With its referral and the agency's signed word."""
    decision = of(JUDGED, grant())
    assert decision.outcome is Outcome.PERMIT
    assert (decision.grant, decision.signed, decision.one_off) == ("referral-7", SIGNED, None)
    assert decision.override_due is None


def test_a_grant_that_nothing_needed_does_not() -> None:
    """The agreement permits by itself: nobody let anything through."""
    decision = of(PLAIN, grant(one_off=None))
    assert decision.outcome is Outcome.PERMIT
    assert (decision.grant, decision.signed, decision.waived) == ("", None, ())


def test_an_override_beside_a_grant_is_the_grant_s() -> None:
    """What a human of the provider decided goes before what the asker overrides, and needs no review."""
    decision = of(BY_NAME["override past an objection"], grant())
    assert (decision.grant, decision.override, decision.override_due) == ("referral-7", "", None)


def test_an_override_that_was_used_is_due_for_review_and_one_that_was_not_is_not() -> None:
    """Seventy-two hours from when it was used, by the agreement's default."""
    assert of(SEARCH).override_due == NOW + timedelta(hours=72)
    needless = of(replace(SEARCH, role=PLAIN.role))
    assert (needless.outcome, needless.override, needless.override_due) == (Outcome.PERMIT, "", None)


def test_whoever_breaks_glass_is_told_that_it_did_not_count() -> None:
    """The same whatever stood in the way, also where an override could not have gone past it; and not where it
    counts, or where no agreement was found."""
    wrong = "override life-at-rsk for 2h"
    said = ("objection by ncic", "staff-conflict by ncic names a.hill", "protected-identity by ncic")
    told = {
        decided(replace(SEARCH, role=PLAIN.role, circumstances=f"incident x/2026-11-21/1; {wrong}", said=word))[
            0
        ].refused.remedy  # type: ignore[union-attr]
        for word in said
    }
    assert len(told) == 1
    assert told.pop().endswith(
        "The override does not count: the agreement does not know the reason life-at-rsk."
    )
    shut = of(replace(SEARCH, said="protected-identity by ncic", role=PLAIN.role))
    assert shut.refused is not None
    assert "override" not in shut.refused.remedy
    nowhere = of(replace(SEARCH, agreement=""))
    assert nowhere.refused is not None
    assert "override" not in nowhere.refused.remedy


def one_off(**changes: Any) -> Decision:
    """A request that no agreement names, and a human's decision to let it through."""
    return of(replace(PLAIN, agreement=""), grant(permitted=("if_missing.state",), one_off=LAW, **changes))


def test_a_one_off_stands_in_place_of_an_agreement() -> None:
    """By its own id and law, as waived by the grant and not as passed."""
    decision = one_off()
    assert decision.outcome is Outcome.PERMIT
    assert (decision.agreement, decision.agreement_version) == (one_off_id("referral-7"), 1)
    assert (decision.one_off, decision.grant, decision.waived) == (LAW, "referral-7", ("agreement.in-force",))
    assert decision.permitted == ("if_missing.state",)
    verdicts = {r.rule: r.verdict for r in decision.rules if r.verdict != "pass"}
    assert verdicts == {"agreement.in-force": "waived by grant"}


def test_a_one_off_that_ran_out_is_no_agreement() -> None:
    """As if it had never been."""
    decision = one_off(until=NOW)
    assert decision.refused is not None
    assert decision.refused.code == "agreement"


# A human decided against it.


def test_whoever_was_told_no_is_not_referred_again() -> None:
    """Where a human is to decide, and where no agreement is there; told whom to ask, and what a new id does."""
    against = grant(granted=False)
    for decision in (of(JUDGED, against), of(replace(PLAIN, agreement=""), against)):
        assert decision.outcome is Outcome.REFUSE
        assert decision.refused is not None
        assert decision.refused.code == "person"
        assert decision.refused.message == "A named person of the provider has decided against this request."
        assert "without retry_of" in decision.refused.remedy
        assert "referral-7" in decision.rules[-1].detail


def test_a_no_neither_permits_nor_hides_why_else_it_is_refused() -> None:
    """A refusal for another reason keeps its reason; and a no never lets anything through."""
    against = grant(granted=False)
    role = of(replace(JUDGED, role="social-worker"), against)
    assert role.refused is not None
    assert role.refused.code == "role"
    objected = of(BY_NAME["a human decided past an objection"], against)
    assert (objected.outcome, objected.grant) == (Outcome.REFUSE, "")


def test_a_human_of_another_agency_has_decided_nothing_here() -> None:
    """Neither for nor against; what was decided there is read all the same, since who holds it may change."""
    asker, holder = f"{JUDGED.who}/desk", requested(JUDGED).provider
    assert of(JUDGED, grant(provider=holder)).outcome is Outcome.PERMIT
    elsewhere = of(JUDGED, grant(provider="elsewhere", request="r-1"), "retry-of r-2")
    assert (elsewhere.outcome, elsewhere.grant) == (Outcome.REFER, "")
    assert {ruling_key(asker, "r-1"), ruling_key(asker, "r-2")} <= elsewhere.reads
    assert of(JUDGED, grant(provider="elsewhere", granted=False)).outcome is Outcome.REFER
    assert of(JUDGED, grant(provider=holder, granted=False)).outcome is Outcome.REFUSE


# What it read.


def test_what_a_human_may_decide_meanwhile_is_read() -> None:
    """The request that this one repeats, and the one that was referred; none where nothing is repeated."""
    asker = f"{JUDGED.who}/desk"
    assert requested(JUDGED).caller == asker

    def read(retry_of: str, given: Grant | None) -> set[str]:
        decision = of(JUDGED, given, f"retry-of {retry_of}" if retry_of else "")
        return {key for key in decision.reads if key.startswith("referral:")}

    assert read("", None) == set()
    assert read("r-1", None) == {ruling_key(asker, "r-1")}
    assert read("r-2", grant(request="r-1")) == {ruling_key(asker, "r-1"), ruling_key(asker, "r-2")}


def test_what_restricts_an_override_is_read_wherever_one_is_asked_for() -> None:
    """Of the actor, the role and the system: also where nothing restricts them."""
    request = requested(SEARCH)
    named = {
        override_key(request.caller, "actor", request.actor.id),
        override_key(request.caller, "role", request.actor.role),
        override_key(request.caller, "system", request.system),
    }
    assert named <= of(SEARCH).reads
    assert not any(key.startswith("override:") for key in of(PLAIN).reads)
    assert any(is_subject_key(key) for key in of(SEARCH).reads)


# Restricted overrides.


def keys(what: str, row: Row = VISIT, provider: str = "") -> str:
    """The key under which this row's overrides are restricted by its actor, role or system."""
    request = requested(row)
    who = {"actor": request.actor.id, "role": request.actor.role, "system": request.system}[what]
    return restricted_by(override_key(request.caller, what, who), provider or row.of)


@pytest.mark.parametrize("what", ["actor", "role", "system"])
def test_a_restricted_override_does_not_count(what: str) -> None:
    """For good or until a moment, which is when time alone changes the decision; the owner is told of what."""
    for until in (None, NOW + HOUR):
        decision = of(VISIT, restricted={keys(what): until})
        assert decision.outcome is Outcome.REFUSE
        says = f"does not count: the provider has restricted overrides by this {what}."
        assert decision.rules[-1].detail.endswith(says)
        assert decision.valid_until == until or until is None
    assert of(VISIT, restricted={keys(what): None}).override == ""


def test_a_restriction_ends_and_holds_for_its_own_provider_alone() -> None:
    """At its last moment it is over; another provider's is no business of this one's."""
    for restricted in (
        {keys("actor"): NOW},
        {keys("actor"): NOW - HOUR},
        {keys("actor", provider="ncic"): None},
        {keys("actor"): NOW, keys("role", provider="ncic"): None},
    ):
        assert of(VISIT, restricted=restricted).override == "life-at-risk", restricted
    both = of(VISIT, restricted={keys("actor"): NOW, keys("system"): None})
    assert both.outcome is Outcome.REFUSE


def test_no_restriction_holds_where_life_may_depend_on_it() -> None:
    """An emergency's override stands whoever is restricted."""
    for what in ("actor", "role", "system"):
        assert of(SEARCH, restricted={keys(what, SEARCH): None}).override == "life-at-risk"
