"""The last signed head of the log, kept outside the database: how a rolled-back database is recognised.

Failing over to a replica that lagged, or restoring a backup, takes entries back that have been signed, and
signing on from there is equivocation. So every signed (size, root) is noted here, never going back, and a
database that does not hold it is refused.

Two slots are written in turn, each with its own check, so that a torn write costs at most one batch. A crash
of the process loses nothing; one of the machine at most what was noted since the last `sync`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.errors import AuditUnavailable, IntegrityError, SetupError

_SLOT = 512
_LOCK_SECONDS = 1.0  # a write takes microseconds: whoever holds the file longer has been stopped


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
        return cls(lines[0], int(lines[1]), bytes.fromhex(lines[2]))


class Guard:
    """A file of two slots. Several processes may share it: each write is under a file lock and monotone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _sync_folder(path.parent)
        except OSError as e:
            raise SetupError(f"cannot open the guard file {path}: {e.strerror}") from e
        self._unsynced = False

    def close(self) -> None:
        """Flush and close."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1

    def sync(self) -> None:
        """Make what was noted outlast a crash of the machine. May be called from another thread."""
        if self._unsynced:
            self._unsynced = False
            os.fdatasync(self._file)

    def load(self) -> SignedHead | None:
        """The greatest head noted, or None where none ever was. Raises AuditUnavailable."""
        with self._locked():
            return self._greatest()

    def note(self, head: SignedHead) -> None:
        """Remember `head` unless a greater one is known.

        Raises IntegrityError on two roots for one size and on a log older than the one noted, AuditUnavailable
        where the file cannot be written.
        """
        with self._locked():
            known = self._greatest()
            if known is not None:
                if known.origin > head.origin:
                    raise IntegrityError(f"{known.origin} was signed after {head.origin}, which is closed")
                if known.origin == head.origin:
                    if known.size == head.size and known.root != head.root:
                        raise IntegrityError(
                            f"two roots for size {head.size}: the log has forked; signing stops"
                        )
                    if known.size >= head.size:
                        return
            # Never over the greatest: should this write be torn, that one still stands.
            slots = [SignedHead.from_slot(s) for s in self._slots()]
            os.pwrite(self._file, head.to_slot(), _SLOT if slots[0] == known else 0)
            self._unsynced = True

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

    def _slots(self) -> tuple[bytes, bytes]:
        data = os.pread(self._file, 2 * _SLOT, 0).ljust(2 * _SLOT, b"\0")
        return data[:_SLOT], data[_SLOT:]

    def _greatest(self) -> SignedHead | None:
        known = [h for s in self._slots() if (h := SignedHead.from_slot(s)) is not None]
        # A later half-year's origin sorts after an earlier one's, and starts again from nothing.
        return max(known, key=lambda h: (h.origin, h.size), default=None)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._lock()
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as e:
            raise AuditUnavailable("the guard file cannot be read and written") from e

    def _lock(self) -> None:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.0005)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
