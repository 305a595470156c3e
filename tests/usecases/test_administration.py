"""The use cases that change what decisions read: who may, what is refused, and the entry each leaves."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.bootstrap import enrol_first_operator
from broker.core.directory import Agency
from broker.core.model import Actor, Caller, Function, Reason, SubjectRef
from broker.core.views import ProviderView, RequesterView
from broker.errors import BrokerError, InvalidRequest, NotAllowed, QuotaExceeded, SetupError, Unsettled
from broker.pki.folder import CertificateFolder
from tests.support.memory import FakeClock
from tests.support.values import replace
from tests.support.world import (
    AUDITOR,
    HOME,
    OPERATOR,
    OTHER_HOME,
    RISK,
    World,
    ask,
    caller,
    flow,
    key_of,
    risk_set,
    terms,
    toml,
)

ACTOR = Actor("o.fell", "operator")
WHY = Reason("complaint", "Mr Tyson asked who looked")
NWAS, CFRS, COUNCIL = caller("nwas"), caller("cfrs"), caller("cumberland")


@pytest.fixture
async def world() -> World:
    """A world without agreements."""
    return await World().ready()


async def refused(work: Awaitable[object], error: type[BrokerError], field: str = "") -> BrokerError:
    """The work is refused, by field where one is named."""
    with pytest.raises(error) as caught:
        await work
    if field:
        assert isinstance(caught.value, InvalidRequest)
        assert caught.value.field == field
    return caught.value


# The directory.

NEW = Agency("lancs", "Lancashire Fire", "fire", "england", datetime(2026, 1, 1, tzinfo=UTC))
OPERATIONS: list[tuple[str, Callable[[World, Caller], Awaitable[object]]]] = [
    ("add an agency", lambda w, c: w.registry.add_agency(c, NEW)),
    ("enrol", lambda w, c: w.registry.enrol(c, "nwas", "x", Function.PARTNER, "a" * 64, w.clock.now(), None)),
    ("suspend", lambda w, c: w.registry.suspend(c, "nwas", "cad", "lost", False)),
    ("approve", lambda w, c: w.registry.approve(c, RISK, risk_set())),
    ("apply", lambda w, c: w.apply(c, toml(terms()))),
]


@pytest.mark.parametrize("work", [o[1] for o in OPERATIONS], ids=[o[0] for o in OPERATIONS])
@pytest.mark.parametrize("who", [NWAS, AUDITOR], ids=["partner", "auditor"])
async def test_only_operators_change_the_directory(
    world: World, who: Caller, work: Callable[[World, Caller], Awaitable[object]]
) -> None:
    """And nothing is written where somebody else tries."""
    await refused(work(world, who), NotAllowed)
    assert world.store.entries == []


async def test_an_agency_is_added_and_changed_by_entries_of_its_own(world: World) -> None:
    """The event says which of the two it was."""
    await world.registry.add_agency(OPERATOR, NEW)
    await world.registry.add_agency(OPERATOR, replace(NEW, phone="01772 0"))
    assert world.store.events == ["agency-added", "agency-changed"]
    assert (await world.store.reference.refresh()).agencies["lancs"].phone == "01772 0"


async def test_a_key_is_one_systems_and_a_function_stays(world: World) -> None:
    """Refused: another's key, another function, an unknown agency, dates the wrong way round."""
    now = world.clock.now()

    def enrol(agency: str, name: str, function: Function, key: str, until: datetime | None = None) -> Any:
        return world.registry.enrol(OPERATOR, agency, name, function, key, now, until)

    await refused(enrol("nwas", "tablet", Function.PARTNER, key_of("cfrs/cad")), InvalidRequest, "key_digest")
    await refused(enrol("nwas", "cad", Function.OPERATOR, "a" * 64), InvalidRequest, "function")
    await refused(enrol("nobody", "cad", Function.PARTNER, "a" * 64), InvalidRequest, "agency")
    await refused(enrol("nwas", "x", Function.PARTNER, "a" * 64, now), InvalidRequest, "valid_until")
    await enrol("nwas", "cad", Function.PARTNER, "a" * 64)
    systems = (await world.store.reference.refresh()).systems
    assert systems["nwas/cad"].key_digests == {key_of("nwas/cad"), "a" * 64}


