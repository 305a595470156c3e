"""The retention policy: which file is one, and when a month of a class ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker.core.agreement import parse as parse_agreement
from broker.core.retention import RetentionPolicy, held_after, is_held, parse
from broker.errors import InvalidRequest
from broker.law import load
from tests.support.world import terms, toml

FILE = b"""
version = 2
title = "Joint schedule"

[[class]]
name = "standard"
months = 84
schedule = "JS 4.2: disclosure logs, seven years"

[[class]]
name = "changes"
months = 120
schedule = "JS 4.9"
"""


def test_a_policy_says_when_a_month_ends() -> None:
    """So many whole months after the month it was made in; what it does not name has no end."""
    policy = parse(FILE)
    assert policy.due("2026-11", "standard") == datetime(2033, 12, 1, tzinfo=UTC)
    assert policy.due("2026-12", "changes") == datetime(2037, 1, 1, tzinfo=UTC)
    assert policy.due("2026-11", "long") is None
    assert (policy.title, len(policy.digest)) == ("Joint schedule", 64)
    assert RetentionPolicy().due("2026-11", "standard") is None


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        (b"months = 84", b"months = 0", r"class\.0\.months"),
        (b"months = 84", b'months = "84"', r"class\.0\.months"),
        (b'schedule = "JS 4.9"', b"", r"class\.1\.schedule"),
        (b'name = "changes"', b'name = "standard"', r"class\.1\.name.*twice"),
        (b'name = "changes"', b'name = "hold-2"', r"class\.1\.name.*legal holds"),
        (b'name = "changes"', b'name = "Changes"', r"class\.1\.name"),
        (b"version = 2", b"version = 2\nmonths = 1", "months"),
        (b"version = 2", b"version = ", "not TOML"),
        (b"version = 2", b"\xff", "UTF-8"),
        (FILE, b'version = 1\ntitle = "x"', "class"),
        (FILE, b"#" * 70_000, "64 KiB"),
    ],
    ids=lambda value: None,
)
def test_another_file_is_refused(old: bytes, new: bytes, where: str) -> None:
    """The key that is wrong is named."""
    with pytest.raises(InvalidRequest, match=where):
        parse(FILE.replace(old, new))


def test_what_outlives_its_class_has_classes_of_its_own() -> None:
    """One after the other, so that each is destroyed as a whole."""
    names = ["standard"]
    for _ in range(3):
        names.append(held_after(names[-1]))
    assert names == ["standard", "hold", "hold-2", "hold-3"]
    assert [is_held(name) for name in names] == [False, True, True, True]
    assert not is_held("holdings")


@pytest.mark.parametrize("name", ["hold", "hold-2", "changes"])
def test_an_agreement_names_no_class_of_ours(name: str) -> None:
    """What is held for law, or is about changes, is not for an agreement to end."""
    with pytest.raises(InvalidRequest, match=r"evidence\.retention"):
        parse_agreement(toml(terms(evidence={"retention": name})), load())
