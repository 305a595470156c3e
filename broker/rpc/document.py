"""A report's document on the wire: its head, then its tables, in messages of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from broker.administration import Made
from broker.core.reports.document import Cell, Document, Table
from broker.rpc import wire
from broker.v1 import report_pb2 as pb

_ROWS = 200  # in one message


def parts(document: Document, made: Made, now: datetime) -> Iterator[pb.ReportPart]:
    """The document, as it was made now, with the entry that says so."""
    facts = [pb.ReportFact(name=name, value=value) for name, value in document.facts]
    yield pb.ReportPart(
        head=pb.ReportHead(
            name=document.name,
            title=document.title,
            about=document.about,
            facts=facts,
            none=document.none,
            made_at=wire.timestamp(now),
            receipt=wire.receipt(made.receipt),
            names=[pb.ReportName(kind=kind, code=code, name=name) for kind, code, name in document.names],
        )
    )
    for table in document.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[pb.ReportPart]:
    head = pb.ReportTable(
        heading=table.heading,
        caption=table.caption,
        columns=[pb.ReportColumn(key=each.key, head=each.head, kind=each.kind) for each in table.columns],
        notes=table.notes,
        chart=table.chart,
    )
    yield pb.ReportPart(table=head, rows=_rows(table, 0))
    for at in range(_ROWS, len(table.rows), _ROWS):
        yield pb.ReportPart(rows=_rows(table, at))


def _rows(table: Table, at: int) -> list[pb.ReportRow]:
    """Those of one message, made once the one before has been written."""
    return [pb.ReportRow(cells=[_cell(each) for each in row]) for row in table.rows[at : at + _ROWS]]


def _cell(cell: Cell) -> pb.ReportCell:
    if cell is None:
        return pb.ReportCell()
    return pb.ReportCell(number=cell) if isinstance(cell, int) else pb.ReportCell(text=cell)
