"""Use cases of referrals: asking a human of the provider, looking at what waits for them, and deciding it.

Who may do what: a partner's system asks; only a system of the provider agency, or of whoever has taken its
place, sees what waits there, and every look is an entry; a named human of theirs decides, with reasons. What
they let through goes out when the requester asks again (`retry_of`), by the same walk of decision as
everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from broker.administration import Administration, Made, Parties, Plan, named, why
from broker.core.canonical import Json
from broker.core.decision import decide
from broker.core.granting import grant_detail, law_detail, statement
from broker.core.model import Actor, Caller, Function, Grant, OneOff, Outcome, Reason, Request
from broker.core.oneoff import one_off_flow, one_off_id
from broker.core.reference import Reference
from broker.core.succession import shares
from broker.core.views import ProviderView, RequesterView
from broker.core.vocabulary import GRANTED, REFUSED
from broker.desk import (
    asked,
    check_fetchable,
    ended,
    escalation,
    flow_key,
    lock_of,
    may_decide,
    said_in_place,
    silent,
    standing_key,
)
from broker.errors import InvalidRequest, NotAllowed
from broker.handed import about
from broker.ids import entry_id
from broker.ports import Asked, Change, Clock, FactsSource, Reads, ReferenceSource
from broker.queues import ReferralStore, StoredReferral
from broker.registry import require
from broker.rulings import Ruling, check, check_codes, check_signed, fresh, words_of

_NONE = "there is no such referral that your agency may decide"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A referral as its owner sees it: what may be granted at most, and who hears of it when it is late.

    `agency` is the owner's; `status` is also `expired` (granted, and its time is over) and `lapsed` (whoever
    asked has ended, and nobody could fetch it).
    """

    row: StoredReferral
    agency: str
    status: str
    overdue: bool
    escalate_to: str
    permitted: tuple[str, ...] = ()
    ncnd: bool = False
    # `id/version` of the agreement that bears it today; empty where none does.
    agreement: str = ""


class Referrals:
    """What waits for a human."""

    def __init__(
        self,
        administration: Administration,
        store: ReferralStore,
        facts: FactsSource,
        reference: ReferenceSource,
        clock: Clock,
    ) -> None:
        self._administration = administration
        self._store = store
        self._facts = facts
        self._reference = reference
        self._clock = clock

    async def listed(self, caller: Caller, actor: Actor, reason: Reason) -> tuple[list[Waiting], Made]:
        """What was referred to the caller's agency, what is due first. The look is an entry."""
        require(caller, Function.PARTNER)
        reference = await self._reference.refresh()
        mine = shares(reference.agencies, caller.agency, self._clock.now())
        found = [self._seen(row, caller.agency, reference) for row in await self._store.of(mine)]
        detail: dict[str, Json] = {
            "found": len(found),
            "overdue": sum(each.overdue for each in found),
        }
        if len(mine) > 1:
            detail["in_place_of"] = [*sorted({share.of for share in mine[1:]})]
        return found, await self._administration.note_look(caller, "referrals-viewed", detail, actor, reason)

    async def shown(self, caller: Caller, referral: str, actor: Actor, reason: Reason) -> tuple[Waiting, Made]:
        """One of them, whole. The look is an entry."""
        why(reason)
        reference = await self._reference.refresh()
        row = await self._own(caller, referral, reference)
        detail: dict[str, Json] = {"referral": row.id, **said_in_place(row, caller.agency)}
        made = await self._administration.note_look(caller, "referral-viewed", detail, actor, reason)
        return self._seen(row, caller.agency, reference), made

    async def decide(
        self, caller: Caller, referral: str, ruling: Ruling, actor: Actor
    ) -> tuple[StoredReferral, Made]:
        """Grant or refuse it; a grant may be taken back by refusing it.

        Raises InvalidRequest where what is decided would not hold, naming what would still refuse it.
        """
        named(actor)
        check(ruling, self._clock.now())
        decided: list[StoredReferral] = []

        async def plan() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            reference = await self._reference.refresh()
            row = await self._own(caller, referral, reference)
            if row.status == "refused" or (row.status == "granted" and ruling.granted):
                raise InvalidRequest("referral_id", f"was {row.status} already; who asks anew is decided anew")
            decided[:] = [row]
            now = self._clock.now()
            grant = Grant(row.id, (), now, granted=False, request=row.request)
            if ruling.granted:
                grant = await self._grant(caller, actor, row, ruling, reference, now)
            hidden = silent(row.asked, reference)
            reads = Reads(policy, lock_of(row) | standing_key(row, caller.agency))
            return _ruled(row, caller.agency, ruling, grant, actor, now, reads, hidden=hidden)

        made = await self._administration.make(caller, plan, actor)
        return decided[0], made

    async def _own(self, caller: Caller, referral: str, reference: Reference) -> StoredReferral:
        require(caller, Function.PARTNER)
        row = await self._store.by_id(referral)
        # The same words for none and for somebody else's: ids must not be probed.
        if row is None or not may_decide(row, caller.agency, reference, self._clock.now()):
            raise NotAllowed(_NONE)
        return row

    def _seen(self, row: StoredReferral, agency: str, reference: Reference) -> Waiting:
        now = self._clock.now()
        status = row.status
        if status == "granted" and row.until is not None and row.until <= now:
            status = "expired"
        elif status in ("open", "granted") and ended(row, reference, now):
            status = "lapsed"
        flow = reference.in_force(flow_key(asked(row, agency)), now) if row.asked else None
        return Waiting(
            row,
            agency,
            status,
            status == "open" and row.due_at <= now,
            escalation(agency, row.asked, reference),
            flow.permitted if flow else (),
            silent(row.asked, reference),
            flow.agreement.label if flow else "",
        )

    async def _grant(
        self,
        caller: Caller,
        actor: Actor,
        row: StoredReferral,
        ruling: Ruling,
        reference: Reference,
        now: datetime,
    ) -> Grant:
        """The grant, tried on the very request. Raises InvalidRequest where it would not let it through."""
        if not row.asked:
            raise InvalidRequest("referral_id", "what was asked has been erased, so it cannot be granted")
        check_fetchable(row, caller.agency, reference, now)
        decided = asked(row, caller.agency)
        request = fresh(decided, row.request, entry_id(), reference)
        agreement, law = self._bearing(row.id, decided, ruling, reference, now)
        until = ruling.until or now
        permitted = tuple(sorted(set(ruling.permitted)))
        grant = Grant(row.id, permitted, until, True, row.request, law, ruling.signed)
        said = statement(decided, row.id, agreement, permitted, until, law)
        check_signed(ruling.signed, said, decided.provider, reference, now)
        subjects = (request.subject,) if request.subject else ()
        facts = await self._facts.read(Asked(subjects, request.caller, ()))
        directives = facts.directives.get(request.subject, ()) if request.subject else ()
        tried = decide(request, reference, directives, now, (), grant)
        if tried.outcome is not Outcome.PERMIT:
            last = tried.rules[-1]
            # The rule may be about what others recorded of the person: that it was told is written down first.
            tries: dict[str, Json] = {"referral": row.id, "refused_by": last.rule}
            await self._administration.note(caller, "referral-tried", tries, actor)
            if law is not None and last.rule in (flaws := one_off_flow(request, grant, law, reference).flaws):
                flaw = flaws[last.rule]
                raise InvalidRequest(
                    _of_a_one_off(flaw.key, request),
                    f"would still be refused by {last.rule}: {flaw.problem}; {flaw.fix}",
                )
            raise InvalidRequest("permitted", f"would still be refused by {last.rule}: {last.detail}")
        return grant

    def _bearing(
        self, referral: str, request: Request, ruling: Ruling, reference: Reference, now: datetime
    ) -> tuple[str, OneOff | None]:
        """What bears the grant: the agreement in force (`id/version`), or the law that the human names."""
        record_type = self._reference.catalogue.newest(request.record_type)
        if ruling.one_off is not None:
            record_type.check_paths(ruling.permitted, "permitted")
            pins = tuple((pin.path, tuple(pin.numbers)) for pin in record_type.pin(ruling.permitted))
            law = OneOff(
                **{name: getattr(ruling.one_off, name) for name in OneOff.__struct_fields__ if name != "pins"},
                pins=pins,
            )
            check_codes(law, reference)
            return f"{one_off_id(referral)}/1", law
        flow = reference.in_force(flow_key(request), now)
        if flow is None:
            raise InvalidRequest(
                "one_off",
                "no agreement in force foresees this: name the law it stands on (--basis, --condition ...)",
            )
        if beyond := sorted(set(ruling.permitted) - set(flow.permitted)):
            raise InvalidRequest(
                "permitted",
                f"{beyond[0]} is not among the fields of {flow.agreement.id}; decide it as a one-off",
            )
        return flow.agreement.label, None


