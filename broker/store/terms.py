"""Terms of the search index as they stand in it: keyed digests, so that nobody can read or try one without the
key."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from functools import lru_cache

from broker.core.searchterms import SELECTIVE

_BITS = 1 << 64


class BlindTerms:
    """Digests under the index key, each 64 bits: one in ten billion entries is found wrongly, and not shown."""

    def __init__(self, index_key: bytes) -> None:
        self._key = hmac.digest(index_key, b"search", "sha256")
        # Agencies, record types, purposes: few, and in every entry. Who was asked about is not remembered.
        self._remembered = lru_cache(maxsize=4096)(self._digest)

    def of(self, terms: Iterable[str]) -> list[int]:
        """The terms, blind and sorted."""
        return sorted(
            self._digest(each) if each.partition("|")[0] in SELECTIVE else self._remembered(each)
            for each in terms
        )

    def _digest(self, term: str) -> int:
        value = int.from_bytes(hmac.digest(self._key, term.encode(), "sha256")[:8], "big")
        return value - _BITS if value >= _BITS // 2 else value
