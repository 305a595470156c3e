"""Signs heads of the log, and only heads that are committed and that the guard agrees with."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.keys import Signer
from broker.core.merkle import EMPTY_ROOT
from broker.core.tiles import tiles_for_range, tree_root
from broker.errors import BrokerError, IntegrityError
from broker.store.guard import Guard, SignedHead
from broker.store.tiles import TileReader

_diagnostics = structlog.get_logger("broker")


class Notary:
    """The log's key and the memory of what it has signed. Any worker may sign a committed head again."""

    def __init__(self, signer: Signer, guard: Guard) -> None:
        self.signatures = 0
        self._signer = signer
        self._guard = guard

    @property
    def origin(self) -> str:
        """The log's name: also its key's."""
        return self._signer.name

    @property
    def vkey(self) -> str:
        """The verifier key that partners pin (C2SP signed-note)."""
        return self._signer.vkey

    def sign(self, size: int, root: bytes) -> bytes:
        """The signed checkpoint of a committed head. Raises IntegrityError where another root was signed."""
        self._guard.note(SignedHead(self.origin, size, root))
        self.signatures += 1
        return sign_checkpoint(Checkpoint(self.origin, size, root), self._signer)

    async def remember(self) -> None:
        """Make what was signed outlast a crash of the machine: to be called every second or so."""
        path = str(self._guard.path)
        try:
            if self._guard.restore():
                _diagnostics.warning("the guard file was gone or another; written again", path=path)
        except BrokerError as e:
            _diagnostics.error("the guard file is gone or another", path=path, why=str(e))
        await asyncio.to_thread(self._guard.sync)

    async def check(self, connection: asyncpg.Connection) -> None:
        """That this database holds what was signed last; IntegrityError with what to do where it does not.

        Run on every new connection, since a failover is noticed as one.
        """
        # In this order: another worker may append and sign between the two looks.
        known = self._guard.load()
        row = await connection.fetchrow("select log, size from head")
        size = row["size"] if row else 0
        if known is None and size == 0:
            # Remembered before anything is appended, or a crash just after the first append would be taken
            # for a lost guard.
            self._guard.note(SignedHead(self.origin, 0, EMPTY_ROOT))
            return
        if row is None or known is None or known.origin != self.origin or size < known.size:
            raise IntegrityError(self._guard.refuse(size))
        tiles = await TileReader(connection, row["log"]).read(tiles_for_range(known.size))
        if tree_root(known.size, tiles.__getitem__) != known.root:
            raise IntegrityError(self._guard.refuse(size))
