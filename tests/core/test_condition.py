"""Conditions of context: what an expression may say, and that what cannot be decided is false."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker.core.condition import Condition
from broker.core.model import Assurance, Place, Reason
from broker.errors import InvalidRequest
from tests.support.values import replace
from tests.support.world import ACTOR, ask

NOW = datetime(2026, 6, 3, 7, 30, 20, tzinfo=UTC)  # a Wednesday, half past eight on a clock in London
ASKED = ask(
    incident="nwas/2026-06-03/0042",
    reason=Reason("flood"),
    place=Place(uprn="10000000001", district="E07000026"),
    actor=replace(ACTOR, assurance=Assurance.ROSTER, callsign="AC412"),
)


@pytest.mark.parametrize(
    "text",
    [
        'purpose == "emergency-response"',
        'incident.startsWith("nwas/")',
        'reason in ["flood", "storm"]',
        "now.hour == 8 && now.minute == 30",
        'now.weekday == 3 && now.date == "2026-06-03"',
        "actor.assurance >= assurance.roster",
        'actor.callsign.matches("^AC[0-9]{3}$")',
        'place.known && place.district == "E07000026"',
        'scheme == "uprn" && requester == "nwas" && provider == "cfrs" && system == "cad"',
        "size(actor.role) > 3",
        "!(actor.assurance >= assurance.personal_login)",
        'actor["role"] == "ambulance-crew" && actor.id != ""',
        "size(actor) == 7 && size(place) == 3 && size(now) == 4",
        'reason != "actor.nothing" && actor.callsign == "AC412"',
        'actor . role == "ambulance-crew" && place\n.known',
    ],
)
def test_what_holds(text: str) -> None:
    """Each name that an expression may use, on a request for which it is true."""
    assert Condition(text).holds(ASKED, NOW)


@pytest.mark.parametrize(
    "text",
    [
        'purpose == "audit"',
        "now.hour < 8",
        'incident == ""',
        "actor.assurance > assurance.roster",
        '!(reason == "flood")',
    ],
)
def test_what_does_not_hold(text: str) -> None:
    """The same names where it is false."""
    assert not Condition(text).holds(ASKED, NOW)


def test_what_is_not_there_is_empty() -> None:
    """A request without incident, reason, place or subject has the empty text for each."""
    bare = ask(subject=None)
    empty = 'incident == "" && reason == "" && scheme == "" && !place.known && place.uprn == ""'
    assert Condition(empty).holds(bare, NOW)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a CEL expression"),
        ("1 +", "not a CEL expression"),
        ("person.consented", "person is not known here"),
        ("purpose", "neither true nor false"),
        ("now.hour", "neither true nor false"),
        ("actor.name == 'x'", "cannot be decided"),
        ("duration('1h') > duration('2h')", "duration cannot be used here"),
        ("[1, 2].all(x, x > 0)", "all cannot be used here"),
        ("[1].map(now, now).size() > 0", "map cannot be used here"),
        ("[1].existsOne(now, true)", "existsOne cannot be used here"),
        ("[1]. // hidden\nall(now, true)", "// cannot be used here"),
        ("1 / 0 == 1", "cannot be decided"),
    ],
)
def test_what_is_refused_when_a_file_is_read(text: str, said: str) -> None:
    """The key is named, and what is wrong with it."""
    with pytest.raises(InvalidRequest) as refused:
        Condition(text, "flows.0.context")
    assert refused.value.field == "flows.0.context"
    assert said in refused.value.problem


def test_what_cannot_be_decided_is_false() -> None:
    """An expression that fails on this request refuses, whatever its outcome elsewhere."""
    assert not Condition('1 / (size(incident) - 20) == 0 || incident == ""').holds(ASKED, NOW)


def test_only_what_looks_at_the_clock_runs_out() -> None:
    """It may change at the next minute; anything else never changes by time alone."""
    assert Condition("now.hour >= 8").until(NOW) == datetime(2026, 6, 3, 7, 31, tzinfo=UTC)
    assert Condition('purpose == "audit"').until(NOW) is None


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ('actor.id.matches("\\\\w{20}")', "stand for all of Unicode"),
        ('actor.id.matches("[\\\\pL]")', "stand for all of Unicode"),
        ("actor.id.matches('(a{99}){9}')", "multiply to more than 256"),
        ("actor.id.matches('a{257,}')", "multiply to more than 256"),
        ("actor.id.matches('a' + 'b')", "one plain string"),
        ("actor.id.matches(role)", "one plain string"),
        ('actor.id.matches(r"a")', "one plain string"),
        ('actor.id.matches("a\\x7b999}")', "one plain string"),
        ("matches(actor.id, 'a')", "one plain string"),
        ("actor.id.matches // (\n('a{999}')", "one plain string"),
        (" || ".join(["actor.id.matches('a')"] * 5), "at most 4"),
    ],
)
def test_a_pattern_that_would_take_long_is_refused(pattern: str, says: str) -> None:
    """It is compiled anew for every decision, while all others wait."""
    with pytest.raises(InvalidRequest, match=says) as caught:
        Condition(pattern)
    assert caught.value.field == "context"


@pytest.mark.parametrize(
    "pattern",
    [
        "incident.matches('^nwas/[0-9]{4}-[0-9]{2}-[0-9]{2}/')",
        "actor.callsign.matches(\"^[A-Z]{2}[0-9]{1,3}$\") && actor.id.matches('a\\\\.b')",
    ],
)
def test_a_plain_pattern_is_taken(pattern: str) -> None:
    """What people write of call signs and numbers."""
    assert Condition(pattern).text == pattern
