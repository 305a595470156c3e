"""Plans of agreements on the wire."""

from __future__ import annotations

from broker.core.planned import Flip, FlowChange
from broker.plans import Planned
from broker.v1 import agreement_pb2 as pb


def message(planned: Planned, *, changes: bool, flips: bool) -> pb.PlanAgreementResponse:
    """How far a plan has come; with `changes` what it changes, with `flips` which decisions, by entry."""
    return pb.PlanAgreementResponse(
        changes=[_change(each) for each in planned.changes] if changes else [],
        read=planned.read,
        size=planned.size,
        decisions=planned.decisions,
        moved=planned.moved,
        unread=planned.unread,
        counts=[pb.FlipCount(kind=kind, count=n) for kind, n in sorted(planned.counts.items())],
        flips=[_flip(entry, each) for entry, each in planned.flips] if flips else [],
        done=planned.done,
        event_id=planned.event_id,
    )


def _change(change: FlowChange) -> pb.FlowChange:
    key = change.key
    return pb.FlowChange(
        change=change.change,
        agreement=change.agreement,
        requester=key.requester,
        provider=key.provider,
        record_type=key.record_type,
        purpose=key.purpose,
        terms=change.terms,
        paths_gained=change.gained,
        paths_lost=change.lost,
    )


def _flip(entry: str, flip: Flip) -> pb.Flip:
    return pb.Flip(
        event_id=entry,
        kind=flip.kind,
        rule=flip.rule,
        code=flip.code,
        paths_gained=flip.gained,
        paths_lost=flip.lost,
    )
