"""What an adapter says: found, not found, or more than one match.

A source that cannot be read is said by raising `ProviderUnavailable` (or `ProviderTimeout`), never by an
answer: "there is none" and "I could not look" must not be confused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.message import Message

from adapters.sdk.question import Question, SubjectRef


@dataclass(frozen=True, slots=True)
class Found:
    """A record, and **every** identifier the source knows its subjects by, the asked one included.

    The broker looks up what the person has said under all of them before anything is released. `as_at` is
    the time (with zone) for which the record is true. With traits asked, `traits_agreed` names those that
    fitted, by their field names in `SubjectQuery`.
    """

    record: Message = field(repr=False)
    identifiers: tuple[SubjectRef, ...]
    as_at: datetime
    traits_agreed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotFound:
    """The source was read and holds no such record; `identifiers` are those it knows the subject by."""

    identifiers: tuple[SubjectRef, ...] = ()


@dataclass(frozen=True, slots=True)
class ManyMatch:
    """The traits fit more than one. `ask_for` names traits that would tell them apart, never a candidate."""

    ask_for: tuple[str, ...]


Answer = Found | NotFound | ManyMatch
AnswerFunction = Callable[[Question], Awaitable[Answer]]
