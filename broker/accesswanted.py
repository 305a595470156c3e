"""What a request for access asks for, who may deal with one, and by whose erasure it must be seen. Refuses what
cannot be answered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from broker.core.model import Caller, Function, Reason, SubjectRef
from broker.errors import InvalidRequest, NotAllowed

MOST_SUBJECTS = 8
# Keys under which requests stand that are open. Whoever erases something reads those of the people whom it is
# about, so that nobody's many about others stop it; and they are so few that a key which stays names nobody.
KEYS = 4096


class Wanted(Struct, frozen=True):
    """What a person asks about: identifiers that are theirs, and the time [since, until)."""

    subjects: tuple[SubjectRef, ...]
    received_at: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    deceased: bool = False


def may(caller: Caller) -> None:
    """Controllers and auditors. Raises NotAllowed."""
    if caller.function is Function.OPERATOR:
        raise NotAllowed("operators run the broker; controllers answer requests for access")


def need(reason: Reason) -> None:
    """A code. Raises InvalidRequest."""
    if not reason.code:
        raise InvalidRequest("reason.code", "say why")


def check(wanted: Wanted, reason: Reason) -> None:
    """That it can be answered. Raises InvalidRequest."""
    need(reason)
    if not 1 <= len(wanted.subjects) <= MOST_SUBJECTS:
        raise InvalidRequest("subjects", f"1 to {MOST_SUBJECTS} identifiers of the one person")
    if wanted.since and wanted.until and wanted.until <= wanted.since:
        raise InvalidRequest("until", "is not after since")


def accesses_keys(subjects: Iterable[SubjectRef]) -> frozenset[str]:
    """The keys under which requests for access by these people stand."""
    return frozenset(f"accesses:{_part(each)}" for each in subjects)


def _part(subject: SubjectRef) -> int:
    digest = hashlib.sha256(f"{subject.scheme}|{subject.value}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % KEYS
