"""Views at rest: sealed under a data key of their month and retention class.

The data key stands in the database wrapped by a key of that same month and class from the key ring, so that
destroying the ring's key ends every view of the class, in backups too.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

from broker.errors import IntegrityError
from broker.keys import KeyRing
from broker.store.pool import Database

STANDARD = "standard"
_NONCE = 12


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
        nonce = os.urandom(_NONCE)
        return nonce + self.cipher.encrypt(nonce, data, f"{entry}/{audience}".encode())

    def open(self, sealed: bytes, entry: str, audience: str) -> bytes:
        """The data, or IntegrityError where it is not what was sealed for this entry and audience."""
        try:
            return self.cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], f"{entry}/{audience}".encode())
        except InvalidTag as e:
            raise IntegrityError("a sealed view does not open: it was changed, or belongs elsewhere") from e


class Seals:
    """View keys, made and unwrapped once and then kept in memory."""

    def __init__(self, database: Database, ring: KeyRing) -> None:
        self._database = database
        self._ring = ring
        self._current: dict[tuple[str, str], ViewKey] = {}
        self._by_id: dict[int, ViewKey] = {}
        self._lock = asyncio.Lock()

    async def current(self, at: datetime, retention: str = STANDARD) -> ViewKey:
        """The key for what happens at `at`."""
        month = f"{at:%Y-%m}"
        key = self._current.get((month, retention))
        if key is None:
            async with self._lock:
                key = self._current.get((month, retention)) or await self._make(month, retention)
        return key

    async def by_id(self, key_id: int) -> ViewKey:
        """The key of an older view. KeyError where its class has been destroyed."""
        if key_id not in self._by_id:
            async with self._database.connection() as connection:
                row = await connection.fetchrow("select * from view_key where id = $1", key_id)
            if row is None:
                raise KeyError(key_id)
            self._by_id[key_id] = self._unwrap(row["id"], row["month"], row["class"], row["wrapped"])
        return self._by_id[key_id]

    async def _make(self, month: str, retention: str) -> ViewKey:
        wrapping = AESGCM(self._ring.wrapping_key(month, retention))
        nonce = os.urandom(_NONCE)
        wrapped = nonce + wrapping.encrypt(nonce, os.urandom(32), f"{month}.{retention}".encode())
        async with self._database.connection() as connection:
            # Two workers may meet here; the first row counts for both.
            await connection.execute(
                "insert into view_key (month, class, wrapped) values ($1, $2, $3) on conflict do nothing",
                month,
                retention,
                wrapped,
            )
            row = await connection.fetchrow(
                "select * from view_key where month = $1 and class = $2", month, retention
            )
        if row is None:  # destroyed between the two statements, which only an erasure of this month does
            raise IntegrityError(f"the view key of {month}, {retention} was destroyed as it was made")
        key = self._unwrap(row["id"], month, retention, row["wrapped"])
        self._current[month, retention] = self._by_id[key.id] = key
        return key

    def _unwrap(self, key_id: int, month: str, retention: str, wrapped: bytes) -> ViewKey:
        wrapping = AESGCM(self._ring.wrapping_key(month, retention))
        try:
            data = wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], f"{month}.{retention}".encode())
        except InvalidTag as e:
            raise IntegrityError(
                f"the view key of {month}, {retention} does not unwrap: another key ring?"
            ) from e
        return ViewKey(key_id, AESGCMSIV(data))
