"""Reading an ask: everything in it reaches the adapter, and nobody's name reaches a log."""

from __future__ import annotations

import time
from typing import Any

import pytest

from adapters.sdk import Asker, Place, SubjectRef, Traits
from adapters.sdk.question import read
from tests.support.worker import an_ask

FULL: dict[str, Any] = {
    "actor": {
        "id": "a1",
        "role": "dispatcher",
        "name": "Pat Example",
        "on_behalf_of": "crew-7",
        "callsign": "ULV1",
        "device": "mdt-3",
        "employer": "nwas",
        "assurance": 4,
    },
    "permitted_paths": ["oxygen.kind", "oxygen.state"],
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "incident": "nwas/2026-11-21/4711",
    "place": {"uprn": "1", "latitude": 54.2, "longitude": -3.1, "district": "E07000030"},
    "effect_key": "k1",
    "reason_code": "attending",
}


def test_every_field_of_an_ask_is_read() -> None:
    """What the broker says is what the adapter is asked."""
    question = read(an_ask(1, "77", 2.0, **FULL), ["uprn"], False, arrived=100.0)
    assert question.subject == SubjectRef("uprn", "77")
    assert question.traits is None
    assert question.actor == Asker("a1", "dispatcher", "Pat Example", "crew-7", "ULV1", "mdt-3", "nwas", 4)
    assert question.permitted_paths == ("oxygen.kind", "oxygen.state")
    assert question.place == Place("1", 54.2, -3.1, "E07000030")
    assert (question.requester, question.requester_system) == ("nwas", "cad")
    assert (question.agreement, question.agreement_version) == ("cumbria-blue-light", 1)
    assert (question.incident, question.effect_key, question.reason_code) == (
        "nwas/2026-11-21/4711",
        "k1",
        "attending",
    )
    assert question.traceparent == FULL["traceparent"]


@pytest.mark.parametrize(("timeout", "deadline"), [(0.1, 100.09), (2.0, 101.9), (25.0, 124.9), (99.0, 129.9)])
def test_a_little_of_the_time_is_kept_for_the_way_back(timeout: float, deadline: float) -> None:
    """A tenth, at most 100 ms; and nobody waits longer than 30 s."""
    assert read(an_ask(1, "77", timeout), ["uprn"], False, 100.0).deadline == pytest.approx(deadline)


def test_remaining_time_never_falls_below_nothing() -> None:
    """A late question has no time, not negative time."""
    assert read(an_ask(1, "77", 1.0), ["uprn"], False, time.monotonic() - 5).remaining() == 0.0


def test_half_a_coordinate_is_no_place_on_earth() -> None:
    """Both or neither."""
    place = read(an_ask(1, "77", 1.0, place={"latitude": 54.2}), ["uprn"], False, 0.0).place
    assert place == Place("", None, None, "")


def test_traits_are_read_where_they_can_be_matched() -> None:
    """A question without a number."""
    query = {"family_name": "Smith", "birth_date": "1970-01-01", "approximate_age": 56, "postcode": "LA9 4ZZ"}
    question = read(an_ask(1, "", 1.0, subject=None, query=query), ["uprn"], True, 0.0)
    assert question.subject is None
    assert question.traits == Traits("Smith", "", "1970-01-01", 56, "", "", "LA9 4ZZ", "")


def test_wants_a_part_when_any_leaf_of_it_is_permitted() -> None:
    """And not a part whose name merely begins alike."""
    question = read(an_ask(1, "77", 1.0, permitted_paths=["oxygen.kind", "uprn"]), ["uprn"], False, 0.0)
    assert question.wants("oxygen")
    assert question.wants("uprn")
    assert not question.wants("oxy")
    assert not question.wants("hazards")


def test_a_question_printed_gives_nobody_away() -> None:
    """Subject, traits, name and place stay out of its repr, so a traceback may hold it."""
    asked = repr(read(an_ask(1, "100062990001", 2.0, **FULL), ["uprn"], False, 0.0))
    query = {"family_name": "Smith", "phone": "01632 960001"}
    traits = repr(read(an_ask(1, "", 2.0, subject=None, query=query), [], True, 0.0))
    for secret in ("100062990001", "Pat Example", "54.2", "Smith", "01632"):
        assert secret not in asked + traits
