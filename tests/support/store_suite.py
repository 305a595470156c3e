"""The suite of the store's ports: for every method a row that says what a call does and how its effect is seen.

Whoever implements the ports runs all rows: each call succeeding, failing before it had an effect, and failing
although it had one. A method without a row fails `tests/faults/test_store_ports.py`.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from broker import cases, entryrows, erasureplans, escalations, figures, keeping, past, ports, queues, workers
from broker.anchor import hourly
from broker.core.checkpoint import open_checkpoint
from broker.core.directory import Agency, agency_key
from broker.core.forms import agency_detail
from broker.core.merkle import verify_consistency
from broker.core.model import SubjectRef
from broker.core.receipt import verify_receipt
from broker.core.succession import Share
from broker.core.views import ProviderView, RequesterView
from broker.ports import Appended, Asked, Change, Claim, Draft, NotAppended, Queued, Reads
from broker.workers import Beat, Worker
from tests.support.memory import ORIGIN
from tests.support.stage import COUNCIL, SINCE, Stage
from tests.support.values import replace
from tests.support.world import ACTOR

STORE = (
    ports.Log,
    ports.LogView,
    ports.LogSearch,
    ports.DirectiveStore,
    ports.AgreementStore,
    ports.FactsSource,
    ports.ReferenceSource,
    queues.ReferralStore,
    queues.OverrideStore,
    queues.NoticeTable,
    workers.WorkerTable,
    escalations.EscalationTable,
)
# Where the use cases name what they need; `kept_suite` has the rows of those beside the path of a request.
MODULES = (
    ports,
    queues,
    workers,
    escalations,
    cases,
    figures,
    keeping,
    erasureplans,
    entryrows,
    past,
    hourly,
)
# Protocols of the use cases that no store implements.
OTHERS = (ports.Providers, ports.Releases, ports.Clock, ports.Witnesses)
SYSTEM = "nwas/cad"
Place = tuple[int, bytes, str]


@dataclass(frozen=True)
class Row:
    """One method. `made` gives what a call is about; `stands` how often its effect is there (None: it has
    none); `good` checks a call's result, of a first call or of one that repeats what stands already."""

    made: Callable[[Stage], Awaitable[Any]]
    call: Callable[[Stage, Any], Awaitable[Any]]
    good: Callable[[Stage, Any, Any, bool], None]
    stands: Callable[[Stage, Any], Awaitable[int]] | None = None


def protocols() -> set[type]:
    """Every Protocol that the use cases name."""
    named = [each for module in MODULES for each in vars(module).values()]
    found = {each for each in named if isinstance(each, type) and each.__module__.startswith("broker.")}
    return {each for each in found if getattr(each, "_is_protocol", False)}


def methods(protocol: type) -> Iterator[str]:
    """What can be called on it; properties say what is held, and ask nothing."""
    for name, member in vars(protocol).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            yield f"{protocol.__name__}.{name}"


def a_draft(claim: Claim | None = None, reads: Reads | None = None, event: str = "disclosure") -> Draft:
    """An entry of its own."""
    now = datetime.now(UTC)
    view = RequesterView(event, request_id=claim.request_id if claim else None, outcome="permit")
    provider = ProviderView(view, {"id": "x"}, (("uprn", "1"),))
    full: dict[str, Any] = {**provider.as_json(), "policy": 0, "now": now.isoformat()}
    return Draft(str(uuid.uuid4()), now, view, provider, full, "nwas", "cfrs", reads=reads, claim=claim)


# Log.append: a request id that is claimed with it.


async def _a_claim(_: Stage) -> Claim:
    return Claim(SYSTEM, str(uuid.uuid4()), b"c" * 32)


async def _append(stage: Stage, claim: Claim) -> Any:
    return await stage.log.append(a_draft(claim))


async def _claimed(stage: Stage, claim: Claim) -> int:
    fulls = await stage.since(max(0, await stage.size() - 8))
    known = (await stage.facts.read(Asked((), SYSTEM, (claim.request_id,)))).claims
    entries = sum(full["request_id"] == claim.request_id for full in fulls)
    assert len(known) == entries, "a claim without its entry, or an entry without its claim"
    return entries


def _appended(stage: Stage, _: Claim, result: Any, repeated: bool) -> None:
    if repeated:
        assert result == NotAppended("claimed")
    else:
        assert isinstance(result, Appended)
        verify_receipt(result.receipt, [stage.signer.verifier], record=None)


