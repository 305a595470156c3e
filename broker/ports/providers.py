"""What an adapter is asked and what it answers, and the adapters that are attached."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.model import Request, Signed, SubjectRef
from broker.core.record import Record
from broker.errors import BrokerError
from broker.held import Held


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
    """No answer: `error` is ProviderUnavailable or ProviderTimeout, `why` is for the full view. `garbled`: the
    adapter did answer, in what is none; another may know better."""

    error: BrokerError
    why: str
    garbled: bool = False


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