async def test_one_key_is_not_enrolled_twice_at_once(world: World) -> None:
    """Two operators at the same moment: the second is decided again, and refused."""
    now, key = world.clock.now(), "b" * 64
    refresh = world.store.reference.refresh
    waiting = [True]

    async def overtaken() -> Any:
        seen = await refresh()
        if waiting:
            waiting.clear()
            await world.registry.enrol(OPERATOR, "cfrs", "one", Function.PARTNER, key, now, None)
        return seen

    world.store.reference.refresh = overtaken  # type: ignore[method-assign]
    second = world.registry.enrol(OPERATOR, "nwas", "two", Function.PARTNER, key, now, None)
    await refused(second, InvalidRequest, "key_digest")


async def test_a_suspension_is_made_and_lifted_once(world: World) -> None:
    """Doing it again is told, so that nobody thinks something else happened."""
    await refused(world.registry.suspend(OPERATOR, "nwas", "none", "x", False), InvalidRequest, "system")
    await refused(world.registry.suspend(OPERATOR, "nwas", "cad", "x", True), InvalidRequest, "lift")
    await world.registry.suspend(OPERATOR, "nwas", "cad", "stolen tablet", False)
    await refused(world.registry.suspend(OPERATOR, "nwas", "cad", "x", False), InvalidRequest, "lift")
    await world.registry.suspend(OPERATOR, "nwas", "cad", "found", True)
    assert world.store.events == ["system-suspended", "suspension-lifted"]


async def test_a_record_type_is_approved_once(world: World) -> None:
    """Again is no entry; a set that does not hold is refused."""
    assert (await world.registry.approve(OPERATOR, RISK, risk_set()))[1] is None
    await refused(world.registry.approve(OPERATOR, RISK, b"\xff"), InvalidRequest)
    assert world.store.entries == []


async def test_a_change_whose_inputs_keep_moving_is_given_up(world: World) -> None:
    """Three plans, then Unsettled; nothing is stored."""
    refresh = world.store.reference.refresh
    plans = []

    async def moving() -> Any:
        seen = await refresh()
        plans.append(world.store.moved("agency:lancs"))
        return seen

    world.store.reference.refresh = moving  # type: ignore[method-assign]
    await refused(world.registry.add_agency(OPERATOR, NEW), Unsettled)
    assert len(plans) == 3
    assert "lancs" not in world.store.agencies


# Agreements.

OTHERS = [{"agency": "nwas", "regime": "uk-gdpr"}, {"agency": "cfrs", "regime": "uk-gdpr"}]
MISFITS: list[tuple[str, dict[str, Any]]] = [
    ("parties.2.agency", {"parties": [*OTHERS, {"agency": "lancs", "regime": "uk-gdpr"}]}),
    ("directives.recorders.0", {"directives": {"weight": "required", "recorders": ["lancs"]}}),
    ("flows.0.record_type", {"flows": [flow(record_type="records.fire.v1.Nothing")]}),
    ("flows.0.provider", {"flows": [flow(provider="nwas", requester="cfrs", roles=["fire-crew"])]}),
    ("flows.0.subject_schemes.0", {"flows": [flow(subject_schemes=["nhs-number"])]}),
    ("flows.0.permitted.1", {"flows": [flow(permitted=["uprn", "colour"])]}),
    ("flows.0.permitted.1", {"flows": [flow(permitted=["uprn", "oxygen"])]}),
    ("flows.0.permitted.1", {"flows": [flow(permitted=["uprn", "oxygen.kind"])]}),
    ("purpose", {"purpose": "curiosity"}),
]


@pytest.mark.parametrize(("key", "changes"), MISFITS, ids=[f"{n}-{k}" for n, (k, _) in enumerate(MISFITS)])
async def test_an_agreement_that_does_not_fit_is_refused_by_key(
    world: World, key: str, changes: dict[str, Any]
) -> None:
    """Agencies, record types, leaves, states and schemes must be there; nothing is stored unless all is."""
    await refused(world.apply(OPERATOR, toml(terms(**changes))), InvalidRequest, key)
    assert (world.store.files, world.store.entries) == ([], [])


