"""ReportService: reports, requests for access, suspected breaches, complaints."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import time
from functools import partial

from broker.access import Accesses
from broker.accesswanted import Wanted as Access
from broker.cases import StoredBreach, StoredComplaint
from broker.clearing import Ruling
from broker.complaints import Complaints
from broker.core.model import Caller
from broker.core.reports.snooping import Hours, Member, Signs
from broker.errors import InvalidRequest
from broker.lanes import by_steps
from broker.looks import Progress, Wanted
from broker.ports import Clock
from broker.reports import Reports
from broker.rpc import parse, wire
from broker.rpc.document import parts
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, streamed, unary
from broker.telemetry import Telemetry
from broker.v1 import report_pb2 as pb
from broker.v1 import report_pb2_grpc

MAX_WORDS = 2000
_TELL = 2.0  # seconds between two words of how far it is
_SHIFT = re.compile(
    r"(?:([a-z0-9][a-z0-9-]{0,63})=)?([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII
)


class ReportServicer(report_pb2_grpc.ReportServiceServicer):
    """Parses, asks the use cases, answers."""

    def __init__(
        self,
        reports: Reports,
        accesses: Accesses,
        complaints: Complaints,
        clock: Clock,
        identity: Identity,
        telemetry: Telemetry,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._reports = reports
        self._accesses = accesses
        self._complaints = complaints
        self._clock = clock

    @streamed
    async def MakeReport(self, request: pb.MakeReportRequest, caller: Caller) -> AsyncIterator[pb.ReportPart]:
        """By its name."""
        actor, reason, progress = parse.actor(request.actor), parse.reason(request.reason), Progress()
        signs = partial(_signs, request.signs) if request.HasField("signs") else None
        making = asyncio.ensure_future(
            self._reports.make(caller, _wanted(request), actor, reason, progress, signs)
        )
        try:
            while not (await asyncio.wait((making,), timeout=_TELL))[0]:
                yield pb.ReportPart(progress=pb.ReportProgress(read=progress.read, of=progress.of))
            document, made = making.result()
        finally:
            making.cancel()
        for part in parts(document, made, self._clock.now()):
            yield part

    @unary
    async def StartAccess(self, request: pb.StartAccessRequest, caller: Caller) -> pb.StartAccessResponse:
        """A request for access."""
        wanted = Access(
            tuple(parse.subject(each, f"subjects.{n}") for n, each in enumerate(request.subjects)),
            parse.when("received_at", request, "received_at"),
            parse.when("since", request, "since"),
            parse.when("until", request, "until"),
            request.deceased,
        )
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        access, due, made = await self._accesses.start(caller, wanted, actor, reason)
        return pb.StartAccessResponse(
            access_id=access, due_at=wire.timestamp(due), receipt=wire.receipt(made.receipt)
        )

    @heavy
    async def ListAccesses(self, request: pb.ListAccessesRequest, caller: Caller) -> pb.ListAccessesResponse:
        """Those that are open."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        found, made, more = await self._accesses.listed(caller, actor, reason)
        accesses = [
            pb.Access(
                id=each.id,
                agency=each.agency,
                started_at=wire.timestamp(each.started_at),
                due_at=wire.timestamp(each.due_at),
                left=left or 0,
                many=left is None,
            )
            for each, left in found
        ]
        return pb.ListAccessesResponse(accesses=accesses, receipt=wire.receipt(made.receipt), more=more)

    @streamed
    async def DraftAccess(self, request: pb.DraftAccessRequest, caller: Caller) -> AsyncIterator[pb.ReportPart]:
        """The caller's own entries."""
        access = parse.identifier("access_id", request.access_id)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        old = parse.text("in_place_of", request.in_place_of, 64)
        document, made = await self._accesses.draft(caller, access, actor, reason, old)
        for part in parts(document, made, self._clock.now()):
            yield part

    @unary
    async def ClearAccess(self, request: pb.ClearAccessRequest, caller: Caller) -> pb.ClearAccessResponse:
        """Told, or left out."""
        access = parse.identifier("access_id", request.access_id)
        entries = [parse.identifier(f"entries.{n}", each) for n, each in enumerate(request.entries)]
        ruling = Ruling(
            parse.text("code", request.code, 64),
            _words("words", request.words),
            parse.text("opinion", request.opinion, 200),
        )
        actor, old = parse.actor(request.actor), parse.text("in_place_of", request.in_place_of, 64)
        cleared, made = await self._accesses.clear(caller, access, entries, ruling, actor, old)
        return pb.ClearAccessResponse(cleared=cleared, receipt=wire.receipt(made.receipt))

    @unary
    async def PreviewAccess(self, request: pb.PreviewAccessRequest, caller: Caller) -> pb.PreviewAccessResponse:
        """How it stands."""
        access = parse.identifier("access_id", request.access_id)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        stands, made = await self._accesses.preview(caller, access, actor, reason)
        counts = {name: getattr(stands, name) for name in ("answered", "told", "left_out", "undecided")}
        return pb.PreviewAccessResponse(**counts, receipt=wire.receipt(made.receipt))

    @streamed
    async def IssueAccess(self, request: pb.IssueAccessRequest, caller: Caller) -> AsyncIterator[pb.ReportPart]:
        """The answer."""
        access = parse.identifier("access_id", request.access_id)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        document, made = await self._accesses.issue(caller, access, actor, reason)
        for part in parts(document, made, self._clock.now()):
            yield part

    @heavy
    async def ListBreaches(self, request: pb.ListBreachesRequest, caller: Caller) -> pb.ListBreachesResponse:
        """That a review began."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        found, made = await self._reports.breaches(caller, actor, reason)
        return pb.ListBreachesResponse(
            breaches=[_breach(each) for each in found],
            doubts=await self._reports.doubts(caller, found, made),
            receipt=wire.receipt(made.receipt),
        )

    @unary
    async def AddComplaint(self, request: pb.AddComplaintRequest, caller: Caller) -> pb.AddComplaintResponse:
        """Recorded."""
        reference = parse.text("reference", request.reference, 64)
        if not reference:
            raise InvalidRequest("reference", "its number at your agency, and nothing about a person")
        received = parse.when("received_at", request, "received_at")
        words, actor = _words("words", request.words), parse.actor(request.actor)
        person = parse.subject(request.person, "person") if request.HasField("person") else None
        complaint, due, made = await self._complaints.add(caller, reference, received, words, actor, person)
        return pb.AddComplaintResponse(
            complaint_id=complaint, due_at=wire.timestamp(due), receipt=wire.receipt(made.receipt)
        )

    @unary
    async def AcknowledgeComplaint(
        self, request: pb.AcknowledgeComplaintRequest, caller: Caller
    ) -> pb.AcknowledgeComplaintResponse:
        """Within 30 days."""
        complaint = parse.identifier("complaint_id", request.complaint_id)
        made = await self._complaints.acknowledge(caller, complaint, parse.actor(request.actor))
        return pb.AcknowledgeComplaintResponse(receipt=wire.receipt(made.receipt))

    @unary
    async def CloseComplaint(
        self, request: pb.CloseComplaintRequest, caller: Caller
    ) -> pb.CloseComplaintResponse:
        """With what came of it."""
        complaint = parse.identifier("complaint_id", request.complaint_id)
        words, actor = _words("words", request.words), parse.actor(request.actor)
        made = await self._complaints.close(caller, complaint, request.outcome, words, actor)
        return pb.CloseComplaintResponse(receipt=wire.receipt(made.receipt))

    @heavy
    async def ListComplaints(
        self, request: pb.ListComplaintsRequest, caller: Caller
    ) -> pb.ListComplaintsResponse:
        """The caller's agency's."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        found, made = await self._complaints.listed(caller, actor, reason)
        return pb.ListComplaintsResponse(
            complaints=[_complaint(each) for each in found], receipt=wire.receipt(made.receipt)
        )


