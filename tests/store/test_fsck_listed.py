"""What a list of dropped partitions does not excuse: bytes that no log would have dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.core.keys import Verifier
from broker.store.fsck.check import fsck_database
from broker.store.fsck.notes import Kept
from broker.store.pool import migrate
from tests.support.evidence import ORIGIN, node
from tests.support.filled import fill, thin_out
from tests.support.postgres import Server, ask


async def test_an_open_log_has_dropped_nothing(postgres: Server, tmp_path: Path) -> None:
    """Bytes that somebody destroyed there, the first ones too, are a loss, whatever a row says of an export."""
    async with postgres.fresh(await postgres.template("migrated", migrate)) as dsn:
        async with node(dsn, tmp_path / "state") as one:
            await one.grow(600)
            await one.reader.fill_tiles()
            kept, ring = Kept((("checkpoint", (await one.reader.head())[1]),)), one.ring
            verifiers = [one.verifier]
        assert (await fsck_database(dsn, verifiers, ring, kept)).good
        await ask(
            dsn,
            "update entry set leaf = null where idx < 512",
            "insert into dropped (log, first, digest, place) select id, 0, repeat('0', 64), 'vault 3' from log",
            "select 1",
        )
        report = await fsck_database(dsn, verifiers, ring, kept)
    assert (report.dropped, report.places) == ([], {})
    assert [(each.kind, each.index) for each in report.problems[:2]] == [("dropped", 0), ("entry", 0)]
    assert "of a log that is not closed" in report.problems[0].text
    assert report.count >= 512


@pytest.mark.parametrize(
    ("end", "text"),
    [(600, "and are no whole partition of this log"), (None, "nothing says that it was dropped")],
    ids=["listed", "unlisted"],
)
async def test_a_closed_log_has_dropped_whole_partitions_alone(
    postgres: Server, tmp_path: Path, end: int | None, text: str
) -> None:
    """What is left over below 65,536 entries stays, whatever is listed."""
    verifiers: list[Verifier] = []
    async with postgres.fresh(await postgres.template("migrated", migrate)) as dsn:
        async with node(dsn, tmp_path / "state") as one:
            await fill(dsn, 600)
            verifiers.append(one.verifier)
            await one.halves.rotate(ORIGIN, one.halves.prepare("blue-light.test/log/2027h1"))
            verifiers.append(one.verifier)
        await thin_out(dsn, ORIGIN)
        if end is None:
            await ask(dsn, "delete from dropped", "select 1")
        (old,) = (await fsck_database(dsn, verifiers)).earlier
    assert old.dropped == []
    assert text in old.problems[0].text
    assert old.count >= 256
