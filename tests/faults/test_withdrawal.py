"""No permit stands in the log above the withdrawal that it ignores.

Tried a thousand times under load, and judged by the log alone; a broker with a cache of a tenth of a second,
tried and judged in the same way, is caught.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from broker.core.checkpoint import open_checkpoint
from broker.core.keys import Verifier
from tests.support.campaign import (
    KINDS,
    OTHERS_PER_SECOND,
    SCHEME,
    TIME,
    Answered,
    Campaign,
    Person,
    campaign,
    numbers,
    people,
    storms,
)
from tests.support.judge import Verdict, judge
from tests.support.postgres import Server
from tests.support.trust import Deploy, honest, naive, terms, trust
from tests.support.whole_log import WholeLog, whole_log

WITHDRAWALS = 1000
NEAR = timedelta(milliseconds=50)
ENOUGH = 20  # requests about one person that were sent so near to the withdrawal, on each side of it
Tell = Callable[[str], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Says how far a long test has come, whatever is captured."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            sys.stderr.write(f"  {text}\n")

    return say


def near(at: datetime, answered: Sequence[Answered]) -> tuple[int, int]:
    """How many of these were sent within 50 ms before the withdrawal, and how many within 50 ms after it."""
    moment, span = at.timestamp(), NEAR.total_seconds()
    before = sum(moment - span <= each.sent < moment for each in answered)
    return before, sum(moment <= each.sent <= moment + span for each in answered)


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        ([-0.0501, -0.05, -0.001], (2, 0)),
        ([0.0, 0.05, 0.0501], (0, 2)),
        ([-0.03] * 30, (30, 0)),
        ([-1.0, 1.0], (0, 0)),
    ],
)
def test_what_is_near_is_counted_by_when_it_was_sent(sent: list[float], counted: tuple[int, int]) -> None:
    """Fifty milliseconds on either side of the withdrawal's own moment, and nothing beyond."""
    at = datetime.fromisoformat("2026-11-21T10:00:00+00:00")
    moments = [Answered("x", at.timestamp() + offset, 0.0, "permit") for offset in sent]
    assert near(at, moments) == pytest.approx(counted)


@dataclass
class Trial:
    """What a campaign left behind: who was withdrawn when, what was asked, and the verdict on the log."""

    verdict: Verdict
    those: list[Person]
    counts: list[tuple[int, int]]
    campaign: Campaign
    others_per_second: float
    asked: dict[str, list[Answered]] = field(default_factory=dict)

    @property
    def proved(self) -> int:
        """Withdrawals with enough requests on each side."""
        return sum(min(both) >= ENOUGH for both in self.counts)