def _of_a_one_off(key: str, request: Request) -> str:
    """The field that mends what an agreement would mend by this key of its file."""
    *where, name = key.split(".")
    sides = {request.requester: "requester.", request.provider: "provider."}
    return f"one_off.{sides.get(where[-1], '') if where else ''}{name}"


def _ruled(
    row: StoredReferral,
    agency: str,
    ruling: Ruling,
    grant: Grant,
    actor: Actor,
    now: datetime,
    reads: Reads,
    *,
    hidden: bool,
) -> Plan:
    """The change of a ruling, and its entry."""
    status = GRANTED if ruling.granted else REFUSED
    stored: dict[str, Json] = {
        "id": row.id,
        "status": status,
        "at": now.isoformat(),
        "until": grant.until.isoformat() if ruling.granted else None,
    }
    said: dict[str, Json] = {
        "person_refused": ruling.person_refused,
        "told": ruling.told or None,
        "decided_by": {"id": actor.id, "role": actor.role, "name": actor.name},
        **said_in_place(row, agency),
    }
    sealed = {**grant_detail(grant), **said}
    change = Change("referral-decision", stored, lock_of(row), reference=False, sealed=sealed)
    law: Json = law_detail(grant.one_off) if grant.one_off else None
    signed_with = grant.signed.key_id if grant.signed else None
    detail: dict[str, Json] = {
        **stored,
        **said,
        "permitted": [*grant.permitted],
        "law": law,
        "signed_with": signed_with,
    }
    parties = _parties(row, agency, status, actor, hidden=hidden)
    return Plan("referral-decided", detail, change, reads, words_of(ruling), parties)


def _parties(row: StoredReferral, agency: str, outcome: str, actor: Actor, *, hidden: bool) -> Parties:
    """The requester reads what came of it, no more; where it may not learn that there was anything, nothing."""
    request = about(row.asked)
    view = RequesterView(
        "referral-decided",
        request_id=row.request,
        outcome=outcome,
        provider=agency,
        controller=agency,
    )
    by = {"id": actor.id, "role": actor.role, **said_in_place(row, agency)}
    provider = ProviderView(view, by, request.known, requester=row.requester)
    return Parties(row.requester, None if hidden else view, agency, provider, request.asked)
