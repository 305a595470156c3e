"""One request as decided, and what its requester is told: what its entry is written of.

Pure, and values only.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from broker.core.model import Decision, Grant, Refused, Request, SubjectRef
from broker.ports import Reads, Release


class Case(Struct, frozen=True):
    """One request as decided: what it was decided on, when, and what it read.

    `request` names the agencies that it was decided for; `asked_of` is the provider as asked, empty for whoever
    holds the record.
    """

    request: Request
    decision: Decision
    policy: int
    now: datetime
    reads: Reads
    learnt: tuple[SubjectRef, ...] = ()
    # For whoever decides it again: the count of the snapshot, its law files' digest, the ids of what was said,
    # a human's decision that was heard, and under what overrides were restricted.
    reference: int = 0
    law: str = ""
    said: tuple[str, ...] = ()
    grant: Grant | None = None
    asked_of: str = ""
    restricted: dict[str, datetime | None] = {}
    # Where this repeats a request that waits for a human already.
    referral: str = ""

    @property
    def agreement(self) -> str:
        """`id/version` of the agreement decided under; empty where none was found."""
        decision = self.decision
        return f"{decision.agreement}/{decision.agreement_version}" if decision.agreement else ""


class Said(Struct, frozen=True):
    """What the requester is told: exactly one of a release, a refusal, and neither (a failure or not found).

    `outcome` is empty for an intent, which comes before any.
    """

    event: str
    outcome: str
    release: Release | None = None
    refused: Refused | None = None


def decided(decision: Decision) -> str:
    """The decision's outcome as it stands in views."""
    return decision.outcome.value
