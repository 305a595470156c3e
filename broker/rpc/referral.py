"""ReferralService: what waits for a named human of the provider."""

from __future__ import annotations

from typing import Any

from broker.core import model
from broker.core.model import Caller, OneOff, Request, Signed, Stand
from broker.desk import asked, in_place_of
from broker.errors import InvalidRequest
from broker.limits import Limits
from broker.ports import Clock
from broker.referrals import Referrals, Waiting
from broker.referring import Referring
from broker.rpc import parse, wire
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, unary
from broker.rulings import Ruling
from broker.telemetry import Telemetry
from broker.v1 import exchange_pb2, referral_pb2_grpc
from broker.v1 import referral_pb2 as pb

MAX_WORDS = 2000


class ReferralServicer(referral_pb2_grpc.ReferralServiceServicer):
    """Parses, asks the use case, answers."""

    def __init__(
        self,
        referrals: Referrals,
        referring: Referring,
        clock: Clock,
        identity: Identity,
        telemetry: Telemetry,
        limits: Limits,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._referrals = referrals
        self._referring = referring
        self._clock = clock
        self._limits = limits

    @unary
    async def AskReferral(self, request: pb.AskReferralRequest, caller: Caller) -> pb.AskReferralResponse:
        """Put one request before a human."""
        now = self._clock.loop_time()
        self._limits.spend(caller.agency, now)
        wanted = parse.request(request.request, caller)
        if wanted.subject is not None:
            self._limits.change(caller.agency, wanted.subject, now)
        self._limits.referral(caller.agency, now)
        made = await self._referring.ask(wanted)
        return pb.AskReferralResponse(
            referral_id=made.id,
            due_at=wire.timestamp(made.due),
            message=made.refused.message,
            remedy=made.refused.remedy,
            receipt=wire.receipt(made.receipt),
        )

    @heavy
    async def ListReferrals(self, request: pb.ListReferralsRequest, caller: Caller) -> pb.ListReferralsResponse:
        """The caller's own agency's."""
        found, made = await self._referrals.listed(
            caller, parse.actor(request.actor), parse.reason(request.reason)
        )
        return pb.ListReferralsResponse(
            referrals=[_listed(each) for each in found], receipt=wire.receipt(made.receipt)
        )

    @unary
    async def ShowReferral(self, request: pb.ShowReferralRequest, caller: Caller) -> pb.ShowReferralResponse:
        """One of them, whole."""
        referral = parse.identifier("referral_id", request.referral_id)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        shown, made = await self._referrals.shown(caller, referral, actor, reason)
        return pb.ShowReferralResponse(referral=_whole(shown), receipt=wire.receipt(made.receipt))

    @unary
    async def DecideReferral(
        self, request: pb.DecideReferralRequest, caller: Caller
    ) -> pb.DecideReferralResponse:
        """Grant it or refuse it."""
        referral = parse.identifier("referral_id", request.referral_id)
        until = parse.when("until", request, "until")
        if until is not None and until.microsecond:
            raise InvalidRequest("until", "in whole seconds")
        ruling = Ruling(
            request.granted,
            parse.text("reasoning", request.reasoning, MAX_WORDS, lines=True).strip(),
            tuple(request.permitted_paths),
            until,
            one_off(request.one_off) if request.HasField("one_off") else None,
            Signed(request.signed.statement, request.signed.key_id, request.signed.signature)
            if request.HasField("signed")
            else None,
            request.person_refused,
            parse.text("why_overridden", request.why_overridden, MAX_WORDS, lines=True).strip(),
            request.told,
        )
        _, made = await self._referrals.decide(caller, referral, ruling, parse.actor(request.actor))
        return pb.DecideReferralResponse(receipt=wire.receipt(made.receipt))


def one_off(message: pb.OneOff) -> OneOff:
    """The law on which a human lets something through."""
    return OneOff(
        requester=_stand(message.requester),
        provider=_stand(message.provider),
        gateway=message.gateway,
        confidentiality=message.confidentiality,
        justification=parse.text("one_off.justification", message.justification, 500),
        further_use_law=message.further_use_law,
    )


def _stand(message: pb.Stand) -> Stand:
    return Stand(message.regime, message.basis, message.condition, message.offence_condition)


def _listed(waiting: Waiting) -> pb.Referral:
    """What a list shows: nothing that says whom it is about."""
    row = waiting.row
    request: Any = row.asked.get("request", {})
    return pb.Referral(
        id=row.id,
        requester=row.requester,
        request_id=row.request,
        record_type=request.get("record_type", ""),
        purpose=request.get("purpose", ""),
        opened_at=wire.timestamp(row.opened_at),
        due_at=wire.timestamp(row.due_at),
        status=waiting.status,
        overdue=waiting.overdue,
        escalate_to=waiting.escalate_to,
        agreement=waiting.agreement,
        until=wire.timestamp(row.until),
        neither_confirm_nor_deny=waiting.ncnd,
        in_place_of=in_place_of(row, waiting.agency),
    )


def _whole(waiting: Waiting) -> pb.Referral:
    message, row = _listed(waiting), waiting.row
    if row.asked:
        message.request.CopyFrom(record_request(asked(row, waiting.agency)))
    why: Any = row.asked.get("why", [])
    message.why.extend(why)
    message.permitted_paths.extend(waiting.permitted)
    return message


def record_request(of: Request) -> exchange_pb2.RecordRequest:
    """A request as it was asked."""
    message = exchange_pb2.RecordRequest(
        request_id=of.request_id,
        record_type=of.record_type,
        provider=of.provider,
        subject=wire.subject(of.subject) if of.subject else None,
        query=wire.query(of.query) if of.query else None,
        purpose=of.purpose,
        actor=wire.actor(of.actor),
        incident=of.incident,
        place=wire.place(of.place) if of.place else None,
    )
    if of.reason != model.Reason():
        message.reason.code, message.reason.words = of.reason.code, of.reason.words
    return message
