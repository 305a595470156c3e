"""An independent, slow reading of RFC 6962 section 2.1, and sample evidence, for the tests of the core."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from broker.core.checkpoint import Checkpoint, Signer, sign_checkpoint
from broker.core.entry import RequesterView, SealedEntry, seal_entry
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.core.receipt import Receipt
from broker.core.record import Record
from broker.core.views import ProviderView


class NaiveTree:
    """MTH, PATH and SUBPROOF as the RFC writes them: recursive, by slices of the leaf list."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.mth = functools.cache(self._mth)

    def _mth(self, low: int, high: int) -> bytes:
        if low == high:
            return hashlib.sha256().digest()
        if high - low == 1:
            return hashlib.sha256(b"\0" + self.entries[low]).digest()
        middle = low + self.split(high - low)
        return hashlib.sha256(b"\1" + self.mth(low, middle) + self.mth(middle, high)).digest()

    @staticmethod
    def split(count: int) -> int:
        power = 1
        while power * 2 < count:
            power *= 2
        return power

    def leaf(self, index: int) -> bytes:
        return self.mth(index, index + 1)

    def root(self, size: int) -> bytes:
        return self.mth(0, size)

    def path(self, index: int, low: int, high: int) -> list[bytes]:
        if high - low == 1:
            return []
        middle = low + self.split(high - low)
        if index < middle:
            return [*self.path(index, low, middle), self.mth(middle, high)]
        return [*self.path(index, middle, high), self.mth(low, middle)]

    def proof(self, size1: int, size2: int) -> list[bytes]:
        return self.subproof(size1, 0, size2, True) if 0 < size1 < size2 else []

    def subproof(self, size1: int, low: int, high: int, known: bool) -> list[bytes]:
        if size1 == high - low:
            return [] if known else [self.mth(low, high)]
        k = self.split(high - low)
        if size1 <= k:
            return [*self.subproof(size1, low, low + k, known), self.mth(low + k, high)]
        return [*self.subproof(size1 - k, low + k, high, False), self.mth(low, low + k)]


@pytest.fixture(scope="session")
def naive() -> NaiveTree:
    """A naive tree of 700 entries of many lengths."""
    source = random.Random(6962)
    return NaiveTree([source.randbytes(source.randrange(0, 90)) for _ in range(700)])


ORIGIN = "blue-light.test/log/2026h2"


@dataclass(frozen=True)
class Evidence:
    """One good receipt with everything that belongs to it."""

    signer: Signer
    sealed: SealedEntry
    record: Record
    receipt: Receipt


@pytest.fixture(scope="session")
def signer() -> Signer:
    """The log's key."""
    return Signer.from_seed(ORIGIN, bytes(range(32)))


@pytest.fixture(scope="session")
def views() -> tuple[RequesterView, ProviderView, dict[str, object]]:
    """The three views of one permit."""
    record = Record("type.googleapis.com/records.fire.v1.PremisesRisk", b"\x0a\x03abc" * 3)
    asked = RequesterView(
        event="request",
        request_id="3f0e8f5e-6f0a-4a53-9d37-0b8b2f7c1a11",
        outcome="permit",
        record_type="records.fire.v1.PremisesRisk",
        provider="cfrs",
        agreement="cumbria-home-safety@3",
        response=record.digest(),
        regime="uk-gdpr",
        controller="cumberland",
    )
    held = ProviderView(asked, {"id": "r.bell", "role": "crew"}, (("uprn", "10000000001"),))
    full = {**held.as_json(), "policy": 12, "now": "2026-11-21T10:00:00Z", "rules": ["party", "purpose"]}
    return asked, held, full


@pytest.fixture(scope="session")
def make_evidence(signer: Signer, views: tuple) -> Callable[..., Evidence]:
    """Seals one entry among others and gives its receipt: `make_evidence(before, after)`."""

    def make(before: int = 5, after: int = 6) -> Evidence:
        source = random.Random(before * 1000 + after)
        asked, held, full = views
        record = Record("type.googleapis.com/records.fire.v1.PremisesRisk", b"\x0a\x03abc" * 3)
        at = datetime(2026, 11, 21, 10, 0, 7, tzinfo=UTC)
        sealed = seal_entry(at, "0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f", asked, held, full, source.randbytes)
        old = EMPTY_RANGE.extend(leaf_hash(b"before %d" % i) for i in range(before))
        batch = [leaf_hash(sealed.entry), *(leaf_hash(b"after %d" % i) for i in range(after))]
        grown, proofs = extend_with_proofs(old, batch)
        note = sign_checkpoint(Checkpoint(ORIGIN, grown.size, grown.root()), signer)
        return Evidence(
            signer, sealed, record, Receipt(sealed.entry, before, proofs[0], note, sealed.requester)
        )

    return make
