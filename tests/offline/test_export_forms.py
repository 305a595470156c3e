"""What each form of an export says of an entry: tables, columns, log records."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format
from opentelemetry.proto.logs.v1 import logs_pb2

from broker.core.entry import parse_entry, seal_entry
from broker.core.views import RequesterView
from broker.offline.export import forms, table
from broker.offline.export.row import FACTS, Row, Said
from tests.support.exporting import PERSON, given, rows, world_of_kinds, written
from tests.support.world import HOME

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
ID = "5f0c7e0e-5c1d-4c53-9e5c-0b8f0a3f1c11"


async def test_parquet_gives_back_what_went_in(tmp_path: Path) -> None:
    """The same bytes each time, the types that a query needs, and the receipt of each row."""
    world = await world_of_kinds()
    export = await given(world)
    written(tmp_path / "a", "parquet", export)
    written(tmp_path / "b", "parquet", export)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    cells = pq.read_table(tmp_path / "a").to_pylist()
    for one, cell in zip(rows(export), cells, strict=True):
        assert cell["at"] == one.entry.at
        assert (cell["index"], cell["entry"], cell["opening"]) == (
            one.row.index,
            one.row.entry,
            one.row.opening,
        )
        assert tuple(cell["proof"]) == one.row.proof
        assert json.loads(cell["view"]) == one.view
        assert {name: cell[name] or "" for name in FACTS} == {name: one.fact(name) for name in FACTS}


def a_row(**texts: str) -> Said:
    """A row whose full view says these things, from an entry of its own."""
    view = RequesterView("disclosure")
    full: dict[str, Any] = {**view.as_json(), "policy": 0, "now": "x", **texts}
    sealed = seal_entry(AT, ID, view, None, full, bytes)
    row = Row(7, sealed.entry, "nwas", "full", sealed.full.to_bytes(), (), b"note")
    return Said(row, "blue-light.test/log/2026h2", parse_entry(sealed.entry), full)


@pytest.mark.parametrize(
    "evil", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", '=HYPERLINK("x")']
)
def test_no_cell_is_a_formula(evil: str) -> None:
    """Whatever a view says, no cell of the line begins as one; the line stays one, and reads back."""
    one = a_row(agreement=evil, trace=f"a{evil}", purpose=evil)
    line = table.write(one)
    assert (line.count(b"\n"), line.count(b"\r")) == (1, 1)
    (cells,) = csv.reader(io.StringIO(line.decode()))
    assert len(cells) == len(table.COLUMNS)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert table.read(line) == one.row


async def test_log_records_are_opentelemetrys() -> None:
    """Each line is a message of OTLP; the chain is in its attributes, the checkpoint in the resource's."""
    world = await world_of_kinds()
    for one in rows(await given(world)):
        for name in ("otlp", "otlp-details"):
            line = forms.form(name).write(one)
            value = json.loads(line)
            record_json = value["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            trace = record_json.pop("traceId", "")  # hex in OTLP/JSON, base64 in protobuf's own
            data = json_format.Parse(json.dumps(value), logs_pb2.LogsData())
            (logs,) = data.resource_logs
            (record,) = logs.scope_logs[0].log_records
            told = {each.key: each.value for each in (*logs.resource.attributes, *record.attributes)}
            assert trace == (one.fact("trace") or "")
            assert record.time_unix_nano == int(one.entry.at.timestamp()) * 10**9
            assert record.event_name == f"bluelight.audit.{one.fact('event')}"
            assert record.severity_number == (13 if one.fact("outcome") in ("refuse", "refer") else 9)
            assert told["service.name"].string_value == "bluelight-broker"
            assert told["bluelight.log"].string_value == one.origin
            assert told["bluelight.index"].int_value == one.row.index
            assert told["bluelight.leaf"].string_value == one.leaf.hex()
            assert told["bluelight.entry.id"].string_value == one.entry.id
            assert len(told["bluelight.proof"].array_value.values) == len(one.row.proof)
            assert told["bluelight.checkpoint"].string_value
            assert ("bluelight.opening" in told) is (name == "otlp-details")


async def test_a_log_record_holds_nobody_without_details() -> None:
    """Neither a person's identifier nor an actor, an incident or words, in attributes, body or bytes."""
    world = await world_of_kinds()
    every = b"".join(forms.form("otlp").write(one) for one in rows(await given(world)))
    for secret in (PERSON.value, HOME.value, "a.hill", "Ada Hill", "0042"):
        assert secret.encode() not in every
    assert b"a.hill" in b"".join(forms.form("otlp-details").write(one) for one in rows(await given(world)))


def test_a_missing_pyarrow_is_said_in_a_sentence() -> None:
    """With what to install."""
    code = (
        "import sys\nsys.modules['pyarrow'] = None\n"
        "from broker.offline.export import parquet\n"
        "try:\n    parquet.arrow()\nexcept Exception as e:\n    print(type(e).__name__, e)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == (
        "SetupError Parquet needs pyarrow, which is not installed: install bluelight-broker[parquet]\n"
    )
