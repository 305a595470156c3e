"""Exports on the wire: messages of a bounded size that say how far each has come."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from broker.core.entry import Opening
from broker.core.model import Reason
from broker.core.receipt import Audience
from broker.exports import Part, Row
from broker.rpc.export import export, messages
from broker.v1 import audit_pb2, exchange_pb2
from tests.support.world import ACTOR, World, caller

MOST = 4 * 1024 * 1024  # what a client takes unless it says otherwise


def row(index: int, size: int) -> Row:
    """A row with a view of so many bytes."""
    return Row(index, b"entry", Audience.FULL, Opening(bytes(32), os.urandom(size)), (bytes(32),) * 20)


@pytest.mark.parametrize("sizes", [[100] * 128, [1 << 20] * 9, [400_000] * 3 + [10] * 50, []])
def test_a_part_comes_in_messages_that_a_client_takes(sizes: list[int]) -> None:
    """Every row once and in order; each message says that all before the next one's were looked at."""
    rows = tuple(row(3 * n, size) for n, size in enumerate(sizes))
    made = messages(Part(rows, 1000, 7))
    assert [each.index for message in made for each in message.rows] == [each.index for each in rows]
    assert all(message.ByteSize() < MOST for message in made)
    assert [message.closed for message in made] == [0] * (len(made) - 1) + [7]
    assert made[-1].looked == 1000
    for message, after in pairwise(made):
        assert message.rows[-1].index < message.looked == after.rows[0].index


async def test_the_head_says_by_which_numbers_of_an_incident_it_was_looked_for() -> None:
    """Every one that it is said to have, the one that was asked for first: it is in the receiver's manifest."""
    world, ours, theirs = World(), "nwas/2026-11-21/0042", "cfrs/2026-11-21/17"
    await world.ready()
    await world.searches.incidents.say(caller("nwas"), ours, theirs, True, ACTOR, Reason("radio"))
    request = audit_pb2.ExportRequest(
        facts=[audit_pb2.SearchFact(kind="incident", value=ours)],
        actor=exchange_pb2.Actor(id="ann", role="auditor"),
        reason=exchange_pb2.ReasonCode(code="x"),
    )
    first, *_ = [page async for page in export(world.exports, request, caller("nwas"))]
    assert list(first.head.incidents) == [ours, theirs]
