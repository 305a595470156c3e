"""A page that a scrutiny board can read, and publish: one whole month in counts that tell of nobody.

Owns what is counted and what is not. Law-enforcement entries (DPA 2018 Part 3) may be used for the purposes of
s.62(4) only, which statistics are not: they are left out, and so is what might be one. A month is whole and
over, and counted once (`figures`), so that two reports cannot be subtracted from each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, time

from broker.core.acted import LATE
from broker.core.london import moment
from broker.core.reports.document import Cell, Document, Table, columns
from broker.core.reports.line import Line
from broker.core.reports.suppression import LEAST, Counted, Published, publish
from broker.law import Law

_ABOUT = (
    (
        f"Counts below {LEAST} are withheld, and where one could be worked out from the others, another is "
        "withheld with it. A month is counted once, when it is over and first asked for; what is erased later "
        "changes no figure here, so that nothing about anybody can be worked out from two reports."
    ),
    (
        "Without law-enforcement processing (DPA 2018 Part 3): its log may not be used for statistics "
        "(s.62(4)). What was refused before a regime was decided is left out too where its purpose may be law "
        "enforcement."
    ),
)
_ENDS = {
    "disclosure": "Records given",
    "refusal": "Refused",
    "not-found": "Nothing found",
    "provider-failure": "No answer from the provider",
    "referral-asked": "Put before a person to decide",
}


class Month:
    """Counts one month."""

    def __init__(self, month: date, law: Law) -> None:
        self._month = month
        self._law = law
        self._ends: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._purposes: Counter[str] = Counter()
        self._overrides = 0
        self._late = 0

    def add(self, line: Line) -> None:
        """One entry; what may not be counted is passed over."""
        if self._part_3(line):
            return
        if line.event == LATE:
            self._late += 1
        if not line.asks:
            return
        self._ends[line.event] += 1
        self._purposes[line.purpose] += 1
        if line.event == "refusal":
            self._codes[line.code] += 1
        if line.released and line.override:
            self._overrides += 1

    def _part_3(self, line: Line) -> bool:
        known = [self._law.regimes[code] for code in line.regimes if code in self._law.regimes]
        if len(known) == len(line.regimes):
            return any(each.law_enforcement for each in known)
        purpose = self._law.purposes.get(line.purpose)
        return any(each.law_enforcement for each in known) or purpose is None or purpose.law_enforcement

    def outcomes(self) -> Published:
        """What came of the requests."""
        # What did not happen at all has no row: a row that is withheld says that something did, and no more.
        emergency, given = self._overrides, self._ends["disclosure"]
        kinds = (("By emergency override", emergency), ("Without one", given - emergency))
        parts = {
            "disclosure": tuple(Counted(name, n) for name, n in kinds if n) if emergency else (),
            "refusal": tuple(Counted(code, n) for code, n in sorted(self._codes.items())),
        }
        ends = tuple(
            Counted(_ENDS[end], self._ends[end], parts.get(end, ())) for end in _ENDS if self._ends[end]
        )
        return publish(Counted("Requests", self._ends.total(), ends))

    def purposes(self) -> Published:
        """What they were for."""
        meant = self._law.purposes
        parts = tuple(
            Counted(meant[code].meaning if code in meant else code, n)
            for code, n in sorted(self._purposes.items())
        )
        return publish(Counted("Requests", self._purposes.total(), parts))

    def document(self, facts: tuple[tuple[str, str], ...], seconds: Iterable[tuple[str, str]]) -> Document:
        """The page. `seconds` are the latencies that metrics know, as (which, how long)."""
        tables = (
            _tree("What came of them", self.outcomes(), "Requests for records"),
            _tree("What they were for", self.purposes(), "Purposes"),
            Table(
                "How long answers took since the broker was last started, and not in this month",
                columns(share="Share of the answers", took="Took at most"),
                tuple(seconds),
                "Time",
                (
                    (
                        "From the metrics of the process that made this report, since it started, and so of "
                        "another time than the month: counters of their own, with all requests in them."
                    ),
                ),
            ),
            Table(
                "Availability",
                columns(what="What", said="What is known"),
                self._available(),
                "Availability",
                (
                    (
                        "What the broker never received is in no log of its own: availability as users see it "
                        "is measured from outside."
                    ),
                ),
            ),
        )
        return page((("Month", f"{self._month:%B %Y}"), *facts), tables)

    def _available(self) -> tuple[tuple[Cell, ...], ...]:
        outcomes = {name: count for _, name, count in self.outcomes().rows()}
        total, failed = outcomes["Requests"], outcomes.get(_ENDS["provider-failure"], 0)
        share = "withheld" if total is None or failed is None else f"{100 * (total - failed) / total:.1f} %"
        late = "withheld" if 0 < self._late < LEAST else str(self._late)
        return (
            ("Requests that the provider, where it was asked, answered", share),
            ("Exchanges by telephone while the broker was down, written down later", late),
        )


def page(facts: tuple[tuple[str, str], ...], tables: tuple[Table, ...]) -> Document:
    """The page of these."""
    return Document("performance", "The broker in figures", _ABOUT, facts, tables)


def bounds(month: date) -> tuple[datetime, datetime]:
    """A month on a clock in the United Kingdom, as [since, until)."""
    after = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return moment(month.replace(day=1), time()), moment(after, time())


def _tree(caption: str, published: Published, heading: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    withheld = False
    for depth, name, count in published.rows():
        withheld |= count is None
        rows.append((f"{'– ' * depth}{name}", count, f"below {LEAST}, or withheld" if count is None else ""))
    heads = columns(what="What", requests="Requests", note="Note")
    notes = ("Where nothing stands, the count is withheld.",) if withheld else ()
    return Table(caption, heads, tuple(rows), heading, notes, "requests")
