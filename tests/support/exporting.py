"""Exports for tests: a log with entries of every kind, what is given of it, files as the command has them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from broker.core.keys import Verifier
from broker.core.model import Caller, Function, Reason, SubjectRef
from broker.core.searchterms import Question
from broker.errors import BrokerError
from broker.exports import Head, Part
from broker.exports import Row as Given
from broker.offline.export import forms
from broker.offline.export.file import Partial
from broker.offline.export.manifest import Manifest
from broker.offline.export.row import Row, Said, said, unverified
from broker.ranges import Range
from tests.support import world as worlds
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, LOOKING, World, ask, caller

WHY = Reason("complaint")
PERSON = SubjectRef("nhs-number", "9434765919")
NAMES = ("jsonl", "csv", "parquet", "fhir", "otlp", "otlp-details")


async def world_of_kinds() -> World:
    """Releases, refusals on what somebody said, a role that may not ask, looks, and a change."""
    world = World()
    world.agree()
    await world.ready()
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", PERSON))
    for changes in ({}, {"actor": replace(ACTOR, role="visitor")}, {"incident": "nwas/2026-11-21/0042"}):
        with suppress(BrokerError):
            await world.exchange.answer(ask(**changes))
    world.say(PERSON, worlds.said("objection"))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with suppress(BrokerError):
        await world.exchange.answer(ask(traceparent=trace))
    council = caller("cumberland")
    await world.directives.of_own(council, PERSON, ACTOR, LOOKING)
    await world.searches.page(AUDITOR, Question(person=PERSON), ACTOR, WHY)
    await world.registry.suspend(caller("operator", "cli", Function.OPERATOR), "ncic", "cad", "a check", False)
    return world


async def given(world: World, who: Caller = AUDITOR, question: Question | None = None) -> list[Head | Part]:
    """What an export of the whole log gives."""
    asked = question or Question()
    return [each async for each in world.exports.export(who, asked, Range(), ACTOR, WHY)]


def keys(world: World) -> list[Verifier]:
    """The log's verifier key."""
    return [Verifier.from_vkey(world.store.signer.vkey)]


def rows(export: list[Head | Part]) -> list[Said]:
    """Every row of an export, verified."""
    head = export[0]
    assert isinstance(head, Head)
    return [says(head, row) for part in export[1:] if isinstance(part, Part) for row in part.rows]


def says(head: Head, row: Given) -> Said:
    """A row as the command has it, verified."""
    opening = row.opening.to_bytes() if row.opening else b""
    one = Row(row.index, row.entry, head.agency, row.audience or "", opening, row.proof, head.checkpoint)
    return said(one, unverified(head.checkpoint))


def begun(path: Path, name: str, head: Head) -> Partial:
    """A file that is being written."""
    partial = Partial(path, forms.form(name), b"asked")
    partial.begin(
        Manifest(
            form=name,
            log=unverified(head.checkpoint).origin,
            checkpoint=head.checkpoint.decode(),
            first=head.range.first,
            before=head.range.before,
            agency=head.agency,
            whole=head.whole,
            facts=(),
            about_somebody=False,
            since="",
            until="",
            entries=(head.entry,),
            looked=head.range.first,
        )
    )
    return partial


def written(path: Path, name: str, given: Sequence[Head | Part]) -> Manifest:
    """A whole file of what an export gave."""
    head = given[0]
    assert isinstance(head, Head)
    partial = begun(path, name, head)
    for part in given[1:]:
        assert isinstance(part, Part)
        for row in part.rows:
            partial.add(says(head, row))
        partial.looked(part.looked, part.closed)
    return partial.finish()
