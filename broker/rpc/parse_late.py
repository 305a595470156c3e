"""What was shared without us, from the wire's types to ours. Refuses as `parse` does, by `records.N.field`."""

from __future__ import annotations

from broker.core.late import Late, Side
from broker.errors import InvalidRequest
from broker.lanes import by_steps
from broker.late import MOST
from broker.rpc import parse
from broker.v1 import audit_pb2 as pb

_MAX_NAME = 100


async def late(request: pb.RecordLateRequest) -> list[Late]:
    """All of them, by steps. Raises InvalidRequest for the first that is not well-formed."""
    if not 1 <= len(request.records) <= MOST:
        raise InvalidRequest("records", f"1 to {MOST} at once")
    made = list[Late]()
    async for n, message in by_steps(enumerate(request.records)):
        try:
            made.append(_late(message))
        except InvalidRequest as e:
            raise InvalidRequest(f"records.{n}.{e.field}", e.problem) from None
    return made


def _late(message: pb.LateRecord) -> Late:
    occurred = parse.when("occurred", message, "occurred")
    if occurred is None:
        raise InvalidRequest("occurred", "is required: when it was shared")
    return Late(
        id=parse.identifier("id", message.id),
        occurred=occurred,
        channel=parse.text("channel", message.channel, 32),
        gave=_side("gave", message.gave),
        took=_side("took", message.took),
        about=parse.subject(message.about, "about"),
        record_type=parse.full_name("record_type", message.record_type),
        fields=tuple(parse.text("fields", each) for each in message.fields),
        purpose=parse.code("purpose", message.purpose),
        why=parse.text("why", message.why, 500, lines=True).strip(),
        agreement=parse.agency_id("agreement", message.agreement) if message.agreement else "",
        incident=parse.incident(message.incident),
    )


def _side(field: str, message: pb.LateSide) -> Side:
    return Side(
        parse.agency_id(f"{field}.agency", message.agency),
        parse.code(f"{field}.role", message.role),
        parse.text(f"{field}.name", message.name, _MAX_NAME),
    )
