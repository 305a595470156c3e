"""Runs of retention that meet others: holds placed meanwhile, a second run, one that was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.agreements import Agreements
from broker.core import agreement as files
from broker.errors import InvalidRequest
from broker.law import load
from tests.keeping.conftest import full_of, holds_person
from tests.keeping.test_retention import HOLDER, OLD, PERSON, applied, count, put, retention
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.world import OPERATOR, terms, toml


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
