"""Entries by the hundred from PostgreSQL: all of them, whatever the index has come to, proven to one size."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.administration import Administration
from broker.audience import Seen, audience_of
from broker.core.canonical import Json
from broker.core.merkle import leaf_hash, verify_inclusion
from broker.core.model import Actor, Function, Reason, SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import Question, term
from broker.core.tiles import TILE_WIDTH
from broker.entryrows import MOST, EntryRow, Wanted
from broker.errors import IntegrityError
from broker.exports import Exports, Part
from broker.heritage import Heritage
from broker.ranges import Range
from broker.searches import Searches
from broker.store import entryrows
from broker.store.entryrows import PostgresEntryRows
from broker.store.search import SearchIndex
from tests.support.evidence import ORIGIN, Node, a_draft
from tests.support.values import replace
from tests.support.world import AUDITOR, caller

WHO = Actor("ann", "auditor")
ACTOR: dict[str, Json] = {"id": "a.hill"}
BY_ACTOR = Wanted((frozenset({term("actor", "a.hill")}),))


def index_of(worker: Node) -> SearchIndex:
    """The index as a broker has it."""
    return SearchIndex(worker.database, worker.seals, worker.ring.index_key(), worker.reader.log)


def heritage_of(worker: Node) -> Heritage:
    """What is left to whom, by this worker's directory."""
    return Heritage(worker.reference, worker.clock)


def rows_of(worker: Node) -> PostgresEntryRows:
    """The entries as a broker has them."""
    return PostgresEntryRows(worker.database, worker.seals, index_of(worker))


async def filled(worker: Node) -> None:
    """The index with everything in it."""
    while await index_of(worker).fill():
        pass


async def everything(worker: Node, wanted: Wanted, start: int = 0, end: int = 0) -> list[EntryRow]:
    """All rows of interest, call by call."""
    rows = rows_of(worker)
    end = end or (await rows.halves())[0].size
    found: list[EntryRow] = []
    while start < end:
        looked = await rows.rows(ORIGIN, wanted, start, end)
        assert start < looked.up_to <= end
        assert len(looked.rows) <= MOST
        assert all(start <= row.hit.index < looked.up_to for row in looked.rows)
        found += looked.rows
        start = looked.up_to
    return found


async def execute(dsn: str, *statements: str) -> None:
    """Change the database behind the broker's back."""
    connection = await asyncpg.connect(dsn)
    for each in statements:
        await connection.execute(each)
    await connection.close()


async def test_every_entry_with_its_bytes_its_openings_and_its_proof(worker: Node) -> None:
    """In order, past the width of a tile, each proven in a size that the log has outgrown since."""
    receipts = await worker.grow(TILE_WIDTH + MOST + 5)
    size = len(receipts) - 3
    await worker.grow(4)
    found = await everything(worker, Wanted(), 0, size)
    assert [row.hit.index for row in found] == list(range(size))
    proofs = await rows_of(worker).proofs(ORIGIN, [row.hit.index for row in found], size)
    _, note = await worker.reader.consistency(size, size)
    root = worker.opened(note).root
    for row, receipt, proof in zip(found, receipts, proofs, strict=False):
        assert row.entry == receipt.entry
        assert row.openings[Audience.REQUESTER.value] == receipt.opening
        assert row.openings.keys() == {"requester", "provider", "full"}
        verify_inclusion(leaf_hash(row.entry), row.hit.index, size, proof, root)