async def test_a_version_takes_the_place_of_a_lower_one_only(world: World) -> None:
    """Applied, listed, superseded; the same or a lower version is refused."""
    listed, _ = await world.apply(OPERATOR, toml(terms(version=2)))
    assert listed.status == "in force"
    for version in (1, 2):
        await refused(world.apply(OPERATOR, toml(terms(version=version))), InvalidRequest, "version")
    await world.apply(OPERATOR, toml(terms(version=3)))
    seen = await world.agreements.visible_to(NWAS, all_versions=True)
    assert [(each.agreement.version, each.status) for each in seen] == [(3, "in force"), (2, "superseded")]
    pins: Any = world.store.entries[0].draft.full["detail"]
    assert pins["pins"][0]["paths"]["oxygen.kind"] == [3, 3]


@pytest.mark.parametrize(
    ("begins", "ends", "fits"),
    [
        (date(2026, 1, 1), date(2028, 12, 31), False),
        (date(2028, 12, 31), date(2029, 12, 31), False),  # the last day is in force
        (date(2029, 1, 1), date(2029, 12, 31), True),
        (date(2025, 1, 1), date(2025, 12, 31), True),
        (date(2025, 1, 1), date(2026, 1, 1), False),
    ],
)
async def test_two_agreements_never_cover_one_flow_on_one_day(
    world: World, begins: date, ends: date, fits: bool
) -> None:
    """Which of them decides would be left open."""
    await world.apply(OPERATOR, toml(terms()))
    days = {"valid_from": begins, "valid_until": ends, "review_on": begins}
    other = world.apply(OPERATOR, toml(terms(id="another", **days)))
    if fits:
        await other
    else:
        await refused(other, InvalidRequest, "flows.0")


async def test_a_partner_sees_the_agreements_it_is_party_to(world: World) -> None:
    """Operators and auditors see all."""
    await world.apply(OPERATOR, toml(terms()))
    counts = [len(await world.agreements.visible_to(who)) for who in (NWAS, CFRS, COUNCIL, AUDITOR, OPERATOR)]
    assert counts == [1, 1, 0, 1, 1]


# Audits.


async def test_an_entry_has_one_id_at_each_index(world: World, disclosed: str) -> None:
    """Counted from 0; past the end there is none."""
    last = len(world.store.entries) - 1
    assert await world.audits.at(last) == disclosed
    with pytest.raises(InvalidRequest, match="index: the log has no such entry yet"):
        await world.audits.at(last + 1)


@pytest.fixture
async def disclosed(world: World) -> str:
    """The id of a disclosure from cfrs to nwas."""
    world.agree()
    await world.ready()
    world.providers.answers(world.found())
    await world.exchange.answer(ask())
    return world.store.entries[0].draft.id


@pytest.mark.parametrize(("who", "audience"), [(AUDITOR, "full"), (NWAS, "requester"), (CFRS, "provider")])
async def test_each_opens_the_view_that_is_for_it(
    world: World, disclosed: str, who: Caller, audience: str
) -> None:
    """The look is an entry, with its reason, before anything is shown."""
    opened = await world.audits.open(who, disclosed, ACTOR, WHY)
    assert opened.audience == audience
    assert opened.receipt.opening is not None
    kinds: dict[str, type[RequesterView] | type[ProviderView]] = {
        "requester": RequesterView,
        "provider": ProviderView,
        "full": ProviderView,
    }
    kinds[audience].parse(opened.receipt.opening.view)
    look = world.store.entries[-1].draft
    assert look.full["detail"] == {"entry": disclosed, "audience": audience, "reason": "complaint"}
    assert look.words == WHY.words


