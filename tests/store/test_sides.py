"""Rows of the search index by who finds an entry by them: what stands there, and that it is made anew alike."""

from __future__ import annotations

from itertools import combinations

import pytest

from broker.core.canonical import Json
from broker.core.model import SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import person, term
from broker.core.views import RequesterView
from broker.ports import Draft, Shown
from broker.store.fsck.index import check_index
from broker.store.terms import BlindTerms
from tests.store.test_search import index_of
from tests.support.evidence import Node, a_draft
from tests.support.postgres import ask
from tests.support.values import replace

GIVEN, LEARNT = SubjectRef("nhs-number", "9000000009"), SubjectRef("nhs-number", "9000001013")
INCIDENT = "cfrs/2026-11-21/17"
SAID: dict[str, Json] = {
    "identifiers": [{"scheme": each.scheme, "value": each.value} for each in (GIVEN, LEARNT)],
    "asked_by": {"scheme": GIVEN.scheme, "value": GIVEN.value},
    "incident": INCIDENT,
    "system": "mdt",
    "actor": {"id": "x", "callsign": "K30P1"},
    "override": "life-at-risk",
    "rules": ["person.not-against waived"],
}


def drafts() -> list[Draft]:
    """Told in full; the provider not told; the requester not told, or told less; decided by the provider."""
    one = replace(a_draft(**SAID), requester=Shown.IN_FULL, provider=Shown.IN_FULL)
    less = RequesterView("disclosure", request_id=str(one.full["request_id"]), code="x", provider="ncic")
    decided = {**one.full, "event": "referral-decided"}
    return [
        one,
        replace(one, provider=None, provider_agency=""),
        replace(one, requester=None, requester_agency=""),
        replace(one, requester=less),
        replace(one, full=decided),
        replace(one, requester=None, requester_agency="", provider=None, provider_agency=""),
    ]


async def grown(worker: Node) -> None:
    """Each of them, under ids of their own."""
    for each in drafts():
        await worker.append(replace(each, id=a_draft().id))


async def met(worker: Node, what: str, audience: Audience, party: str = "") -> list[int]:
    """Entries whose rows have a key by which this audience looks for that, as the index itself has it."""
    common, few = index_of(worker).terms.asked({what}, audience, party)
    async with worker.database.connection() as connection:
        rows = await connection.fetch(
            "select idx from search where terms && $1::integer[] or rare && $2::bigint[] order by idx",
            [key for keys in common for key in keys],
            [key for keys in few for key in keys],
        )
    return [row["idx"] for row in rows]


@pytest.mark.parametrize("told", [(True, True), (True, False), (False, True)], ids=["both", "asked", "held"])
def test_two_halves_of_a_view_stand_as_the_whole(told: tuple[bool, bool]) -> None:
    """However it is parted in what many entries say alike and what this one says: also where both say the same
    of somebody, by which each of its parties finds it."""
    terms, sides = BlindTerms(bytes(32)), ("cfrs", "ncic")
    fixed: dict[str, Json] = {"event": "disclosure", "requester": "cfrs", "provider": "ncic"}
    said: dict[str, Json] = {
        "asked_by": {"scheme": "incident", "value": INCIDENT},
        "identifiers": [{"scheme": "incident", "value": INCIDENT}],
        "incident": INCIDENT,
        "agreement": "a/1",
        "detail": {"agreements": ["a/1"]},
    }
    whole = {**fixed, **said}
    views = [whole if each else None for each in told]
    for n in range(len(said) + 1):
        for names in combinations(said, n):
            common = {**fixed, **{name: said[name] for name in names}}
            own = {name: value for name, value in said.items() if name not in names}
            made = terms.beside(terms.known(common, told, sides), own)
            assert made == terms.literals(whole, *views, sides), names


async def test_a_look_does_not_even_meet_what_is_not_its_own(worker: Node) -> None:
    """However often somebody was asked for: of what the provider alone knows, or auditors alone see, no key of
    the requester's, nor of any other provider's, stands in the row."""
    await grown(worker)
    hidden = person(LEARNT), term("override", "life-at-risk"), term("rule", "person.not-against")
    for each in hidden:
        assert await met(worker, each, Audience.REQUESTER) == []
        assert await met(worker, each, Audience.PROVIDER, "cfrs") == []
        assert await met(worker, each, Audience.FULL) == list(range(6))
    for each in hidden[:2]:
        assert await met(worker, each, Audience.PROVIDER, "ncic") == [0, 2, 3, 4]
    assert await met(worker, hidden[2], Audience.PROVIDER, "ncic") == []
    for each in (term("incident", INCIDENT), term("system", "cfrs/mdt")):
        assert await met(worker, each, Audience.PROVIDER, "ncic") == []
    # Whoever decided is the provider's.
    assert await met(worker, term("actor", "x"), Audience.REQUESTER) == [0, 1, 3]
    assert await met(worker, term("actor", "x"), Audience.PROVIDER, "ncic") == [0, 2, 3, 4]
    for audience in Audience:
        assert 0 in await met(worker, person(GIVEN), audience, "ncic")


@pytest.mark.parametrize("gave_up", ["", "requester", "provider"])
async def test_rows_made_anew_are_those_of_the_append(local: Node, local_dsn: str, gave_up: str) -> None:
    """Written with the entry or made of its sealed views, also once a party has given up its part: what it is
    held by must not change by that. The check finds both whole."""
    await grown(local)
    read = "select array_agg(row(idx, terms, rare)::text order by idx) from search"
    before = await ask(local_dsn, read)
    if gave_up:
        await ask(local_dsn, f"update view set {gave_up}_agency = null", "select 1")
    for _ in range(2):
        report = await check_index(local_dsn, local.ring, lambda _done, _of: None)
        assert (report.good, report.opened) == (True, 6), [str(each) for each in report.problems]
        index = index_of(local)
        await index.filling.begin_again()
        while await index.fill():
            pass
        assert (await index.filling.reach()).again is None
        assert await ask(local_dsn, read) == before
