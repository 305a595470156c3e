"""Dates of an enrolment, as the real broker keeps them."""

from __future__ import annotations

from tests.cli.conftest import Run

ENROL = ("system", "enrol", "dates", "cad", "--function", "partner", "--key-digest")


def test_a_second_key_prolongs_nothing(broker: Run) -> None:
    """Adding a key without dates leaves the system's dates as they were; given dates replace them."""
    assert broker("agency", "add", "dates", "--name", "Dates", "--kind", "police").code == 0
    assert broker(*ENROL, "a" * 64, "--from", "2026-01-01", "--until", "2098-01-01").code == 0
    assert broker(*ENROL, "b" * 64).code == 0
    (found,) = broker("system", "list", "--agency", "dates", "--json").rows
    assert found["key_digests"] == ["a" * 64, "b" * 64]
    assert (found["valid_from"], found["valid_until"]) == ("2026-01-01T00:00:00Z", "2098-01-01T00:00:00Z")
    assert broker(*ENROL, "b" * 64, "--until", "2099-01-01").code == 0
    (found,) = broker("system", "list", "--agency", "dates", "--json").rows
    assert (found["valid_from"], found["valid_until"]) == ("2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z")


def test_an_end_before_the_beginning_is_refused(broker: Run) -> None:
    """Whether both are given, or the new end lies before the beginning that is known."""
    assert broker("agency", "add", "dates", "--name", "Dates", "--kind", "police", "--replace").code == 0
    for dates in (("--until", "2020-01-01"), ("--from", "2030-01-01", "--until", "2029-01-01")):
        result = broker("system", "enrol", "dates", "ends", *ENROL[4:], "c" * 64, *dates)
        assert result.code == 1
        assert "valid_until: ends before it begins" in result.err


def test_a_day_begins_at_midnight_in_the_united_kingdom(broker: Run) -> None:
    """In summer at 23:00 UTC of the day before; a time with its offset is that time."""
    assert (
        broker("agency", "add", "summer", "--name", "S", "--kind", "police", "--from", "2023-04-01").code == 0
    )
    assert (
        broker(
            *("system", "enrol", "summer", "cad", "--function", "partner", "--key-digest", "d" * 64),
            *("--from", "2023-07-01T00:00:00Z", "--until", "2098-07-01"),
        ).code
        == 0
    )
    (agency,) = [each for each in broker("agency", "list", "--json").rows if each["id"] == "summer"]
    assert agency["valid_from"] == "2023-03-31T23:00:00Z"
    (system,) = broker("system", "list", "--agency", "summer", "--json").rows
    assert (system["valid_from"], system["valid_until"]) == ("2023-07-01T00:00:00Z", "2098-06-30T23:00:00Z")
