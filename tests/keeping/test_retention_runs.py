"""Runs of retention that meet others: holds placed meanwhile, a second run, one that was interrupted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.administration import TRIES
from broker.agreements import Agreements
from broker.core import agreement as files
from broker.errors import IntegrityError, InvalidRequest
from broker.law import load
from tests.keeping.conftest import OFFICER, asks, entry_of, full_of, holds_person
from tests.keeping.test_fsck_says import look
from tests.keeping.test_retention import DUE, HOLDER, OLD, PERSON, applied, count, keys, put, retention
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.world import OPERATOR, caller, terms, toml


async def test_a_hold_placed_while_a_month_is_set_aside_is_heeded(durable_stage: Stage) -> None:
    """Placed after the look and before the commit, it has the look made again."""
    stage = durable_stage
    draft = await put(stage, OLD)
    destroying: Any = stage.destroying
    set_aside, tries = destroying.set_aside, []

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(destroying, name)

        async def set_aside(self, *about: Any) -> int:
            moved = await set_aside(*about)
            tries.append(moved)
            if len(tries) == 1:
                await holds_person(stage, HOLDER, PERSON)
            return int(moved)

    stage.destroying = Overtaken()  # type: ignore[assignment]
    (done,) = await applied(stage)
    assert tries == [0, 1]
    assert (done.entries, done.set_aside) == (0, 1)
    assert await full_of(stage, draft.id) != {}


@pytest.mark.parametrize("what", ["hold", "release", "erasure"])
async def test_nobody_keeps_a_month_from_ending_by_what_they_do_at_will(
    durable_stage: Stage, what: str
) -> None:
    """Each time that all has been looked at, somebody holds, releases or erases: they wait until it has ended,
    and what they do is done."""
    stage = durable_stage
    await put(stage, OLD)
    entries = [await entry_of(stage, await asks(stage, stage.person())) for _ in range(TRIES)]
    holds = [await holds_person(stage, HOLDER, stage.person()) for _ in range(TRIES)]
    destroying: Any = stage.destroying
    done = list[asyncio.Task[Any]]()

    def comes() -> Any:
        if what == "hold":
            return stage.holds.place(HOLDER, stage.person(), "case", OFFICER, DUE)
        if what == "release":
            return stage.holds.release(HOLDER, holds.pop(), OFFICER, DUE)
        return stage.erasures.erase(caller("nwas"), (entries.pop(),), OFFICER, DUE)

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(destroying, name)

        async def under(self, *about: Any) -> int:
            found = int(await destroying.under(*about))
            done.append(asyncio.create_task(comes()))
            await asyncio.sleep(0.3)
            return found

    stage.destroying = Overtaken()  # type: ignore[assignment]
    start = await stage.size()
    (ended,) = await applied(stage)
    assert ended.entries == 1
    (made,) = await asyncio.gather(*done)
    assert made
    events = [each["event"] for each in await stage.since(start)]
    assert events[0] == "retention"
    assert len(events) == 2


@pytest.mark.parametrize("until", ["it ends", "it is long"])
async def test_a_run_that_was_killed_holds_nobody_up(
    durable_stage: Stage, until: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold waits as long as a last look may take, and is placed."""
    stage, loop = durable_stage, asyncio.get_running_loop()
    assert stage.destroying is not None
    if until == "it is long":
        monkeypatch.setattr("broker.holds.LAST_LOOK", 0.4)
    await stage.destroying.last_look(60 if until == "it is long" else 0.4)
    begun = loop.time()
    await holds_person(stage, HOLDER, PERSON)
    assert 0.3 < loop.time() - begun < 5
    await stage.destroying.last_look(0)
    assert await stage.keeping.waiting() == 0


def test_a_key_that_is_gone_is_destroyed_again_in_vain(tmp_path: Path) -> None:
    """Destroying is idempotent, and what is destroyed is not read again."""
    from broker.errors import KeyMissing
    from broker.keys import FolderKeys

    ring = FolderKeys(tmp_path / "keys")
    path = tmp_path / "keys" / "views" / "2020-01.standard.key"
    ring.make_wrapping_key("2020-01", "standard")
    assert path.exists()
    ring.destroy_wrapping_key("2020-01", "standard")
    ring.destroy_wrapping_key("2020-01", "standard")
    assert not path.exists()
    with pytest.raises(KeyMissing):
        ring.wrapping_key("2020-01", "standard")


async def test_an_agreement_names_a_class_that_the_deployment_has(durable_stage: Stage) -> None:
    """With a policy a class that it does not know is refused; `standard` never is, and without one none is."""
    stage = durable_stage
    made = terms(version=2, evidence={"retention": "safeguarding"})
    agreement, reference = files.parse(toml(made), load()), await stage.reference.refresh()
    for classes, refused in ((("standard", "long"), True), (("safeguarding",), False), ((), False)):
        agreed = Agreements(stage.administration, stage.reference, stage.agreements, stage.clock, classes)
        if refused:
            with pytest.raises(InvalidRequest, match=r"evidence\.retention.*it has long, standard"):
                agreed.check(agreement, reference)
        else:
            agreed.check(agreement, reference)
    plain = files.parse(toml(terms(version=2)), load())
    Agreements(stage.administration, stage.reference, stage.agreements, stage.clock, ("long",)).check(
        plain, reference
    )


