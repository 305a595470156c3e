"""A receipt with a time stamp: to the checkpoint that was dated, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from broker.audits import Audits, Opened
from broker.core.receipt import Receipt
from broker.errors import InvalidRequest, NotTimestamped
from tests.support.world import World

RECEIPT = Receipt(b"entry", 7, (), b"newest", None)


@dataclass
class Scripted:
    """What an authority has dated: entries below `size`."""

    size: int

    async def timestamped(self, receipt: Receipt) -> tuple[Receipt, bytes] | None:
        """As `ports.TimeStamps`."""
        if receipt.index >= self.size:
            return None
        return Receipt(receipt.entry, receipt.index, receipt.proof, b"dated", receipt.opening), b"stamp"


async def asked(size: int | None) -> Opened:
    """The receipt of entry 7 of a log that is dated so far; None: not at all."""
    made = World()
    stamps = None if size is None else Scripted(size)
    audits = Audits(made.administration, made.store.log, made.heritage, made.clock, timestamps=stamps)
    return await audits.timestamped(Opened(RECEIPT, "full"))


async def test_a_receipt_leads_to_what_was_dated() -> None:
    """With the time stamp, and still that audience's."""
    opened = await asked(8)
    assert (opened.receipt.checkpoint, opened.timestamp, opened.audience) == (b"dated", b"stamp", "full")


async def test_where_there_is_no_time_stamp_it_is_said_why() -> None:
    """Not yet, which passes; or never, which is the asker's mistake."""
    with pytest.raises(NotTimestamped, match="ask again later"):
        await asked(7)
    with pytest.raises(InvalidRequest, match="this log is not time-stamped"):
        await asked(None)
