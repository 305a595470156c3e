"""Rows of the store's ports beside the path of a request: cases, holds, the past, whole entries, time stamps.

What a row is, `store_suite` says; `tests/faults/test_store_ports.py` runs these with those.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from broker import cases, entryrows, erasureplans, figures, keeping, past, ports
from broker.accesswanted import Wanted as AccessWanted
from broker.anchor import hourly
from broker.anchor.hourly import Anchor
from broker.core.merkle import leaf_hash, verify_inclusion
from broker.core.model import Reason, SubjectRef
from broker.entryrows import Wanted
from broker.ports import Appended, Change, Draft
from tests.support.memory import ORIGIN
from tests.support.stage import COUNCIL, Stage
from tests.support.store_suite import (
    Place,
    Row,
    a_directive,
    a_draft,
    a_found_entry,
    a_new_agency,
    a_place,
    an_override,
    is_gone,
    whose,
)
from tests.support.values import replace
from tests.support.world import ACTOR, caller

STORE = (
    cases.AccessStore,
    figures.FiguresStore,
    cases.BreachStore,
    cases.ComplaintStore,
    keeping.Keeping,
    erasureplans.ErasurePlanStore,
    entryrows.EntryRows,
    past.Past,
    hourly.AnchorTable,
    hourly.ProvableLog,
)
# Those that no store implements; and what PostgreSQL alone does, which tests/keeping kills at every step.
OTHERS = (ports.TimeStamps, hourly.Stamps, keeping.Destroying, keeping.Scrubbing)
# Reckoned from the key at hand: nothing is asked that could fail.
RECKONED = frozenset({"Keeping.blind", "ErasurePlanStore.subject"})
WHY = Reason("complaint", "somebody asked")
NAMED = replace(ACTOR, id="p.moss", role="caldicott-guardian", name="Pat Moss")


# Cases: what a change has made.


@dataclass(frozen=True)
class Access:
    """A request for access, and an entry that was cleared for it."""

    id: str
    agency: str
    entry: str


async def _an_access(stage: Stage) -> Access:
    who = caller(f"p{uuid.uuid4().hex[:12]}", "cad")
    access, _, _ = await stage.access.start(who, AccessWanted((stage.person(),)), NAMED, WHY)
    made = Access(access, who.agency, str(uuid.uuid4()))
    cleared: dict[str, Any] = {
        "id": access,
        "access": access,
        "agency": made.agency,
        "entries": [made.entry],
        "code": "",
        "cleared_by": made.agency,
        "at": stage.clock.now().isoformat(),
    }
    lock: frozenset[str | bytes] = frozenset({f"access:{access}"})
    change = Change("access-clearing", cleared, lock, reference=False)
    assert isinstance(await stage.log.change(a_draft(), change), Appended)
    return made


def _is_among_open(_: Stage, made: Access, result: Any, __: bool) -> None:
    assert [row.agency for row in result if row.id == made.id] == [made.agency]


def _is_access(_: Stage, made: Access, result: Any, __: bool) -> None:
    assert (result.id, result.agency, len(result.asked["subjects"])) == (made.id, made.agency, 1)


def _is_one(_: Stage, __: object, result: int, ___: bool) -> None:
    assert result == 1


def _are_cleared(_: Stage, made: Access, result: Any, __: bool) -> None:
    assert [(each.entry, each.agency, each.code) for each in result] == [(made.entry, made.agency, "")]


async def _an_answer(stage: Stage) -> Access:
    """One that was given, with its entry in it."""
    made = await _an_access(stage)
    issued: dict[str, Any] = {
        "id": made.id,
        "access": made.id,
        "at": stage.clock.now().isoformat(),
        "told": [made.entry],
    }
    lock: frozenset[str | bytes] = frozenset({f"access:{made.id}"})
    change = Change("access-issue", issued, lock, reference=False)
    assert isinstance(await stage.log.change(a_draft(), change), Appended)
    return made


def _are_told(_: Stage, made: Access, result: Any, __: bool) -> None:
    assert result == [made.entry]


async def _a_month(stage: Stage) -> date:
    """One that was published; each call another."""
    month = date(1000 + int(uuid.uuid4()) % 8000, 1, 1)
    stored: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "month": month.isoformat(),
        "at": stage.clock.now().isoformat(),
        "page": {"facts": [["Month", "January"]], "tables": []},
    }
    change = Change(figures.KIND, stored, frozenset({f"figures:{month}"}), reference=False)
    assert isinstance(await stage.log.change(a_draft(), change), Appended)
    return month


def _is_published(_: Stage, month: date, result: Any, __: bool) -> None:
    assert (result.month, result.page) == (month, {"facts": [["Month", "January"]], "tables": []})


async def _a_breach(stage: Stage) -> Draft:
    """An override whose review said that it was the wrong person."""
    draft = await an_override(stage)
    stored: dict[str, Any] = {
        "id": draft.id,
        "status": "wrong-person",
        "told": True,
        "by": whose(draft),
        "at": stage.clock.now().isoformat(),
    }
    by: dict[str, Any] = {"reviewed_by": {"id": NAMED.id}}
    lock: frozenset[str | bytes] = frozenset({f"override-use:{draft.id}"})
    change = Change("override-review", stored, lock, reference=False, sealed=by)
    assert isinstance(await stage.log.change(a_draft(), change), Appended)
    return draft


def _is_breach(_: Stage, draft: Draft, result: Any, __: bool) -> None:
    assert (result.id, result.provider, result.requester) == (draft.id, whose(draft), "nwas")


def _are_breaches(stage: Stage, draft: Draft, result: Any, repeated: bool) -> None:
    (row,) = result
    _is_breach(stage, draft, row, repeated)


async def _a_complaint(stage: Stage) -> tuple[str, str]:
    """Its id, and to which agency."""
    who = caller(f"p{uuid.uuid4().hex[:12]}", "cad")
    complaint, _, _ = await stage.complaints.add(who, "C-1", None, "rude", NAMED)
    return complaint, who.agency


def _is_complaint(_: Stage, made: tuple[str, str], result: Any, __: bool) -> None:
    assert (result.id, result.agency, result.detail) == (*made, {"reference": "C-1"})


def _are_complaints(stage: Stage, made: tuple[str, str], result: Any, repeated: bool) -> None:
    (row,) = result
    _is_complaint(stage, made, row, repeated)


# Holds, and what hangs on an entry.


async def _a_hold(stage: Stage) -> str:
    hold, _ = await stage.holds.place(COUNCIL, stage.person(), "CASE-7", NAMED, WHY)
    return hold


def _is_hold(_: Stage, hold: str, result: Any, __: bool) -> None:
    assert [(each.id, each.reference, each.released_at) for each in result] == [(hold, "CASE-7", None)]


@dataclass(frozen=True)
class Hung:
    """A row of a human's that is open, and what somebody has said."""

    draft: Draft
    subject: SubjectRef
    directive: str


