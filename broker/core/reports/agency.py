"""What an agency asked for and gave: by purpose, record type, agreement and outcome."""

from __future__ import annotations

from broker.core.acted import LATE
from broker.core.reports.document import Document, Table, columns
from broker.core.reports.line import Line
from broker.core.reports.tally import Tally

_ABOUT = (
    (
        "Counted from the entries of the log, law-enforcement ones included: for a controller's monitoring of "
        "itself (DPA 2018 s.62(4)(b)), and not for publication. Counts are not rounded, and no small one is "
        "left out. What has been erased since is not counted: where anything was, it is said how much."
    ),
)


class Dealings:
    """Takes in entries; of one agency, or of each where none is named."""

    def __init__(self, agency: str) -> None:
        self._agency = agency
        self._asked = Tally()
        self._gave = Tally()
        self._purposes = Tally()
        self._overrides = Tally()

    def add(self, line: Line) -> None:
        """One entry; what is neither the end of an asking nor told by telephone is passed over."""
        if not line.asks and line.event != LATE:
            return
        what = (line.purpose, line.record_type, line.agreement, line.event, line.code)
        if self._agency in ("", line.requester):
            self._asked.add(line.requester, line.provider, *what)
            self._purposes.add("asked", line.purpose)
            self._broken("used", line)
        if line.provider and self._agency in ("", line.provider):
            self._gave.add(line.provider, line.requester, *what)
            if self._agency:  # of all agencies both sides are the same requests
                self._purposes.add("was asked", line.purpose)
                self._broken("gave way to", line)

    def _broken(self, side: str, line: Line) -> None:
        if line.override:
            self._overrides.add(side, line.override, line.event)

    def document(self, facts: tuple[tuple[str, str], ...]) -> Document:
        """The report."""
        rest = {
            "purpose": "Purpose",
            "type": "Record type",
            "agreement": "Agreement",
            "outcome": "Came to",
            "code": "Refused because",
            "requests": "Requests",
        }
        tables = (
            Table(
                "By purpose",
                columns(side="Side", purpose="Purpose", requests="Requests"),
                self._purposes.rows(),
                "In short",
                chart="requests",
            ),
            Table(
                "What was asked for",
                columns(agency="Asked by", of="Asked of", **rest),
                self._asked.rows(),
                "Asked",
            ),
            Table(
                "What it was asked for, and gave where a record went out",
                columns(agency="Asked of", by="Asked by", **rest),
                self._gave.rows(),
                "Given",
                (
                    (
                        "What was refused before the provider was asked is in the requester's and the "
                        "auditors' reports, and not in the provider's own."
                    ),
                ),
            ),
            Table(
                "Emergency overrides among these",
                columns(side="Side", override="Why", outcome="Came to", requests="Requests"),
                self._overrides.rows(),
                "Overrides",
            ),
        )
        return Document(
            "agency", "What was asked for and given", _ABOUT, facts, tables, "Nothing was asked for."
        )
