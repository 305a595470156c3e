"""Use cases of agencies' signing keys: enrolling one, ending one. Operators only.

Whoever may put a key in force may sign an agency's agreements, so no operator changes one alone: an agency's
first key is taken from one operator; every later one needs the word of a key in force (an endorsement, made
by the agency), or two people, each with an operator certificate of their own that did not come by the other's
hand (`secondperson`). That holds for an agency whose keys have all ended too, or ending them would be the way
round it. Ending a key only takes away, so one operator may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from broker.administration import Administration, Made, Plan
from broker.core.canonical import Json
from broker.core.directory import signers_key
from broker.core.forms import signing_key_detail
from broker.core.model import Actor, Caller, Function
from broker.core.reference import Reference
from broker.core.signingkey import Endorsement, SigningKey
from broker.errors import InvalidRequest
from broker.ports import Change, Clock, Reads, ReferenceSource
from broker.registry import require
from broker.secondperson import first_person, second_person, waits


class SigningKeys:
    """By which keys agencies sign."""

    def __init__(self, administration: Administration, reference: ReferenceSource, clock: Clock) -> None:
        self._administration = administration
        self._reference = reference
        self._clock = clock

    def today(self) -> date:
        """The day in UTC."""
        return self._clock.now().date()

    async def enrol(
        self, caller: Caller, key: SigningKey, endorsement: Endorsement | None, actor: Actor
    ) -> tuple[SigningKey, Made]:
        """Put a key in force, or propose it; which of the two, the key given back says.

        `endorsement` is for this very key and days. Raises InvalidRequest saying what is missing.
        """
        require(caller, Function.OPERATOR)
        stored: list[SigningKey] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            if key.agency not in reference.agencies:
                raise InvalidRequest("agency", "is not in the directory; add it first with `broker agency add`")
            known = reference.signing_keys.get(key.agency, ())
            before = _proposed(reference, key)
            how: dict[str, Json]
            if endorsement is not None:
                how = {"how": "endorsed", "by": self._endorser(endorsement, known).id}
            elif all(each.proposal is not None for each in known):
                how = {"how": "first"}
            elif before is not None and self._same_and_fresh(before, key):
                how = {"how": "two people", "by": _second(reference, before, caller, actor)}
            else:
                stored[:] = [replace(key, proposal=first_person(caller, actor, self._clock.now()))]
                return _plan("agency-key-proposed", reference, stored[0], {})
            stored[:] = [key]
            return _plan("agency-key-enrolled", reference, key, how)

        made = await self._administration.make(caller, plan, actor)
        return stored[0], made

    async def end(self, caller: Caller, agency: str, key_id: str, reason: str, actor: Actor) -> Made:
        """End a key, or drop a proposal, at once. Agreements applied on its signatures stay in force."""
        require(caller, Function.OPERATOR)

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            known = reference.signing_keys.get(agency, ())
            key = next((each for each in known if each.id == key_id), None)
            if key is None:
                raise InvalidRequest("key_id", f"no such key of {agency}; `broker agency key list` shows them")
            if key.ended_on is not None:
                raise InvalidRequest("key_id", "is ended already")
            ended = replace(key, ended_on=self.today())
            return _plan("agency-key-ended", reference, ended, {"reason": reason})

        return await self._administration.make(caller, plan, actor)

    def _endorser(self, endorsement: Endorsement, known: Sequence[SigningKey]) -> SigningKey:
        endorser = next((each for each in known if each.id == endorsement.key_id), None)
        if endorser is None:
            raise InvalidRequest("endorsement.key_id", "is not a key enrolled for this agency")
        if problem := endorser.problem_on(self.today()):
            raise InvalidRequest("endorsement.key_id", f"the endorsing key {problem}")
        if not endorsement.made_by(endorser):
            raise InvalidRequest(
                "endorsement.signature", "does not verify for this agency, key and these days; endorse it again"
            )
        return endorser

    def _same_and_fresh(self, before: SigningKey, key: SigningKey) -> bool:
        """Whether the same was proposed, lately: other days, or a forgotten proposal, begin anew."""
        fresh = before.proposal is not None and waits(before.proposal, self._clock.now())
        return fresh and replace(before, proposal=None) == key


def _proposed(reference: Reference, key: SigningKey) -> SigningKey | None:
    """The key as it was proposed before; None where it is new. Refuses one that was ever in force."""
    for keys in reference.signing_keys.values():
        for each in keys:
            if each.id != key.id:
                continue
            if each.agency != key.agency or each.proposal is None or each.ended_on is not None:
                # An ended key must not come back by an endorsement that it was once given.
                raise InvalidRequest("public_key", "this key was enrolled before; make a new one")
            return each
    return None


def _second(reference: Reference, before: SigningKey, caller: Caller, actor: Actor) -> dict[str, Json]:
    """Who proposed the key, where this is a second person."""
    if before.proposal is None:
        raise InvalidRequest("public_key", "this key was enrolled before; make a new one")
    return second_person(reference, before.proposal, caller, actor)


def _plan(event: str, reference: Reference, key: SigningKey, more: dict[str, Json]) -> Plan:
    stored: dict[str, Json] = {"detail": signing_key_detail(key)}
    # By its id too: two agencies must not be given one key at the same time.
    keys: frozenset[str | bytes] = frozenset({signers_key(key.agency), f"signing-key:{key.id}"})
    change = Change("agency-key", stored, keys, reference=True)
    return Plan(event, {**stored, **more}, change, Reads(reference.policy, keys))