async def _a_hung(stage: Stage) -> Hung:
    return Hung(await an_override(stage), *await a_directive(stage))


async def _attached(stage: Stage, made: Hung) -> Any:
    agencies = frozenset({whose(made.draft), COUNCIL.agency})
    return await stage.keeping.attached([made.draft.id], made.subject, agencies, datetime.now(UTC))


def _is_attached(_: Stage, made: Hung, result: Any, __: bool) -> None:
    assert (result.waiting, result.standing) == (frozenset({made.draft.id}), (made.directive,))


def _is_none_missed(_: Stage, __: Draft, result: Any, ___: bool) -> None:
    assert result is None


def _has_nobody_wait(_: Stage, __: object, result: float, ___: bool) -> None:
    assert result == 0


# Erasures that wait for a second person, and what stands in their way.


async def _an_erasure_plan(stage: Stage) -> tuple[str, SubjectRef]:
    """Its id, and whom it is about."""
    while await stage.indexed():
        pass
    subject = stage.person()
    plan, _, _ = await stage.erasing.plan(COUNCIL, subject, "unlawful", NAMED, WHY)
    return plan.id, subject


def _are_planned(stage: Stage, made: tuple[str, SubjectRef], result: Any, __: bool) -> None:
    (plan,) = result
    assert (plan.id, plan.subject) == (made[0], stage.erasure_plans.subject(made[1]))
    assert (plan.ground, plan.proposal.actor, plan.entries) == ("unlawful", NAMED.id, ())


async def _disputed(stage: Stage, made: Draft) -> Any:
    return await stage.erasure_plans.disputed({made.id: ()}, (), (), datetime.now(UTC))


def _is_disputed(_: Stage, made: Draft, result: Any, __: bool) -> None:
    assert [(each.kind, each.entry) for each in result] == [("review", made.id)]


# Entries taken away.


def _are_halves(_: Stage, made: Place, result: Any, __: bool) -> None:
    (half,) = result
    assert (half.origin, half.size, half.closed_at) == (ORIGIN, made[0] + 1, None)


async def _span(stage: Stage, made: Place) -> Any:
    now = datetime.now(UTC)
    wanted = Wanted(since=now - timedelta(days=1), until=now + timedelta(days=1))
    return await stage.entries.span(ORIGIN, wanted, 0, made[0] + 1)


