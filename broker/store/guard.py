"""The last signed head of the log, kept outside the database: how a rolled-back database is recognised.

Failing over to a replica that lagged, or restoring a backup, takes entries back that have been signed, and
signing on from there is equivocation. So every signed (size, root) is noted here, never going back, and a
database that does not hold it is refused.

Several processes share the file, and none waits for another: one that has been stopped must not keep the rest
from signing. Each writes in a lane of its own, and what all lanes hold is read together. A lane has two slots,
written in turn, each with its own check, so that a torn write costs at most one batch. A crash of the process
loses nothing; one of the machine at most what was noted since the last `sync`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.errors import AuditUnavailable, IntegrityError, SetupError

_SLOT = 512
_LANE = 2 * _SLOT
# The first lane is the one that earlier releases share; it is read and no longer written.
_FIRST, _MOST = 1, 256
# Of a slot that is being written while it is read.
_READS = 5
_TAKEN = (errno.EAGAIN, errno.EACCES)


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head that was signed."""

    origin: str
    size: int
    root: bytes

    def to_slot(self) -> bytes:
        """One slot: text a human can read, a check, padding."""
        text = f"{self.origin}\n{self.size}\n{self.root.hex()}\n"
        line = f"{text}{hashlib.sha256(text.encode()).hexdigest()}\n".encode()
        if len(line) > _SLOT:
            raise ValueError("origin too long for the guard")
        return line.ljust(_SLOT, b" ")

    @classmethod
    def from_slot(cls, slot: bytes) -> SignedHead | None:
        """The head, or None where the slot is empty or torn."""
        lines = slot.decode("utf-8", "replace").split("\n")
        if len(lines) < 5:
            return None
        text = "\n".join(lines[:3]) + "\n"
        if lines[3] != hashlib.sha256(text.encode()).hexdigest():
            return None
        try:
            return cls(lines[0], int(lines[1]), bytes.fromhex(lines[2]))
        except ValueError:  # whoever wrote it could make a check, and was no guard
            return None


class Forked(IntegrityError):  # noqa: N818 - it has
    """Two histories under one key: nothing is signed any more."""


class Ahead(Exception):  # noqa: N818 - no error: the caller proves, and notes again
    """A head was noted that the one to be noted has not been held against."""

    def __init__(self, head: SignedHead) -> None:
        super().__init__(f"{head.size} entries were noted")
        self.head = head


class LogClosed(IntegrityError):  # noqa: N818 - it is
    """A later log has been signed: nothing of an earlier one is signed any more."""


