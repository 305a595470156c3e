"""Terms of the search index as they stand in it: keyed digests, so that nobody can read or try one without the
key, and each by who finds the entry by it, so that nobody's look meets what is not theirs to see.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from broker.core.canonical import Json
from broker.core.receipt import Audience
from broker.core.searchterms import rare
from broker.core.sights import Sights, among, sights
from broker.store.keyed import Keyed

_BITS = 1 << 32
_RUN = 16  # bits: entries of one run lie together in the index
_MOST = 4096
# Before a term: by whom it is found. By both parties and auditors: nothing.
_REQUESTER, _FULL = "\0r", "\0f"

_Keys = tuple[list[int], list[int]]
_View = Mapping[str, Json] | None
_Sides = tuple[str | None, str | None]


class Known(NamedTuple):
    """What entries are found by that say the same in `of`: terms, their keys, and these as array literals."""

    found: Sights
    of: Mapping[str, Json]
    provider: str
    keys: _Keys
    literals: tuple[str, str]


class Asked(NamedTuple):
    """The keys of each term that is asked for, any of which will do: of those that many entries have (signed),
    and of those that few have (not signed)."""

    common: list[list[int]]
    few: list[list[int]]


class BlindTerms:
    """Digests under the index key, each 32 bits: one entry in some hundred million is found wrongly by a term,
    and then not shown.

    A term stands once, by all that find the entry by it; but what the provider finds and the requester does not
    stands as auditors find it, and as this very provider does: whoever asks often enough for somebody must not
    learn, by how long a look takes, by what else the provider knows them.
    """

    def __init__(self, index_key: bytes) -> None:
        self._key = Keyed(hmac.digest(index_key, b"search", "sha256"))
        # Agencies, record types, purposes: few, and in every entry. Who was asked about is not remembered.
        self._common: dict[str, int] = {}

    def asked(self, terms: Iterable[str], audience: Audience, party: str = "") -> Asked:
        """By what keys this audience finds; of a provider by those of this one."""
        found = Asked([], [])
        for each in sorted(terms):
            common, few = self._keys(each, _ways(audience, party))
            if few:
                found.few.append(few)
            else:
                found.common.append(common)
        return found

    def anyhow(self, terms: Iterable[str]) -> _Keys:
        """Every key under which a term stands in any entry that has it in whichever view."""
        every = self.asked(terms, Audience.FULL)
        return sorted(key for keys in every.common for key in keys), sorted(
            k for keys in every.few for k in keys
        )

    def of(
        self, full: Mapping[str, Json], requester: _View, provider: _View, sides: _Sides, index: int
    ) -> list[int]:
        """All that stands in the index for the entry at that place, as `literals`."""
        common, few = self._known(full, requester, provider, sides)[3]
        return [*common, *(((index >> _RUN) << 32) | each for each in few)]

    def literals(
        self, full: Mapping[str, Json], requester: _View, provider: _View, sides: _Sides
    ) -> tuple[str, str]:
        """What an entry with these views and parties is found by, both kinds as array literals. The full view
        stands for a party's that says the same."""
        return self._known(full, requester, provider, sides).literals

    def known(self, common: Mapping[str, Json], told: tuple[bool, bool], sides: _Sides) -> Known:
        """What every entry is found by whose full view says this much, and so do the views of the parties that
        are told."""
        asked, held = (common if each else None for each in told)
        return self._known(common, asked, held, sides)

    def beside(self, known: Known, own: Mapping[str, Json]) -> tuple[str, str]:
        """As `literals`, of an entry with what is `known` already and what it says of its own."""
        asked, held = (None if each is None else own for each in (known.found.requester, known.found.provider))
        found = sights(own, asked, held, known.of)
        if not found.full.isdisjoint(known.found.full):  # by whom it is found is to be seen from both
            return _literals(self._stands(known.found | found, known.provider))
        common, few = self._stands(found, known.provider)
        return (
            _literal(known.keys[0] + common) if common else known.literals[0],
            _literal(known.keys[1] + few) if few else known.literals[1],
        )

    def _known(self, full: Mapping[str, Json], requester: _View, provider: _View, sides: _Sides) -> Known:
        # Of a part that was given up the full view says whose it was.
        who, whom = (
            each or str(full.get(key) or "") for each, key in zip(sides, ("requester", "provider"), strict=True)
        )
        found = among(sights(full, requester, provider), who, sides[1])
        keys = self._stands(found, whom)
        return Known(found, full, whom, keys, _literals(keys))

    def _stands(self, found: Sights, provider: str) -> _Keys:
        asked, held = found.requester or frozenset[str](), found.provider or frozenset[str]()
        every = asked & held
        common, few = list[int](), list[int]()
        only, rest = held - every, found.full - asked
        for terms, by in ((every, ""), (asked - every, _REQUESTER), (only, _held(provider)), (rest, _FULL)):
            for each in terms:
                name = by + each
                if (known := self._common.get(name)) is not None:
                    common.append(known)
                elif rare(each):
                    few.append(self._digest(name))
                else:
                    common.append(self._remember(name))
        return common, few

    def _keys(self, term: str, ways: Iterable[str]) -> _Keys:
        if rare(term):
            return [], [self._digest(by + term) for by in ways]
        return [self._remember(by + term) for by in ways], []

    def _remember(self, term: str) -> int:
        if (known := self._common.get(term)) is not None:
            return known
        found = self._digest(term)
        if len(self._common) >= _MOST:
            self._common.clear()
        self._common[term] = found = found - _BITS if found >= _BITS // 2 else found
        return found

    def _digest(self, term: str) -> int:
        return int.from_bytes(self._key.digest(term.encode())[:4], "big")


def _held(provider: str) -> str:
    return f"\0p{provider}\0"


def _ways(audience: Audience, party: str) -> tuple[str, ...]:
    """What stands before a term by which this audience finds an entry."""
    if audience is Audience.FULL:
        return "", _REQUESTER, _FULL
    return "", _REQUESTER if audience is Audience.REQUESTER else _held(party)


def _literals(keys: _Keys) -> tuple[str, str]:
    return _literal(keys[0]), _literal(keys[1])


def _literal(numbers: list[int]) -> str:
    return f"{{{','.join(map(str, sorted(numbers)))}}}"
