"""A property: after the erasure of somebody, everything else is to the byte what it was."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from broker.core.checkpoint import open_checkpoint
from broker.core.merkle import verify_consistency
from broker.core.model import SubjectRef
from broker.core.receipt import NOT_AT_HAND, Receipt, verify_receipt
from broker.core.searchterms import person, term
from tests.keeping.conftest import CFRS, COUNCIL, NWAS, OFFICER, WHY, asks, caught_up, entry_of, holds_person
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, said

AUDIENCES = ("requester", "provider", "full")


@dataclass(frozen=True)
class Seen:
    """What there is to see: by entry its parties and openings, by question the entries found, the receipts."""

    parties: dict[str, tuple[str, str]]
    openings: dict[str, tuple[bytes | None, ...]]
    found: dict[str, tuple[str, ...]]
    receipts: dict[str, Receipt]
    said: dict[SubjectRef, Any]


async def see(stage: Stage, entries: list[str], people: list[SubjectRef]) -> Seen:
    """All of it."""
    parties, openings, receipts = {}, {}, {}
    for entry in entries:
        parties[entry] = await stage.view.parties(entry)
        views = [await stage.view.receipt(entry, audience) for audience in AUDIENCES]
        openings[entry] = tuple(None if r.opening is None else r.opening.to_bytes() for r, _ in views)
        receipts[entry] = views[0][0]
    found = {}
    questions = [person(each) for each in people] + [term("agency", "nwas"), term("outcome", "permit")]
    for question in questions:
        hits = await stage.search.find(
            frozenset({question}), -1, 500, newest_first=False, since=None, until=None
        )
        found[question] = tuple(hit.id for hit in hits.found if hit.id in entries)
    return Seen(parties, openings, found, receipts, {})


async def furnished(stage: Stage, chance: random.Random) -> tuple[list[SubjectRef], list[str]]:
    """Some people, and entries about them: links, refusals, directives, holds."""
    people = [stage.person() for _ in range(5)]
    entries = []
    for _ in range(18):
        subject, other = chance.sample(people, 2)
        changes: dict[str, Any] = {}
        if chance.random() < 0.25:
            changes["actor"] = replace(ACTOR, role="visitor")
        if chance.random() < 0.2:
            directive = said("objection", said_at=stage.clock.now())
            made = await stage.said.add(COUNCIL, subject, directive, ACTOR)
            entries.append(made.event_id)
            await stage.said.withdraw_one(COUNCIL, directive.id, ACTOR)
        learnt = (other,) if chance.random() < 0.3 else ()
        entries.append(await entry_of(stage, await asks(stage, subject, *learnt, **changes)))
    return people, entries


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_everything_else_is_as_it_was(stage: Stage, seed: int) -> None:
    """Every proof, view and search result but of the entries that the erasure names; old receipts hold too."""
    chance = random.Random(seed)
    people, entries = await furnished(stage, chance)
    gone = chance.choice(people)
    who = chance.choice([NWAS, CFRS, COUNCIL])
    if chance.random() < 0.5:
        await holds_person(stage, who, chance.choice(people))
    await caught_up(stage)
    before, size = await see(stage, entries, people), await stage.size()
    _, made = await stage.erasures.erase(who, gone, OFFICER, WHY)
    await caught_up(stage)
    after = await see(stage, entries, people)
    _, full = await stage.view.receipt(made[0].event_id, "full")
    detail: Any = full["detail"]
    named = set(detail["entries"])
    if named & set(entries):
        assert any(after.openings[entry] != before.openings[entry] for entry in named & set(entries))
    for entry in entries:
        if entry not in named:
            assert after.parties[entry] == before.parties[entry]
            assert after.openings[entry] == before.openings[entry]
        else:
            assert who.agency not in after.parties[entry]
        for seen in (before, after):
            verify_receipt(seen.receipts[entry], [stage.signer.verifier], record=NOT_AT_HAND)
        assert before.receipts[entry].entry == after.receipts[entry].entry
        assert before.receipts[entry].index == after.receipts[entry].index
    whole = {entry for entry in named if after.openings.get(entry) == (None, None, None)}
    for question, ids in before.found.items():
        assert after.found[question] == tuple(each for each in ids if each not in whole), question
    old = open_checkpoint(before.receipts[entries[-1]].checkpoint, [stage.signer.verifier])
    new = open_checkpoint(after.receipts[entries[-1]].checkpoint, [stage.signer.verifier])
    proof, _ = await stage.view.consistency(old.size, new.size)
    verify_consistency(old.size, old.root, new.size, new.root, proof)
    assert old.size == size