async def _trial(
    deploy: Deploy, server: Server, folder: Path, wanted: int, tell: Tell, lanes: int = 2
) -> Trial:
    """Withdraw until `wanted` of them have had enough requests near, then judge the whole log."""
    source = numbers()
    others, bystander = [next(source) for _ in range(500)], next(source)
    everybody = people(4 * wanted, source)
    links = {person.number: [person.other] for person in everybody}
    async with (
        server.fresh() as dsn,
        trust(deploy, dsn, folder, links) as running,
        whole_log(dsn, running.state.keys) as log,
    ):
        those: list[Person] = []
        waiting, counts = iter(everybody), list[tuple[int, int]]()
        async with campaign(running, others, bystander) as one:
            while (lacking := wanted - sum(min(both) >= ENOUGH for both in counts)) > 0:
                batch = list(itertools.islice(waiting, lacking + lacking // 20))
                assert batch, f"{len(those)} withdrawals, and too few requests near {lacking} of them"
                await one.prepare(batch)
                await storms(one, batch, lanes, _progress(tell, len(those)))
                those += batch
                counts = await _counts(log, those, one.answered)
        rate = await _rate(log, those, others)
        entries = await log.entries()
        _is_what_was_shown(log, one.answered, running.state.vkey.read_text())
        verdict = judge(entries, terms())
    tell(f"{verdict.size} entries judged")
    return Trial(verdict, those, counts, one, rate, _by_number(one.answered))


def _progress(tell: Tell, before: int) -> Callable[[int], None]:
    return lambda n: None if n % 100 else tell(f"{before + n} withdrawn")


def _by_number(answered: Sequence[Answered]) -> dict[str, list[Answered]]:
    asked: defaultdict[str, list[Answered]] = defaultdict(list)
    for each in answered:
        asked[each.number].append(each)
    return asked


async def _moments(log: WholeLog, those: Sequence[Person]) -> list[datetime]:
    """When each withdrawal was made: in the statement that appended it, by the clock that this machine has."""
    changed = await log.changed()
    return [changed[log.key(SCHEME, person.spoken_under)][-1] for person in those]


async def _counts(
    log: WholeLog, those: Sequence[Person], answered: Sequence[Answered]
) -> list[tuple[int, int]]:
    asked = _by_number(answered)
    moments = await _moments(log, those)
    return [near(at, asked[person.number]) for at, person in zip(moments, those, strict=True)]


async def _rate(log: WholeLog, those: Sequence[Person], others: Sequence[str]) -> float:
    """Changes of others' words a second, between the first withdrawal and the last."""
    moments = sorted(await _moments(log, those))
    changed = await log.changed()
    theirs = [at for number in others for at in changed.get(log.key(SCHEME, number), ())]
    while_withdrawn = sum(moments[0] <= at <= moments[-1] for at in theirs)
    return while_withdrawn / (moments[-1] - moments[0]).total_seconds()


def _is_what_was_shown(log: WholeLog, answered: Sequence[Answered], vkey: str) -> None:
    """The entries that are judged hash to the checkpoint that the last receipt came with."""
    shown = max((a for a in answered if a.checkpoint), key=lambda a: a.index or 0)
    checkpoint = open_checkpoint(shown.checkpoint, [Verifier.from_vkey(vkey.strip())])
    assert log.root(checkpoint.size) == checkpoint.root


def _report(trial: Trial, tell: Tell) -> None:
    ends = Counter(each.end for each in trial.campaign.answered)
    took = sorted(each.took for each in trial.campaign.answered)
    before, after = (sorted(side) for side in zip(*trial.counts, strict=True))
    half = len(trial.counts) // 2
    tell(f"{len(trial.those)} withdrawals, {trial.proved} with {ENOUGH} requests near on each side;")
    tell(f"before: least {before[0]}, median {before[half]}; after: least {after[0]}, median {after[half]}")
    tell(f"{len(took)} requests: {dict(ends)}; Unsettled {ends['Unsettled'] / len(took):.3%}")
    tell(f"p50 {took[len(took) // 2] * 1000:.0f} ms, p99 {took[len(took) * 99 // 100] * 1000:.0f} ms,")
    tell(f"longest {took[-1] * 1000:.0f} ms; others' changes {trial.others_per_second:.0f}/s")
    tell(f"violations: {len(trial.verdict.violations)}")


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_no_permit_stands_above_the_withdrawal_it_ignores(
    postgres: Server, tmp_path: Path, tell: Tell
) -> None:
    """A thousand withdrawals, each amid requests about that person at two workers: the log shows none ignored,
    everybody is answered in time, and others' words change all the while."""
    trial = await _trial(honest, postgres, tmp_path, WITHDRAWALS, tell)
    _report(trial, tell)
    assert trial.verdict.violations == []
    assert trial.proved >= WITHDRAWALS
    assert trial.others_per_second >= 0.95 * OTHERS_PER_SECOND
    _nobody_starved(trial)
    both_sides = sum(_is_a_watershed(trial, person) for person in trial.those)
    assert both_sides > len(trial.those) // 2


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_a_cache_of_a_tenth_of_a_second_is_caught(postgres: Server, tmp_path: Path, tell: Tell) -> None:
    """The same trial, and the same judge, on workers that remember for 100 ms what people said."""
    trial = await _trial(naive, postgres, tmp_path, 40, tell)
    _report(trial, tell)
    assert trial.proved >= 40
    withdrawals = {person.withdrawn: person for person in trial.those}
    ignored = {withdrawals[v.ignored] for v in trial.verdict.violations}
    assert len(ignored) > len(trial.those) // 2
    assert {person.kind for person in ignored} == set(KINDS)


def _nobody_starved(trial: Trial) -> None:
    """Every request ended as a permit, a refusal by the person, or Unsettled, inside its own time."""
    assert trial.campaign.failures == []
    ends = {each.end for each in trial.campaign.answered}
    assert ends <= {"permit", "person", "Unsettled"}
    assert max(each.took for each in trial.campaign.answered) < TIME
    assert trial.campaign.bystander
    assert {each.end for each in trial.campaign.bystander} == {"permit"}


def _is_a_watershed(trial: Trial, person: Person) -> bool:
    """Of what the requesters themselves were given: every permit below the withdrawal, every refusal above.

    Whether there were both: where the machine held everybody up, all may have come to one side.
    """
    asked = trial.asked[person.number]
    permits = [each.index for each in asked if each.end == "permit" and each.index is not None]
    refusals = [each.index for each in asked if each.end == "person" and each.index is not None]
    assert max(permits, default=-1) < person.withdrawn < min(refusals, default=1 << 63)
    return bool(permits and refusals)
