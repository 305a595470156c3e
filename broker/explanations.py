"""Use cases of explaining: why a request was, or would be, decided as it is; to each as much as is theirs.

Every explanation is an entry (`explained`) before it is shown. A requester is told of its own requests in
stages; the provider reads every step of what it was asked, in the owner's words; an auditor also the inputs,
and whether the decision would be the same again. A hypothetical asks about nobody, and binds nothing.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker.administration import Administration, why
from broker.audits import Audits
from broker.core.canonical import Json
from broker.core.decision import as_decided, decide
from broker.core.entry import Entry, parse_entry
from broker.core.explained import Line, every_step, for_owner, for_requester
from broker.core.flow import Flow
from broker.core.model import Actor, Caller, Decision, Function, Outcome, Reason, Refused, Request
from broker.core.opened import found_by
from broker.core.recorded import Recorded, is_decision
from broker.core.redaction import Redactor, Withheld
from broker.core.reference import Reference
from broker.core.views import RequesterView
from broker.core.walk import flow_key
from broker.course import check_known
from broker.drafts import NO_ANSWER
from broker.errors import IntegrityError, InvalidRequest
from broker.inputs import Input, inputs_of
from broker.past import Leaf, Past
from broker.ports import Asked, Clock, FactsSource, LogView, ReferenceSource
from broker.registry import require
from broker.replays import Replays
from broker.seats import Seats
from broker.verdicts import Replayed, opened

# Of one agency: each may make everything anew that decisions read on a day long past.
AT_ONCE = 4
ERASED = "The entry's views have been erased: what is left is that it stands in the log."
_INTENT = "Written before the provider was asked; the request's own entry says how it ended."
_NOT_DECIDED = "No request was decided here: this entry is of another kind."
_NOBODY = "Decided with nothing of the person: what was said, and who may see the record, may change it."
_LAW_MOVED = "The law files have changed since: which fields the agreement named is not shown."
_ENDED: dict[str, tuple[str, ...]] = {
    "not-found": ("It was permitted; the provider holds no such record.",),
    "provider-failure": ("It was permitted; the provider could not answer.",),
}
_PLAIN = "The agreement answers absent, refused and protected alike: nothing follows from a permit here."


class Explained(Struct, frozen=True):
    """An explanation for one audience. `entry` is what it explains (empty: a hypothetical), `look` the entry of
    this very explanation. The decision is the requester's view of it."""

    audience: str
    look: str
    entry: str = ""
    event: str = ""
    decision: Decision | None = None
    refused: Refused | None = None
    lines: tuple[Line, ...] = ()
    permitted: tuple[str, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    inputs: tuple[Input, ...] = ()
    replay: Replayed | None = None
    notes: tuple[str, ...] = ()


class Explanations:
    """Says why."""

    def __init__(
        self,
        administration: Administration,
        audits: Audits,
        log: LogView,
        facts: FactsSource,
        reference: ReferenceSource,
        past: Past,
        replays: Replays,
        clock: Clock,
    ) -> None:
        self._administration = administration
        self._audits = audits
        self._log = log
        self._facts = facts
        self._reference = reference
        self._past = past
        self._replays = replays
        self._clock = clock
        self._seats = Seats(AT_ONCE, "explanations")

    async def of_request(self, caller: Caller, request_id: str, actor: Actor, reason: Reason) -> Explained:
        """A request of this very system that came to an end. Raises InvalidRequest where there is none."""
        require(caller, Function.PARTNER)
        why(reason)
        facts = await self._facts.read(Asked((), caller.name, (request_id,)))
        claim = facts.claims.get(request_id)
        if claim is None or not claim.settled:
            raise InvalidRequest("request_id", "names no request of this system that came to an end")
        return await self._told(caller, claim.entry, "requester", actor, reason)

    async def of_entry(self, caller: Caller, event_id: str, actor: Actor, reason: Reason) -> Explained:
        """An entry, to its requester, its provider, or an auditor. Raises NotAllowed."""
        audience = await self._audits.audience(caller, event_id)
        return await self._told(caller, event_id, audience, actor, reason)

    async def hypothetical(self, caller: Caller, request: Request) -> Explained:
        """What a request would come to now for anybody at all of whom nothing is known."""
        require(caller, Function.PARTNER)
        reference = await self._reference.refresh()
        check_known(request, reference)
        decision = decide(request, reference, (), self._clock.now(), nobody=True)
        request = as_decided(request, decision)
        refused = decision.refused
        asked: dict[str, Json] = {
            "record_type": request.record_type,
            "provider": request.provider,
            "purpose": request.purpose,
            "scheme": request.subject.scheme if request.subject else None,
            "outcome": decision.outcome.value,
            "code": refused.code if refused else None,
        }
        # About nobody, so that it needs no reason of its own.
        said = request.reason if request.reason.code else Reason("hypothetical", request.reason.words)
        made = await self._administration.note_look(
            caller, "explained", {"hypothetical": asked}, request.actor, said
        )
        flow = _flow(reference, request, f"{decision.agreement}/{decision.agreement_version}")
        rules = [(r.rule, r.verdict, r.detail) for r in decision.rules]
        went_past = bool(decision.override)
        return Explained(
            "requester",
            made.event_id,
            decision=decision,
            refused=refused,
            lines=for_requester(rules, refused, went_past=went_past),
            permitted=decision.permitted,
            withheld=self._withheld(reference, request, decision.permitted),
            notes=(_NOBODY, *(_weight(flow) if flow else ())),
        )

    async def _told(
        self, caller: Caller, event_id: str, audience: str, actor: Actor, reason: Reason
    ) -> Explained:
        with self._seats.one(caller.agency):
            return await self._noted(caller, event_id, audience, actor, reason)

    async def _noted(
        self, caller: Caller, event_id: str, audience: str, actor: Actor, reason: Reason
    ) -> Explained:
        shown, whole = await self._log.receipt(event_id, audience)
        about = found_by(whole, audience, shown.opening.view if shown.opening else None)
        detail: dict[str, Json] = {"entry": event_id, "audience": audience, **about}
        made = await self._administration.note_look(caller, "explained", detail, actor, reason)
        receipt, _ = await self._log.receipt(event_id, "full")
        found = opened(Leaf(receipt.index, receipt.entry, receipt.opening))
        if found.wrong:
            raise IntegrityError(f"entry {event_id}: {found.wrong}")
        told = Explained(audience, made.event_id, event_id, notes=(ERASED,))
        full = found.full
        if full is None:
            return told
        told = replace(told, event=str(full.get("event", "")), notes=())
        if not is_decision(full):
            return replace(told, notes=(_NOT_DECIDED,))
        if audience == "requester":
            own, _ = await self._log.receipt(event_id, "requester")
            if own.opening is None:
                return replace(told, event="", notes=(ERASED,))
            return await self._to_requester(told, full, RequesterView.parse(own.opening.view), _at(own.entry))
        return await self._to_owner(caller, told, full)

    async def _to_requester(
        self, told: Explained, full: dict[str, Json], view: RequesterView, at: datetime
    ) -> Explained:
        """What stands in the requester's view, and the stages that may be told with it."""
        if view.event == "intent":
            return replace(told, notes=(_INTENT,))
        recorded = Recorded.of(full)
        ruling, refused = recorded.ruling, _refused(view.code, full)
        told = replace(
            told,
            decision=_decision(recorded, view.outcome or Outcome.REFUSE.value, at),
            refused=refused,
            lines=for_requester(recorded.rules, refused, went_past=bool(ruling.override or ruling.grant)),
            notes=_ENDED.get(view.event, ()),
        )
        if refused is not None or view.outcome != Outcome.PERMIT.value:
            return told
        try:
            reference = await self._past.reference(recorded.reference)
        except InvalidRequest:
            return replace(told, notes=(*told.notes, _LAW_MOVED))
        flow = _flow(reference, recorded.request, ruling.agreement)
        # By the agreement alone: what was kept back for the person's sake must not show.
        paths = () if flow is None else flow.override if ruling.override else flow.permitted
        withheld = self._withheld(reference, recorded.request, paths)
        return replace(told, permitted=paths, withheld=withheld)

    async def _to_owner(self, caller: Caller, told: Explained, full: dict[str, Json]) -> Explained:
        """The steps as the owner may read them; for an auditor all, the inputs, and the decision again."""
        recorded = Recorded.of(full)
        told = replace(
            told,
            decision=_decision(recorded, recorded.ruling.outcome, recorded.now),
            refused=_recorded_refusal(full),
            lines=every_step(recorded.rules),
            permitted=recorded.ruling.permitted,
        )
        if told.audience != "full":
            return replace(told, lines=for_owner(recorded.rules, caller.agency))
        replayed = await self._replays.one(full)
        return replace(told, replay=replayed, inputs=inputs_of(recorded, replayed))

    def _withheld(
        self, reference: Reference, request: Request, permitted: tuple[str, ...]
    ) -> tuple[Withheld, ...]:
        digest = reference.record_types.get(request.record_type, "")
        if not permitted or digest not in self._reference.catalogue:
            return ()
        return Redactor(self._reference.catalogue.by_digest(digest), permitted).withheld


def _at(entry: bytes) -> datetime:
    """The time in the leaf. Finer ones would tell whether a provider had been asked."""
    parsed = parse_entry(entry)
    if not isinstance(parsed, Entry):
        raise IntegrityError("a rotation entry decides nothing")
    return parsed.at


def _decision(recorded: Recorded, outcome: str, at: datetime) -> Decision:
    """The decision as it is shown: under which agreement and law, and with what outcome."""
    ruling = recorded.ruling
    agreement, _, version = ruling.agreement.partition("/")
    return Decision(
        Outcome(outcome),
        (),
        frozenset(),
        at,
        agreement=agreement,
        agreement_version=int(version or 0),
        controller=recorded.request.provider,
        regime=ruling.regime,
        basis=ruling.basis,
        condition=ruling.condition,
        gateway=ruling.gateway,
    )


def _flow(reference: Reference, request: Request, agreement: str) -> Flow | None:
    """The flow of that version of an agreement which the request came under."""
    return next((f for f in reference.flows(flow_key(request)) if f.agreement.label == agreement), None)


def _refused(code: str | None, full: dict[str, Json]) -> Refused | None:
    """The refusal as the requester was told it."""
    if code is None:
        return None
    return NO_ANSWER if code == NO_ANSWER.code else _recorded_refusal(full)


def _recorded_refusal(full: dict[str, Json]) -> Refused | None:
    words = full["refused"]
    if not isinstance(words, dict):
        return None
    return Refused(str(words["code"]), str(words["message"]), str(words["remedy"]))


def _weight(flow: Flow) -> tuple[str, ...]:
    """What the agreement makes of the person's word, for whom it is signed."""
    directives = flow.agreement.directives
    recorders = ", ".join(directives.recorders) or "nobody"
    said = {
        "required": f"A consent must have been recorded by {recorders}, and not by the requester alone.",
        "respected": "A refusal, an objection or a restriction would stand in the way.",
        "recorded": "What was said is recorded and does not stand in the way; shields always do.",
    }[directives.weight]
    return (said, _PLAIN) if flow.agreement.ncnd else (said,)
