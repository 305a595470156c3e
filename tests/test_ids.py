"""Ids that nobody can guess, and those of them that begin with the time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import pytest

from broker.ids import entry_id, request_id


def _within(before: int, made: str, after: int) -> bool:
    return before <= int(made[:8] + made[9:13], 16) <= after


@pytest.mark.parametrize(("make", "version"), [(entry_id, 4), (request_id, 7)])
def test_an_id_is_a_uuid_of_its_version_and_there_is_no_other_like_it(
    make: Callable[[], str], version: int
) -> None:
    """As RFC 9562 writes them: in lower case, with the variant of that RFC."""
    made = [make() for _ in range(2000)]
    assert len(set(made)) == len(made)
    for each in made:
        read = uuid.UUID(each)
        assert (str(read), read.version, read.variant) == (each, version, uuid.RFC_4122)


def test_request_ids_begin_with_the_time_and_end_in_what_nobody_can_guess() -> None:
    """RFC 9562 section 5.7: 48 bits of milliseconds since 1970; 74 others, each of which comes both ways."""
    before = time.time_ns() // 1_000_000
    made = [request_id() for _ in range(2000)]
    after = time.time_ns() // 1_000_000
    assert all(_within(before, each, after) for each in made)
    numbers = [uuid.UUID(each).int for each in made]
    free = [bit for bit in range(80) if bit not in (62, 63) and not 76 <= bit <= 79]
    assert len(free) == 74
    for bit in free:
        assert 800 < sum(number >> bit & 1 for number in numbers) < 1200