# Log.change: an agency that nobody has heard of, decided on what is stored.


async def _an_agency(stage: Stage) -> tuple[Agency, int]:
    name = f"x{uuid.uuid4().hex[:12]}"
    return Agency(name, name, "fire", "england", SINCE), await stage.policy()


async def _change(stage: Stage, made: tuple[Agency, int]) -> Any:
    agency, policy = made
    keys: frozenset[str | bytes] = frozenset({agency_key(agency.id)})
    change = Change("agency", {"detail": agency_detail(agency)}, keys, reference=True)
    return await stage.log.change(a_draft(reads=Reads(policy, keys), event="agency-added"), change)


async def _added(stage: Stage, made: tuple[Agency, int]) -> int:
    agency, policy = made
    moved = await stage.policy() - policy
    known = agency.id in (await stage.reference.refresh()).agencies
    assert moved == known, "a change without its count, or a count without its change"
    return moved


def _changed(stage: Stage, _: Any, result: Any, repeated: bool) -> None:
    if repeated:
        assert result == NotAppended("stale")
    else:
        assert isinstance(result, Appended)
        verify_receipt(result.receipt, [stage.signer.verifier], record=None)


# Reads: of something that stands.


async def _an_entry(stage: Stage) -> Draft:
    draft = a_draft()
    assert isinstance(await stage.log.append(draft), Appended)
    return draft


def _is_receipt(stage: Stage, draft: Draft, result: Any, _: bool) -> None:
    receipt, full = result
    verify_receipt(receipt, [stage.signer.verifier], record=None)
    assert full == draft.full


def _is_parties(_: Stage, draft: Draft, result: Any, __: bool) -> None:
    assert result == (draft.requester_agency, draft.provider_agency)


async def a_place(stage: Stage) -> Place:
    """Where an entry stands, the checkpoint before it, and its id."""
    before, draft = await stage.log.append(a_draft()), a_draft()
    done = await stage.log.append(draft)
    assert isinstance(before, Appended)
    assert isinstance(done, Appended)
    return done.receipt.index, before.receipt.checkpoint, draft.id


def _is_id(_: Stage, made: Place, result: Any, __: bool) -> None:
    assert result == made[2]


def _is_consistent(stage: Stage, made: Place, result: Any, _: bool) -> None:
    (proof, note), (index, before, _) = result, made
    new = open_checkpoint(note, [stage.signer.verifier])
    old = open_checkpoint(before, [stage.signer.verifier])
    assert (old.size, new.size) == (index, index + 1)
    verify_consistency(old.size, old.root, new.size, new.root, proof)


def _is_root(stage: Stage, made: Place, result: Any, _: bool) -> None:
    checkpoint = open_checkpoint(made[1], [stage.signer.verifier])
    assert (checkpoint.size, checkpoint.root) == (made[0], result)


async def a_directive(stage: Stage) -> tuple[SubjectRef, str]:
    """Of the council's; about whom, and its id."""
    subject, directive = stage.person(), stage.objection()
    await stage.said.add(COUNCIL, subject, directive, ACTOR)
    return subject, directive.id


def _is_stored(_: Stage, made: tuple[SubjectRef, str], result: Any, __: bool) -> None:
    assert result.directive.id == made[1]


def _are_recorded(_: Stage, made: tuple[SubjectRef, str], result: Any, __: bool) -> None:
    assert [each.directive.id for each in result] == [made[1]]


def _are_read(_: Stage, made: tuple[SubjectRef, str], result: Any, __: bool) -> None:
    subject, directive = made
    assert [each.id for each in result.directives[subject]] == [directive]


async def _nothing(_: Stage) -> None:
    return None


def _is_agreement(_: Stage, __: None, result: Any, ___: bool) -> None:
    assert [each.superseded for each in result] == [False]


async def a_new_agency(stage: Stage) -> tuple[str, int]:
    """Known to the store, and not yet to the snapshot."""
    made = await _an_agency(stage)
    assert isinstance(await _change(stage, made), Appended)
    return made[0].id, (await stage.facts.read(Asked((), SYSTEM, ()))).reference_policy


def _is_snapshot(stage: Stage, made: tuple[str, int], result: Any, _: bool) -> None:
    assert made[0] in result.agencies
    assert stage.reference.current is result


async def a_found_entry(stage: Stage) -> Draft:
    """In the index, where that takes a while."""
    draft = await _an_entry(stage)
    while await stage.indexed():
        pass
    return draft


