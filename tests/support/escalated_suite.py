"""Rows of the store's suite for what waits past its time and is told on."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.core.canonical import Json
from broker.escalations import Escalated, Item
from broker.ports import Appended, Change
from tests.support.stage import Stage
from tests.support.store_suite import Row, a_draft, an_override, is_gone


async def _waits(stage: Stage) -> Item:
    """An override that nobody has reviewed; its time is over at once."""
    return Item("override", (await an_override(stage)).id)


async def _told_on(stage: Stage) -> tuple[str, Item]:
    """One that has been escalated, and its escalation's id."""
    item, escalation, now = await _waits(stage), str(uuid.uuid4()), datetime.now(UTC).isoformat()
    detail: dict[str, Json] = {
        "id": escalation,
        "queue": item.queue,
        "item": item.id,
        "provider": "cfrs",
        "district": "",
        "requester": "nwas",
        "due": now,
        "at": now,
    }
    change = Change("escalation", detail, frozenset({f"escalation:{item.id}"}), reference=False)
    assert isinstance(await stage.log.change(a_draft(), change), Appended)
    return escalation, item


def _later() -> datetime:
    return datetime.now(UTC) + timedelta(days=365)


def _is_late(_: Stage, item: Item, result: Any, __: bool) -> None:
    assert item in result


def _stands(_: Stage, __: Any, result: Any, ___: bool) -> None:
    assert result is True


def _is_claimed(_: Stage, made: tuple[str, Item], result: list[Escalated], repeated: bool) -> None:
    assert (made[0] in {each.id for each in result}) is not repeated


async def _nobody_elses(stage: Stage, made: tuple[str, Item]) -> int:
    """1 where somebody has claimed it."""
    return await stage.late_claimed(made[0])


async def _is_told(stage: Stage, made: tuple[str, Item]) -> int:
    return await stage.late_told(made[0])


ROWS: dict[str, Row] = {
    "EscalationTable.late": Row(_waits, lambda s, _: s.late.late(_later(), 100_000), _is_late),
    "EscalationTable.stands": Row(_told_on, lambda s, m: s.late.stands(m[1]), _stands),
    "EscalationTable.claim": Row(_told_on, lambda s, _: s.late.claim(10_000, 3600), _is_claimed, _nobody_elses),
    "EscalationTable.told": Row(_told_on, lambda s, m: s.late.told(m[0]), is_gone, _is_told),
}
