"""Explanations and replays on the wire."""

from __future__ import annotations

from broker.core.explained import Line
from broker.explanations import Explained
from broker.replays import Progress
from broker.rpc import wire
from broker.v1 import audit_pb2, exchange_pb2
from broker.verdicts import Replayed


def message(told: Explained) -> exchange_pb2.Explanation:
    """An explanation, as far as it is its audience's."""
    refused = told.refused
    return exchange_pb2.Explanation(
        decision=wire.decision(told.decision) if told.decision else None,
        refusal=exchange_pb2.Refusal(
            code=refused.code, rule=refused.rule, message=refused.message, remedy=refused.remedy
        )
        if refused
        else None,
        rules=[_line(line) for line in told.lines],
        permitted_paths=told.permitted,
        withheld=[exchange_pb2.Withheld(path=w.path, rule=w.rule) for w in told.withheld],
        audience=told.audience,
        event_id=told.entry,
        event=told.event,
        look=told.look,
        inputs=[exchange_pb2.DecisionInput(kind=i.kind, id=i.id, detail=i.detail) for i in told.inputs],
        replay=_replay(told.replay) if told.replay else None,
        notes=told.notes,
    )


def progress(of: Progress) -> audit_pb2.ReplayDecisionsResponse:
    """How far a replay of the log has come."""
    return audit_pb2.ReplayDecisionsResponse(
        index=of.index,
        size=of.size,
        decisions=of.decisions,
        same=of.same,
        law_differs=of.law_differs,
        erased=of.erased,
        mismatches=of.mismatches,
        found=[
            audit_pb2.ReplayedEntry(index=f.index, event_id=f.entry, replay=_replay(f.replayed))
            for f in of.found
        ],
    )


def _line(line: Line) -> exchange_pb2.RuleApplied:
    return exchange_pb2.RuleApplied(
        rule=line.rule,
        verdict=line.verdict,
        sentence=line.sentence,
        law=line.law,
        asks=line.asks,
        mend=line.mend,
    )


def _replay(replayed: Replayed) -> exchange_pb2.Replay:
    return exchange_pb2.Replay(
        verdict=replayed.verdict.value,
        differences=replayed.differences,
        erased=replayed.erased,
        law_differs=replayed.law_differs,
        erased_by=replayed.erased_by,
    )
