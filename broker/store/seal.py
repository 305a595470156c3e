"""Views at rest: sealed under a data key of their month and retention class.

The data key stands in the database wrapped by a key of that same month and class from the key ring, so that
destroying the ring's key ends every view of the class, in backups too.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

from broker.core.retention import STANDARD
from broker.errors import AuditUnavailable, IntegrityError, KeyDestroyed, KeyMissing, KeyUnknown
from broker.ids import random_bytes
from broker.keys import KeyRing
from broker.store.pool import Database

_FIND = "select * from view_key where month = $1 and class = $2"
_NONCE = 12
_TAG = 16
_KEPT = 60.0  # seconds; what is destroyed elsewhere ends here too


@dataclass(frozen=True, slots=True)
class ViewKey:
    """One data key, and the number under which the database knows it.

    AES-256-GCM-SIV (RFC 8452): a month of a busy deployment seals more than the 2^32 messages for which
    random nonces are safe with plain GCM.
    """

    id: int
    cipher: AESGCMSIV

    def seal(self, data: bytes, entry: str, audience: str) -> bytes:
        """Nonce and ciphertext, bound to the entry and to who may read it."""
        nonce = random_bytes(_NONCE)
        return nonce + self.cipher.encrypt(nonce, data, f"{entry}/{audience}".encode())

    def open(self, sealed: bytes, entry: str, audience: str) -> bytes:
        """The data, or IntegrityError where it is not what was sealed for this entry and audience."""
        if len(sealed) < _NONCE + _TAG:
            raise IntegrityError("a sealed view does not open: it was cut")
        try:
            return self.cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], f"{entry}/{audience}".encode())
        except InvalidTag as e:
            raise IntegrityError("a sealed view does not open: it was changed, or belongs elsewhere") from e


@dataclass(frozen=True, slots=True)
class _Kept:
    key: ViewKey
    since: float = field(default_factory=time.monotonic)

    @property
    def old(self) -> bool:
        return time.monotonic() - self.since > _KEPT


class Seals:
    """View keys, unwrapped and then kept in memory for a minute: a key destroyed elsewhere ends here too."""

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database = database
        self._ring = ring
        self._current: dict[tuple[int, int, str], _Kept] = {}
        self._by_id: dict[int, _Kept] = {}
        self._lock = asyncio.Lock()

    def at_hand(self, at: datetime, retention: str = STANDARD) -> ViewKey | None:
        """The key for what happens at `at`, where nothing need be asked for it."""
        kept = self._current.get((at.year, at.month, retention))
        return None if kept is None or kept.old else kept.key

    async def current(self, at: datetime, retention: str = STANDARD) -> ViewKey:
        """The key for what happens at `at`. Raises KeyDestroyed where it has been already, KeyMissing."""
        async with self._lock:
            key = self.at_hand(at, retention)
            if key is None:
                key = await self._load(f"{at:%Y-%m}", retention)
                self._current[at.year, at.month, retention] = _Kept(key)
        return key

    async def of(self, month: str, retention: str) -> ViewKey:
        """The key of a month and class, whenever that was; made where there is none. Raises KeyDestroyed."""
        return await self._load(month, retention)

    async def by_id(self, key_id: int) -> ViewKey:
        """The key of an older view. Raises KeyDestroyed where it has been, KeyMissing, KeyUnknown."""
        kept = self._by_id.get(key_id)
        if kept is None or kept.old:
            self._by_id.pop(key_id, None)
            kept = self._by_id[key_id] = _Kept(await self._unwrapped(key_id))
        return kept.key

    async def look(self) -> None:
        """That every key that was not destroyed opens here. Raises KeyMissing, IntegrityError."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select id from view_key where wrapped is not null order by id")
        for row in rows:
            with suppress(KeyDestroyed):  # just now
                await self._unwrapped(row["id"])

    async def _load(self, month: str, retention: str) -> ViewKey:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, month, retention)
            if row is None:
                # The only place where a wrapping key may be made: nothing can have been sealed under it yet.
                wrapped = self._wrap(self._ring.make_wrapping_key(month, retention), month, retention)
                # Two workers may meet here; the first row counts for both.
                await connection.execute(
                    "insert into view_key (month, class, wrapped) values ($1, $2, $3) on conflict do nothing",
                    month,
                    retention,
                    wrapped,
                )
                row = await connection.fetchrow(_FIND, month, retention)
        if row is None:
            raise AuditUnavailable(f"the view key of {month}, {retention} was removed as it was made")
        return await self._unwrapped(row["id"])

    async def _unwrapped(self, key_id: int) -> ViewKey:
        """Looked at twice: a key that is being destroyed goes from the database first, and then from the
        ring."""
        for last in (False, True):
            async with self._database.connection() as connection:
                row = await connection.fetchrow("select * from view_key where id = $1", key_id)
            if row is None:
                raise KeyUnknown("a view names a key that the database does not know")
            try:
                return unwrap(self._ring, row)
            except KeyDestroyed:
                raise
            except (KeyMissing, IntegrityError):
                if last:
                    raise
        raise AssertionError("unreachable")

    def _wrap(self, wrapping: bytes, month: str, retention: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(wrapping).encrypt(nonce, os.urandom(32), f"{month}.{retention}".encode())


def unwrap(ring: KeyRing, row: asyncpg.Record) -> ViewKey:
    """The data key of a row of `view_key`. Raises KeyDestroyed, KeyMissing, and IntegrityError under another
    ring's key."""
    month, retention, wrapped = row["month"], row["class"], row["wrapped"]
    if wrapped is None:
        raise KeyDestroyed(f"the key of {month}, {retention} has been destroyed")
    wrapping = AESGCM(ring.wrapping_key(month, retention))
    try:
        data = wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], f"{month}.{retention}".encode())
    except InvalidTag as e:
        raise IntegrityError(f"the view key of {month}, {retention} does not unwrap: another key ring?") from e
    return ViewKey(row["id"], AESGCMSIV(data))
