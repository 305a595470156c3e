"""A client over a rotation: it goes on by the link alone, and where the link is forged it releases nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.client import memory
from broker.core.checkpoint import Signer, open_checkpoint
from broker.errors import BrokerError, IntegrityError
from broker.v1 import rotation_pb2
from tests.client.conftest import ASK, ORIGIN, Setup, eventually
from tests.support.chain import AFTER, NEXT, MemoryChain, OneTree

WAYS = pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])


@WAYS
async def test_a_client_goes_on_over_a_rotation(setup: Setup, unary: bool) -> None:
    """Only the old key was given: the new log's receipts verify by the link, asked for once, from what was
    proven."""
    async with setup.client(unary=unary) as client:
        await client.request(**ASK)
        setup.broker.log.grow(4)
        setup.broker.rotate()
        first = await client.request(**ASK)
        assert first.receipt.checkpoint.startswith(NEXT.encode())
        await asyncio.gather(*(client.request(**ASK) for _ in range(5)))
    assert setup.broker.followed == [(ORIGIN, 6)]


@WAYS
async def test_answers_that_come_together_share_one_walk(setup: Setup, unary: bool) -> None:
    """Many answers of the new log at once ask for the link once."""
    async with setup.client(unary=unary) as client:
        await client.request(**ASK)
        setup.broker.rotate()
        await asyncio.gather(*(client.request(**ASK) for _ in range(20)))
    assert len(setup.broker.followed) == 1


@WAYS
async def test_a_client_goes_on_over_two_rotations(setup: Setup, unary: bool) -> None:
    """A client that was away for a year follows link by link."""
    async with setup.client(unary=unary) as client:
        await client.request(**ASK)
        setup.broker.rotate()
        setup.broker.log.grow(2)
        setup.broker.rotate(AFTER)
        answer = await client.request(**ASK)
        assert answer.receipt.checkpoint.startswith(AFTER.encode())
    assert [log for log, _ in setup.broker.followed] == [ORIGIN, NEXT]


async def test_what_the_old_log_showed_is_still_to_be_proven(setup: Setup) -> None:
    """A fork of the old log, shown just before its end, is found after the rotation all the same."""
    client = await setup.client().__aenter__()
    await client.request(**ASK)
    old = setup.broker.log
    forked = OneTree(old.signer)
    forked.grow(old.size + 3, "forked")
    old.grow(5)
    setup.broker.rotate()
    await client.request(**ASK)
    watch = client._live.watch  # type: ignore[union-attr]
    watch.open(forked.note(9))
    await eventually(lambda: watch._memory.contradiction is not None)
    with pytest.raises(IntegrityError, match="contradicts itself"):
        await client.request(**ASK)
    with pytest.raises(IntegrityError):
        await client.__aexit__(None, None, None)


def _stranger(said: rotation_pb2.FollowResponse) -> None:
    """A chain that is whole, signed by somebody else from the beginning."""
    chain = MemoryChain(OneTree(Signer.from_seed(ORIGIN, bytes(32))))
    chain.current.grow(9)
    chain.turn()
    link = chain.linked(ORIGIN, 6)
    said.last, said.final, said.first, said.head = link.last, link.final, link.first, link.head


def _other_key(said: rotation_pb2.FollowResponse) -> None:
    said.last = said.last.replace(b"2027h1+", b"2027h1+0")


def _no_way_back(said: rotation_pb2.FollowResponse) -> None:
    said.first = said.last


def _unproven(said: rotation_pb2.FollowResponse) -> None:
    if said.consistency:
        said.consistency[0] = bytes(32)


@WAYS
@pytest.mark.parametrize("bend", [_stranger, _other_key, _no_way_back, _unproven])
async def test_a_forged_link_releases_nothing(
    setup: Setup, unary: bool, bend: Callable[[rotation_pb2.FollowResponse], None], tmp_path: Path
) -> None:
    """The answer is refused, so is every later one, and a restart remembers it."""
    state = tmp_path / "state"
    client = await setup.client(unary=unary, state=state).__aenter__()
    await client.request(**ASK)
    setup.broker.log.grow(3)
    setup.broker.rotate()
    setup.broker.bend_link = bend
    with pytest.raises(IntegrityError):
        await client.request(**ASK)
    setup.broker.bend_link = None
    asked = len(setup.broker.requests)
    with pytest.raises(IntegrityError):
        await client.request(**ASK)
    assert len(setup.broker.requests) == asked, "nothing more is even asked"
    with pytest.raises(IntegrityError):
        await client.__aexit__(None, None, None)
    client = await setup.client(unary=unary, state=state).__aenter__()
    with pytest.raises(IntegrityError):
        await client.request(**ASK)
    with pytest.raises(IntegrityError):
        await client.__aexit__(None, None, None)


@WAYS
async def test_a_new_log_that_nothing_leads_to_is_refused(setup: Setup, unary: bool) -> None:
    """A log under a key of its own, that the old one does not name, is nobody's log."""
    client = await setup.client(unary=unary).__aenter__()
    await client.request(**ASK)
    setup.broker.rotate()
    assert setup.broker.chain is not None
    setup.broker.chain.logs.pop()
    with pytest.raises(IntegrityError, match="does not lead"):
        await client.request(**ASK)
    await client.__aexit__(None, None, None)