async def test_what_was_begun_is_shown_and_ended(durable_stage: Stage) -> None:
    """An end of which something is left is gone on with before anything else, by the entry that it has."""
    stage = durable_stage
    await put(stage, OLD)
    (done,) = await applied(stage)
    await ask(stage.dsn, "update destroyed set done_at = null", "select 1")
    (item,) = [i for i in await retention(stage).plan(OPERATOR) if i.view.month == "2020-01"]
    assert item.state == "ending"
    size = await stage.size()
    (again,) = await applied(stage)
    assert (again.entry, again.entries) == (done.entry, 0)
    assert await stage.size() == size


async def test_of_two_runs_one_ends_a_month(durable_stage: Stage) -> None:
    """The other is told to look again; one entry says so."""
    stage = durable_stage
    await put(stage, OLD)
    destroying: Any = stage.destroying

    class Overtaken:
        done = False

        def __getattr__(self, name: str) -> Any:
            return getattr(destroying, name)

        async def set_aside(self, *about: Any) -> int:
            if not self.done:
                self.done = True
                assert len(await applied(stage)) == 1
            return int(await destroying.set_aside(*about))

    stage.destroying = Overtaken()  # type: ignore[assignment]
    with pytest.raises(InvalidRequest, match="ended by another run"):
        await applied(stage)
    assert await count(stage, "destroyed") == 1


async def test_words_that_are_erased_while_a_month_is_set_aside_do_not_come_back(durable_stage: Stage) -> None:
    """What was read before they went is not written after it; the view itself is sealed anew all the same."""
    stage = durable_stage
    draft = await put(stage, OLD)
    await holds_person(stage, HOLDER, PERSON)
    destroying: Any = stage.destroying
    seals = destroying._seals
    row = f"(log, idx) = (select log, idx from entry where id = '{draft.id}')"

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(seals, name)

        async def of(self, *about: Any) -> Any:
            # Past the guard, as an erasure of words that no hold keeps goes.
            await ask(
                stage.dsn,
                "alter table view disable trigger hold_guard",
                f"update view set words = null where {row}",
                "alter table view enable trigger hold_guard",
                "select 1",
            )
            return await seals.of(*about)

    destroying._seals = Overtaken()
    (done,) = await applied(stage)
    assert done.set_aside == 1
    assert await ask(stage.dsn, f"select words is null from view where {row}")
    assert await full_of(stage, draft.id) != {}


async def test_five_hundred_holds_keep_no_month_from_ending(durable_stage: Stage) -> None:
    """What they do not hold goes, two thousand entries at a time, each within a statement's time."""
    stage = durable_stage
    await put(stage, OLD)
    key = await ask(stage.dsn, "select id from view_key where month = '2020-01'")
    grow = """
        insert into view select v.log, n + 1000, v.key, v.requester_agency, v.provider_agency, v.views, v.words
            from view v, generate_series(1, 4000) n where v.key = {key};
        insert into entry select log, idx, gen_random_uuid(), null from view where idx > 1000;
        insert into search select idx, now(), log, '{{7}}', search_keys(idx, '{{7}}')
            from view where idx > 1000;
        insert into hold select gen_random_uuid(), 'cfrs', true, '{{}}', '{{}}', 'person', '{{}}', array[n],
            null, '', 'x', now() from generate_series(100, 600) n;
    """
    await ask(stage.dsn, grow.format(key=key), "select 1")
    (done,) = await applied(stage)
    assert (done.view.month, done.set_aside) == ("2020-01", 0)
    assert await ask(stage.dsn, f"select count(*) from view where key = {key}") == 0
    assert await ask(stage.dsn, "select count(*) from destroyed where done_at is null") == 0


async def test_a_key_is_destroyed_by_an_entry_alone(durable_stage: Stage) -> None:
    """Whoever writes by hand that this month was ended has the next run destroy nothing: its key lies outside
    the database, and opens what lies in backups. `fsck` names the row."""
    stage = durable_stage
    await put(stage, stage.clock.now())
    kept, month = keys(stage), f"{stage.clock.now():%Y-%m}"
    by = await ask(stage.dsn, "select max(id::text) from entry")
    listed = (
        "insert into destroyed (id, key, month, class, at)"
        f" select '{by}', id, month, class, now() from view_key where month = '{month}' and class = 'standard'"
    )
    await ask(stage.dsn, listed, "select 1")
    with pytest.raises(IntegrityError, match="no entry of the log does"):
        await applied(stage)
    assert keys(stage) == kept
    found = [str(each) for each in (await look(stage)).problems]
    assert len(found) == 1
    assert f"end of {month}, standard" in found[0]
    await ask(stage.dsn, "delete from destroyed", "select 1")
    await put(stage, OLD)
    await applied(stage)
    assert [each for each in (await look(stage)).problems if each.kind != "time"] == []
    await ask(stage.dsn, "update destroyed set key = key + 1", "select 1")
    assert "key of another month" in str([e.text for e in (await look(stage)).problems])
    await ask(stage.dsn, "delete from destroyed", "select 1")
    ((_, text),) = [(e.path, e.text) for e in (await look(stage)).problems if e.kind != "time"]
    assert "is not listed as" in text
