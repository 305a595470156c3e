"""A question as SQL: the places of entries that have all its terms, for whom it is asked.

A party is asked for as the requester of some entries and as the provider of others: each by the keys by which
that side finds, so that the database itself leaves out what the party could not be shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from broker.core.receipt import Audience
from broker.core.searchterms import parties
from broker.store.terms import BlindTerms

_IS = {
    Audience.REQUESTER: "v.requester_agency = {party}",
    # An agency that asked itself reads what it asked.
    Audience.PROVIDER: "v.provider_agency = {party} and v.requester_agency is distinct from {party}",
}


class Sought(Struct, frozen=True):
    """Which places of a log: `sql` gives them as `idx`. Of its `values` the log's number is $1, the first and
    the last place are $2 and $3."""

    sql: str
    values: list[Any]


class _Values:
    def __init__(self, log: int) -> None:
        self.every: list[Any] = [log]

    def __call__(self, value: Any, of: str) -> str:
        """A value, as it is named in the statement."""
        self.every.append(value)
        return f"${len(self.every)}::{of}"


def sought(
    blind: BlindTerms,
    terms: frozenset[str],
    log: int,
    places: tuple[int, int],
    limit: int,
    *,
    newest_first: bool,
    since: datetime | None = None,
    until: datetime | None = None,
    party: str = "",
) -> Sought:
    """The first of those between these places, both among them, that have all these terms; of `party` (empty:
    of anybody) those that it may find by them."""
    value = _Values(log)
    given = (
        *(value(each, "bigint") for each in places),
        *(value(each, "timestamptz") for each in (since, until)),
        value(limit, "integer"),
    )
    sides = (Audience.REQUESTER, Audience.PROVIDER) if party else (Audience.FULL,)
    asked = {side: blind.asked(terms, side, party) for side in sides}
    named = blind.anyhow(parties(party))[0]
    # What few entries have is looked up; the rest is read in order, whatever the planner thinks of the index.
    if asked[sides[0]].few:
        keys = [
            value(keys, of)
            for side in (sides[0], sides[-1])
            for keys, of in ((asked[side].common, "integer[]"), (asked[side].few, "bigint[]"))
        ]
        first, last, *rest = given
        more = (*rest, value(party, "text"), value(named, "integer[]"), *keys)
        call = f"search_find({', '.join(('$1', first, last, str(newest_first), *more))})"
        return Sought(f"select idx from {call} idx", value.every)  # noqa: S608 - ours
    ways = {side: _all([value(keys, "integer[]") for keys in asked[side].common]) for side in sides}
    who = _of_party(value(party, "text"), value(named, "integer[]"), ways) if party else ways[Audience.FULL]
    return Sought(_in_order(given, who, "desc" if newest_first else "asc"), value.every)


def _in_order(given: tuple[str, ...], who: str, order: str) -> str:
    first, last, since, until, most = given
    return f"""
select s.idx from search s
where s.log = $1 and s.idx between {first} and {last}
  and ({since} is null or s.at >= {since}) and ({until} is null or s.at < {until}) and {who}
order by s.log {order}, s.idx {order} limit {most}
"""  # noqa: S608 - ours


def _of_party(party: str, named: str, ways: Mapping[Audience, str]) -> str:
    """What is not found on either side is left out before anybody looks at who its parties are."""
    found = " or ".join(f"{_IS[side].format(party=party)} and {way}" for side, way in ways.items())
    return f"""s.terms && {named} and ({" or ".join(ways.values())}) and exists (
      select from view v where (v.log, v.idx) = (s.log, s.idx) and ({found}))"""


def _all(keys: Sequence[str]) -> str:
    return "(" + (" and ".join(f"s.terms && {each}" for each in keys) or "true") + ")"
