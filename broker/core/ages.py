"""When a consent that a holder of parental responsibility gave is to be asked for again: at 16, and at 18.

At 16 the young person is presumed able to consent (Family Law Reform Act 1969 s.8; Mental Capacity Act 2005
s.2(5)); at 18 parental responsibility has ended. Competence before 16 has no date: whoever assesses it says so.
"""

from __future__ import annotations

from datetime import date, datetime, time

from broker.core.london import moment

AGES = (16, 18)


def attained(born: date, age: int) -> datetime:
    """The moment (UTC) somebody reaches an age: as the anniversary begins (Family Law Reform Act 1969 s.9).

    Of a 29 February in a year that has none: 1 March.
    """
    year = born.year + age
    try:
        day = born.replace(year=year)
    except ValueError:
        day = date(year, 3, 1)
    return moment(day, time.min)


def reconsider(born: date, said_at: datetime) -> datetime | None:
    """The first of these ages after `said_at`; None where there is none left: the person is an adult."""
    return next((at for age in AGES if (at := attained(born, age)) > said_at), None)
