"""Signs heads of the log, and only heads that are committed and that the guard agrees with.

Owns the key of the current log. Where the log has been rotated, by whichever worker, it goes over to the next
log's key (`turn`), and signs nothing of the old one any more. Refuses a log whose key is not in the key ring,
and a head that is not proven to extend the newest that was signed (`history`). Where it is proven to be of
another history, nothing is appended or signed by this worker until it is started again, which asks the guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import structlog

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.keys import Signer, Verifier
from broker.core.merkle import EMPTY_ROOT, CompactRange
from broker.core.rotation import rotation, split_origin
from broker.errors import AuditUnavailable, BrokerError, IntegrityError
from broker.store.followed import follows
from broker.store.guard import Ahead, Forked, Guard, LogClosed, SignedHead
from broker.store.history import Head, History
from broker.store.proofs import Broken, Proofs

_diagnostics = structlog.get_logger("broker")
# The log that was noted last: the current one, or one that was closed since by others.
_KNOWN = """
select l.id, l.origin, coalesce(l.entries, h.size) as size from log l left join head h on h.log = l.id
where l.origin = $1
"""
_TRIES = 8  # each after another process has noted a greater head meanwhile
_NOW = (
    "select log, size, range, closed, current_setting('synchronous_standby_names') <> '' as standby from head"
)
Seeds = Callable[[str], bytes | None]
Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]


def signer_of(origin: str, vkey: str | None, seeds: Seeds) -> Signer:
    """The signer of a later half-year's log. Raises AuditUnavailable where the key ring has not its key."""
    half = split_origin(origin)[1]
    seed = seeds(half)
    made = None if seed is None else Signer.from_seed(origin, seed)
    if made is None or (vkey is not None and made.vkey != vkey):
        raise AuditUnavailable(
            f"the log {origin} is signed by {vkey or 'its own key'}, and this node's key folder holds "
            f"{'no key' if made is None else 'another key'} for it: copy logs/{half}.key from a node that does"
        )
    return made


