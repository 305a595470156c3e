"""What one request needs read: what has been said about people, and which request ids are taken."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.directive import Directive
from broker.core.model import Grant, SubjectRef


class Claimed(Struct, frozen=True):
    """What a request id is bound to already."""

    entry: str
    content: bytes
    retry_of: str
    settled: bool
    effect: str


class Asked(Struct, frozen=True):
    """What one request needs read: directives on these identifiers, claims on these ids of its system.

    `retry_of` is a request on which a human may have decided, or on one that it repeats; `restrictions` are the
    keys under which an override may be restricted.
    """

    subjects: tuple[SubjectRef, ...]
    system: str
    request_ids: tuple[str, ...]
    urgent: bool = False
    retry_of: str = ""
    restrictions: tuple[str, ...] = ()


class Facts(Struct, frozen=True):
    """Read in one statement on the primary, so true together at `policy`.

    `grant` is what a human decided on the request that this one repeats; `referral` is the id of one that still
    waits for a human. `restricted` are the keys under which overrides are restricted, each with its end.
    """

    policy: int
    reference_policy: int
    directives: dict[SubjectRef, tuple[Directive, ...]]
    claims: dict[str, Claimed]
    grant: Grant | None = None
    referral: str = ""
    restricted: dict[str, datetime | None] = {}


class FactsSource(Protocol):
    """What has been said about people, and which request ids are taken."""

    async def read(self, asked: Asked) -> Facts:
        """One statement for the batch. Raises AuditUnavailable."""
