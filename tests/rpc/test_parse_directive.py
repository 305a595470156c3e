"""Directives from the wire: what is refused, field by field, and that nothing is lost there and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from broker.core.directive import Directive
from broker.core.directive_form import MAX_NAMES
from broker.core.model import SubjectRef
from broker.errors import InvalidRequest
from broker.ports import RecordedDirective
from broker.rpc import wire
from broker.rpc.parse_directive import directive as parsed
from broker.v1 import directive_pb2 as pb
from tests.support.spoken import NOW, directives
from tests.support.values import replace
from tests.support.world import HOME, caller


def stamp(at: datetime) -> timestamp_pb2.Timestamp:
    """On the wire."""
    made = timestamp_pb2.Timestamp()
    made.FromDatetime(at)
    return made


CONSENT: dict[str, Any] = {"kind": "consent"}
GILLICK = {**CONSENT, "standing": "gillick-child", "assessor": "Dr Iqbal", "assessed_on": "2026-11-20"}
MOTHER = {
    **CONSENT,
    "standing": "parental-responsibility",
    "speaker": "mother",
    "authority": "birth certificate",
}
ASSESSED = {
    "capacity": "lacks",
    "assessor": "s.lowe",
    "assessed_on": "2026-11-20",
    "assessed": "whether to be visited",
}
CONFLICT: dict[str, Any] = {"kind": "staff-conflict", "actors": ["a.hill"]}
SHIELDS = ("protected-identity", "safe-contact", "staff-conflict")
LONG = "x" * 201

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("kind", {"kind": ""}),
    ("kind", {"kind": "wish"}),
    ("standing", {**CONSENT, "standing": "neighbour"}),
    ("manner", {**CONSENT, "manner": "nodded"}),
    ("capacity", {**CONSENT, "capacity": "some"}),
    ("company", {**CONSENT, "company": "crowd"}),
    ("matter", {**CONSENT, "matter": "tea"}),
    ("said_at", {**CONSENT, "said_at": stamp(NOW + timedelta(minutes=6))}),
    ("said_at", {**CONSENT, "said_at": stamp(datetime(1850, 1, 1, tzinfo=UTC))}),
    ("said_at", {**CONSENT, "said_at": timestamp_pb2.Timestamp(seconds=2**60)}),
    ("valid_until", {**CONSENT, "valid_until": stamp(NOW)}),
    ("reconsider_at", {**CONSENT, "reconsider_at": timestamp_pb2.Timestamp(seconds=2**60)}),
    # a child's consent: assessed by somebody, on a day that was
    ("assessor", {**GILLICK, "assessor": ""}),
    ("assessed_on", {**GILLICK, "assessed_on": ""}),
    ("assessed_on", {**GILLICK, "assessed_on": "2026-11-22"}),
    ("assessed_on", {**GILLICK, "assessed_on": "20261120"}),
    ("assessed_on", {**GILLICK, "assessed_on": "yesterday"}),
    # whoever speaks for another says by what right
    ("authority", {**MOTHER, "authority": ""}),
    ("authority", {**CONSENT, "standing": "attorney"}),
    ("authority", {"kind": "refusal", "standing": "deputy"}),
    # an assessment is whole, and of something
    *((name, {**CONSENT, **ASSESSED, name: ""}) for name in ("assessor", "assessed_on", "assessed")),
    ("assessor", {**CONSENT, "capacity": "has"}),
    *((name, {**CONSENT, name: ASSESSED[name]}) for name in ("assessor", "assessed_on", "assessed")),
    # conflicts are of somebody, and nothing else is
    ("actors", {"kind": "staff-conflict"}),
    ("actors", {**CONFLICT, "kind": "objection"}),
    ("actors", {**CONFLICT, "actors": [""]}),
    ("actors", {**CONFLICT, "actors": [LONG]}),
    ("actors", {**CONFLICT, "actors": ["a\nb"]}),
    # a shield is nobody's consent
    *(
        (
            name,
            {**CONFLICT, "kind": kind, "actors": ["a.hill"] if kind == "staff-conflict" else [], name: value},
        )
        for kind in SHIELDS
        for name, value in (
            ("standing", "gillick-child"),
            ("capacity", "has"),
            ("assessor", "Dr Iqbal"),
            ("explained", "all of it"),
            ("matter", "visit"),
            ("reconsider_at", stamp(NOW)),
        )
    ),
    # only a consent is to a visit, and only a consent is asked for again
    *(("matter", {"kind": kind, "matter": "visit"}) for kind in ("refusal", "objection", "opt-out")),
    ("reconsider_at", {"kind": "objection", "reconsider_at": stamp(NOW)}),
    # bounds
    *((name, {**CONSENT, name: LONG}) for name in ("speaker", "authority", "taken_by")),
    ("assessor", {**GILLICK, "assessor": LONG}),
    ("assessed", {**GILLICK, "assessed": LONG}),
    ("explained", {**CONSENT, "explained": "x" * 501}),
    ("explained", {**CONSENT, "explained": "a\u202eb"}),
    ("speaker", {**CONSENT, "speaker": "two\nlines"}),
    *(
        (name, {**CONSENT, name: [f"x{n}" for n in range(MAX_NAMES + 1)]})
        for name in ("purposes", "record_types", "requesters", "providers")
    ),
    *((name, {**CONSENT, name: [LONG]}) for name in ("purposes", "record_types", "requesters", "providers")),
]


@pytest.mark.parametrize(("field", "change"), WRONG, ids=[f"{n}-{f}" for n, (f, _) in enumerate(WRONG)])
def test_a_directive_that_is_wrong_is_named_by_field(field: str, change: dict[str, Any]) -> None:
    """By the first field that is wrong, never repeating what was said."""
    with pytest.raises(InvalidRequest) as caught:
        parsed(pb.Directive(**change), caller(), NOW)
    assert caught.value.field == f"directive.{field}"
    assert LONG not in str(caught.value)


@pytest.mark.parametrize(
    "good",
    [
        GILLICK,
        MOTHER,
        {**CONSENT, **ASSESSED},
        CONFLICT,
        {"kind": "objection", "standing": "gillick-child"},  # only a consent needs competence
        {"kind": "opt-out"},
        {"kind": "protected-identity", "authority": "court order", "speaker": "mother"},
        {**CONSENT, "matter": "visit", "explained": "that\nsomebody comes", "company": "alone"},
        {**CONSENT, "purposes": [f"x{n}" for n in range(MAX_NAMES)]},
    ],
)
def test_what_was_taken_well_is_taken(good: dict[str, Any]) -> None:
    """Each near what is refused above."""
    assert parsed(pb.Directive(**good), caller(), NOW).kind == good["kind"]


def test_a_list_past_its_bound_is_refused_before_it_is_read() -> None:
    """However often it says the same: a message of 2 MiB holds half a million names."""
    for field in ("purposes", "record_types", "requesters", "providers", "actors"):
        message = pb.Directive(kind="objection", **{field: ["x"] * (MAX_NAMES + 1)})
        with pytest.raises(InvalidRequest, match=f"over {MAX_NAMES} names") as caught:
            parsed(message, caller(), NOW)
        assert caught.value.field == f"directive.{field}"


def test_what_was_said_by_a_clock_ahead_holds_at_once() -> None:
    """An objection from a tablet whose clock is four minutes ahead must not sleep for four minutes."""
    message = pb.Directive(kind="objection", said_at=stamp(NOW + timedelta(minutes=4)))
    directive = parsed(message, caller(), NOW)
    assert directive.in_force(NOW)
    assert (directive.recorder, directive.standing, directive.manner) == ("nwas", "self", "verbal")
    assert (directive.capacity, directive.matter) == ("presumed", "sharing")


def test_an_assessment_of_this_day_counts_from_midnight_here() -> None:
    """Half past midnight in summer is yesterday in UTC, and today for who assessed."""
    at = datetime(2026, 6, 1, 23, 30, tzinfo=UTC)
    message = pb.Directive(**{**GILLICK, "assessed_on": "2026-06-02"})
    assert parsed(message, caller(), at).assessed_on is not None


names = st.sampled_from(["a", "b", "c-d"])


@given(directives(names, names, names))
def test_a_directive_comes_back_from_the_wire_as_it_was(directive: Directive) -> None:
    """Listed and recorded again: the same but for its id and who recorded it, which are the broker's to say."""
    message = wire.directive(RecordedDirective(directive, NOW), SubjectRef(HOME.scheme, HOME.value))
    again = parsed(pb.Directive.FromString(message.SerializeToString()), caller(directive.recorder), NOW)
    assert replace(again, id=directive.id) == directive
