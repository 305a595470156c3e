"""Rows held against the entries that made them: a row can be changed by SQL, and no entry can.

Owns the words. A report shows what the entry says, and lists each row that says otherwise or is gone.
"""

from __future__ import annotations

from broker.core.reports.document import Table, bounded, spoken


class Against:
    """Takes in what does not fit; `what` the rows are of, as people say it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._held = 0
        self._rows: list[tuple[str, str, str, str]] = []
        self._unsure: list[str] = []

    def row(self) -> None:
        """One was held against what the log says of it."""
        self._held += 1

    def otherwise(self, row: str, says: str, entry: str, truth: str) -> None:
        """A row says something else than its entry."""
        self._rows.append((row, f"the row says otherwise than entry {entry}", says, truth))

    def no_row(self, entry: str, truth: str) -> None:
        """What an entry says has no row."""
        self._rows.append((entry, f"entry {entry} has no row", "", truth))

    def no_entry(self, row: str, says: str) -> None:
        """No entry says what a row says."""
        self._rows.append((row, "no entry that can be found says what the row says", says, ""))

    def unsure(self, why: str) -> None:
        """Not all could be held against all."""
        self._unsure.append(why)

    def told(self) -> tuple[str, ...]:
        """Each of them in a line."""
        return tuple(
            "; ".join(filter(None, (f"{row}: {problem}", says and f"the row says {says}", truth)))
            for row, problem, says, truth in self._rows
        )

    def facts(self) -> tuple[tuple[str, str], ...]:
        """For the first page: whether the rows are what the log says."""
        found = f"{len(self._rows)} DO NOT FIT, listed below: shown is what the log says, where it says it"
        good = f"{self._held} rows of {self._what}, and each says what its entries say"
        if self._held == 1:
            good = f"1 row of {self._what}, and it says what its entries say"
        elif not self._held:
            good = f"there are no rows of {self._what}"
        sure = tuple(("Not sure of it", why) for why in dict.fromkeys(self._unsure))
        return (("Held against the log", found if self._rows else good), *sure)

    def tables(self) -> tuple[Table, ...]:
        """What does not fit; none where all does."""
        heads = spoken(
            row="Row or entry", problem="What does not fit", says="The row says", truth="The log says"
        )
        rows, more = bounded(self._rows)
        note = (
            "Somebody changed or deleted rows by hand, or they went with their key at the end of their time "
            "(see Destroyed since). `broker audit fsck` of the database, with --keys, names all of them; no "
            "entry was changed by it."
        )
        return (
            (Table("Rows that do not fit the log", heads, rows, "Held against the log", (note, *more)),)
            if rows
            else ()
        )
