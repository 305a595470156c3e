"""Reports over the wire: what is asked for as the use case has it, and what cannot be asked."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest

from broker.core.reports.document import Document, Table, columns
from broker.core.reports.snooping import Hours, Member
from broker.errors import InvalidRequest
from broker.rpc.document import _table
from broker.rpc.report import _signs, _wanted
from broker.v1 import report_pb2 as pb


def test_what_a_breach_is_asked_by() -> None:
    """Each of its parts, times in UTC."""
    request = pb.MakeReportRequest(report="breach", key_digest="ab" * 32, system="nwas/cad", people=True)
    request.since.FromDatetime(datetime(2026, 11, 20, 8, 0))  # noqa: DTZ001 - as UTC
    wanted = _wanted(request)
    assert (wanted.report, wanted.key_digest, wanted.system, wanted.people) == (
        "breach",
        "ab" * 32,
        "nwas/cad",
        True,
    )
    assert (wanted.since, wanted.until) == (datetime(2026, 11, 20, 8, 0, tzinfo=UTC), None)
    assert wanted.signs is None, "read once it is known that the report may be made"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.MakeReportRequest(key_digest="AB" * 32), "key_digest"),
        (pb.MakeReportRequest(agency="NWAS"), "agency"),
        (pb.MakeReportRequest(breach_id="17"), "breach_id"),
        (pb.MakeReportRequest(system="x" * 129), "system"),
    ],
)
def test_what_cannot_be_asked_is_named(message: pb.MakeReportRequest, field: str) -> None:
    """By its field, and never with the value."""
    with pytest.raises(InvalidRequest) as caught:
        _wanted(message)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.SnoopingSigns(shifts=["25:00-26:00"]), "signs.shifts.0"),
        (pb.SnoopingSigns(shifts=["07:00-19:00", "day"]), "signs.shifts.1"),
        (pb.SnoopingSigns(staff=[pb.StaffMember(name="a\x00b")]), "signs.staff.0.name"),
    ],
)
async def test_signs_that_cannot_be_set_are_named(message: pb.SnoopingSigns, field: str) -> None:
    """By the field of the request, and never with the value."""
    with pytest.raises(InvalidRequest) as caught:
        await _signs(message)
    assert caught.value.field == field


async def test_signs_as_the_reader_sets_them() -> None:
    """Hours of a role or of all, over midnight too; five times where no number is given."""
    staff = [pb.StaffMember(actor="a.hill", name="Ada Hill", uprn="1")]
    signs = await _signs(pb.SnoopingSigns(shifts=["07:00-19:00", "fire-crew=19:00-07:00"], staff=staff))
    assert signs.shifts == (Hours(time(7), time(19)), Hours(time(19), time(7), "fire-crew"))
    assert signs.staff == (Member("a.hill", "Ada Hill", uprn="1"),)
    assert signs.repeated_from == 5


def test_a_large_table_comes_in_parts() -> None:
    """Its head once, its rows in messages of a bounded number; nothing, text and numbers are told apart."""
    rows = tuple((f"row {n}", n, None) for n in range(450))
    table = Table("A caption", columns(name="Name", number="Number", note="Note"), rows, chart="number")
    document = Document("agency", "Title", (), (), (table,))
    (first, *rest) = [part for each in document.tables for part in _table(each)]
    assert [each.head for each in first.table.columns] == ["Name", "Number", "Note"]
    assert [len(part.rows) for part in (first, *rest)] == [200, 200, 50]
    assert not any(part.HasField("table") for part in rest)
    assert [cell.WhichOneof("value") for cell in first.rows[0].cells] == ["text", "number", None]
