"""The judge itself, on made-up logs: what it must see, and what it must let stand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.judge import NOWHERE, Terms, Verdict, judge

ANN, BOB = "9000000001", "9000000002"
ANNS_OLD = "9000000003"
TERMS = {
    "visit": Terms("required", frozenset({"council", "trust"})),
    "care": Terms("respected"),
    "risk": Terms("recorded"),
}
Entry = dict[str, Any]


def says(directive: str, kind: str, who: str = ANN, recorder: str = "council", **detail: Any) -> Entry:
    """Somebody's words are recorded."""
    scopes: dict[str, Any] = {"purposes": [], "record_types": [], "requesters": [], "providers": []}
    said = {"kind": kind, **scopes, "said_at": "2026-11-21T09:00:00+00:00", "valid_until": None, **detail}
    about = {"scheme": "nhs-number", "value": who}
    detail = {"id": directive, "recorder": recorder, "detail": said, "subject": about}
    return {"event": "directive-recorded", "outcome": None, "detail": detail}


def withdraws(*directives: str) -> Entry:
    """Words are taken back."""
    return {"event": "directive-withdrawn", "outcome": None, "detail": {"ids": list(directives)}}


def permit(agreement: str = "visit", who: str = ANN, *others: str, event: str = "disclosure") -> Entry:
    """A record is released."""
    return {
        "event": event,
        "outcome": "permit",
        "agreement": f"{agreement}/1",
        "asked_by": {"scheme": "nhs-number", "value": who},
        "identifiers": [{"scheme": "nhs-number", "value": each} for each in (who, *others)],
        "purpose": "home-fire-safety",
        "record_type": "records.nhs.v1.PatientSummary",
        "requester": "fire",
        "provider": "trust",
        "now": "2026-11-21T10:00:00+00:00",
    }


def refusal(who: str = ANN) -> Entry:
    """A refusal by what the person said."""
    return {**permit(who=who), "event": "refusal", "outcome": "refuse"}


def tried(*entries: Entry) -> Verdict:
    """The verdict on these entries as a whole log."""
    return judge(enumerate(entries), TERMS)


def ignored(*entries: Entry) -> list[tuple[int, int]]:
    """Each violation's place, and the place of what it ignores."""
    return [(v.index, v.ignored) for v in tried(*entries).violations]


def test_a_permit_above_the_withdrawal_of_its_consent_is_seen() -> None:
    """And the one below it stands."""
    log = says("a", "consent"), permit(), withdraws("a"), refusal(), permit()
    assert ignored(*log) == [(4, 2)]


@pytest.mark.parametrize("kind", ["objection", "refusal", "restriction"])
@pytest.mark.parametrize("agreement", ["care", "visit"])
def test_a_permit_above_words_against_it_is_seen(agreement: str, kind: str) -> None:
    """Under either weight, whatever the consent says."""
    log = says("a", "consent"), permit(agreement), says("b", kind), permit(agreement), permit(agreement, BOB)
    assert (3, 2) in ignored(*log)
    assert 1 not in [index for index, _ in ignored(*log)]


def test_words_under_a_number_that_the_provider_named_count() -> None:
    """An objection holds for every identifier of the permit; a consent for the one asked with only."""
    assert ignored(says("b", "objection", ANNS_OLD), permit("care", ANN, ANNS_OLD)) == [(1, 0)]
    assert ignored(says("b", "objection", ANNS_OLD), permit("care", ANN)) == []
    assert ignored(says("a", "consent", ANNS_OLD), permit("visit", ANN, ANNS_OLD)) == [(1, NOWHERE)]


def test_what_is_lifted_stands_in_nobodys_way() -> None:
    """A permit after the end of an objection, and after a second consent, is none of ours."""
    assert ignored(says("b", "objection"), withdraws("b"), permit("care")) == []
    assert ignored(says("a", "consent"), withdraws("a"), says("c", "consent"), permit()) == []
    assert ignored(says("a", "consent"), says("c", "consent"), withdraws("a", "c"), permit()) == [(3, 2)]


def test_a_consent_that_does_not_count_permits_nothing() -> None:
    """The requester's own record, one of an agency the agreement does not name, another scope, run out."""
    assert ignored(says("a", "consent", recorder="fire"), permit()) == [(1, NOWHERE)]
    assert ignored(says("a", "consent", recorder="stranger"), permit()) == [(1, NOWHERE)]
    assert ignored(says("a", "consent", purposes=["audit"]), permit()) == [(1, NOWHERE)]
    assert ignored(says("a", "consent", valid_until="2026-11-21T10:00:00+00:00"), permit()) == [(1, NOWHERE)]
    assert ignored(says("a", "consent", valid_until="2026-11-21T10:00:01+00:00"), permit()) == []


def test_words_that_do_not_speak_to_it_are_let_by() -> None:
    """Another requester, another purpose, not yet said; and weight `recorded` reads nothing."""
    for detail in (
        {"requesters": ["police"]},
        {"purposes": ["audit"]},
        {"said_at": "2027-01-01T00:00:00+00:00"},
    ):
        assert ignored(says("b", "objection", **detail), permit("care")) == []
    assert ignored(says("b", "objection"), permit("risk")) == []


def test_everything_that_a_permit_ended_in_is_judged() -> None:
    """A not-found tells something too."""
    assert ignored(says("b", "objection"), permit("care", event="not-found")) == [(1, 0)]


def test_the_verdict_says_what_was_asked_and_said() -> None:
    """Permits and refusals by person, words by id, and how long the log was."""
    verdict = tried(says("a", "consent"), permit(), withdraws("a"), refusal(), refusal(BOB))
    assert verdict.permits == {("nhs-number", ANN): [1]}
    assert verdict.refusals == {("nhs-number", ANN): [3], ("nhs-number", BOB): [4]}
    assert (verdict.recorded, verdict.withdrawn, verdict.size) == ({"a": 0}, {"a": 2}, 5)


def test_a_log_with_a_gap_is_not_judged() -> None:
    """Of a log whose entries are missing or disordered nothing can be said."""
    for indexes in ([0, 2], [1], [0, 0], [1, 0]):
        with pytest.raises(ValueError, match="missing"):
            judge([(index, refusal()) for index in indexes], TERMS)
