"""Use cases of suspending agreements: any party stops one at once, and lets its own stop end.

Whoever stops says who they are and why, and everybody who may see the agreement sees it. Nothing else can be
changed this way: what may flow is what parties have signed, or nothing. Refuses anybody who is neither party
nor operator, in the words in which an agreement is refused that does not exist: ids must not be probed.
"""

from __future__ import annotations

from broker.administration import Administration, Made, Plan
from broker.agreements import not_theirs
from broker.core.canonical import Json
from broker.core.flow import flow_keys
from broker.core.forms import suspension_detail
from broker.core.model import Actor, Caller, Function
from broker.core.reference import Reference
from broker.core.suspension import Suspension
from broker.errors import InvalidRequest, NotAllowed
from broker.ports import Change, Clock, Reads, ReferenceSource


def suspensions_key(agreement: str) -> str:
    """Key of who has suspended an agreement."""
    return f"suspensions:{agreement}"


class Suspensions:
    """Stops of agreements, by agreement and agency. A new version stays as stopped as the one before."""

    def __init__(self, administration: Administration, reference: ReferenceSource, clock: Clock) -> None:
        self._administration = administration
        self._reference = reference
        self._clock = clock

    async def suspend(self, caller: Caller, agreement: str, reason: str, actor: Actor) -> Made:
        """Stop an agreement for the caller's agency. Raises NotAllowed, InvalidRequest."""

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            _require(caller, reference, agreement)
            if any(each.agency == caller.agency for each in _standing(reference, agreement)):
                raise InvalidRequest("lift", f"{caller.agency} has suspended it already")
            suspension = Suspension(
                agreement,
                caller.agency,
                caller.name,
                reason,
                self._clock.now(),
                caller.function is Function.OPERATOR,
            )
            detail = suspension_detail(suspension)
            return _planned(
                "agreement-suspended", "agreement-suspension", detail, {"detail": detail}, reference
            )

        return await self._administration.make(caller, plan, actor)

    async def lift(self, caller: Caller, agreement: str, reason: str, actor: Actor) -> Made:
        """End the caller's own stop; an operator ends every one there is. Raises NotAllowed, InvalidRequest,
        QuotaExceeded.

        Each change has every worker read what all decide by again, and ending a stop is counted for it;
        stopping never is, which can only be done again once it has ended.
        """
        self._administration.count(caller)

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            _require(caller, reference, agreement)
            standing = _standing(reference, agreement)
            operator = caller.function is Function.OPERATOR
            lifted: list[Json] = [each.agency for each in standing if operator or each.agency == caller.agency]
            if not standing:
                raise InvalidRequest("lift", "the agreement is not suspended")
            if not lifted:
                by = ", ".join(each.agency for each in standing)
                raise NotAllowed(f"{by} suspended it; only they, or an operator of the broker, can lift that")
            stored: dict[str, Json] = {"agreement": agreement, "agencies": lifted}
            told = {**stored, "reason": reason}
            kind = "agreement-suspension-lifted"
            return _planned(kind, kind, told, stored, reference)

        return await self._administration.make(caller, plan, actor)


def _planned(
    event: str, kind: str, told: dict[str, Json], stored: dict[str, Json], reference: Reference
) -> Plan:
    """Every flow of the agreement is written, so that what was decided under it is decided again."""
    agreement = str(told["agreement"])
    own = suspensions_key(agreement)
    writes = flow_keys(reference.agreements[agreement]) | {own}
    change = Change(kind, stored, writes, reference=True)
    return Plan(event, told, change, Reads(reference.policy, writes))


def _standing(reference: Reference, agreement: str) -> tuple[Suspension, ...]:
    return tuple(each for each in reference.suspensions if each.agreement == agreement)


def _require(caller: Caller, reference: Reference, agreement: str) -> None:
    known = reference.agreements.get(agreement)
    party = known is not None and any(each.agency == caller.agency for each in known.parties)
    if caller.function is Function.AUDITOR:
        raise NotAllowed("an auditor changes nothing; ask a party or an operator to suspend it")
    if known is None or not (party or caller.function is Function.OPERATOR):
        raise not_theirs()
