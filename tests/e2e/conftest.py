"""What the end-to-end tests can ask for: people of their own, and an agreement that lets somebody ask.

An agreement or an agency, once there, stays in the session's deployment: each names parties or a purpose
that nothing else uses.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from nhs_number.validate import is_valid

from tests.e2e import words
from tests.e2e.neighbour import liar, neighbour
from tests.e2e.words import Person
from tests.support.stack import Deployment

__all__ = ["direct_care", "liar", "neighbour", "person"]

MakePerson = Callable[..., Awaitable[Person]]


def _nhs_numbers() -> Iterator[str]:
    """Valid numbers from the range that is never issued, away from the demonstration's."""
    for number in itertools.count(9_000_100_000):
        if is_valid(str(number)):
            yield str(number)


_numbers = _nhs_numbers()


@pytest.fixture(scope="session")
async def direct_care(stack: Deployment) -> str:
    """Ambulance crews may see a patient's allergies at the trust. The agreement's id."""
    return await words.apply(stack, words.DIRECT_CARE)


@pytest.fixture
async def person(stack: Deployment) -> AsyncIterator[MakePerson]:
    """Makes a patient at the FHIR server, with an allergy that says `display`; all are gone afterwards."""
    made: list[Person] = []

    async def make(display: str = "Allergy to latex", family: str = "Endtoend", **more: Any) -> Person:
        one = Person(next(_numbers), next(_numbers), family)
        made.append(one)
        await stack.fhir.put(one.as_patient())
        await stack.fhir.put(one.allergy(display, **more))
        return one

    yield make
    for one in made:
        await stack.fhir.delete("AllergyIntolerance", f"{one.id}-allergy")
        await stack.fhir.delete("Patient", one.id)
