"""The provider's own check: does an agreement that our agency has signed name this question?

The broker has decided already; this asks again, of the agency's own copies, so that a stolen broker is not a
key to its records. Owns the comparison of a question with the copies, and the trimming of a record to the
fields that both name. Refuses what no copy in force names; what the question says of its actor and purpose is
the broker's word, and this can only hold it to what was signed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from adapters.sdk.question import Question
from broker.core.agreement import Agreement
from broker.core.descriptors import descriptor_set
from broker.core.recordtype import RecordType
from broker.core.redaction import Redactor
from broker.core.terms import FlowTerms
from broker.errors import InvalidRequest, NotAgreed, UnsoundAnswer

_MOST_NAMED = 4096


@dataclass(frozen=True, slots=True)
class Agreed:
    """What one agency has signed, by agreement id and version."""

    agency: str
    _copies: Mapping[tuple[str, int], Agreement]
    # What was found to be named, without the person, and from when until when: asked again with every question.
    _named: dict[tuple[Hashable, ...], tuple[datetime, datetime]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, agency: str, copies: Iterable[Agreement]) -> Agreed:
        """The agreements whose signature by `agency` was verified; one of each id and version."""
        return cls(agency, {(each.id, each.version): each for each in copies})

    def __len__(self) -> int:
        return len(self._copies)

    def has(self, question: Question) -> bool:
        """Whether the agreement that the question names is among them."""
        return (question.agreement, question.agreement_version) in self._copies

    def check(self, question: Question, now: datetime, requesters: frozenset[str] = frozenset()) -> None:
        """Raises NotAgreed, saying what no copy names, unless one in force at `now` (UTC) names all of it.

        `requesters` are the names that the requester may stand under, where it is in somebody's place.
        """
        asked = (
            question.agreement,
            question.agreement_version,
            question.purpose,
            question.requester,
            requesters,
            question.record_type,
            question.actor.role,
            question.actor.assurance,
            question.subject.scheme if question.subject else None,
            question.permitted_paths,
        )
        days = self._named.get(asked)
        if days is None or not days[0] <= now < days[1]:
            agreement = self._check(question, now, requesters)
            if len(self._named) >= _MOST_NAMED:
                self._named.clear()
            self._named[asked] = (agreement.begins, agreement.ends)

    def _check(self, question: Question, now: datetime, requesters: frozenset[str]) -> Agreement:
        agreement = self._copies.get((question.agreement, question.agreement_version))
        if agreement is None:
            raise self._refused(question, "the agreement is not among its copies")
        if not agreement.begins <= now < agreement.ends:
            raise self._refused(question, "the agreement is not in force")
        if agreement.purpose != question.purpose:
            raise self._refused(question, "the purpose is another")
        terms = self._terms(agreement, question, requesters or frozenset({question.requester}))
        if question.actor.role not in terms.roles:
            raise self._refused(question, "the role may not ask")
        if question.actor.assurance < agreement.actors.minimum:
            raise self._refused(question, "the actor is not known well enough")
        if question.subject is None and not terms.queries:
            raise self._refused(question, "traits may not be asked with")
        if question.subject is not None and question.subject.scheme not in terms.subject_schemes:
            raise self._refused(question, "the subject may not be named this way")
        if not set(question.permitted_paths) <= set(terms.permitted):
            raise self._refused(question, "fields are asked for that it does not name")
        return agreement

    def _terms(self, agreement: Agreement, question: Question, requesters: frozenset[str]) -> FlowTerms:
        wanted = (self.agency, question.record_type)
        # Its own name first: what it signed itself goes before what it took over.
        for name in sorted(requesters, key=lambda name: name != question.requester):
            for terms in agreement.flows:
                if terms.requester == name and (terms.provider, terms.record_type) == wanted:
                    return terms
        raise self._refused(question, "no flow has this requester and record type")

    def _refused(self, question: Question, why: str) -> NotAgreed:
        return NotAgreed(
            f"{self.agency} has signed nothing that names this: agreement {question.agreement[:63]!r}, version "
            f"{question.agreement_version}: {why}"
        )


def trim(record: Message, permitted: tuple[str, ...]) -> bytes:
    """`record` made anew of the permitted leaves alone, serialised. Raises UnsoundAnswer.

    With our own copy of the record type, so that no other can say what a path means.
    """
    try:
        redactor = _redactor(cast("Descriptor", record.DESCRIPTOR), permitted)
    except InvalidRequest as error:
        raise UnsoundAnswer(f"the fields asked for do not fit the record type: {error}") from None
    return redactor.redact(record.SerializeToString()).value


@lru_cache(maxsize=256)
def _redactor(descriptor: Descriptor, permitted: tuple[str, ...]) -> Redactor:
    record_type = RecordType.stored(descriptor_set(descriptor.file), descriptor.full_name)
    return Redactor(record_type, permitted)