class Guard:
    """A file of lanes, one for each process that writes. What it remembers never goes back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _sync_folder(path.parent)
        except OSError as e:
            raise SetupError(f"cannot open the guard file {path}: {e.strerror}") from e
        # Counted, since a sync and a note may cross: what was noted during one is not covered by it.
        self._noted = self._synced = 0
        self._failed = False
        self._lane: int | None = None
        self._parsed: dict[int, tuple[bytes, SignedHead | None]] = {}
        self._read = b""  # what was read last, and what it holds
        self._held: dict[int, SignedHead | None] = {}
        self._buffer = bytearray(_MOST * _LANE)

    def close(self) -> None:
        """Flush and close; the lane is free for another process."""
        if self._file >= 0:
            try:
                self.sync()
            finally:
                os.close(self._file)
                self._file = -1

    def restore(self) -> bool:
        """Write what is remembered to the path again where the file there is gone or another; whether it was.

        This process still holds the old one; after its end nothing would tell a rolled-back database.
        Raises IntegrityError where the file there tells of another log, SetupError, AuditUnavailable.
        """
        with _named():
            try:
                if os.path.samestat(self.path.stat(), os.fstat(self._file)):
                    return False
            except FileNotFoundError:
                pass
            known = _greatest(self._heads())
        there = Guard(self.path)
        try:
            if known is not None:
                there.note(known)
        except BaseException:
            os.close(there._file)  # ours goes on remembering, whatever the other says
            raise
        os.close(self._file)
        self._file, self._lane, self._parsed = there._file, there._lane, there._parsed
        self._noted += 1
        return True

    def sync(self) -> None:
        """Make what was noted outlast a crash of the machine. May be called from another thread.

        Raises AuditUnavailable, and the next call tries again.
        """
        noted = self._noted
        if noted == self._synced:
            return
        with _named():
            if self._failed and self._lane is not None:
                # After a failed sync the kernel takes what it could not write for written.
                at = self._lane * _LANE
                os.pwrite(self._file, os.pread(self._file, _LANE, at), at)
            self._failed = True
            os.fdatasync(self._file)
        self._failed, self._synced = False, noted

    def load(self) -> SignedHead | None:
        """The greatest head noted, or None where none ever was. Raises AuditUnavailable."""
        with _named():
            return _greatest(self._heads())

    def note(self, head: SignedHead, over: SignedHead | None = None) -> None:
        """Remember `head` unless a greater one is known. `over`: the greatest that it is known to be of one
        history with; None where that is not asked.

        Raises Forked on two roots for one size, Ahead where one beyond `over` was noted, by whichever process
        and at whatever moment: then nothing is remembered. LogClosed on a log older than the one noted,
        AuditUnavailable where the file cannot be written.
        """
        with _named():
            heads = self._heads()
            _refuse_fork(head, heads.values(), over)
            known = _greatest(heads)
            if known is not None and known.origin == head.origin and known.size >= head.size:
                return
            lane = self._own_lane()
            first, second = (heads.get(2 * lane + n) for n in range(2))
            # Never over the lane's greatest: should this write be torn, that one still stands.
            place = 1 if first is not None and first == _greatest({0: first, 1: second}) else 0
            slot, at = head.to_slot(), lane * _LANE + place * _SLOT
            before = os.pread(self._file, _SLOT, at).ljust(_SLOT, b"\0")
            os.pwrite(self._file, slot, at)
            self._parsed[2 * lane + place] = (slot, head)
            self._noted += 1
            # Of two that write at the same time, the later reader sees the other's.
            theirs = (each for n, each in self._heads().items() if n // 2 != lane)
            try:
                _refuse_fork(head, theirs, over)
            except (Forked, Ahead):
                os.pwrite(self._file, before, at)  # or the next start would be held to it
                raise

    def refuse(self, size: int) -> str:
        """The sentence for a database whose log of `size` entries does not hold what was signed."""
        known = self.load()
        if known is None:
            return (
                f"the log holds {size} entries but {self.path} remembers none: bring back this node's guard "
                "file from before, so that a rolled-back database can be told from a whole one"
            )
        return (
            f"{self.path} remembers a signed log of {known.size} entries, and this database, with {size}, "
            "does not hold it: it was restored from a backup or failed over to a replica that lagged. Do not "
            "sign on from here: bring back the database that holds those entries, or open a new log under a "
            "new key and publish both"
        )

    def _heads(self) -> dict[int, SignedHead | None]:
        """What each slot holds, by its number; None where it is empty, or torn for good."""
        before: bytes | None = None
        heads: dict[int, SignedHead | None] = {}
        for _ in range(_READS):
            data = bytes(memoryview(self._buffer)[: os.preadv(self._file, (self._buffer,), 0)])
            if data == self._read:
                return self._held
            slots = [data[at : at + _SLOT] for at in range(0, len(data), _SLOT)]
            heads = {n: self._parse(n, slot) for n, slot in enumerate(slots)}
            torn = any(head is None and slots[n].strip(b"\0") for n, head in heads.items())
            if not torn or data == before:
                self._read, self._held = data, heads
                return heads
            before = data
        return heads

    def _parse(self, number: int, slot: bytes) -> SignedHead | None:
        kept = self._parsed.get(number)
        if kept is None or kept[0] != slot:
            kept = self._parsed[number] = (slot, SignedHead.from_slot(slot))
        return kept[1]

    def _own_lane(self) -> int:
        """This process's lane, taken at its first write and held until it ends, however it ends."""
        if self._lane is None:
            for lane in range(_FIRST, _MOST):
                # struct flock: the open file itself holds the lock, not the process.
                span = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, lane * _LANE, _LANE, 0)
                try:
                    fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, span)
                except OSError as e:
                    if e.errno not in _TAKEN:
                        raise
                else:
                    self._lane = lane
                    break
            else:
                raise OSError(errno.ENOLCK, "every lane is taken")
        return self._lane


def remembered(path: Path) -> SignedHead | None:
    """The greatest head that a guard file holds, for who only reads it. Raises SetupError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST * _LANE)
    except OSError as e:
        raise SetupError(f"cannot read the guard file {path}: {e.strerror}") from e
    slots = range(0, len(data), _SLOT)
    return _greatest({at: SignedHead.from_slot(data[at : at + _SLOT]) for at in slots})


def _greatest(heads: dict[int, SignedHead | None]) -> SignedHead | None:
    # A later half-year's origin sorts after an earlier one's, and starts again from nothing.
    return max((h for h in heads.values() if h is not None), key=lambda h: (h.origin, h.size), default=None)


def _refuse_fork(head: SignedHead, heads: Iterable[SignedHead | None], over: SignedHead | None) -> None:
    ahead = None
    for known in heads:
        if known is None or known == head:
            continue
        if known.origin > head.origin:
            raise LogClosed(f"{known.origin} was signed after {head.origin}, which is closed")
        if known.origin != head.origin:
            continue
        for ours in (head, over):
            if ours is not None and known.size == ours.size and known.root != ours.root:
                raise Forked(f"two roots for size {known.size}: the log has forked; signing stops")
        if over is not None and known.size > over.size and (ahead is None or known.size > ahead.size):
            ahead = known
    if ahead is not None:
        raise Ahead(ahead)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise AuditUnavailable("the guard file cannot be read and written") from e


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
