"""An adapter's answer, held to the question that it answers, and to the room that there is for its record."""

from __future__ import annotations

from msgspec.structs import replace

from broker.errors import ProviderUnavailable, Saturated
from broker.held import Held
from broker.ports import Answer, Found, ManyMatch, ProviderFailed, Question

_TYPE_URL = "type.googleapis.com/"


def checked(question: Question, answer: Answer) -> Answer:
    """The answer, or a failure in its place where it is not an answer to what was asked."""
    asked = question.request.subject
    if isinstance(answer, ManyMatch) and asked is not None:
        return garbled("the provider's adapter found many for one identifier")
    if not isinstance(answer, Found):
        return answer
    if answer.record.type_url != _TYPE_URL + question.request.record_type or answer.digest != question.digest:
        return garbled("the provider's adapter answered with a record type or digest not asked for")
    if not answer.identifiers or (asked is not None and asked not in answer.identifiers):
        # Whose record is it then? What its subject has said could not be looked up.
        return garbled("the provider's adapter did not say that the record is about who was asked for")
    return answer


def room_for(answer: Answer, held: Held) -> Answer:
    """The answer with its room; where there is none, a failure in its place, and its bytes go at once."""
    if not isinstance(answer, Found):
        return answer
    try:
        held.arrived(len(answer.record.value))
    except Saturated as e:
        return ProviderFailed(e, "no room for the record")
    return replace(answer, held=held)


def failed(why: str) -> ProviderFailed:
    """A failure of the provider, in words that the requester may read."""
    return ProviderFailed(ProviderUnavailable(why), why)


def garbled(why: str) -> ProviderFailed:
    """The same, of an adapter whose answer does not hold."""
    return ProviderFailed(ProviderUnavailable(why), why, garbled=True)


def is_garbled(answer: Answer | None) -> bool:
    """Whether it stands for an answer that does not hold."""
    return isinstance(answer, ProviderFailed) and answer.garbled
