"""Terms of the search index as they stand in it: keyed digests, so that nobody can read or try one without the
key."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from broker.core.canonical import Json
from broker.core.searchterms import parties, rare, terms_of
from broker.store.keyed import Keyed

_BITS = 1 << 32
_RUN = 16  # bits: entries of one run lie together in the index
_MOST = 4096


class Known(NamedTuple):
    """Terms, and their digests."""

    terms: frozenset[str]
    common: list[int]
    few: list[int]
    literals: tuple[str, str]


class BlindTerms:
    """Digests under the index key, each 32 bits: one entry in some hundred million is found wrongly by a term,
    and then not shown."""

    def __init__(self, index_key: bytes) -> None:
        self._key = Keyed(hmac.digest(index_key, b"search", "sha256"))
        # Agencies, record types, purposes: few, and in every entry. Who was asked about is not remembered.
        self._common: dict[str, int] = {}

    def split(self, terms: Iterable[str]) -> tuple[list[int], list[int]]:
        """Blind and sorted: terms that many entries have (signed), and what few have (not signed)."""
        common, few = list[int](), list[int]()
        for each in terms:
            if (known := self._common.get(each)) is not None:
                common.append(known)
            elif rare(each):
                few.append(self._digest(each))
            else:
                common.append(self._remember(each))
        return sorted(common), sorted(few)

    def of(self, terms: Iterable[str], index: int) -> list[int]:
        """All that stands in the index for the entry at that place."""
        common, few = self.split(terms)
        return [*common, *(((index >> _RUN) << 32) | each for each in few)]

    def literals(
        self, full: Mapping[str, Json], requester: str | None, provider: str | None
    ) -> tuple[str, str]:
        """What an entry with this full view and these parties is found by, both kinds as array literals."""
        return self.beside(self.known(full, requester, provider), {})

    def known(self, full: Mapping[str, Json], requester: str | None, provider: str | None) -> Known:
        """What every entry is found by whose full view says this much, and whose parties are these."""
        terms = terms_of(full) | parties(requester, provider)
        common, few = self.split(terms)
        return Known(terms, common, few, (_literal(common), _literal(few)))

    def beside(self, known: Known, own: Mapping[str, Json]) -> tuple[str, str]:
        """As `literals`, of an entry with what is `known` already and what it says of its own."""
        common, few = self.split(terms_of(own) - known.terms)
        return (
            _literal(sorted(known.common + common)) if common else known.literals[0],
            _literal(sorted(known.few + few)) if few else known.literals[1],
        )

    def _remember(self, term: str) -> int:
        found = self._digest(term)
        if len(self._common) >= _MOST:
            self._common.clear()
        self._common[term] = found = found - _BITS if found >= _BITS // 2 else found
        return found

    def _digest(self, term: str) -> int:
        return int.from_bytes(self._key.digest(term.encode())[:4], "big")


def _literal(numbers: list[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"