def _is_span(_: Stage, made: Place, result: Any, __: bool) -> None:
    assert result == (0, made[0] + 1)


def _are_entries(_: Stage, made: Place, result: Any, __: bool) -> None:
    assert ([row.hit.id for row in result.rows], result.up_to) == ([made[2]], made[0] + 1)


async def _a_provable(stage: Stage) -> tuple[int, bytes, bytes]:
    """The newest entry's place, its leaf, and the root of the tree with it."""
    index, _, _ = await a_place(stage)
    (leaf,), (size, root) = await stage.past.leaves(index, index + 1), await stage.past.head()
    assert size == index + 1
    return index, leaf_hash(leaf.entry), root


def _is_proof(_: Stage, made: tuple[int, bytes, bytes], result: Any, __: bool) -> None:
    index, leaf, root = made
    verify_inclusion(leaf, index, index + 1, result, root)


def _are_proofs(stage: Stage, made: tuple[int, bytes, bytes], result: Any, repeated: bool) -> None:
    (proof,) = result
    _is_proof(stage, made, proof, repeated)


# The past.


async def _said(stage: Stage) -> tuple[SubjectRef, int, str]:
    """Who said something, at which count it stood, and its id."""
    subject, directive = await a_directive(stage)
    return subject, await stage.policy(), directive


def _is_as_at(_: Stage, made: tuple[str, int], result: Any, __: bool) -> None:
    assert made[0] in result.agencies


def _were_said(_: Stage, made: tuple[SubjectRef, int, str], result: Any, __: bool) -> None:
    subject, policy, directive = made
    assert [each.id for each in result[subject, policy]] == [directive]


def _are_leaves(_: Stage, made: Place, result: Any, __: bool) -> None:
    (leaf,) = result
    assert leaf.index == made[0]
    assert leaf.opening is not None
    assert made[2].encode() in leaf.entry


async def _an_erased(stage: Stage) -> tuple[str, str]:
    """A directive that has gone, and by what."""
    subject, directive = await a_directive(stage)
    await stage.said.withdraw_one(COUNCIL, directive, ACTOR)
    erasure: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "agencies": [COUNCIL.agency],
        "entries": [],
        "words": [],
        "directives": [directive],
    }
    change = Change("erasure", erasure, frozenset({"erasure"}), reference=False, subject=subject)
    draft = a_draft(event="erasure")
    said: dict[str, Any] = {"entries": [], "words": [], "directives": [directive]}
    draft = replace(draft, id=erasure["id"], full={**draft.full, "detail": said})
    assert isinstance(await stage.log.change(draft, change), Appended)
    return directive, erasure["id"]


def _is_erased(_: Stage, made: tuple[str, str], result: Any, __: bool) -> None:
    assert dict(result) == dict([made])


def _is_chain(stage: Stage, _: None, result: Any, __: bool) -> None:
    assert result == (stage.signer.name,)


async def _nothing(_: Stage) -> None:
    return None


def _is_head(_: Stage, made: tuple[int, bytes, bytes], result: Any, __: bool) -> None:
    assert result == (made[0] + 1, made[2])


# Time stamps.


async def _an_anchor(stage: Stage) -> Anchor:
    """Of a checkpoint that nobody has time-stamped yet; whose turn it is stands in the table."""
    index, note, _ = await a_place(stage)
    await stage.anchors.claim("somebody", 0)
    return Anchor(ORIGIN, index + 1, note, b"a response", stage.clock.now())


async def _keep(stage: Stage, anchor: Anchor) -> Any:
    return await stage.anchors.keep(anchor, 0)


async def _is_kept(stage: Stage, anchor: Anchor) -> int:
    covering = await stage.anchors.covering(ORIGIN, anchor.size - 1)
    assert covering in (None, anchor)
    return int(covering is not None)


async def _a_kept_anchor(stage: Stage) -> Anchor:
    anchor = await _an_anchor(stage)
    await _keep(stage, anchor)
    return anchor


def _is_anchor(_: Stage, anchor: Anchor, result: Any, __: bool) -> None:
    assert result == anchor


def _stands(_: Stage, anchor: Anchor, result: Any, __: bool) -> None:
    assert (result.size, result.stamped_at) == (anchor.size, anchor.stamped_at)


async def _a_turn(stage: Stage) -> None:
    """It is time, and nobody's turn."""
    await stage.anchors.claim("somebody", 0)
    await stage.anchors.keep(None, 0)


def _is_own_turn(_: Stage, __: None, result: Any, repeated: bool) -> None:
    assert result == (None if repeated else 0)


