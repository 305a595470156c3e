"""`broker explain`: why a request was, or would be, decided as it is, in the words of those who work with it.

Owns the words of this command. What is shown is what the broker tells this system: it is judged there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_fetch, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import AUDITOR, remote
from broker.errors import NotAllowed
from broker.ids import request_id as make_id

if TYPE_CHECKING:
    from broker.v1 import exchange_pb2 as pb

_ANSWERS = {
    "pass": "yes",
    "refuse": "no",
    "refer": "a human decides",
    "noted": "no; noted for the human who decides",
    "override": "no; overridden",
    "waived by override": "no; overridden",
    "grant": "no; a human let it through",
    "waived by grant": "no; a human let it through",
    "left out": "not looked at",
}
_FOR = {"requester": "whoever asked", "provider": "the provider", "full": "an auditor"}
_REPLAYS = {
    "same": "the same, made again",
    "differs": "DIFFERS, made again",
    "law-differs": "differs, made again under other law files than those of then",
    "erased": "cannot be made again: part of what it read has been erased",
    "none": "nothing to make again",
}


Entry = Annotated[
    str,
    typer.Argument(metavar="ENTRY", help="An entry's id, or its index in the log.", show_default=False),
]
OwnRequest = Annotated[str, typer.Option(metavar="UUID", help="Instead: a request of this very system.")]
Why = Annotated[str, typer.Option(metavar="CODE", help="Why it is looked at; needed with ENTRY.")]
RecordType = Annotated[
    str, typer.Option(metavar="NAME", help="Instead: a request that has not been made, for this record.")
]
Level = Annotated[
    inputs.Assurance, typer.Option(help="With it: how sure this system is of who is at the keyboard.")
]
Incident = Annotated[str, typer.Option(metavar="AGENCY/DATE/NUMBER", help="With it: what for.")]


@remote(AUDITOR)
def explain(
    link: Link,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    entry: Entry = "",
    request_id: OwnRequest = "",
    reason: Why = "",
    words: inputs.Words = "",
    record_type: RecordType = "",
    provider: Annotated[str, typer.Option(metavar="AGENCY", help="With it: who would hold it.")] = "",
    subject: inputs.Subject = "",
    purpose: Annotated[str, typer.Option(metavar="CODE", help="With it: what for.")] = "",
    assurance: Level = inputs.Assurance.asserted,
    incident: Incident = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Say why a request was decided as it was, or would be.

    ENTRY, or the last of the request of that id, is explained to its requester in stages, to its provider step
    by step, and to an auditor with every input and with the decision made again. With --request-id, a system
    asks about a request of its own. With --record-type, about one that has not been made: whom it is about is
    then not looked at, and it binds nothing. Every explanation is itself an entry of the log.

    For example: `broker explain 49 --reason complaint --actor-id r.audit --role auditor`
    """
    from broker.v1 import exchange_pb2
    from broker.v1.exchange_pb2_grpc import ExchangeServiceStub

    if sum(map(bool, (entry, request_id, record_type))) != 1:
        raise typer.BadParameter("give one of ENTRY, --request-id and --record-type")
    level = exchange_pb2.Assurance.Value(f"ASSURANCE_{assurance.name.upper()}")
    actor = exchange_pb2.Actor(id=actor_id, role=role, assurance=level)
    why = exchange_pb2.ReasonCode(code=reason, words=words)
    if entry:
        try:
            told = _of_entry(link, entry, actor, why)
        except NotAllowed:
            found = audit_fetch.of_request(link, entry, actor_id, role, reason)
            if not found:
                raise
            told = _of_entry(link, found, actor, why)
    elif request_id:
        own = exchange_pb2.ExplainRequest(request_id=request_id, actor=actor, reason=why)
        told = link.call(ExchangeServiceStub(link.channel).Explain, own)
    else:
        if not (provider and subject and purpose):
            raise typer.BadParameter("--record-type needs --provider, --subject and --purpose")
        about = inputs.subject_of(subject)
        supposed = exchange_pb2.RecordRequest(
            request_id=make_id(),
            record_type=record_type,
            provider=provider,
            subject=exchange_pb2.SubjectRef(scheme=about.scheme, value=about.value),
            purpose=purpose,
            actor=actor,
            reason=why,
            incident=incident,
        )
        told = link.call(
            ExchangeServiceStub(link.channel).Explain, exchange_pb2.ExplainRequest(hypothetical=supposed)
        )
    _show(told, as_json)


def _of_entry(link: Link, entry: str, actor: pb.Actor, why: pb.ReasonCode) -> pb.Explanation:
    from broker.v1 import audit_pb2
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    index = int(entry) if entry.isascii() and entry.isdecimal() and len(entry) < 19 else None
    event_id = entry if index is None else ""
    asked = audit_pb2.ExplainEntryRequest(event_id=event_id, index=index, actor=actor, reason=why)
    return link.call(AuditServiceStub(link.channel).ExplainEntry, asked).explanation


def _show(told: pb.Explanation, as_json: bool) -> None:
    if as_json:
        output.emit_json(_facts(told))
        return
    decision, refused = told.decision, told.refusal
    output.one(
        {
            "explains": told.event_id or "a request that has not been made",
            "for": _FOR.get(told.audience, told.audience),
            "event": told.event,
            "outcome": decision.outcome,
            "agreement": f"{decision.agreement} version {decision.agreement_version}"
            if decision.agreement
            else None,
            "basis": decision.basis,
            "condition": decision.condition,
            "gateway": decision.gateway,
            "regime": decision.regime,
            "refused_for": refused.code,
            "said": refused.message,
            "what_to_do": refused.remedy,
            "replay": _replayed(told),
        },
        False,
        [("note", note) for note in told.notes],
    )
    if told.rules:
        output.say("")
        rows = [(n, r.asks or r.sentence, _answer(r.verdict), r.law) for n, r in enumerate(told.rules, 1)]
        output.table(("", "question", "answer", "law"), rows)
    for rule in told.rules:
        why = rule.sentence if rule.sentence != refused.message else ""
        mend = rule.mend if rule.mend != refused.remedy else ""
        if rule.asks and (why or mend):
            output.say("")
            output.one({"why": why, "who_can_mend_it": mend}, False)
    if told.permitted_paths:
        output.say("")
        output.one({"fields": list(told.permitted_paths)}, False)
    if told.inputs:
        output.say("")
        output.table(("read", "id", "as it was"), [(i.kind, i.id, i.detail) for i in told.inputs])


def _answer(verdict: str) -> str:
    return _ANSWERS.get(verdict, verdict)


def _replayed(told: pb.Explanation) -> str | None:
    if not told.HasField("replay"):
        return None
    replay = told.replay
    said = [_REPLAYS.get(replay.verdict, replay.verdict), *replay.differences, *replay.erased]
    said += [f"says entry {each}" for each in replay.erased_by]
    if replay.law_differs and replay.verdict == "same":
        said.append("under other law files than those of then")
    return "; ".join(said)


def _facts(told: pb.Explanation) -> dict[str, object]:
    from google.protobuf.json_format import MessageToDict

    facts: dict[str, object] = MessageToDict(
        told, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {"hypothetical": not told.event_id, **facts}
