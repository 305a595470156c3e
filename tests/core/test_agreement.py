"""Agreements as files: parsed whole or refused, naming the key that is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from broker.core import agreement as agreements
from broker.core.model import Assurance
from broker.errors import InvalidRequest
from broker.law import load
from tests.support.world import flow, terms, toml

LAW = load()
PARTY = {"agency": "cfrs", "regime": "uk-gdpr"}


def parse(**changes: Any) -> agreements.Agreement:
    """The agreement of `terms` with these changes."""
    return agreements.parse(toml(terms(**changes)), LAW)


def test_a_whole_file_is_read() -> None:
    """Dates are whole days in UTC, the last one included."""
    made = parse()
    assert made.label == "nwas-cfrs-premises/1"
    assert made.begins == datetime(2026, 1, 1, tzinfo=UTC)
    assert made.ends == datetime(2029, 1, 1, tzinfo=UTC)
    assert made.actors.minimum is Assurance.ROSTER
    assert made.party("cfrs").regime == "uk-gdpr"
    with pytest.raises(KeyError):
        made.party("ncic")


def test_limits_are_optional() -> None:
    """Without the table there is no quota and no emergency lane; each key may stand alone."""
    assert parse().limits is None
    assert parse(limits={"per_minute": 600}).limits == agreements.Limits(per_minute=600)
    both = parse(limits={"per_minute": 60, "emergency_per_minute": 60}).limits
    assert both == agreements.Limits(per_minute=60, emergency_per_minute=60)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("id", {"id": "Has-Capitals"}),
    ("id", {"id": "ends\n"}),
    ("id", {"id": None}),
    ("version", {"version": 0}),
    ("version", {"version": 100_001}),
    ("version", {"version": True}),
    ("version", {"version": "1"}),
    ("title", {"title": ""}),
    ("title", {"title": "x" * 501}),
    ("purpose", {"purpose": "curiosity"}),
    ("purpose", {"purpose": None}),
    ("valid_from", {"valid_from": "2026-01-01"}),
    ("valid_from", {"valid_from": datetime(2026, 1, 1, tzinfo=UTC).isoformat()}),
    ("valid_from", {"valid_from": date(1, 1, 1)}),
    ("valid_until", {"valid_until": None}),
    ("valid_until", {"valid_until": date(2025, 12, 31)}),
    ("valid_until", {"valid_until": date(9999, 12, 31)}),
    ("review_on", {"review_on": None}),
    ("review_on", {"review_on": date(9999, 12, 31)}),
    ("ncnd", {"ncnd": "yes"}),
    ("legal", {"legal": None}),
    ("legal.basis", {"legal": {"basis": "art6-1-z"}}),
    ("legal.basis", {"legal": {"condition": "art9-2-h"}}),
    ("legal.condition", {"legal": {"basis": "art6-1-e", "condition": "art9"}}),
    ("legal.gateway", {"legal": {"basis": "art6-1-e", "gateway": "goodwill"}}),
    ("legal.confidentiality", {"legal": {"basis": "art6-1-e", "confidentiality": "none"}}),
    ("legal.basys", {"legal": {"basis": "art6-1-e", "basys": "x"}}),
    ("directives", {"directives": None}),
    ("directives.weight", {"directives": {"weight": "ignored"}}),
    ("directives.recorders", {"directives": {"weight": "required"}}),
    ("directives.recorders.0", {"directives": {"weight": "required", "recorders": ["A Trust"]}}),
    ("actors.minimum_assurance", {"actors": {"minimum_assurance": "unspecified"}}),
    ("parties", {"parties": [PARTY]}),
    ("parties", {"parties": [PARTY, PARTY, {"agency": "nwas", "regime": "uk-gdpr"}]}),
    ("parties.0.regime", {"parties": [{**PARTY, "regime": "gdpr"}, {"agency": "nwas", "regime": "uk-gdpr"}]}),
    ("parties.0.role", {"parties": [{**PARTY, "role": "owner"}, {"agency": "nwas", "regime": "uk-gdpr"}]}),
    ("flows", {"flows": None}),
    ("flows.0.permitted", {"flows": [flow(permitted=[])]}),
    ("flows.0.permitted", {"flows": [flow(permitted=["uprn", "uprn"])]}),
    ("flows.0.roles", {"flows": [flow(roles=[])]}),
    ("flows.0.roles.0", {"flows": [flow(roles=["Crew"])]}),
    ("flows.0.subject_schemes", {"flows": [flow(subject_schemes=[])]}),
    ("flows.0.queries", {"flows": [flow(queries=1)]}),
    ("flows.0.provider", {"flows": [flow(provider="ncic")]}),
    ("flows.0.requester", {"flows": [flow(requester="ncic")]}),
    ("flows.0", {"flows": [flow(requester="cfrs")]}),
    ("flows.1", {"flows": [flow(), flow(roles=["dispatcher"])]}),
    ("flows.0.permited", {"flows": [flow(permited=["uprn"])]}),
    ("obligations.0.code", {"obligations": [{"code": "be-nice"}]}),
    ("obligations.0.days", {"obligations": [{"code": "retain-until", "days": 0}]}),
    ("obligations.0.days", {"obligations": [{"code": "retain-until", "days": 36526}]}),
    ("obligations.0.detail", {"obligations": [{"code": "notify-owner", "detail": "x" * 501}]}),
    ("emergency_lane", {"emergency_lane": True}),
    ("limits.per_minute", {"limits": {"per_minute": 0}}),
    ("limits.per_minute", {"limits": {"per_minute": 1_000_001}}),
    ("limits.per_minute", {"limits": {"per_minute": 1.5}}),
    ("limits.emergency_per_minute", {"limits": {"emergency_per_minute": True}}),
    ("limits.emergency_per_minute", {"limits": {"per_minute": 5, "emergency_per_minute": 6}}),
    ("limits.per_second", {"limits": {"per_second": 1}}),
]


@pytest.mark.parametrize(("key", "changes"), WRONG, ids=[f"{n}-{key}" for n, (key, _) in enumerate(WRONG)])
def test_what_is_wrong_is_named(key: str, changes: dict[str, Any]) -> None:
    """Every field has its refusal, and the refusal names the key."""
    with pytest.raises(InvalidRequest) as caught:
        parse(**changes)
    assert caught.value.field == key


def test_a_long_unknown_key_is_named_in_bounds() -> None:
    """The name of the key that is wrong comes from the file, so it is cut."""
    with pytest.raises(InvalidRequest) as caught:
        agreements.parse(toml({"k" * 5000: 1, **terms()}), LAW)
    assert len(caught.value.field) <= 200


def test_the_digest_is_of_the_very_bytes() -> None:
    """What is signed is the file, not what was read from it."""
    file = toml(terms())
    assert agreements.digest(file) == hashlib.sha256(file).hexdigest()
    assert agreements.digest(file + b"\n") != agreements.digest(file)


@pytest.mark.parametrize("change", [lambda f: f, lambda f: f + b"\n# comment\n"])
def test_comments_change_the_bytes_and_not_the_meaning(change: Callable[[bytes], bytes]) -> None:
    """Two files may say the same; they are signed apart."""
    assert agreements.parse(change(toml(terms())), LAW) == parse()
