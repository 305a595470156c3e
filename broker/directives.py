"""Use cases of directives: recording what somebody said, withdrawing it, and looking at it.

Who may write what: any party may record; a consent may be withdrawn through any party, since withdrawing must
be as easy as giving (UK GDPR Article 7(3)); anything else is lifted only by the agency that recorded it. What
a record of a consent is worth is for agreements to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker.administration import Administration, Made, Plan, subject_detail
from broker.core.canonical import Json
from broker.core.decision import subject_key
from broker.core.directive import Directive, why_not
from broker.core.forms import directive_detail
from broker.core.model import Actor, Caller, Function, Reason, SubjectRef
from broker.core.reference import Reference
from broker.core.steps.person import counts
from broker.errors import InvalidRequest, NotAllowed
from broker.ports import (
    Asked,
    Change,
    Clock,
    DirectiveStore,
    FactsSource,
    Reads,
    RecordedDirective,
    ReferenceSource,
)
from broker.registry import require


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The directives that a withdrawal ended (none where there was nothing to end), and its entry."""

    ids: tuple[str, ...]
    made: Made


_WITHDRAWN = "directive-withdrawn"
# What one agency may have on record about one subject, withdrawn ones apart: decisions about them read all.
MAX_ABOUT_ONE = 64


class Directives:
    """What people have said."""

    def __init__(
        self,
        administration: Administration,
        facts: FactsSource,
        store: DirectiveStore,
        reference: ReferenceSource,
        clock: Clock,
    ) -> None:
        self._administration = administration
        self._facts = facts
        self._store = store
        self._reference = reference
        self._clock = clock

    async def add(self, caller: Caller, subject: SubjectRef, directive: Directive, actor: Actor) -> Made:
        """Record one directive. `directive.recorder` is the caller's agency, from its certificate."""
        require(caller, Function.PARTNER)
        _check_scope(directive, await self._reference.refresh())

        async def plan() -> Plan:
            await self._check_room(caller, subject)
            detail = directive_detail(directive)
            stored: dict[str, Json] = {
                "id": directive.id,
                "recorder": caller.agency,
                "detail": detail,
                "at": self._clock.now().isoformat(),
            }
            change = Change("directive", stored, frozenset({_key(subject)}), reference=False, subject=subject)
            # Free words stand where they can be erased by themselves.
            entry = {**stored, "detail": {**detail, "explained": ""}, "subject": subject_detail(subject)}
            return Plan("directive-recorded", entry, change, words=directive.explained)

        return await self._administration.make(caller, plan, actor)

    async def withdraw_one(self, caller: Caller, directive_id: str, actor: Actor) -> Withdrawn:
        """Withdraw one directive by its id."""
        require(caller, Function.PARTNER)

        async def plan() -> Plan:
            own = await self._own(caller)
            known = await self._store.by_id(directive_id)
            # The same words for none and for somebody else's: ids must not be probed.
            if known is None or not _may_withdraw(own, known.directive):
                raise NotAllowed("there is no such directive that your agency may withdraw")
            return self._withdrawal([directive_id], known.key, {"ids": [directive_id]}, known.policy)

        return Withdrawn((directive_id,), await self._administration.make(caller, plan, actor))

    async def withdraw_consents(
        self, caller: Caller, subject: SubjectRef, purpose: str, actor: Actor
    ) -> Withdrawn:
        """Withdraw every consent about a subject that covers a purpose (empty: any), whoever recorded it.

        Tells the ids of those that the caller's own agency had recorded.
        """
        require(caller, Function.PARTNER)
        law = (await self._reference.refresh()).law
        if purpose and purpose not in law.purposes:
            raise _unknown("purpose", purpose, law.purposes)  # or nothing would be withdrawn
        ended: list[Directive] = []

        async def plan() -> Plan:
            facts = await self._facts.read(Asked((subject,), caller.name, ()))
            ended[:] = _consents(facts.directives.get(subject, ()), purpose)
            ids: list[Json] = [d.id for d in ended]
            detail: dict[str, Json] = {
                "ids": ids,
                "subject": subject_detail(subject),
                "purpose": purpose or None,
            }
            if not ended:
                # Said, and written down; but nothing that decisions read moves, so none is held up by it.
                return Plan(_WITHDRAWN, detail, None, Reads(facts.policy, frozenset({_key(subject)})))
            return self._withdrawal([d.id for d in ended], _key(subject), detail, facts.policy)

        made = await self._administration.make(caller, plan, actor)
        # Whether anybody else had recorded a consent is not the caller's to learn.
        return Withdrawn(tuple(d.id for d in ended if d.recorder == caller.agency), made)

    async def worth(self, directive: Directive) -> tuple[tuple[str, ...], str]:
        """Of a consent: ids of the agreements, in force or yet to be, under which it can make a difference, and
        what it lacks to stand under any. Nothing of anything else."""
        if directive.kind != "consent":
            return (), ""
        reference, now = await self._reference.refresh(), self._clock.now()
        if lacks := why_not(directive, now):
            return (), lacks
        live = (a for a in reference.agreements.values() if now < a.ends)
        return tuple(sorted(a.id for a in live if counts(directive, a))), ""

    async def of_own(
        self, caller: Caller, subject: SubjectRef, actor: Actor, reason: Reason
    ) -> tuple[list[RecordedDirective], Made]:
        """What the caller's own agency has recorded about a subject, not withdrawn. The look is an entry."""
        require(caller, Function.PARTNER)
        own = [d for name in sorted(await self._own(caller)) for d in await self._store.about(subject, name)]
        detail: dict[str, Json] = {"subject": subject_detail(subject), "found": len(own)}
        made = await self._administration.note_look(caller, "directives-viewed", detail, actor, reason)
        return own, made

    async def _check_room(self, caller: Caller, subject: SubjectRef) -> None:
        """Counted without holding others up: a few that come at the same moment may go past it."""
        facts = await self._facts.read(Asked((subject,), caller.name, ()))
        own = sum(d.recorder == caller.agency for d in facts.directives.get(subject, ()))
        if own >= MAX_ABOUT_ONE:
            raise InvalidRequest(
                "directive.subject",
                f"your agency has {own} directives about this subject and may have {MAX_ABOUT_ONE}; withdraw "
                "what has run out or no longer holds (`broker directive list` shows them)",
            )

    async def _own(self, caller: Caller) -> frozenset[str]:
        """The caller's agency, and those whose place it has taken: what they recorded is its to keep."""
        reference = await self._reference.refresh()
        return reference.forebears(caller.agency, self._clock.now()) | {caller.agency}

    def _withdrawal(self, ids: list[str], key: str | bytes, detail: dict[str, Json], policy: int) -> Plan:
        stored: dict[str, Json] = {"ids": [*ids], "at": self._clock.now().isoformat()}
        change = Change("directive-withdrawal", stored, frozenset({key}), reference=False)
        return Plan(_WITHDRAWN, detail, change, Reads(policy, frozenset({key})))


