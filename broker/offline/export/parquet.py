"""Rows as a Parquet file, made of complete lines: the facts in columns, and what proves them as bytes.

Needs pyarrow, which is an extra. In row groups of a few thousand, so that neither writing nor reading holds
more; the same rows make the same bytes under the same pyarrow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.errors import IntegrityError, SetupError
from broker.offline.export.row import FACTS, Row, Said, said, unverified

if TYPE_CHECKING:
    from broker.offline.export.forms import Form

GROUP = 4096
_HOW = "install bluelight-broker[parquet]"


def arrow() -> Any:
    """pyarrow, with its Parquet part. Raises SetupError saying what to install."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SetupError(f"Parquet needs pyarrow, which is not installed: {_HOW}") from error
    return pyarrow


def schema() -> Any:
    """The columns. Texts that repeat are kept once."""
    pa = arrow()
    code, text, data = pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.binary()
    columns = [
        ("index", pa.int64()),
        ("id", text),
        ("at", pa.timestamp("ms", tz="UTC")),
        ("log", code),
        ("agency", code),
        ("audience", code),
        *((name, text if name in ("request_id", "trace", "response", "incident") else code) for name in FACTS),
        ("view", text),
        ("leaf", data),
        ("entry", data),
        ("opening", data),
        ("proof", pa.list_(data)),
        ("checkpoint", pa.dictionary(pa.int32(), data)),
    ]
    return pa.schema(columns)


def cells(one: Said) -> dict[str, Any]:
    """The row in columns; None where there is nothing."""
    row = one.row
    return {
        "index": row.index,
        "id": one.entry.id,
        "at": one.entry.at,
        "log": one.origin,
        "agency": row.agency,
        "audience": row.audience or None,
        **{name: one.fact(name) or None for name in FACTS},
        "view": json.dumps(one.view, ensure_ascii=False, separators=(",", ":")) if one.view else None,
        "leaf": one.leaf,
        "entry": row.entry,
        "opening": row.opening or None,
        "proof": list(row.proof),
        "checkpoint": row.checkpoint,
    }


def write(lines: Path, form: Form, made: Path) -> None:
    """Make the file `made`, mode 0600 and durable, of complete lines that were verified as they came."""
    pa, columns = arrow(), schema()
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file, lines.open("rb") as read:
        with pa.parquet.ParquetWriter(file, columns, compression="zstd") as writer:
            group: list[dict[str, Any]] = []
            for line in read:
                row = form.read(line)
                group.append(cells(said(row, unverified(row.checkpoint))))
                if len(group) == GROUP:
                    writer.write_table(pa.Table.from_pylist(group, schema=columns))
                    group.clear()
            if group:
                writer.write_table(pa.Table.from_pylist(group, schema=columns))
        file.flush()
        os.fsync(file.fileno())


def rows(path: Path) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each row of a file and its cells, as they stand there; nothing is verified. Raises IntegrityError."""
    pa = arrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema()):
                raise IntegrityError("not the columns of an export")
            for batch in file.iter_batches(batch_size=1024):
                for each in batch.to_pylist():
                    yield _row(each), each
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"not a Parquet file that can be read: {type(error).__name__}") from error


def _row(each: dict[str, Any]) -> Row:
    if any(each[name] is None for name in ("index", "entry", "agency", "proof", "checkpoint")):
        raise IntegrityError("row: a cell is empty that may not be")
    return Row(
        each["index"],
        each["entry"],
        each["agency"],
        each["audience"] or "",
        each["opening"] or b"",
        tuple(each["proof"]),
        each["checkpoint"],
    )
