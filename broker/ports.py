"""What the use cases need of the outside: Protocols, and the values that cross them.

`store/` and `links.py` implement these; a use case receives them and knows nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol

from msgspec import Struct

from broker.catalogue import Catalogue
from broker.core.canonical import Json
from broker.core.directive import Directive
from broker.core.model import Decision, Grant, Request, Signed, SubjectRef
from broker.core.receipt import Receipt
from broker.core.record import Record
from broker.core.recordtype import RecordType
from broker.core.redaction import Withheld
from broker.core.reference import Reference
from broker.core.signature import Signature
from broker.core.views import ProviderView, RequesterView
from broker.errors import BrokerError
from broker.held import Held


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
    that snapshots reload. `subject` and `blind`, a key, are stored blind, and `sealed` under `detail`'s id.
    """

    kind: str
    detail: dict[str, Json]
    writes: frozenset[str | bytes]
    reference: bool
    blob: bytes = b""
    subject: SubjectRef | None = None
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


class Log(Protocol):
    """The append-only log."""

    def append(self, draft: Draft) -> Awaitable[Appended | NotAppended]:
        """Durable and proven, or not in the log at all. Raises AuditUnavailable, IntegrityError."""

    async def change(self, draft: Draft, change: Change) -> Appended | NotAppended:
        """The same for a change of what decisions read."""

    async def receipt(self, entry: str, audience: str) -> tuple[Receipt, dict[str, Json]]:
        """An entry's receipt against the newest checkpoint, and its full view. KeyError if there is none."""


class LogView(Protocol):
    """What auditors need of the log."""

    async def receipt(
        self, entry: str, audience: str, *, archived: bool = False
    ) -> tuple[Receipt, dict[str, Json]]:
        """As `Log.receipt`. `archived` says that whoever asks has the entries that are kept in an export alone:
        then the receipt of one of these comes, with no entry in it."""

    async def parties(self, entry: str) -> tuple[str, str]:
        """Requester and provider agency, empty where there is none. KeyError if no such entry."""

    async def id_at(self, index: int, log: str = "") -> str:
        """The id of the entry at this place, from 0, of the log of that name (empty: the current one). KeyError
        if there is no such log or entry."""

    async def consistency(self, old: int, new: int, log: str = "") -> tuple[tuple[bytes, ...], bytes]:
        """Consistency proof from `old` to `new` entries (0: all) of the log of that name (empty: the current
        one), and the checkpoint of `new`, or of a log that is closed its final one. KeyError where the log is
        smaller, or there is none."""

    async def root(self, size: int, log: str) -> bytes:
        """The root over the first entries of the log of that name; nothing is signed. KeyError where it is
        smaller, or there is none."""


class Hit(Struct, frozen=True):
    """An entry that a search found: its parties (empty where there is none), its views' bytes by audience, and
    the full one read. Views are empty where they have been erased. `index` is of the log of that name."""

    index: int
    id: str
    at: datetime
    requester: str
    provider: str
    views: dict[str, bytes]
    full: dict[str, Json]
    log: str = ""


class Hits(Struct, frozen=True):
    """What a search found in one log, in order; of its `size` entries those from `done` on are not in the
    index yet.

    `log` is its name, `older` that of the log before it; empty where there is none.
    """

    found: tuple[Hit, ...]
    done: int
    size: int
    log: str = ""
    older: str = ""


class Remains(Struct, frozen=True):
    """What there is of an entry: when it was made, and whether any party keeps its views; its log and place."""

    at: datetime
    kept: bool
    log: str = ""
    index: int = -1


class LogSearch(Protocol):
    """The search index of all logs, each by itself."""

    async def find(
        self,
        terms: frozenset[str],
        beyond: int,
        limit: int,
        *,
        newest_first: bool,
        since: datetime | None,
        until: datetime | None,
        log: str = "",
    ) -> Hits:
        """Entries with all these terms, below `beyond` newest first, or above it in their order.

        Of the log of that name; empty: the current one. KeyError where there is none.
        """

    async def entry(self, entry: str) -> Hit:
        """An entry by its id, in whichever log. KeyError where there is none."""

    async def remains(self, entries: Sequence[str]) -> dict[str, Remains]:
        """What there is of these entries, a bounded number, by id; those that do not exist are left out."""

    async def progress(self) -> tuple[int, int]:
        """Entries in the index, and in the log, of the current one."""


class Witnesses(Protocol):
    """What partner agencies have cosigned of the log."""

    async def witnessed(self, receipt: Receipt, until: float) -> Receipt | None:
        """The receipt, proven to a witnessed checkpoint; None where there is none by `until` (event loop).

        Raises AuditUnavailable, IntegrityError.
        """


class TimeStamps(Protocol):
    """What a time-stamp authority has dated of the log."""

    async def timestamped(self, receipt: Receipt) -> tuple[Receipt, bytes] | None:
        """The receipt, proven to the first time-stamped checkpoint with its entry, and the time stamp.

        None where there is none yet. Raises AuditUnavailable.
        """