async def test_exports_beside_each_other_do_not_disturb_one_another(
    local: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To different sizes, with room for one tile only: each gets the proofs of its own."""
    monkeypatch.setattr(entryrows, "_TILES", 1)
    receipts = await local.grow(TILE_WIDTH + 40)
    rows = rows_of(local)
    sizes = [TILE_WIDTH + 20 + n for n in range(20)]
    for _ in range(3):
        every = await asyncio.gather(*(rows.proofs(ORIGIN, [0, TILE_WIDTH + 1, 5], size) for size in sizes))
        for size, proofs in zip(sizes, every, strict=True):
            _, note = await local.reader.consistency(size, size)
            for index, proof in zip((0, TILE_WIDTH + 1, 5), proofs, strict=True):
                verify_inclusion(leaf_hash(receipts[index].entry), index, size, proof, local.opened(note).root)


async def test_of_one_party(worker: Node) -> None:
    """Only what it is party to, on either side."""
    await worker.grow(3)
    for agency in ("nwas", "cumberland", "nwas"):
        await worker.append(a_draft(agency=agency))
    assert [row.hit.index for row in await everything(worker, Wanted(party="nwas"))] == [3, 5]
    assert [row.hit.index for row in await everything(worker, Wanted(party="ncic"))] == list(range(6))
    assert await everything(worker, Wanted(party="police")) == []


async def test_what_few_entries_have_is_looked_up_for_one_party(worker: Node) -> None:
    """Others' entries are not given to be looked at, nor those that name it and that it was never told of."""
    for agency in ("nwas", "cumberland", "nwas"):
        await worker.append(a_draft(agency=agency, actor=ACTOR))
    untold = replace(a_draft(actor=ACTOR), provider=None, provider_agency="")
    await worker.append(replace(untold, full={**untold.full, "provider": "nwas"}))
    await filled(worker)
    wanted = replace(BY_ACTOR, party="nwas")
    assert [row.hit.index for row in await everything(worker, wanted)] == [0, 2]


async def test_what_few_entries_have_is_looked_up(worker: Node) -> None:
    """By the index, where it has come to the end of the range: others are not read."""
    for actor in ("x", "a.hill", "y", "a.hill"):
        await worker.append(a_draft(actor={"id": actor}))
    await filled(worker)
    assert [row.hit.index for row in await everything(worker, BY_ACTOR)] == [1, 3]
    assert [row.hit.index for row in await everything(worker, BY_ACTOR, 2)] == [3]


@pytest.mark.parametrize("lost", [True, False])
async def test_an_index_that_is_behind_or_has_lost_a_row_leaves_nothing_out(
    worker: Node, dsn: str, lost: bool
) -> None:
    """Then every entry of the range is given, and whoever asked looks at each."""
    await worker.append(a_draft(actor=ACTOR))
    await filled(worker)
    await worker.append(a_draft(actor=ACTOR))
    if lost:
        await filled(worker)
        await execute(dsn, "delete from search where idx = 0")
    assert [row.hit.index for row in await everything(worker, BY_ACTOR)] == [0, 1]


async def test_an_index_that_is_made_anew_is_not_relied_on(local: Node) -> None:
    """Its rows are there and may be of before; once it is made, it is asked again."""
    for actor in ("a.hill", "x"):
        await local.append(a_draft(actor={"id": actor}))
    await filled(local)
    index = index_of(local)
    await index.filling.begin_again()
    async with local.database.connection() as connection:
        await connection.execute("update search set terms = '{}'")
    assert [row.hit.index for row in await everything(local, BY_ACTOR)] == [0, 1]
    await filled(local)
    assert [row.hit.index for row in await everything(local, BY_ACTOR)] == [0]


async def test_a_long_range_is_looked_up_by_windows(worker: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in which the index has a gap is read; the others are not."""
    monkeypatch.setattr(entryrows, "WINDOW", 4)
    for n in range(10):
        await worker.append(a_draft(actor={"id": "a.hill" if n in (1, 9) else "x"}))
    await filled(worker)
    async with worker.database.connection() as connection:
        await connection.execute("delete from search where idx = 5")
    assert [row.hit.index for row in await everything(worker, BY_ACTOR)] == [1, 4, 5, 6, 7, 9]


async def test_views_that_are_gone_or_damaged_leave_the_entry(worker: Node, dsn: str) -> None:
    """With its parties, and nothing that opens it; without a row of views, with none."""
    await worker.grow(3)
    spoil = "update view set views = set_byte(views, 20, get_byte(views, 20) # 1) where idx = 1"
    await execute(dsn, "delete from view where idx = 0", spoil)
    found = await everything(worker, Wanted())
    assert [bool(row.openings) for row in found] == [False, False, True]
    assert [row.hit.requester for row in found] == ["", "cfrs", "cfrs"]
    assert all(row.entry for row in found)


async def test_a_time_narrows_the_range(worker: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """By halving; what was decided out of order by as much as can be stays in it."""
    monkeypatch.setattr(entryrows, "SLACK", timedelta(minutes=1))
    begun = datetime.now(UTC) - timedelta(minutes=60)
    for n in range(30):
        # Every third was decided half a minute before the one that stands before it.
        await worker.append(a_draft(at=begun + timedelta(minutes=n) - timedelta(seconds=90 * (n % 3 == 2))))
    rows = rows_of(worker)
    wanted = Wanted(since=begun + timedelta(minutes=10), until=begun + timedelta(minutes=20))
    start, end = await rows.span(ORIGIN, wanted, 0, 30)
    assert (start, end) != (0, 30)
    at = [(await rows.rows(ORIGIN, Wanted(), n, n + 1)).rows[0].hit.at for n in range(30)]
    inside = [n for n in range(30) if wanted.since <= at[n] < wanted.until]  # type: ignore[operator]
    assert start <= inside[0]
    assert inside[-1] < end
    assert await rows.span(ORIGIN, Wanted(since=datetime.now(UTC) + timedelta(days=1)), 0, 30) == (30, 30)
    assert await rows.span(ORIGIN, Wanted(), 3, 7) == (3, 7)


@pytest.mark.parametrize(
    ("minutes", "since", "until"),
    [((0, 1, 2, 9, 3, 4, 5, 6), 8, 30), ((0, 1, 2, 3, 9, 4, 5, 6), 0, 7)],
    ids=["one too early", "one too late"],
)
async def test_what_stands_out_of_order_is_not_halved_away(
    local: Node, minutes: tuple[int, ...], since: int, until: int
) -> None:
    """An entry that was decided long before those around it, or after them, is in the range of its own time."""
    begun = datetime.now(UTC) - timedelta(minutes=30)
    for each in minutes:
        await local.append(a_draft(at=begun + timedelta(minutes=each)))
    moment = begun.replace(microsecond=0)
    wanted = Wanted(since=moment + timedelta(minutes=since), until=moment + timedelta(minutes=until))
    start, end = await rows_of(local).span(ORIGIN, wanted, 0, len(minutes))
    assert [each for each in minutes[start:end] if since <= each < until] == [
        each for each in minutes if since <= each < until
    ]


async def test_an_entry_that_is_missing_is_no_end(worker: Node, dsn: str) -> None:
    """Nobody is given less without being told."""
    await worker.grow(5)
    await execute(dsn, "delete from view where idx = 3", "delete from entry where idx = 3")
    with pytest.raises(IntegrityError):
        await everything(worker, Wanted())


SHARED = {"requester": "ncic", "system": "ed"}
DRAFTS: tuple[dict[str, Any], ...] = (
    {"requester": "cfrs", "system": "mdt", "actor": ACTOR},
    {"agency": "nwas", "requester": "nwas", "purpose": "emergency-response"},
    # Decided by the provider on what another asked: the asker reads what came of it too.
    {"agency": "nwas", **SHARED, "actor": ACTOR},
    {"agency": "cfrs", **SHARED, "rules": ["role refuse"]},
)
LOOKERS = [*(caller(name) for name in ("nwas", "cfrs", "ncic", "cumbria")), AUDITOR]
QUESTIONS = [
    Question(),
    Question((("actor", "a.hill"),)),
    Question((("agency", "ncic"),)),
    Question((("agency", "nwas"), ("purpose", "emergency-response"))),
    Question((("code", "role"),)),
    Question(person=SubjectRef("nhs-number", "9000000009")),
]


@pytest.mark.parametrize("indexed", [True, False])
async def test_an_export_is_what_a_search_shows(local: Node, indexed: bool) -> None:
    """To every party and the auditor, for every kind of question; also before the index has come to it."""
    for draft in DRAFTS * 2:
        await local.append(a_draft(**draft))
    if indexed:
        await filled(local)
    administration = Administration(local.log, local.clock)
    searches = Searches(administration, index_of(local), heritage_of(local))
    exports = Exports(administration, local.reader, rows_of(local), searches, heritage_of(local), local.clock)
    every = list(itertools.product(LOOKERS, enumerate(QUESTIONS)))
    taken: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    for who, (n, question) in every:
        given = [each async for each in exports.export(who, question, Range(0, 8), WHO, Reason("x"))]
        rows = [row for part in given[1:] if isinstance(part, Part) for row in part.rows]
        taken[who.name, n] = [(row.index, row.opening.view if row.opening else b"") for row in rows]
    await filled(local)
    searches = Searches(administration, index_of(local), heritage_of(local))
    found: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    for who, (n, question) in every:
        page = await searches.page(who, question, WHO, Reason("x"))
        shown = [(seen.hit.index, seen.view) for seen in reversed(page.found)]
        found[who.name, n] = [(index, view) for index, view in shown if index < 8]
    assert taken == found
    assert [index for index, _ in found["nwas/cad", 0]] == [1, 2, 5, 6]
    assert found["cumbria/cad", 0] == []


ALL = ("nwas", "cfrs", "ncic", "cumbria")
ENTRIES = [
    {"agency": asker, "requester": asker, "system": "cad", "actor": {"id": who}, "incident": incident}
    for asker, who, incident in itertools.product(
        ALL, ("a.hill", "b.moss"), ("nwas/2026-11-21/1", "cfrs/2026-11-21/2")
    )
]
ASKED = st.sampled_from(
    [
        *(("agency", each) for each in ALL),
        *(("actor", "a.hill"), ("system", "nwas/cad"), ("event", "disclosure"), ("event", "incident-alias")),
        *(("incident", "nwas/2026-11-21/1"), ("incident", "cfrs/2026-11-21/2")),
    ]
)


async def test_search_gives_everybody_what_is_theirs_and_nothing_else(local: Node) -> None:
    """Random callers, roles, questions and page sizes against the real index: every view is of the caller's own
    side, what pages give together is what one page gives, and nothing that the caller may see is left out."""
    administration = Administration(local.log, local.clock)
    searches = Searches(administration, index_of(local), heritage_of(local))
    for n, draft in enumerate(ENTRIES):
        await local.append(a_draft(**draft))  # type: ignore[arg-type]
        if n == 7:
            words = caller("cfrs"), "cfrs/2026-11-21/2", "nwas/2026-11-21/1"
            await searches.incidents.say(*words, True, WHO, Reason("radio"))
    await filled(local)
    rows = {row.hit.index: row for row in await everything(local, Wanted())}

    asks: list[tuple[str, Function, list[tuple[str, str]], int]] = []

    @settings(max_examples=80, deadline=None, database=None)
    @given(
        st.tuples(
            st.sampled_from(ALL),
            st.sampled_from([Function.PARTNER, Function.PARTNER, Function.AUDITOR]),
            st.lists(ASKED, max_size=2, unique_by=lambda fact: fact[0]),
            st.integers(1, 5),
        )
    )
    def draw(ask: tuple[str, Function, list[tuple[str, str]], int]) -> None:
        asks.append(ask)  # what waits for a database cannot be run by hypothesis itself, inside a running loop

    draw()
    for who, function, facts, limit in asks:
        asker, question = caller(who, "cad", function), Question(tuple(facts))
        found, at = list[Seen](), len(rows)
        while True:
            page = await searches.page(asker, question, WHO, Reason("x"), limit=limit, beyond=at)
            found += page.found
            if page.beyond is None:
                break
            at = page.beyond
        places = [one.hit.index for one in found]
        assert places == sorted(set(places), reverse=True)
        for one in found:
            side = {Audience.REQUESTER: one.hit.requester, Audience.PROVIDER: one.hit.provider}
            assert side.get(one.audience, who) == who
            assert (one.audience is Audience.FULL) == (function is Function.AUDITOR)
            assert one.view == rows[one.hit.index].openings[one.audience.value].view
        theirs = {n for n, row in rows.items() if audience_of(asker, row.hit) is not None}
        assert set(places) <= theirs
        if not facts:
            assert set(places) == theirs


async def test_an_incident_is_exported_by_every_number_that_it_is_said_to_have(local: Node) -> None:
    """With what was said before the range ends and not what came after it; by the index and without it."""
    ours, theirs = "nwas/2026-11-21/0042", "cfrs/2026-11-21/17"
    administration = Administration(local.log, local.clock)
    searches = Searches(administration, index_of(local), heritage_of(local))
    for number in (ours, theirs, ours):
        await local.append(a_draft(incident=number))
    await searches.incidents.say(caller("cfrs"), theirs, ours, True, WHO, Reason("radio"))
    await searches.incidents.say(caller("cfrs"), theirs, ours, False, WHO, Reason("radio"))
    question = Question((("incident", ours), ("event", "disclosure")))
    for wanted, before in (([0, 1, 2], 4), ([0, 2], 5)):
        for again in (False, True):
            if again:
                await filled(local)
            exports = Exports(
                administration, local.reader, rows_of(local), searches, heritage_of(local), local.clock
            )
            given = [
                each async for each in exports.export(AUDITOR, question, Range(0, before), WHO, Reason("x"))
            ]
            rows = [row.index for part in given[1:] if isinstance(part, Part) for row in part.rows]
            assert rows == wanted
