"""The kit itself: each broken promise is found, and by its own name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from adapters.sdk import Answer, Found, NotFound, ProviderUnavailable, Provides, Question, SubjectRef
from adapters.sdk.answer import AnswerFunction
from adapters.sdk.conformance import Case, check, leaves
from records.fire.v1 import premises_risk_pb2 as fire

CASE = Case(
    Provides("records.fire.v1.PremisesRisk", ("uprn",)),
    SubjectRef("uprn", "1"),
    SubjectRef("uprn", "2"),
    within=0.3,
)
PARTS = ("oxygen", "hoarding", "access", "hazards", "sprinklers", "evacuation")


def sound(**changes: object) -> fire.PremisesRisk:
    """A record in which every part says its state."""
    record = fire.PremisesRisk(uprn="1", **changes)  # type: ignore[arg-type]
    for part in PARTS:
        getattr(record, part).state = 2
    return record


def adapter(record: Callable[[], fire.PremisesRisk] = sound, gone: list[bool] | None = None) -> AnswerFunction:
    """An adapter that holds premises 1 alone and keeps every promise."""

    async def answer(question: Question) -> Answer:
        await asyncio.sleep(0.001)
        if gone:
            raise ProviderUnavailable("gone")
        assert question.subject is not None
        if question.subject.value != "1":
            return NotFound((question.subject,))
        return Found(record(), (question.subject,), datetime.now(UTC))

    return answer


async def broken(answer: AnswerFunction) -> list[str]:
    """The promises that this adapter breaks."""
    return [v.promise for v in await check(answer, CASE) if not v.kept]


async def test_an_adapter_that_keeps_every_promise_passes() -> None:
    """And its source is taken away last."""
    gone: list[bool] = []

    async def take_away() -> None:
        gone.append(True)

    verdicts = await check(adapter(gone=gone), CASE, take_away=take_away)
    assert [v for v in verdicts if not v.kept] == []
    assert len(verdicts) == 9


async def _never_fails(question: Question) -> Answer:
    return await adapter()(question)


async def _sleeps_on(question: Question) -> Answer:
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        try:
            await asyncio.sleep(end - time.monotonic())
        except asyncio.CancelledError:
            continue
    return await adapter()(question)


async def _blocks(question: Question) -> Answer:
    time.sleep(0.35)  # noqa: ASYNC251 - the very fault
    return await adapter()(question)


async def _finds_everything(question: Question) -> Answer:
    assert question.subject is not None
    return Found(sound(), (question.subject,), datetime.now(UTC))


async def _forgets_who_was_asked(question: Question) -> Answer:
    found = await adapter()(question)
    return Found(found.record, (SubjectRef("uprn", "3"),), found.as_at) if isinstance(found, Found) else found


async def _confuses_down_with_absent(question: Question) -> Answer:
    assert question.subject is not None
    return NotFound((question.subject,))


def _with_unnamed(name: str) -> fire.PremisesRisk:
    record = sound()
    record.oxygen.state = 1
    setattr(record.oxygen, name, 99)
    return record


SOUND = "a known subject is found, with a sound record"


@pytest.mark.parametrize(
    ("answer", "promise"),
    [
        (adapter(lambda: sound(crew_notes="x" * (1 << 20))), SOUND),
        (adapter(lambda: fire.PremisesRisk.FromString(b"\xf8\x7f\x01")), SOUND),
        (adapter(lambda: fire.PremisesRisk(oxygen={"kept_in": "hall"})), SOUND),  # type: ignore[arg-type]
        (adapter(lambda: fire.PremisesRisk(uprn="1")), SOUND),
        (adapter(lambda: _with_unnamed("kind")), SOUND),
        (_forgets_who_was_asked, SOUND),
        (_confuses_down_with_absent, SOUND),
        (_finds_everything, "an unknown subject is not found"),
        (_blocks, "an answer comes inside the asker's time"),
        (_sleeps_on, "cancelling stops the work"),
    ],
)
async def test_each_broken_promise_is_found(answer: AnswerFunction, promise: str) -> None:
    """One fault at a time."""
    assert promise in await broken(answer)


async def test_an_enum_with_a_number_that_has_no_name_is_named_by_its_field() -> None:
    """No value is shown: it may be about somebody."""
    (verdict,) = [each for each in await check(adapter(lambda: _with_unnamed("kind")), CASE) if not each.kept]
    assert (verdict.promise, verdict.why) == (SOUND, "no name in the record type has the number of oxygen.kind")


async def test_a_source_that_is_gone_and_not_missed_is_found() -> None:
    """An adapter that answers as before without its source answers from somewhere else."""

    async def take_away() -> None:
        return None

    verdicts = await check(_never_fails, CASE, take_away=take_away)
    assert [v.promise for v in verdicts if not v.kept] == [
        "without its source, it says so inside the asker's time"
    ]


def test_leaves_are_all_and_only_leaves() -> None:
    """Dotted proto names, parents never."""
    paths = leaves(fire.PremisesRisk)
    assert "hazards.items.provenance.review_by" in paths
    assert "address.lines" in paths
    assert "oxygen" not in paths
    assert len(paths) == len(set(paths)) == 63