def _key(subject: SubjectRef) -> str:
    return subject_key(subject.scheme, subject.value)


def _may_withdraw(own: frozenset[str], directive: Directive) -> bool:
    return directive.kind == "consent" or directive.recorder in own


def _consents(directives: Iterable[Directive], purpose: str) -> list[Directive]:
    return [
        d
        for d in directives
        if d.kind == "consent" and (not purpose or not d.purposes or purpose in d.purposes)
    ]


_LISTS = {"record_types": "`broker records list`"}


def _unknown(field: str, name: str, known: Iterable[str]) -> InvalidRequest:
    """A name that means nothing, with those that do: the codes, or the command that lists them."""
    kind = field.rpartition(".")[2]
    if kind.startswith("purpose"):
        there_are = f"one of {', '.join(sorted(known))}"
    else:
        there_are = f"{_LISTS.get(kind, '`broker agency list`')} shows what is"
    return InvalidRequest(field, f"{name[:200]!r} is unknown; {there_are}")


def _check_scope(directive: Directive, reference: Reference) -> None:
    """Every name in a scope means something; a misspelt one would protect nobody."""
    for field, names, known in (
        ("directive.purposes", directive.purposes, reference.law.purposes),
        ("directive.record_types", directive.record_types, reference.record_types),
        ("directive.requesters", directive.requesters, reference.agencies),
        ("directive.providers", directive.providers, reference.agencies),
    ):
        for name in sorted(names):
            if name not in known:
                raise _unknown(field, name, known)
