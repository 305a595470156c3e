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
from broker.core.generated import descriptor_set
from broker.core.granting import about, check_signed_grant, traits_given
from broker.core.oneoff import one_off_id
from broker.core.recordtype import RecordType
from broker.core.redaction import Redactor
from broker.core.signingkey import SigningKey
from broker.core.terms import FlowTerms, level
from broker.errors import IntegrityError, InvalidRequest, NotAgreed, UnsoundAnswer

_ONE_OFF = one_off_id("")

_MOST_NAMED = 4096


@dataclass(frozen=True, slots=True)
class Agreed:
    """What one agency has signed, by agreement id and version."""

    agency: str
    _copies: Mapping[tuple[str, int], Agreement]
    _keys: Mapping[str, SigningKey] = field(default_factory=dict)
    # What was found to be named, without the person, and from when until when: asked again with every question.
    _named: dict[tuple[Hashable, ...], tuple[datetime, datetime]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, agency: str, copies: Iterable[Agreement], keys: Mapping[str, SigningKey] | None = None
    ) -> Agreed:
        """The agreements whose signature by `agency` was verified, one of each id and version; and the keys by
        which the agency itself signs, by id."""
        return cls(agency, {(each.id, each.version): each for each in copies}, keys or {})

    def __len__(self) -> int:
        return len(self._copies)

    def has(self, question: Question) -> bool:
        """Whether the agreement that the question names is among them, or it brings a decision of our own."""
        if question.agreement.startswith(_ONE_OFF):
            return question.grant is not None and question.grant.key_id in self._keys
        return (question.agreement, question.agreement_version) in self._copies

    def check(
        self,
        question: Question,
        now: datetime,
        requesters: frozenset[str] = frozenset(),
        heir: Agreed | None = None,
    ) -> None:
        """Raises NotAgreed, saying what no copy names, unless one in force at `now` (UTC) names all of it.

        `requesters` are the names that the requester may stand under, where it is in somebody's place; `heir`
        has taken the place of whoever signed these copies, and its humans decide now, by its own key. What no
        agreement foresaw, and what an agreement leaves to a human of ours, needs our own signed word on this
        very request: a broker cannot make one up.
        """
        if question.agreement.startswith(_ONE_OFF):
            if why := self._not_granted(question, now, heir):
                raise self._refused(question, why)
            return
        if question.override or question.grant is not None:  # each of these is of one question
            self._check(question, now, requesters, heir)
            return
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
            agreement = self._check(question, now, requesters, heir)
            if len(self._named) >= _MOST_NAMED:
                self._named.clear()
            self._named[asked] = (agreement.begins, agreement.ends)

    def _check(
        self, question: Question, now: datetime, requesters: frozenset[str], heir: Agreed | None
    ) -> Agreement:
        agreement = self._copies.get((question.agreement, question.agreement_version))
        if agreement is None:
            raise self._refused(question, "the agreement is not among its copies")
        if not agreement.begins <= now < agreement.ends:
            raise self._refused(question, "the agreement is not in force")
        if agreement.purpose != question.purpose:
            raise self._refused(question, "the purpose is another")
        terms = self._terms(agreement, question, requesters or frozenset({question.requester}))
        overridden = bool(question.override and terms.override)
        if question.actor.role not in terms.roles and not overridden:
            raise self._refused(question, "the role may not ask")
        if overridden and (why := _not_overridden(question, agreement, terms)):
            raise self._refused(question, why)
        if terms.judgement and not overridden and (why := self._not_granted(question, now, heir)):
            raise self._refused(question, f"each request is for a human of ours to decide, and {why}")
        if question.actor.assurance < agreement.actors.minimum:
            raise self._refused(question, "the actor is not known well enough")
        if question.subject is None and not terms.queries:
            raise self._refused(question, "traits may not be asked with")
        if question.subject is not None and question.subject.scheme not in terms.subject_schemes:
            raise self._refused(question, "the subject may not be named this way")
        if not set(question.permitted_paths) <= set(terms.permitted):
            raise self._refused(question, "fields are asked for that it does not name")
        return agreement

    def _not_granted(self, question: Question, now: datetime, heir: Agreed | None = None) -> str:
        """Why our own signed word does not let this very request through; empty where it does."""
        if question.grant is None:
            return "there is no signed decision of ours on it"
        if heir is not None and question.grant.key_id in heir._keys:
            return heir._not_granted(question, now)
        try:
            said = check_signed_grant(question.grant, self._keys.get(question.grant.key_id))
            until = datetime.fromisoformat(str(said["until"]))
            referral, permitted = str(said["referral"]), said["permitted"]
        except (IntegrityError, KeyError, ValueError) as e:
            return f"its signed decision does not count: {e}"
        if not isinstance(permitted, list) or not now < until:
            return "the signed decision has run out"
        traits, subject = question.traits, question.subject
        asked = {
            "agency": self.agency,
            "requester": question.requester,
            "record_type": question.record_type,
            "purpose": question.purpose,
            "actor": question.actor.id,
            "role": question.actor.role,
            "agreement": f"{question.agreement}/{question.agreement_version}",
            "about": about(
                referral,
                subject.scheme if subject else "",
                subject.value if subject else "",
                traits_given(traits),
            ),
        }
        for name, value in asked.items():
            if said.get(name) != value:
                return f"the signed decision is on another request: {name}"
        if not set(question.permitted_paths) <= set(permitted):
            return "fields are asked for that the signed decision does not name"
        return ""

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


def _not_overridden(question: Question, agreement: Agreement, terms: FlowTerms) -> str:
    """Why an override does not count here; empty where it does. That there is one is the broker's word."""
    override = agreement.override
    if override is None or question.override not in override.codes:
        return "it knows no such override"
    if question.actor.assurance < level(override.minimum_assurance):
        return "the actor is not known well enough for an override"
    if not set(question.permitted_paths) <= set(terms.override):
        return "more is asked for than an override is given"
    return ""


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
