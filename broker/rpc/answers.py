"""An adapter's answers, from the wire's types to ours.

What cannot be read is a failure of the provider, said in words of ours. Refuses free text: what may be asked
for next are traits, and anything else could be a way to list candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.answered import failed, garbled
from broker.core.model import SubjectRef
from broker.core.record import Record
from broker.core.subject import parse_subject
from broker.errors import IntegrityError, InvalidRequest, ProviderTimeout
from broker.ports import Answer, Found, ManyMatch, NotFound, ProviderFailed
from broker.rpc import parse
from broker.v1 import adapter_pb2, exchange_pb2

MAX_IDENTIFIERS = 64  # of one subject; each is read for and stands in the entry
MAX_TRAITS = 4096  # each once is what counts; no more of them are looked at


def read_answer(answer: adapter_pb2.Answer) -> Answer:
    """An adapter's answer in our words; what cannot be read is a failure of the provider."""
    try:
        kind = answer.WhichOneof("result")
        if kind == "found":
            return _found(answer.found)
        if kind == "not_found":
            return NotFound(_identifiers(answer.not_found.identifiers))
        if kind == "many_match":
            return ManyMatch(_traits(answer.many_match.ask_for))
        if kind == "not_agreed":
            return failed(
                "the provider's own copy of its agreements does not name this request: the provider must "
                "give its adapter the agreement with its own signature, or sign its decision"
            )
        if kind == "failed" and answer.failed.timed_out:
            return ProviderFailed(ProviderTimeout("the provider's system did not answer in time"), "timed out")
        if kind == "failed":
            return failed("the provider's system could not answer")
        return garbled("the provider's adapter answered in no way that is known")
    except (InvalidRequest, IntegrityError) as e:
        return garbled(f"the provider's adapter sent an answer that does not hold: {e}")


# What may be asked for next; anything else could be a way to list candidates.
_TRAITS = frozenset(
    {"family_name", "given_name", "birth_date", "approximate_age", "sex", "address_line", "postcode", "phone"}
)


def _found(found: adapter_pb2.Found) -> Found:
    return Found(
        record=Record(found.record.type_url, found.record.value),
        digest=found.digest,
        identifiers=_identifiers(found.identifiers),
        as_at=parse.when("as_at", found, "as_at"),
        traits_agreed=_traits(found.traits_agreed),
    )


def _traits(names: Sequence[str]) -> tuple[str, ...]:
    """Each once: they stand in the entry and in what the requester is told."""
    if len(names) > MAX_TRAITS:
        raise InvalidRequest("traits", f"more than {MAX_TRAITS}")
    return tuple(sorted(_TRAITS.intersection(names)))


def _identifiers(refs: Sequence[exchange_pb2.SubjectRef]) -> tuple[SubjectRef, ...]:
    if len(refs) > MAX_IDENTIFIERS:
        raise InvalidRequest("identifiers", f"more than {MAX_IDENTIFIERS}")
    return tuple(parse_subject(ref.scheme, ref.value, "identifiers") for ref in refs)