def _find(stage: Stage, draft: Draft) -> Awaitable[Any]:
    """By its event, newest first."""
    terms = frozenset({"event|disclosure"})
    return stage.search.find(terms, 1 << 62, 1, newest_first=True, since=None, until=None)


def _is_hit(_: Stage, draft: Draft, result: Any, __: bool) -> None:
    assert [(hit.id, hit.full) for hit in result.found] == [(draft.id, draft.full)]


def _is_that_hit(_: Stage, draft: Draft, result: Any, __: bool) -> None:
    assert (result.id, result.full, result.log) == (draft.id, draft.full, ORIGIN)


def _remains(_: Stage, draft: Draft, result: Any, __: bool) -> None:
    (remains,) = result.values()
    assert remains.index >= 0
    kept = ports.Remains(draft.at.replace(microsecond=0), kept=True, log=ORIGIN, index=remains.index)
    assert result == {draft.id: kept}


def _is_all_indexed(_: Stage, __: Draft, result: Any, ___: bool) -> None:
    done, size = result
    assert done == size > 0


# Queues of humans: rows that were made with their entries.


async def _queued(stage: Stage, kind: str) -> Draft:
    now = datetime.now(UTC)
    provider = f"p{uuid.uuid4().hex[:12]}"
    whose = (provider, "nwas", SYSTEM, str(uuid.uuid4()))
    queued = Queued(kind, *whose, now, now, {"why": ["x"]}, "some words", "life-at-risk")
    draft = replace(a_draft(), queued=queued)
    assert isinstance(await stage.log.append(draft), Appended)
    return draft


async def _a_referral(stage: Stage) -> Draft:
    return await _queued(stage, "referral")


async def an_override(stage: Stage) -> Draft:
    """One that waits to be reviewed."""
    return await _queued(stage, "override")


def whose(draft: Draft) -> str:
    """The provider's agency, which nobody else has anything of."""
    assert draft.queued is not None
    return draft.queued.provider


def _shares(draft: Draft) -> list[Share]:
    return [Share(whose(draft))]


def _is_one(_: Stage, __: Draft, result: Any, ___: bool) -> None:
    assert result == {"": 1}


def _are_some(_: Stage, __: Draft, result: Any, ___: bool) -> None:
    assert result >= 1


def _is_row(_: Stage, draft: Draft, result: Any, __: bool) -> None:
    assert (result.id, result.status, result.words) == (draft.id, "open", "some words")


def _are_rows(stage: Stage, draft: Draft, result: Any, repeated: bool) -> None:
    (row,) = result
    _is_row(stage, draft, row, repeated)


async def _a_restriction(stage: Stage) -> tuple[str, str]:
    """A provider, and its restriction's id."""
    draft, restriction, now = await an_override(stage), str(uuid.uuid4()), datetime.now(UTC).isoformat()
    key = f"override:{whose(draft)}|nwas|role|x"
    detail: dict[str, Any] = {
        "id": restriction,
        "override": draft.id,
        "provider": whose(draft),
        "district": "",
        "requester": "nwas",
        "what": "role",
        "at": now,
        "until": None,
    }
    change = Change(
        "override-restriction", detail, frozenset({key}), reference=False, blind=key, sealed={"who": "x"}
    )
    assert isinstance(await stage.log.change(a_draft(), change), Appended)
    return whose(draft), restriction


def _are_restrictions(_: Stage, made: tuple[str, str], result: Any, __: bool) -> None:
    assert [(each.id, each.detail) for each in result] == [(made[1], {"who": "x"})]


async def _claimed_notice(stage: Stage, draft: Draft) -> Any:
    """Others may wait too: whatever is claimed is claimed."""
    return await stage.notices.claim(10_000, 3600)


def _is_claimed(_: Stage, draft: Draft, result: Any, repeated: bool) -> None:
    assert (draft.id in {notice.override for notice in result}) is not repeated


async def _is_nobody_elses(stage: Stage, draft: Draft) -> int:
    """1 where somebody has claimed it."""
    return await stage.claimed(draft.id)


async def _is_told(stage: Stage, draft: Draft) -> int:
    return await stage.told(draft.id)


# Workers.


async def _a_beat(stage: Stage) -> tuple[Beat, Beat]:
    beats = [Beat(Worker(f"w{uuid.uuid4().hex[:8]}", "a:1"), False, frozenset({"cfrs"})) for _ in range(2)]
    await stage.workers.beat(beats[1], 60)
    return beats[0], beats[1]


