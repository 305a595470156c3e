"""What tests of the adapters can ask for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from adapters.sdk import Asker, Question, SubjectRef
from tests.support.thin_postgres import server

Asking = Callable[..., Question]


@pytest.fixture(scope="session")
def fire_server() -> Iterator[str]:
    """The DSN of a PostgreSQL server that stands for the fire service's own."""
    with server() as dsn:
        yield dsn


@pytest.fixture
def ask() -> Asking:
    """Makes a question about `value` with `paths` permitted and `within` seconds left."""

    def make(scheme: str, value: str, paths: list[str], within: float = 5.0) -> Question:
        return Question(
            record_type="",
            digest="",
            subject=SubjectRef(scheme, value),
            traits=None,
            purpose="emergency-response",
            requester="nwas",
            requester_system="cad",
            actor=Asker("a1", "dispatcher"),
            agreement="cumbria-blue-light",
            agreement_version=1,
            permitted_paths=tuple(paths),
            deadline=time.monotonic() + within,
        )

    return make