async def _is_taken(stage: Stage, _: None) -> int:
    """1 where it is somebody's turn. Who looks takes it, and gives it back."""
    if await stage.anchors.claim("somebody else", 3600) is None:
        return 1
    await stage.anchors.keep(None, 0)
    return 0


async def _a_problem(stage: Stage) -> str:
    await stage.anchors.claim("somebody", 0)
    return f"no answer to {uuid.uuid4()}"


async def _is_written_down(stage: Stage, problem: str) -> int:
    return int((await stage.anchors.standing()).problem == problem)


ROWS: dict[str, Row] = {
    "AccessStore.open": Row(_an_access, lambda s, _: s.accesses.open(100_000), _is_among_open),
    "AccessStore.waiting": Row(_an_access, lambda s, m: s.accesses.waiting(m.agency), _is_one),
    "AccessStore.by_id": Row(_an_access, lambda s, m: s.accesses.by_id(m.id), _is_access),
    "AccessStore.cleared": Row(_an_access, lambda s, m: s.accesses.cleared(m.id, m.agency), _are_cleared),
    "AccessStore.rulings": Row(_an_access, lambda s, m: s.accesses.rulings(m.id), _are_cleared),
    "AccessStore.told": Row(_an_answer, lambda s, m: s.accesses.told(m.id), _are_told),
    "FiguresStore.month": Row(_a_month, lambda s, month: s.published.month(month), _is_published),
    "BreachStore.of": Row(_a_breach, lambda s, d: s.breaches.of(whose(d), 2), _are_breaches),
    "BreachStore.by_id": Row(_a_breach, lambda s, d: s.breaches.by_id(d.id), _is_breach),
    "ComplaintStore.of": Row(_a_complaint, lambda s, m: s.complained.of(m[1], None, None, 2), _are_complaints),
    "ComplaintStore.waiting": Row(_a_complaint, lambda s, m: s.complained.waiting(m[1]), _is_one),
    "ComplaintStore.by_id": Row(_a_complaint, lambda s, m: s.complained.by_id(m[0]), _is_complaint),
    "Keeping.holds": Row(_a_hold, lambda s, hold: s.keeping.holds(hold), _is_hold),
    "Keeping.attached": Row(_a_hung, _attached, _is_attached),
    "Keeping.missed": Row(a_found_entry, lambda s, _: s.keeping.missed(), _is_none_missed),
    "Keeping.waiting": Row(a_found_entry, lambda s, _: s.keeping.waiting(), _has_nobody_wait),
    "EntryRows.halves": Row(a_place, lambda s, _: s.entries.halves(), _are_halves),
    "ErasurePlanStore.planned": Row(
        _an_erasure_plan, lambda s, m: s.erasure_plans.planned({COUNCIL.agency}, m[0]), _are_planned
    ),
    "ErasurePlanStore.disputed": Row(an_override, _disputed, _is_disputed),
    "EntryRows.span": Row(a_place, _span, _is_span),
    "EntryRows.rows": Row(a_place, lambda s, m: s.entries.rows(ORIGIN, Wanted(), m[0], m[0] + 1), _are_entries),
    "EntryRows.proofs": Row(_a_provable, lambda s, m: s.entries.proofs(ORIGIN, [m[0]], m[0] + 1), _are_proofs),
    "Past.reference": Row(a_new_agency, lambda s, m: s.past.reference(m[1]), _is_as_at),
    "Past.directives": Row(_said, lambda s, m: s.past.directives([(m[0], m[1])]), _were_said),
    "Past.leaves": Row(a_place, lambda s, m: s.past.leaves(m[0], m[0] + 1), _are_leaves),
    "Past.erased_by": Row(_an_erased, lambda s, m: s.past.erased_by([(m[0], None)]), _is_erased),
    "Past.chain": Row(_nothing, lambda s, _: s.past.chain(), _is_chain),
    "Past.head": Row(_a_provable, lambda s, _: s.past.head(), _is_head),
    "AnchorTable.claim": Row(_a_turn, lambda s, _: s.anchors.claim("w", 3600), _is_own_turn, _is_taken),
    "AnchorTable.keep": Row(_an_anchor, _keep, is_gone, _is_kept),
    "AnchorTable.failed": Row(
        _a_problem, lambda s, problem: s.anchors.failed(problem, 0), is_gone, _is_written_down
    ),
    "AnchorTable.standing": Row(_a_kept_anchor, lambda s, _: s.anchors.standing(), _stands),
    "AnchorTable.covering": Row(
        _a_kept_anchor, lambda s, a: s.anchors.covering(ORIGIN, a.size - 1), _is_anchor
    ),
    "ProvableLog.proof_at": Row(_a_provable, lambda s, m: s.provable.proof_at(m[0], m[0] + 1), _is_proof),
}