def _wanted(request: pb.MakeReportRequest) -> Wanted:
    return Wanted(
        request.report,
        parse.when("since", request, "since"),
        parse.when("until", request, "until"),
        parse.agency_id("agency", request.agency) if request.agency else "",
        parse.key_digest("key_digest", request.key_digest) if request.key_digest else "",
        parse.text("system", request.system, 128),
        parse.text("agreement", request.agreement, 128),
        parse.identifier("breach_id", request.breach_id) if request.breach_id else "",
        parse.when("aware_at", request, "aware_at"),
        request.people,
    )


async def _signs(message: pb.SnoopingSigns) -> Signs:
    names = ("actor", "name", "address_line", "postcode", "uprn", "agency")
    staff = list[Member]()
    async for each in by_steps(message.staff):
        at = f"signs.staff.{len(staff)}"
        staff.append(Member(*(parse.text(f"{at}.{name}", getattr(each, name)) for name in names)))
    purposes = frozenset(
        parse.text(f"signs.expects_incident.{n}", each, 64) for n, each in enumerate(message.expects_incident)
    )
    shifts = tuple(_hours(n, each) for n, each in enumerate(message.shifts))
    return Signs(purposes, message.repeated_from or 5, shifts, tuple(staff))


def _hours(n: int, text: str) -> Hours:
    match = _SHIFT.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"signs.shifts.{n}", "hours are 07:00-19:00, or ROLE=07:00-19:00")
    role, *clock = match.groups()
    begins, ends = (time(int(clock[at]), int(clock[at + 1])) for at in (0, 2))
    return Hours(begins, ends, role or "")


def _words(field: str, value: str) -> str:
    return parse.text(field, value, MAX_WORDS, lines=True).strip()


def _breach(row: StoredBreach) -> pb.Breach:
    return pb.Breach(
        id=row.id,
        provider=row.provider,
        requester=row.requester,
        system=row.system,
        used_at=wire.timestamp(row.used_at),
        aware_at=wire.timestamp(row.aware_at),
        due_at=wire.timestamp(row.due_at),
    )


def _complaint(row: StoredComplaint) -> pb.Complaint:
    return pb.Complaint(
        id=row.id,
        agency=row.agency,
        received_at=wire.timestamp(row.received_at),
        due_at=wire.timestamp(row.due_at),
        acknowledged_at=wire.timestamp(row.acknowledged_at),
        closed_at=wire.timestamp(row.closed_at),
        outcome=row.outcome,
        reference=str(row.detail.get("reference", "")),
    )
