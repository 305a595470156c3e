"""A log is held to what it has shown before: forks, rollbacks, refused proofs, and memory across restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from broker.client import memory
from broker.client.trail import MAX_WAITING, Contradiction, Proof, Seen, Trail
from broker.client.watch import Watch
from broker.core.checkpoint import Signer, open_checkpoint
from broker.core.rotation import Link
from broker.errors import AuditUnavailable, IntegrityError, ProviderUnavailable, SetupError
from tests.client.conftest import ASK, ORIGIN, LogOfOne, Setup, eventually


def _fork(log: LogOfOne, keep: int) -> None:
    """Rewrite every entry from `keep` on."""
    size = log.size
    del log.tree.entries[keep:]
    log.tree = type(log.tree)(log.tree.entries)
    log.grow(size - keep, "forked")


async def unasked(log: str, size: int) -> Link:
    """Nobody has rotated anything."""
    raise AssertionError("asked for a link")


WAYS = pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])


@WAYS
async def test_growth_is_proven_and_nothing_is_asked_twice(setup: Setup, unary: bool) -> None:
    """Each newer checkpoint is proven once against the last; the same one again needs no proof."""
    async with setup.client(unary=unary) as client:
        await client.request(**ASK)
        assert setup.broker.questions == []
        setup.broker.log.grow(3)
        await client.request(**ASK)
        await eventually(lambda: setup.broker.questions == [(6, 10)])
    assert setup.broker.questions == [(6, 10)]


async def test_two_roots_for_one_size_end_all_trust_at_once(setup: Setup) -> None:
    """A second root for a size already seen is refused before anything of that answer is returned."""
    async with setup.client() as client:
        await client.request(**ASK)
        _fork(setup.broker.log, 2)
        del setup.broker.log.tree.entries[-1:]
        setup.broker.log.tree = type(setup.broker.log.tree)(setup.broker.log.tree.entries)
        with pytest.raises(IntegrityError, match="two roots for the size 6"):
            await client.request(**ASK)
        with pytest.raises(IntegrityError, match="two roots for the size 6"):
            await client.request(**ASK)
        asked = len(setup.broker.requests)
        with pytest.raises(IntegrityError):
            await client.request(**ASK)
        assert len(setup.broker.requests) == asked, "nothing more is even asked"
        await _closes_in_distrust(client)


@WAYS
async def test_a_fork_is_found_off_the_records_path(setup: Setup, unary: bool) -> None:
    """A longer log that does not extend the one seen is found by its proof; every later call raises."""
    client = await setup.client(unary=unary).__aenter__()
    await client.request(**ASK)
    _fork(setup.broker.log, 2)
    setup.broker.log.grow(4)
    await client.request(**ASK)
    await eventually(lambda: bool(setup.broker.questions))
    await asyncio.sleep(0.05)
    with pytest.raises(IntegrityError, match="contradicts itself"):
        await client.request(**ASK)
    await _closes_in_distrust(client)


async def test_what_is_in_flight_when_a_fork_is_found_is_not_released(setup: Setup) -> None:
    """Discovery fails the requests that wait for an answer at that moment."""
    client = await setup.client().__aenter__()
    await client.request(**ASK)
    _fork(setup.broker.log, 2)
    setup.broker.log.grow(4)
    await client.request(**ASK)
    setup.broker.answer = lambda request: None
    with pytest.raises(IntegrityError):
        await client.request(**ASK)
    await _closes_in_distrust(client)


@pytest.mark.parametrize("lie", ["proof", "smaller", "stranger", "denied", "lost"])
async def test_a_proof_that_does_not_hold_ends_all_trust(setup: Setup, lie: str) -> None:
    """A wrong proof, a smaller or strangely signed checkpoint beside it, or a size denied: each is a lie."""

    def bend(request: object, response: object) -> None:
        if lie == "proof":
            response.proof[0] = bytes(32)  # type: ignore[attr-defined]
        elif lie == "smaller":
            response.checkpoint = setup.broker.log.note(4)  # type: ignore[attr-defined]
        elif lie == "stranger":
            stranger = LogOfOne(Signer.from_seed(ORIGIN, bytes(32)))
            response.checkpoint = stranger.note()  # type: ignore[attr-defined]

    setup.broker.bend_proof = bend
    codes = {"denied": grpc.StatusCode.INVALID_ARGUMENT, "lost": grpc.StatusCode.DATA_LOSS}
    setup.broker.proof_error = codes.get(lie)
    client = await setup.client().__aenter__()
    await client.request(**ASK)
    setup.broker.log.grow(3)
    await client.request(**ASK)
    await eventually(lambda: bool(setup.broker.questions))
    await asyncio.sleep(0.05)
    with pytest.raises(IntegrityError):
        await client.request(**ASK)
    await _closes_in_distrust(client)


async def test_a_fork_shown_to_a_client_that_leaves_is_found_on_leaving(setup: Setup) -> None:
    """A short-lived client asks its last question when it closes, and says what it found."""
    client = await setup.client().__aenter__()
    await client.request(**ASK)
    _fork(setup.broker.log, 2)
    setup.broker.log.grow(4)
    await client.request(**ASK)
    with pytest.raises(IntegrityError, match="contradicts itself"):
        await client.__aexit__(None, None, None)


async def test_an_older_checkpoint_out_of_order_is_checked_and_harmless(setup: Setup) -> None:
    """Several workers sign: a smaller true checkpoint after a larger is proven, not taken for a rollback."""
    log = setup.broker.log
    async with setup.client() as client:
        await client.request(**ASK)
        log.grow(10)
        notes = [log.note(9)]
        await client.request(**ASK)
        await eventually(lambda: setup.broker.questions == [(6, 17)])
        await _open(client, notes[0])
        await eventually(lambda: (9, 17) in setup.broker.questions)
        await client.request(**ASK)


async def test_memory_outlives_the_process(setup: Setup, tmp_path: Path) -> None:
    """With a state file a log forked while we were away is found; without one it could not be."""
    state = tmp_path / "cfrs-mdt.log"
    async with setup.client(state=state) as client:
        await client.request(**ASK)
    assert state.stat().st_mode & 0o777 == 0o600
    _fork(setup.broker.log, 1)
    setup.broker.log.grow(5)
    async with setup.client() as forgetful:
        await forgetful.request(**ASK)
    with pytest.raises(IntegrityError):
        async with setup.client(state=state) as client:
            await client.request(**ASK)
    with pytest.raises(IntegrityError, match="remembered from an earlier run"):
        async with setup.client(state=state) as client:
            await client.request(**ASK)


async def test_what_was_not_proven_when_the_process_ended_is_asked_later(setup: Setup, tmp_path: Path) -> None:
    """Checkpoints that wait are kept too, so that an unanswered question is put again."""
    state = tmp_path / "state"
    setup.broker.proof_error = grpc.StatusCode.UNAVAILABLE
    async with setup.client(state=state) as client:
        await client.request(**ASK)
        setup.broker.log.grow(2)
        await client.request(**ASK)
    setup.broker.proof_error = None
    setup.broker.questions.clear()
    async with setup.client(state=state):
        await eventually(lambda: setup.broker.questions == [(6, 9)])
    assert len(memory.load(state, _opener(setup), lambda _: None).trails[ORIGIN].waiting) == 0


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"\xff", b'{"contradiction":null,"logs":[{"proven":"x"}],"v":1}']
)
async def test_a_damaged_state_file_is_refused_by_name(setup: Setup, tmp_path: Path, damage: bytes) -> None:
    """Memory that cannot be read is not quietly forgotten."""
    state = tmp_path / "state"
    state.write_bytes(damage)
    with pytest.raises(IntegrityError, match=str(state)):
        await setup.client(state=state).__aenter__()


async def test_a_state_file_that_cannot_be_written_is_said_on_leaving(setup: Setup, tmp_path: Path) -> None:
    """Requests go on; the end of the client says that nothing will be remembered."""
    state = tmp_path / "gone" / "state"
    client = await setup.client(state=state).__aenter__()
    await client.request(**ASK)
    with pytest.raises(SetupError, match="cannot write"):
        await client.__aexit__(None, None, None)


async def test_a_log_that_puts_off_its_proof_is_not_believed_until_it_gives_it(signer: Signer) -> None:
    """Silence is no way out: after a while nothing is released, and a proof sets it right."""
    log = LogOfOne(signer)
    log.grow(4)
    away = True
    asked: list[tuple[int, int]] = []

    async def ask(_: str, first: int, second: int) -> Proof:
        asked.append((first, second))
        if away:
            raise ProviderUnavailable("away")
        return Proof(tuple(log.tree.proof(first, second)), b"")

    watch = Watch(
        (signer.verifier,), ask, unasked, distrusted=lambda error: None, ask_every=0.02, proof_within=0.1
    )
    await watch.start()
    watch.open(log.note())
    log.grow(4)
    watch.open(log.note())
    watch.require_trust()
    await asyncio.sleep(0.15)
    with pytest.raises(AuditUnavailable, match="has not proven"):
        watch.require_trust()
    log.grow(1)
    watch.open(log.note())
    await asyncio.sleep(0.05)
    assert set(asked) == {(4, 8)}, "one question stands until it is answered"
    away = False
    await eventually(lambda: (8, 9) in asked)
    await asyncio.sleep(0.02)
    watch.require_trust()
    await watch.close()


async def test_leaving_between_two_questions_asks_the_last_one(signer: Signer) -> None:
    """What came after the last question is asked about on closing, and a fork found so is never forgotten."""
    log = LogOfOne(signer)
    log.grow(3)
    told: list[IntegrityError] = []
    asked: list[tuple[int, int]] = []

    async def ask(_: str, first: int, second: int) -> Proof:
        asked.append((first, second))
        return Proof(tuple(log.tree.proof(first, second)), b"")

    watch = Watch((signer.verifier,), ask, unasked, distrusted=told.append, ask_every=30)
    await watch.start()
    honest = log.note()
    watch.open(honest)
    log.grow(3)
    watch.open(log.note())
    await eventually(lambda: asked == [(3, 6)])
    _fork(log, 4)
    log.grow(3)
    watch.open(log.note())
    assert not told
    with pytest.raises(Contradiction):
        await watch.close()
    assert asked == [(3, 6), (6, 9)]
    assert len(told) == 1
    with pytest.raises(Contradiction):
        watch.open(honest)


async def test_the_log_is_asked_at_most_once_in_a_while(signer: Signer) -> None:
    """However fast checkpoints come, questions keep their pace."""
    log = LogOfOne(signer)
    asked: list[float] = []

    async def ask(_: str, first: int, second: int) -> Proof:
        asked.append(asyncio.get_running_loop().time())
        return Proof(tuple(log.tree.proof(first, second)), b"")

    watch = Watch((signer.verifier,), ask, unasked, distrusted=lambda error: None, ask_every=0.1)
    await watch.start()
    for _ in range(50):
        log.grow(1)
        watch.open(log.note())
        await asyncio.sleep(0.01)
    paced = list(asked)
    await watch.close()
    assert len(paced) >= 3
    assert all(later - earlier >= 0.09 for earlier, later in pairwise(paced))


def test_a_trail_drops_at_random_but_never_the_newest(signer: Signer) -> None:
    """More checkpoints than can be asked about are sampled within a bound; the newest is always asked about."""
    log = LogOfOne(signer)
    log.grow(200)
    seen = [Seen(open_checkpoint(log.note(size), (signer.verifier,)), log.note(size)) for size in range(1, 201)]
    trail = Trail(seen[0], choose=lambda below: below // 2)
    for each in seen[1:]:
        trail.observe(each)
        assert trail.waiting[-1] == each
    assert len(trail.waiting) == MAX_WAITING
    dropped = next(each for each in seen[1:] if each not in trail.waiting)
    trail.observe(dropped)
    assert trail.waiting[-1] == seen[-1], "an older one that comes late does not push the newest out"
    assert len(trail.waiting) == MAX_WAITING
    question = trail.question()
    assert question == (seen[0], seen[-1]) == trail.question()
    trail.settle(*question, tuple(log.tree.proof(1, 200)))
    assert trail.proven == seen[-1]
    earlier = trail.question()
    assert earlier is not None
    assert earlier[1] == seen[-1], "the others are proven to lie before the newest"
    with pytest.raises(Contradiction):
        trail.settle(*earlier, ())


def _opener(setup: Setup) -> Callable[[bytes], Seen]:
    return lambda note: Seen(open_checkpoint(note, (setup.signer.verifier,)), note)


async def _open(client: object, note: bytes) -> None:
    client._live.watch.open(note)  # type: ignore[attr-defined]


async def _closes_in_distrust(client: object) -> None:
    with pytest.raises(IntegrityError):
        await client.__aexit__(None, None, None)  # type: ignore[attr-defined]