async def test_who_is_no_party_opens_nothing_and_learns_nothing(world: World, disclosed: str) -> None:
    """Operators and third agencies: the same words as for an entry that is not there."""
    before = len(world.store.entries)
    errors = [
        await refused(world.audits.open(who, entry, ACTOR, WHY), NotAllowed)
        for who, entry in ((OPERATOR, disclosed), (COUNCIL, disclosed), (NWAS, str(uuid.uuid4())))
    ]
    assert len({str(error) for error in errors}) == 1
    assert len(world.store.entries) == before


async def test_no_look_without_a_reason_or_without_its_entry(world: World, disclosed: str) -> None:
    """A look that cannot be written down does not happen."""
    await refused(world.audits.open(AUDITOR, disclosed, ACTOR, Reason()), InvalidRequest, "reason.code")
    world.store.log.fail = 1
    with pytest.raises(BrokerError):
        await world.audits.open(AUDITOR, disclosed, ACTOR, WHY)
    assert world.store.events == ["disclosure"]


async def test_a_receipt_without_opening_is_anybodys(world: World, disclosed: str) -> None:
    """It reveals a time; tiles reveal as much."""
    shown = await world.audits.receipt(COUNCIL, disclosed)
    assert (shown.receipt.opening, shown.audience) == (None, "")


# The first operator.


@pytest.fixture
def certificates(tmp_path: Path) -> CertificateFolder:
    """An authority."""
    made = CertificateFolder(tmp_path / "certs")
    made.init("blue-light.test", datetime.now(UTC))
    return made


async def test_the_first_operator_enters_an_empty_directory_only(certificates: CertificateFolder) -> None:
    """Once anybody is enrolled the setting cannot be used to get in."""
    world = World(FakeClock())
    world.store.systems.clear()
    reference = world.store.reference
    for name in ("first", "second"):
        certificates.issue_client("operator", name, datetime.now(UTC))

    async def enrol(name: str) -> bool:
        file = certificates.path / f"operator-{name}" / "cert.pem"
        return await enrol_first_operator(file, world.registry, reference, world.clock)

    assert await enrol("first")
    assert not await enrol("second")
    assert not await enrol("first")
    systems = (await reference.refresh()).systems
    assert [(s.name, s.function) for s in systems.values()] == [("operator/first", Function.OPERATOR)]


@pytest.mark.parametrize("file", ["broker/cert.pem", "ca.pem", "nothing.pem", "garbage.pem"])
async def test_a_first_operator_without_a_systems_certificate_is_a_setup_error(
    certificates: CertificateFolder, file: str
) -> None:
    """One sentence that names the file, not a stack of calls."""
    world = World(FakeClock())
    world.store.systems.clear()
    (certificates.path / "garbage.pem").write_text("garbage")
    path = certificates.path / file
    work = enrol_first_operator(path, world.registry, world.store.reference, world.clock)
    assert str(path) in str(await refused(work, SetupError))


def test_the_subjects_are_premises() -> None:
    """These tests speak of two homes."""
    assert {HOME.scheme, OTHER_HOME.scheme} == {SubjectRef("uprn", "1").scheme}


async def test_lifting_is_counted_and_suspending_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of agreements and of systems: stopping is never refused for its number, and what is stopped can only be
    stopped again once that was lifted."""
    world = World()
    world.agree()
    await world.ready()
    spent = list[str]()

    def spend(agency: str, _: float) -> None:
        if spent:
            raise QuotaExceeded("enough", 1.0, quota="looks")
        spent.append(agency)

    monkeypatch.setattr(world.administration, "_spend", spend)
    who, agreement = caller(), next(iter(world.store.reference.current.agreements))
    await world.suspensions.suspend(who, agreement, "a leak", ACTOR)
    assert spent == []
    await world.suspensions.lift(who, agreement, "mended", ACTOR)
    assert spent == [who.agency]
    await world.suspensions.suspend(who, agreement, "another", ACTOR)
    await world.registry.suspend(OPERATOR, "nwas", "cad", "lost", False)
    with pytest.raises(QuotaExceeded):
        await world.suspensions.lift(who, agreement, "mended", ACTOR)
    with pytest.raises(QuotaExceeded):
        await world.registry.suspend(OPERATOR, "nwas", "cad", "found", True)
