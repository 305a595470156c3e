"""What lies on disk after an erasure and a scrub: in no file of the server is anything of what was erased."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.core.searchterms import Question
from broker.exports import Exports, Part
from broker.offline.fsck import fsck
from broker.offline.partition import export
from broker.offline.source import Folder
from broker.ports import Appended
from broker.ranges import Range
from broker.store.embedded import EmbeddedPostgres
from broker.store.scrub import TABLES, Scrubber
from tests.keeping.conftest import AUDITOR, CFRS, NWAS, OFFICER, WHY, asks, caught_up, entry_of
from tests.keeping.killed import POLICY, retain
from tests.keeping.test_erasure_plans import SECOND
from tests.support.durable import durable
from tests.support.evidence import ORIGIN, a_draft
from tests.support.postgres import ask, open_folder
from tests.support.stage import Stage, stage_on
from tests.support.static_log import StaticLog
from tests.support.world import ACTOR, caller

OLD = datetime(2020, 1, 31, 12, tzinfo=UTC)
PIECE = 40  # bytes of a sealed text that are looked for: more than chance


@pytest.fixture
def own_server() -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """A server whose files nobody else writes to, and its data folder."""
    with open_folder() as folder, EmbeddedPostgres.start(folder / "state") as server:
        yield server, folder / "state" / "postgres" / "files" / "data"


def where(data: Path, needles: dict[str, bytes]) -> dict[str, list[str]]:
    """In which files each of these bytes are."""
    found: dict[str, list[str]] = {name: [] for name in needles}
    for path in sorted(data.rglob("*")):
        try:
            text = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        for name, needle in needles.items():
            if needle in text:
                found[name].append(str(path.relative_to(data)))
    return found


def pieces(name: str, text: bytes) -> dict[str, bytes]:
    """The beginning, the middle and the end of a sealed text."""
    middle = len(text) // 2
    return {f"{name} {n}": text[at : at + PIECE] for n, at in enumerate((0, middle, len(text) - PIECE))}


async def scrub(server: EmbeddedPostgres) -> list[str]:
    """What a scrub did, in its order; nothing is left to an administrator."""
    steps = [step async for step in Scrubber(server.dsn).scrub()]
    assert [step.problem for step in steps if step.problem] == []
    return [step.what for step in steps]


@pytest.mark.long
@pytest.mark.parametrize("log", ["current", "closed"])
async def test_a_person_is_in_no_file_after_erasure_and_scrub(
    own_server: tuple[EmbeddedPostgres, Path], tmp_path: Path, log: str
) -> None:
    """Views, words, blind terms and plans of the person are found before, nowhere after; others' stay. Of a log
    that was closed before, its export as a folder never held any, and an export of its entries still does."""
    server, data = own_server
    async with stage_on(server.dsn, tmp_path) as stage:
        others = [stage.person() for _ in range(6)]
        subject = stage.person()
        for each in others[:3]:
            await asks(stage, each)
        requests = [await asks(stage, subject) for _ in range(40)]  # whole pages of them, too
        for each in others[3:]:
            await asks(stage, each)
        kept = await entry_of(stage, await asks(stage, others[0]))
        needles: dict[str, bytes] = {}
        for n, request in enumerate((requests[0], requests[20], requests[-1])):
            needles |= pieces(f"view {n}", await _sealed(server.dsn, "views", await entry_of(stage, request)))
            needles |= pieces(f"words {n}", await _sealed(server.dsn, "words", await entry_of(stage, request)))
        stays = pieces("another's", await _sealed(server.dsn, "views", kept))
        _, blind = stage.keeping.blind(frozenset({f"person|{subject.scheme}|{subject.value}"}))
        # Of the first run, as whoever may see them finds it.
        stands = (
            f"select array_agg(distinct r) from search, unnest(rare) r where r = any ('{{{str(blind)[1:-1]}}}')"
        )
        found = await ask(server.dsn, stands)
        assert found
        for n, term in enumerate(found):
            needles[f"blind term {n}"] = term.to_bytes(8, "little", signed=True)
        plans = {}
        for who in (NWAS, CFRS):
            plans[who.agency], _, _ = await stage.erasing.plan(who, subject, "objection", OFFICER, WHY)
            await caught_up(stage)
        needles["planned about"] = stage.erasure_plans.subject(subject)
        # As the server does by itself, once there is enough: what it samples no erasure reaches.
        await ask(server.dsn, "analyze", "checkpoint", "select 1")
        assert all(where(data, needles).values()), "the search finds what is there"
        if log == "closed":
            out, taken = tmp_path / "out", tmp_path / "taken.jsonl"
            await _rotated(stage)
            await _as_a_folder(stage, out)
            taken.write_bytes(await _as_rows(stage))
        for who in (NWAS, CFRS):
            second, plan = caller(who.agency, "records"), plans[who.agency].id
            told, _ = await stage.erasing.confirm(second, plan, subject, SECOND, WHY)
            await caught_up(stage)
        assert told.entries == 40
        assert await ask(server.dsn, stands) is None
        await ask(server.dsn, "vacuum", "checkpoint", "select 1")
        assert any(where(data, needles).values()), "vacuum alone leaves bytes behind"
        assert await scrub(server) == [*TABLES, "write-ahead log"]
        assert {name: files for name, files in where(data, needles).items() if files} == {}
        assert all(where(data, stays).values())
        if log == "closed":
            number = {"number": subject.value.encode()}
            assert not any(where(out, needles | number).values()), "a folder shows volume and time alone"
            assert where(tmp_path, number)["number"] == ["taken.jsonl"], "whoever took it has it still"
        assert (await stage.view.receipt(kept, "requester"))[0].opening is not None
        assert await asks(stage, stage.person()), "it goes on"


@pytest.mark.long
async def test_a_destroyed_key_is_in_no_file(own_server: tuple[EmbeddedPostgres, Path], tmp_path: Path) -> None:
    """Neither the wrapping key in the key folder, nor the wrapped one, nor a view, in any file."""
    server, data = own_server
    async with stage_on(server.dsn, tmp_path):
        pass
    async with durable(server.dsn, tmp_path) as made:
        drafts = [a_draft(at=OLD, words="own words", detail=os.urandom(200).hex()) for _ in range(60)]
        for draft in drafts:
            assert isinstance(await made.log.append(draft), Appended)
        while await made.search.fill():
            pass
        wrapped = await ask(server.dsn, "select wrapped from view_key where month = '2020-01'")
        wrapping = made.destroying._ring.wrapping_key("2020-01", "standard")
        needles = pieces("wrapped", bytes(wrapped)) | pieces(
            "view", await _sealed(server.dsn, "views", drafts[30].id)
        )
        secret: dict[str, bytes] = {"wrapping": wrapping, "in hex": wrapping.hex().encode()}
        assert where(tmp_path, secret)["in hex"]
        await ask(server.dsn, "analyze", "checkpoint", "select 1")
        assert all(where(data, needles).values())
        assert POLICY
        await retain(made)
    await scrub(server)
    assert {name: files for name, files in where(data, needles | secret).items() if files} == {}
    assert {name: files for name, files in where(tmp_path, secret).items() if files} == {}


async def _rotated(stage: Stage) -> None:
    assert stage.halves is not None
    await stage.halves.rotate(ORIGIN, stage.halves.prepare("blue-light.test/log/2027h1"))
    await caught_up(stage)


async def _as_a_folder(stage: Stage, out: Path) -> None:
    """The closed log as `broker audit partition export` writes it."""
    past: Any = stage.past
    size, _ = await stage.past.head(ORIGIN)
    leaves = [leaf.entry for leaf in await past.leaves(0, size, ORIGIN)]
    _, note = await stage.view.consistency(0, 0, ORIGIN)
    StaticLog(out.with_name("mirror")).write(leaves, checkpoint=note)
    export(Folder(out.with_name("mirror")), [stage.signer.verifier], out)
    assert fsck(Folder(out), [stage.signer.verifier]).entries == size


async def _as_rows(stage: Stage) -> bytes:
    """The closed log's entries as an auditor takes them away."""
    exports = Exports(
        stage.administration, stage.view, stage.entries, stage.searches, stage.heritage, stage.clock
    )
    given = [each async for each in exports.export(AUDITOR, Question(), Range(log=ORIGIN), ACTOR, WHY)]
    rows = [row for part in given if isinstance(part, Part) for row in part.rows]
    return b"\n".join(row.opening.view for row in rows if row.opening is not None)


async def _sealed(dsn: str, column: str, entry: str) -> bytes:
    sql = f"select {column} from view join entry using (log, idx) where id = '{entry}'"
    value: Any = await ask(dsn, sql)
    return bytes(value)
