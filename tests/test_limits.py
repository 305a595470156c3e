"""Quotas: what is granted is granted and no more, and which requests take the emergency lane."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.buckets import Buckets
from broker.core.model import SubjectRef
from broker.core.reference import Reference
from broker.errors import QuotaExceeded, Saturated
from broker.limits import LONGEST, LOOKS, LOOKS_AT_ONCE, REFERRALS, REFERRALS_AT_ONCE, REFUSALS, Limits
from broker.seats import Seats
from broker.store.blind import Blind
from tests.support.world import World, ask

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
# Milliseconds, as exact as a float is not.
TIMES = st.lists(st.integers(0, 3000), min_size=1, max_size=200).map(sorted)
RATES = st.sampled_from([0.5, 1.0, 3.0, 10.0, 250.0])
BURSTS = st.sampled_from([1.0, 2.0, 5.0, 40.0])


@given(TIMES, RATES, BURSTS)
def test_no_window_has_more_than_its_rate_and_the_burst(times: list[int], rate: float, burst: float) -> None:
    """Whenever it is asked, from any moment to any later one."""
    buckets = Buckets()
    taken = [ms / 1000 for ms in times if buckets.take("a", rate, burst, ms / 1000) == 0.0]
    for n, first in enumerate(taken):
        for more, last in enumerate(taken[n:], 1):
            assert more <= rate * (last - first) + burst + 1e-6


@given(TIMES, RATES, BURSTS)
def test_the_delay_that_is_told_is_true(times: list[int], rate: float, burst: float) -> None:
    """Whoever waits as long as they were told is let through, and a little earlier they are not."""
    buckets = Buckets()
    for ms, following in pairwise([*times, 10**9]):
        now = ms / 1000
        wait = buckets.take("a", rate, burst, now)
        if wait > 1e-4 and now + wait < following / 1000:
            assert buckets.take("a", rate, burst, now + wait - 1e-4) > 0.0
            assert buckets.take("a", rate, burst, now + wait) == 0.0


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 50)), max_size=300), st.integers(1, 40))
def test_memory_is_bounded_and_one_key_never_spends_anothers(steps: list[tuple[int, int]], most: int) -> None:
    """No more buckets than allowed, full ones are forgotten, and a key alone gets what it would get alone."""
    buckets, now = Buckets(most), 0.0
    alone = {key: Buckets() for _, key in steps}
    for ms, key in steps:
        now += ms / 1000
        granted = buckets.take(str(key), 2.0, 3.0, now) == 0.0
        assert len(buckets) <= most
        if granted:
            assert alone[key].take("it", 2.0, 3.0, now) == 0.0
    assert buckets.take("late", 2.0, 3.0, now + 1.5 + 1e-6) == 0.0


def test_idle_keys_are_dropped() -> None:
    """A year of agencies that came once leaves nothing behind."""
    buckets = Buckets()
    for n in range(10_000):
        buckets.take(f"agency-{n}", 10.0, 10.0, float(n))
    assert len(buckets) <= 64


def test_humans_are_asked_no_more_than_they_can_decide() -> None:
    """Each is a row in their queue, whoever it is about; another agency's are counted by themselves."""
    limits = Limits()
    for _ in range(int(REFERRALS_AT_ONCE)):
        limits.referral("police", 0.0)
    with pytest.raises(QuotaExceeded) as caught:
        limits.referral("police", 0.0)
    assert (caught.value.quota, caught.value.retry_after) == ("referrals", pytest.approx(1 / REFERRALS))
    limits.referral("fire", 0.0)
    limits.referral("police", 1 / REFERRALS)