class Notary:
    """The log's key and the memory of what it has signed. Any worker may sign a committed head again.

    `seeds` gives the key of a later half-year's log, None where there is none; `first` that of the first log.
    """

    def __init__(
        self,
        signer: Signer,
        guard: Guard,
        seeds: Seeds = lambda _: None,
        first: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self.signatures = 0
        self.log = 0  # the current log's number in the database, once it is known
        # Why this worker could not sign what it appended; empty where it can. Nothing is appended meanwhile.
        self.trouble = ""
        # Why nothing is appended or signed here until this worker is started again.
        self.forked = ""
        # What could not be proven of any log.
        self.broken = Broken()
        self._seeds = seeds
        self._first = first
        # Called after each rotation that this worker has noticed.
        self.turned: Callable[[], None] = lambda: None
        self._signer = signer
        self._guard = guard
        self._history = History(signer.name)

    @property
    def stopped(self) -> str:
        """Why nothing is to be appended here; empty where it may be."""
        return self.forked or self.trouble

    @property
    def origin(self) -> str:
        """The current log's name: also its key's."""
        return self._signer.name

    @property
    def vkey(self) -> str:
        """The verifier key that partners pin (C2SP signed-note)."""
        return self._signer.vkey

    async def sign(self, head: Head, connect: Connect, part: tuple[int, bytes] | None = None) -> bytes:
        """The signed checkpoint of a committed head of the current log; of a `part`, size and root, where the
        head has been read and that is proven to begin it.

        Nothing is read where the append that made it started from what was signed last. Raises Forked where
        another history was signed, IntegrityError where it cannot be told, LogClosed where a later log was
        signed, AuditUnavailable.
        """
        signer, history = self._signer, self._history
        size, root = part or (head.size, head.root)
        signed, inside = SignedHead(signer.name, size, root), False
        try:
            for _ in range(_TRIES):
                self.require_whole()
                if inside:  # it begins what others have noted, and so what they note after that
                    break
                if history.has(signed) if part else history.holds(head):
                    try:
                        self._guard.note(signed, history.newest)
                    except Ahead as e:
                        known: SignedHead | None = e.head
                    else:
                        history.extend(signed, None if part else head.range)
                        break
                else:
                    known = self._known(signer.name)
                if known is None or not history.starts_at(head, known):
                    async with connect() as connection:
                        await history.prove(connection, head, known, self.broken, take=part is None)
                    inside = known is not None and known.size >= size
                if part is not None:
                    history.extend(signed)
            else:
                raise AuditUnavailable("other workers sign faster than this one can follow")
        except Forked as e:
            self.stop(str(e))
            raise
        self.signatures += 1
        return sign_checkpoint(Checkpoint(signer.name, size, root), signer)

    def stop(self, why: str) -> None:
        """Append and sign nothing from here on: what is in the database is not what was signed."""
        if not self.forked:
            _diagnostics.error("the log has forked", log=self.origin, why=why)
            self.forked = (
                f"what is in the database is not the log that was signed: {why}. Nothing is appended, signed "
                "or released here. Bring back the database that holds what was signed, then start again"
            )

    def require(self) -> None:
        """Raises AuditUnavailable where nothing is to be appended here."""
        if self.stopped:
            raise AuditUnavailable(self.stopped)

    def require_whole(self) -> None:
        """As `require`, for what also puts an end to trouble."""
        if self.forked:
            raise AuditUnavailable(self.forked)

    async def look(self, connection: asyncpg.Connection) -> None:
        """Hold the database's head to what was signed, by whichever worker: stops where it is another history.
        To be called every second or so. Raises AuditUnavailable."""
        # In this order: another worker may append and sign between the two looks.
        # One log's, all of them: while we wait, another task may go over to the next.
        known, history, log = self._known(self.origin), self._history, self.log
        row = await connection.fetchrow(_NOW)
        if self.forked or row is None or row["closed"] or row["log"] > log:
            return
        held = CompactRange(row["size"], tuple(bytes(each) for each in row["range"]))
        head = Head(log, held, held.root())
        try:
            if row["log"] < log:
                raise Forked(f"the database went back to a log before {self.origin}, which has been signed")
            # What no standby has yet, a failover may rightly take back.
            await history.prove(connection, head, known, self.broken, take=not row["standby"])
        except LogClosed:
            return  # by another worker, just now
        except Forked as e:
            self.stop(str(e))
        except IntegrityError:
            return  # what could not be proven is said as that

    def _known(self, origin: str) -> SignedHead | None:
        """What was noted last of this log, by any process of this node."""
        known = self._guard.load()
        return known if known is not None and known.origin == origin else None

    def signer_of(self, origin: str, vkey: str | None) -> Signer:
        """As the function, and remembered: until it is there, this worker is not ready."""
        try:
            signer = signer_of(origin, vkey, self._seeds)
        except AuditUnavailable as e:
            self.trouble = str(e)
            raise
        self.trouble = ""
        return signer

    def require_next(self, leaf: bytes) -> None:
        """That the last entry of a log that is being closed names a key which this node holds. Raises
        AuditUnavailable where it does not, IntegrityError where it names none."""
        vkey = rotation(leaf)
        self.signer_of(Verifier.from_vkey(vkey).name, vkey)

    async def turn(self, connection: asyncpg.Connection) -> None:
        """Go over to the log that is current in the database, once it is known to follow ours: a log that was
        closed by hand is none. Raises AuditUnavailable where we have no key, IntegrityError where it cannot be
        told, Forked."""
        row = await connection.fetchrow("select id, origin, vkey from log where closed_at is null")
        if row is None or row["id"] <= self.log:
            return
        self.require_whole()
        signer, known = self.signer_of(row["origin"], row["vkey"]), self._known(self.origin)
        signed = [self._history.newest, *([known] if known is not None else [])]
        was = self.log
        try:
            await follows(connection, was, self._signer.verifier, signed, self.broken, self._history)
        except Forked as e:
            self.stop(str(e))
            raise
        if self.log != was:  # meanwhile, by another task of ours
            return
        # Between these lines nobody runs: whoever asks sees one log or the other.
        self._signer, self.log, self._history = signer, row["id"], History(signer.name)
        _diagnostics.info("the log was rotated", log=self.origin)
        self.turned()

    async def remember(self) -> None:
        """Make what was signed outlast a crash of the machine: to be called every second or so."""
        path = str(self._guard.path)
        try:
            if self._guard.restore():
                _diagnostics.warning("the guard file was gone or another; written again", path=path)
        except BrokerError as e:
            _diagnostics.error("the guard file is gone or another", path=path, why=str(e))
        newest, known = self._history.newest, self._guard.load()
        behind = known is None or (known.origin, known.size) < (newest.origin, newest.size)
        if newest.size and behind:
            # Emptied, or an older copy written over it: others know by it alone what we have signed.
            self._guard.note(newest)
            _diagnostics.warning("the guard file had forgotten what was signed; written again", path=path)
        await asyncio.to_thread(self._guard.sync)

    async def check(self, connection: asyncpg.Connection) -> None:
        """That this database holds what was signed last; IntegrityError with what to do where it does not.

        Run on every new connection, since a failover is noticed as one.
        """
        # In this order: another worker may append and sign between the two looks.
        known = self._guard.load()
        row = await connection.fetchrow("select log, size, range from head")
        size = row["size"] if row else 0
        if known is None and size == 0:
            # Remembered before anything is appended, or a crash just after the first append would be taken
            # for a lost guard.
            self._guard.note(SignedHead(self.origin, 0, EMPTY_ROOT))
            return
        if row is None or known is None:
            raise IntegrityError(self._guard.refuse(size))
        held = await connection.fetchrow(_KNOWN, known.origin)
        # A log that was closed meanwhile ends no earlier than where we signed it last.
        if held is None or held["size"] is None or held["size"] < known.size:
            raise IntegrityError(self._guard.refuse(size))
        try:
            await self._leads(connection, held["id"], known, row)
        except IntegrityError as e:
            if isinstance(e.__cause__, KeyError):
                raise IntegrityError(
                    f"entries of {known.origin} that were signed are not in this database any more: "
                    "`broker audit fsck` names them"
                ) from e
            raise IntegrityError(self._guard.refuse(size)) from e

    async def _leads(
        self, connection: asyncpg.Connection, log: int, known: SignedHead, head: asyncpg.Record
    ) -> None:
        """That the entries make what was signed last, and go on to the head from there. IntegrityError."""
        if head["log"] != log:  # it is closed
            await follows(connection, log, self._verifier(known.origin), [known], Broken())
            return
        root = CompactRange(head["size"], tuple(bytes(each) for each in head["range"])).root()
        proofs = Proofs(connection, log, head["size"], root, Broken())
        await proofs.holds()
        if known.size and await proofs.root_at(known.size) != known.root:
            raise IntegrityError("what was signed is not how the log begins")

    def _verifier(self, origin: str) -> Verifier | None:
        """Of a log that this node has signed: by the key that a rotation made for it, or else by the first."""
        if origin == self.origin:
            return self._signer.verifier
        seed = self._seeds(split_origin(origin)[1]) or self._first()
        return None if seed is None else Signer.from_seed(origin, seed).verifier