@WAYS
async def test_what_was_learnt_outlasts_the_process(setup: Setup, unary: bool, tmp_path: Path) -> None:
    """With a state file the link is followed once; without, again, from the old key alone."""
    state = tmp_path / "state"
    async with setup.client(unary=unary, state=state) as client:
        await client.request(**ASK)
        setup.broker.rotate()
        await client.request(**ASK)
    assert len(setup.broker.followed) == 1
    async with setup.client(unary=unary, state=state) as client:
        await client.request(**ASK)
    assert len(setup.broker.followed) == 1
    async with setup.client(unary=unary) as client:
        await client.request(**ASK)
    assert setup.broker.followed[1:] == [(ORIGIN, 0)]


async def test_a_state_file_makes_no_key_believed(setup: Setup, tmp_path: Path) -> None:
    """A link written into the file by somebody else is refused when it is read."""
    state = tmp_path / "state"
    async with setup.client(state=state) as client:
        await client.request(**ASK)
        setup.broker.rotate()
        await client.request(**ASK)
    stranger = MemoryChain(OneTree(Signer.from_seed(ORIGIN, bytes(32))))
    stranger.current.grow(2)
    stranger.turn()
    forged = stranger.linked(ORIGIN, 0)
    known = memory.canonical.decode_object(state.read_bytes())
    known["links"][0]["final"] = forged.final.decode()  # type: ignore[index,call-overload]
    state.write_bytes(memory.canonical.encode(known))
    with pytest.raises(IntegrityError):
        await setup.client(state=state).__aenter__()


@WAYS
async def test_an_old_receipt_verifies_for_who_began_at_the_new_log(setup: Setup, unary: bool) -> None:
    """A client that holds both keys and has seen the new log only is shown the old one: by the same link."""
    broker = setup.broker
    broker.log.grow(3)
    old = broker.rotate()
    note = old.note()
    async with setup.client(unary=unary, log_vkey=f"{broker.log.signer.vkey}\n{old.signer.vkey}") as client:
        await client.request(**ASK)
        assert broker.followed == []
        watch = client._live.watch  # type: ignore[union-attr]
        with pytest.raises(IntegrityError, match="not linked"):
            watch.open(note)
        await watch.link(note)
        assert watch.open(note) == open_checkpoint(note, [old.signer.verifier])
        await client.request(**ASK)


@WAYS
async def test_a_link_that_cannot_be_had_fails_the_answer_and_no_more(setup: Setup, unary: bool) -> None:
    """Where the broker does not say how the log goes on, that answer is not released; later it may be."""
    async with setup.client(unary=unary) as client:
        await client.request(**ASK)
        setup.broker.rotate()
        chain, setup.broker.chain = setup.broker.chain, None
        with pytest.raises(BrokerError):
            await client.request(**ASK)
        setup.broker.chain = chain
        await client.request(**ASK)