class StoredDirective(Struct, frozen=True):
    """A directive by id: whose identifier it is about only as a blind key."""

    directive: Directive
    key: bytes
    policy: int


class RecordedDirective(Struct, frozen=True):
    """A directive, and when the broker took it down."""

    directive: Directive
    recorded_at: datetime


class DirectiveStore(Protocol):
    """Directives by id."""

    async def by_id(self, directive_id: str) -> StoredDirective | None:
        """A directive that has not been withdrawn. Raises AuditUnavailable."""

    async def about(self, subject: SubjectRef, recorder: str) -> list[RecordedDirective]:
        """What one agency has recorded about one identifier and nobody has withdrawn, oldest first.

        Raises AuditUnavailable.
        """


class StoredAgreement(Struct, frozen=True):
    """A version of an agreement: its file, who signed it, and whether a later version has taken its place."""

    file: bytes
    digest: str
    superseded: bool
    signatures: tuple[Signature, ...] = ()


class AgreementStore(Protocol):
    """Agreements as files."""

    async def stored(self, *, all_versions: bool) -> list[StoredAgreement]:
        """By id, newest version first. Raises AuditUnavailable."""


class FactsSource(Protocol):
    """What has been said about people, and which request ids are taken."""

    async def read(self, asked: Asked) -> Facts:
        """One statement for the batch. Raises AuditUnavailable."""


class ReferenceSource(Protocol):
    """The snapshot of everything else a decision reads."""

    @property
    def catalogue(self) -> Catalogue:
        """Approved record types, as new as the newest snapshot."""

    @property
    def current(self) -> Reference:
        """The newest snapshot held, without asking."""

    async def refresh(self) -> Reference:
        """A snapshot as of now. Raises AuditUnavailable."""

    async def at_least(self, policy: int) -> Reference:
        """A snapshot that holds every change up to `policy`."""


class Found(Struct, frozen=True):
    """The provider's record, and every identifier it knows the subjects by."""

    record: Record
    digest: str
    identifiers: tuple[SubjectRef, ...]
    as_at: datetime | None = None
    traits_agreed: tuple[str, ...] = ()
    # The agency whose adapter answered in the provider's stead; empty where it was the provider's own.
    by: str = ""
    # What its bytes take of this worker's memory, to be released once they are dealt with.
    held: Held | None = None


class NotFound(Struct, frozen=True):
    """The provider holds no such record."""

    identifiers: tuple[SubjectRef, ...] = ()
    by: str = ""


class ManyMatch(Struct, frozen=True):
    """The traits fit more than one; `ask_for` names traits that would tell them apart."""

    ask_for: tuple[str, ...]
    by: str = ""


class ProviderFailed(Struct, frozen=True):
    """No answer: `error` is ProviderUnavailable or ProviderTimeout, `why` is for the full view."""

    error: BrokerError
    why: str


Answer = Found | NotFound | ManyMatch | ProviderFailed


class Question(Struct, frozen=True):
    """What goes to a provider's adapter, or to one of `answered_by` where it has none that serves it."""

    request: Request
    digest: str
    agreement: str
    agreement_version: int
    permitted: tuple[str, ...]
    effect_key: str = ""
    answered_by: tuple[str, ...] = ()
    # The code of an override that was used, and the provider's own word that let it through.
    override: str = ""
    signed: Signed | None = None


class Providers(Protocol):
    """The adapters that are attached now."""

    async def ask(self, question: Question, deadline: float) -> Answer:
        """The provider's answer before `deadline` (event-loop time); never raises, never waits longer."""

    def settle(self, agency: str, effect_key: str, released: bool) -> None:
        """Tell the provider what became of a viewing that has effects."""


class Clock(Protocol):
    """Time, so that tests own it."""

    def now(self) -> datetime:
        """UTC, aware."""

    def loop_time(self) -> float:
        """Seconds of the event loop's clock, in which deadlines are given."""

    async def until(self, loop_time: float) -> None:
        """Wait until the event loop's clock shows this."""


class Release(Struct, frozen=True):
    """What may leave: the record made anew of permitted fields, and which fields it was made without."""

    record: Record
    withheld: tuple[Withheld, ...]


class Releases(Protocol):
    """Approved record types, and redaction by them."""

    def known(self, full_name: str) -> RecordType:
        """The version approved last. Raises InvalidRequest where there is none."""

    def release(self, found: Found, decision: Decision) -> Release:
        """The permitted part of what the provider found. Raises IntegrityError where it is not of its type."""


class Disclosed(Struct, frozen=True):
    """The record released (None in a replay), what was withheld of it, and the evidence. `erased` says of a
    replay that the entry's views are gone, and with them what was decided."""

    request: Request
    decision: Decision
    record: Record | None
    withheld: tuple[Withheld, ...]
    receipt: Receipt
    replayed: bool = False
    erased: bool = False
    # What its record takes of this worker's memory, to be released once it has been written.
    held: Held | None = None