def _hears_the_other(_: Stage, made: tuple[Beat, Beat], result: Any, __: bool) -> None:
    assert made[1] in result
    assert made[0] not in result


async def _a_worker(stage: Stage) -> str:
    own = (await _a_beat(stage))[0]
    await stage.workers.beat(own, 60)
    return own.worker.id


def is_gone(_: Stage, __: Any, result: Any, ___: bool) -> None:
    """It gives nothing back."""
    assert result is None


async def _heard(stage: Stage, worker: str) -> int:
    """1 where nobody hears of it any more: leaving is the effect."""
    another = Beat(Worker("listener", "a:2"), False, frozenset())
    return int(worker not in {each.worker.id for each in await stage.workers.beat(another, 60)})


ROWS: dict[str, Row] = {
    "Log.append": Row(_a_claim, _append, _appended, _claimed),
    "Log.change": Row(_an_agency, _change, _changed, _added),
    "Log.receipt": Row(_an_entry, lambda s, d: s.log.receipt(d.id, "requester"), _is_receipt),
    "LogView.receipt": Row(_an_entry, lambda s, d: s.view.receipt(d.id, "requester"), _is_receipt),
    "LogView.parties": Row(_an_entry, lambda s, d: s.view.parties(d.id), _is_parties),
    "LogView.id_at": Row(a_place, lambda s, made: s.view.id_at(made[0]), _is_id),
    "LogView.consistency": Row(a_place, lambda s, m: s.view.consistency(m[0], m[0] + 1), _is_consistent),
    "LogView.root": Row(a_place, lambda s, m: s.view.root(m[0], ORIGIN), _is_root),
    "LogSearch.find": Row(a_found_entry, _find, _is_hit),
    "LogSearch.entry": Row(a_found_entry, lambda s, d: s.search.entry(d.id), _is_that_hit),
    "LogSearch.remains": Row(a_found_entry, lambda s, d: s.search.remains([d.id, str(uuid.uuid4())]), _remains),
    "LogSearch.progress": Row(a_found_entry, lambda s, _: s.search.progress(), _is_all_indexed),
    "DirectiveStore.by_id": Row(a_directive, lambda s, m: s.directives.by_id(m[1]), _is_stored),
    "DirectiveStore.about": Row(
        a_directive, lambda s, m: s.directives.about(m[0], "cumberland"), _are_recorded
    ),
    "AgreementStore.stored": Row(_nothing, lambda s, _: s.agreements.stored(all_versions=True), _is_agreement),
    "FactsSource.read": Row(a_directive, lambda s, m: s.facts.read(Asked((m[0],), SYSTEM, ())), _are_read),
    "ReferenceSource.refresh": Row(a_new_agency, lambda s, _: s.reference.refresh(), _is_snapshot),
    "ReferenceSource.at_least": Row(a_new_agency, lambda s, m: s.reference.at_least(m[1]), _is_snapshot),
    "ReferralStore.of": Row(_a_referral, lambda s, d: s.referred.of(_shares(d)), _are_rows),
    "ReferralStore.by_id": Row(_a_referral, lambda s, d: s.referred.by_id(d.id), _is_row),
    "OverrideStore.of": Row(an_override, lambda s, d: s.overridden.of(_shares(d)), _are_rows),
    "OverrideStore.by_id": Row(an_override, lambda s, d: s.overridden.by_id(d.id), _is_row),
    "ReferralStore.open": Row(_a_referral, lambda s, d: s.referred.open(_shares(d)), _is_one),
    "ReferralStore.asked": Row(_a_referral, lambda s, _: s.referred.asked("nwas"), _are_some),
    "OverrideStore.open": Row(an_override, lambda s, d: s.overridden.open(_shares(d)), _is_one),
    "OverrideStore.restrictions": Row(
        _a_restriction, lambda s, m: s.overridden.restrictions({m[0]}), _are_restrictions
    ),
    "NoticeTable.claim": Row(an_override, _claimed_notice, _is_claimed, _is_nobody_elses),
    "NoticeTable.told": Row(an_override, lambda s, d: s.notices.told(d.id), is_gone, _is_told),
    "WorkerTable.beat": Row(_a_beat, lambda s, made: s.workers.beat(made[0], 60), _hears_the_other),
    "WorkerTable.leave": Row(_a_worker, lambda s, w: s.workers.leave(w), is_gone, _heard),
}
