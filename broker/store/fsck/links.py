"""Whether the logs of a database are all there, by what their own first and last entries say of one another.

A log that follows another begins with its final checkpoint, and one that is closed ends with the key of the
next: both are entries that were signed, so no log can be taken away whole without a trace. One whose entries
were dropped after an export keeps its row, its ends and its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import asyncpg

from broker.core.checkpoint import Checkpoint
from broker.core.entry import Rotation, parse_entry
from broker.core.note import Note
from broker.errors import IntegrityError
from broker.store.fsck.report import StoreReport

_CLOSED = "select log, size from head where closed"
_LEAF = "select leaf from entry where log = $1 and idx = $2"


async def judge(
    connection: asyncpg.Connection, logs: Sequence[asyncpg.Record], reports: Sequence[StoreReport]
) -> None:
    """Say in each log's report what of its links does not hold. `logs` are their rows, oldest first."""
    closing = await connection.fetchrow(_CLOSED)
    origins = {log["origin"] for log in logs}
    for at, (log, report) in enumerate(zip(logs, reports, strict=True)):
        before = logs[at - 1] if at else None
        first = _link(await connection.fetchval(_LEAF, log["id"], 0))
        for text in _begins(first, before, origins):
            report.wrong("log", 0, "entry 0", text)
        size = dict(log).get("entries")
        if size is None:  # of one that is not closed, or about to be
            if closing is not None and closing["log"] == log["id"]:
                last = _link(await connection.fetchval(_LEAF, log["id"], closing["size"] - 1))
                if last is None:
                    report.wrong("head", -1, "head", "says that the log is closed, and its last entry does not")
            continue
        last = _link(await connection.fetchval(_LEAF, log["id"], size - 1))
        later = logs[at + 1]["vkey"] if at + 1 < len(logs) else None
        if last is None or last != later:
            of = last.partition("+")[0][:200] if last else "no log"
            text = f"closes this log and names {of}, which is not the one that follows in this database"
            report.wrong("log", size - 1, f"entry {size - 1}", text)


def _begins(first: str | None, before: asyncpg.Record | None, origins: set[str]) -> Iterator[str]:
    if first is None:
        if before is not None:
            yield f"does not begin with the end of {before['origin']}, which comes before this log"
        return
    try:
        end = Checkpoint.parse(Note.parse(first.encode()).text)
    except IntegrityError:
        yield "links to a log before, and holds no checkpoint of it"
        return
    if end.origin not in origins:
        yield f"follows {end.origin} with {end.size} entries, which is not in this database"
    elif before is None or before["origin"] != end.origin:
        yield f"follows {end.origin}, and in this database another log comes before this one"
    elif (size := dict(before).get("entries")) != end.size:
        yield f"follows {end.origin} with {end.size} entries, and in this database that has {size or 'no end'}"


def _link(leaf: bytes | None) -> str | None:
    """What an entry links to; None where it is another or is not there, which is said where it stands."""
    try:
        entry = parse_entry(bytes(leaf or b""))
    except IntegrityError:
        return None
    return entry.log if isinstance(entry, Rotation) else None
