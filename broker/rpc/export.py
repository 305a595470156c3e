"""Exports over the wire: the head, then rows in messages of a bounded size, each saying where to go on."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.core.model import Caller
from broker.errors import InvalidRequest
from broker.exports import Exports, Head, Part, Row
from broker.ranges import Range
from broker.rpc import parse
from broker.rpc.search import question
from broker.v1 import audit_pb2 as pb

_MESSAGE = 512 * 1024
_LARGEST = 1 << 63
_NAME = 512


async def export(exports: Exports, request: pb.ExportRequest, caller: Caller) -> AsyncIterator[pb.ExportPage]:
    """Everything that was asked for."""
    for name in ("first", "before", "size"):
        if getattr(request, name) >= _LARGEST:
            raise InvalidRequest(name, "the log has fewer entries; places are counted from 0")
    given = exports.export(
        caller,
        question(request),
        Range(request.first, request.before, request.size, parse.text("log", request.log, _NAME)),
        parse.actor(request.actor),
        parse.reason(request.reason),
        form=parse.text("format", request.format, 32),
        resumes=parse.identifier("resumes", request.resumes) if request.resumes else "",
        archived=request.archived,
        in_place_of=parse.text("in_place_of", request.in_place_of, 64),
    )
    async for each in given:
        if isinstance(each, Head):
            yield pb.ExportPage(head=_head(each), looked=each.range.first)
            continue
        for message in messages(each):
            yield message


def messages(part: Part) -> list[pb.ExportPage]:
    """A part in messages of a bounded size, at least one; only the last says how far it was looked."""
    made, size = [pb.ExportPage()], 0
    for row in part.rows:
        if size > _MESSAGE:
            made[-1].looked = row.index
            made.append(pb.ExportPage())
            size = 0
        message = _row(row)
        made[-1].rows.append(message)
        size += message.ByteSize()
    made[-1].looked = part.looked
    made[-1].closed = part.closed
    return made


def _head(head: Head) -> pb.ExportHead:
    return pb.ExportHead(
        checkpoint=head.checkpoint,
        first=head.range.first,
        before=head.range.before,
        event_id=head.entry,
        index=head.index,
        agency=head.agency,
        whole=head.whole,
        incidents=head.incidents,
        others=head.others,
        entry_log=head.entry_log,
        erased=head.erased,
    )


def _row(row: Row) -> pb.ExportRow:
    return pb.ExportRow(
        index=row.index,
        entry=row.entry,
        audience=row.audience or "",
        opening=row.opening.to_bytes() if row.opening else b"",
        proof=row.proof,
    )
