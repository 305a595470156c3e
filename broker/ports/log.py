"""What is appended to the log: an entry, its conditions, and what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from enum import Enum
from typing import Protocol

from msgspec import Struct

from broker.core.canonical import Json
from broker.core.model import SubjectRef
from broker.core.receipt import Receipt
from broker.core.views import ProviderView, RequesterView


class Reads(Struct, frozen=True):
    """What a decision read: keys (bytes are blind already), the lowest count they were read at, and its end."""

    policy: int
    keys: frozenset[str | bytes]
    valid_until: datetime | None = None


class Claim(Struct, frozen=True):
    """A request id and what was asked with it, to be bound to the entry that is appended."""

    system: str
    request_id: str
    content: bytes
    retry_of: str = ""
    settled: bool = True
    effect: str = ""


class Change(Struct, frozen=True):
    """A change of what decisions read: applied in the statement that appends its own entry.

    `writes` are the keys it touches (bytes are blind already); `reference` says it is not about a person, so
    that snapshots reload. `subject`, `subjects` and `blind`, a key, are stored blind, and `sealed` under
    `detail`'s id.
    """

    kind: str
    detail: dict[str, Json]
    writes: frozenset[str | bytes]
    reference: bool
    blob: bytes = b""
    subject: SubjectRef | None = None
    subjects: tuple[SubjectRef, ...] = ()
    blind: str = ""
    sealed: dict[str, Json] | None = None


class Queued(Struct, frozen=True):
    """What a human of the provider is to look at, queued in the statement that appends its entry.

    `kind` is `referral` or `override`, with its `code`. `sealed` is all that is about a person; `words` are
    somebody's own, erasable by themselves.
    """

    kind: str
    provider: str
    requester: str
    system: str
    request: str
    at: datetime
    due: datetime
    sealed: dict[str, Json]
    words: str = ""
    code: str = ""
    # Of the place that was asked about, empty where it named none: who has the district has the work, where the
    # provider ends.
    district: str = ""


class Shown(Enum):
    """A party's view that is not written out: what the full view says, under the keys of the party's kind."""

    IN_FULL = "in full"


class Halves(Struct, frozen=True):
    """A full view in two parts: `common` is what many entries say, one object for all of them, and `own` what
    goes over it, so that `full` is both together."""

    common: dict[str, Json]
    own: dict[str, Json]
    full: dict[str, Json]


class Draft(Struct, frozen=True):
    """An entry to append: three views (None where there is no such party), and its conditions. `retention` is
    the class that its views are kept as; empty for `standard`, and for a change for `changes`. `halves` are
    those of `full`, for who writes many entries; they count only as long as `full` is the one in them."""

    id: str
    at: datetime
    requester: RequesterView | Shown | None
    provider: ProviderView | Shown | None
    full: dict[str, Json]
    requester_agency: str = ""
    provider_agency: str = ""
    words: str = ""
    reads: Reads | None = None
    claim: Claim | None = None
    urgent: bool = False
    queued: Queued | None = None
    retention: str = ""
    halves: Halves | None = None

    @property
    def requester_view(self) -> RequesterView | None:
        """The requester's view, written out."""
        return RequesterView.from_json(self.full) if self.requester is Shown.IN_FULL else self.requester

    @property
    def provider_view(self) -> ProviderView | None:
        """The provider's view, written out."""
        return ProviderView.from_json(self.full) if self.provider is Shown.IN_FULL else self.provider


class Appended(Struct, frozen=True):
    """The entry is durable; `receipt` carries the requester's opening (empty where there is none).

    `batch` counts the entries that were given to the log with it.
    """

    receipt: Receipt
    repeated: bool = False
    batch: int = 1


class NotAppended(Struct, frozen=True):
    """Not in the log: `stale` (an input changed), `expired` (past valid_until) or `claimed` (id in use)."""

    why: str


class Log(Protocol):
    """The append-only log."""

    def append(self, draft: Draft) -> Awaitable[Appended | NotAppended]:
        """Durable and proven, or not in the log at all. Raises AuditUnavailable, IntegrityError."""

    async def change(self, draft: Draft, change: Change) -> Appended | NotAppended:
        """The same for a change of what decisions read."""

    async def receipt(self, entry: str, audience: str) -> tuple[Receipt, dict[str, Json]]:
        """An entry's receipt against the newest checkpoint, and its full view. KeyError if there is none."""