def test_a_debt_is_paid_at_its_rate_and_never_longer_than_said() -> None:
    """As many refusals again as a second allows are a second to wait; a flood waits for the bound at most."""
    limits = Limits()
    assert limits.patience("police", REFUSALS // 4, 0.0) == 0.0
    assert limits.patience("police", REFUSALS, 0.0) == pytest.approx(1.0)
    assert limits.patience("police", 10**9, 0.0) == pytest.approx(LONGEST)
    assert limits.patience("fire", 256, 0.0) == 0.0
    assert limits.patience("police", 1, LONGEST + 1.0) == 0.0


def test_seats_are_counted_by_key_and_given_back() -> None:
    """A key has so many at once; what ends makes room; another key has its own."""
    seats = Seats(2, "streams")
    with seats.one("a"), seats.one("b"):
        with seats.one("a"), pytest.raises(Saturated, match="a has as many streams"), seats.one("a"):
            raise AssertionError("no third")
        with seats.one("a"):
            pass


def test_an_agencys_quota_is_shared_by_the_workers_that_live() -> None:
    """Ten a second among two workers are five here; another agency is untouched; and the refusal says so."""
    limits = Limits(per_second=10)
    limits.shared_by(2)
    for _ in range(5):
        limits.spend("nwas", 0.0)
    with pytest.raises(QuotaExceeded, match="nwas is used up: 10 requests a second of") as caught:
        limits.spend("nwas", 0.0)
    assert caught.value.quota == "agency"
    assert caught.value.retry_after == pytest.approx(0.2)
    limits.spend("cfrs", 0.0)
    limits.shared_by(0)
    for _ in range(5):
        limits.spend("nwas", 1.0)


async def snapshot(**granted: int) -> Reference:
    """A world's snapshot, with these limits in its agreement."""
    world = World()
    world.agree(limits=granted)
    return await world.store.reference.refresh()


async def test_an_agreements_quota_counts_each_requester_under_it() -> None:
    """Three a minute are three, and then one every twenty seconds; no agreement, no quota."""
    reference, limits = await snapshot(per_minute=3), Limits()
    for _ in range(3):
        assert not limits.admit(ask(), reference, AT, 0.0).urgent
    with pytest.raises(QuotaExceeded, match="nwas-cfrs-premises is used up: 3 requests a minute") as caught:
        limits.admit(ask(), reference, AT, 0.0)
    assert caught.value.quota == "agreement"
    assert caught.value.retry_after == pytest.approx(20.0)
    limits.admit(ask(), reference, AT, 20.1)
    for _ in range(10):  # the decision refuses these
        limits.admit(ask(purpose="direct-care"), reference, AT, 0.0)
        limits.admit(ask(requester="police"), reference, AT, 0.0)
        limits.admit(ask(), reference, datetime(2036, 1, 1, tzinfo=UTC), 0.0)


async def test_the_emergency_lane_is_granted_by_agreement_and_bounded() -> None:
    """Within its rate a request is urgent; beyond it, it travels as the others do and is not refused."""
    reference, limits = await snapshot(emergency_per_minute=2), Limits()
    lanes = [limits.admit(ask(), reference, AT, 0.0).urgent for _ in range(5)]
    assert lanes == [True, True, False, False, False]
    assert limits.admit(ask(), reference, AT, 30.1).urgent


async def test_what_an_agreement_grants_is_shared_by_the_workers_that_live() -> None:
    """Its quota and its emergency lane are the deployment's: of four a minute two workers grant two each."""
    limited, urgent, limits = await snapshot(per_minute=4), await snapshot(emergency_per_minute=4), Limits()
    limits.shared_by(2)
    for _ in range(2):
        limits.admit(ask(), limited, AT, 0.0)
    with pytest.raises(QuotaExceeded) as caught:
        limits.admit(ask(), limited, AT, 0.0)
    assert caught.value.retry_after == pytest.approx(30.0)
    assert [limits.admit(ask(), urgent, AT, 0.0).urgent for _ in range(3)] == [True, True, False]


async def test_the_lane_is_no_part_of_what_is_asked() -> None:
    """A repeat of a request is the same request, whichever lane it comes in."""
    reference, limits = await snapshot(emergency_per_minute=1), Limits()
    asked = ask()
    first, again = (limits.admit(asked, reference, AT, 0.0) for _ in range(2))
    assert (first.urgent, again.urgent) == (True, False)
    blind = Blind(bytes(32))
    assert blind.content(first) == blind.content(again)


async def test_a_purpose_does_not_choose_the_lane() -> None:
    """An emergency purpose under an agreement that grants no lane travels as the others do."""
    reference = await snapshot(per_minute=5)
    assert not Limits().admit(ask(purpose="emergency-response"), reference, AT, 0.0).urgent


def test_nobody_changes_what_was_said_about_one_subject_all_the_time() -> None:
    """Twenty at once and then one a second; another subject and another agency are not touched."""
    limits, house = Limits(), SubjectRef("uprn", "100110734613")
    for _ in range(20):
        limits.change("nwas", house, 0.0)
    with pytest.raises(QuotaExceeded) as refused:
        limits.change("nwas", house, 0.5)
    assert refused.value.quota == "subject"
    assert 0.0 < refused.value.retry_after <= 1.0
    limits.change("nwas", SubjectRef("uprn", "100110734614"), 0.5)
    limits.change("cfrs", house, 0.5)
    limits.change("nwas", house, 0.5 + refused.value.retry_after)


def test_looks_have_a_rate_of_their_own_and_count_as_requests() -> None:
    """Of the deployment, so that a worker grants its share; and each takes one of the agency's requests."""
    limits = Limits()
    for _ in range(int(LOOKS_AT_ONCE)):
        limits.look("nwas", 0.0)
    with pytest.raises(QuotaExceeded) as caught:
        limits.look("nwas", 0.0)
    assert (caught.value.quota, caught.value.retry_after) == ("looks", pytest.approx(1 / LOOKS))
    limits.look("cfrs", 0.0)
    limits.look("nwas", 1.5 / LOOKS)
    few = Limits(per_second=2)
    for _ in range(2):
        few.look("nwas", 0.0)
    with pytest.raises(QuotaExceeded) as caught:
        few.look("nwas", 0.0)
    assert caught.value.quota == "agency"
