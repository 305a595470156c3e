"""Logs of several half-years in memory, linked as the standard form wants it: whole, or forged as a test asks.

Derived from the words of docs/audit.md, and not by the code that it is held against.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.keys import Signer
from broker.core.rotation import Link
from broker.errors import InvalidRequest
from tests.core.conftest import NaiveTree

ORIGIN = "blue-light.test/log/2026h2"
NEXT = "blue-light.test/log/2027h1"
AFTER = "blue-light.test/log/2027h2"


def linking(log: str) -> bytes:
    """A rotation entry."""
    made = {"at": "2027-01-01T09:00:00Z", "id": str(uuid.uuid4()), "log": log, "v": 1}
    return json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class OneTree:
    """A log: its key and its entries."""

    signer: Signer
    tree: NaiveTree = field(default_factory=lambda: NaiveTree([]))

    @property
    def size(self) -> int:
        """Entries."""
        return len(self.tree.entries)

    def grow(self, count: int, word: str = "filler") -> None:
        """So many entries more."""
        for _ in range(count):
            self.tree.entries.append(f"{word} {self.size}".encode())

    def note(self, size: int | None = None) -> bytes:
        """A signed checkpoint."""
        size = self.size if size is None else size
        return sign_checkpoint(Checkpoint(self.signer.name, size, self.tree.root(size)), self.signer)


class MemoryChain:
    """Implements `rotations.Chain`. The newest log stands last."""

    def __init__(self, first: OneTree | None = None) -> None:
        self.logs = [first or OneTree(Signer.from_seed(ORIGIN, bytes(range(32))))]
        self.keys: dict[str, Signer] = {}

    @property
    def current(self) -> OneTree:
        """The log that grows."""
        return self.logs[-1]

    @property
    def origin(self) -> str:
        """Its name."""
        return self.current.signer.name

    def prepared(self, origin: str) -> str:
        """The key of a log to come."""
        return self.keys[origin].vkey if origin in self.keys else ""

    def prepare(self, origin: str) -> str:
        """The same, made."""
        self.keys.setdefault(origin, Signer.from_seed(origin, uuid.uuid4().bytes * 2))
        return self.keys[origin].vkey

    async def size(self) -> int:
        """Entries of the current log."""
        return self.current.size

    async def rotate(self, origin: str, vkey: str) -> None:
        """On to the next log."""
        if origin != self.origin:
            return
        old = self.current
        old.tree.entries.append(linking(vkey))
        new = OneTree(self.keys[vkey.partition("+")[0]])
        new.tree.entries.append(linking(old.note().decode()))
        self.logs.append(new)

    def turn(self, later: str = NEXT) -> OneTree:
        """Prepare and rotate."""
        vkey, old = self.prepare(later), self.current
        old.tree.entries.append(linking(vkey))
        new = OneTree(self.keys[later])
        new.tree.entries.append(linking(old.note().decode()))
        self.logs.append(new)
        return new

    async def link(self, origin: str, size: int) -> Link:
        """From that log to the next."""
        return self.linked(origin, size)

    def linked(self, origin: str, size: int, **forged: Any) -> Link:
        """The same; `forged` replaces parts of it."""
        names = [each.signer.name for each in self.logs]
        if origin not in names[:-1]:
            raise InvalidRequest("log", "is no log that another follows")
        at = names.index(origin)
        old, new = self.logs[at], self.logs[at + 1]
        made = Link(
            last=old.tree.entries[-1],
            last_proof=tuple(old.tree.path(old.size - 1, 0, old.size)),
            final=old.note(),
            consistency=tuple(old.tree.proof(size, old.size)),
            first=new.tree.entries[0],
            first_proof=tuple(new.tree.path(0, 0, new.size)),
            head=new.note(),
        )
        return replace(made, **forged)

    async def consistency(self, origin: str, old: int, new: int) -> tuple[tuple[bytes, ...], bytes]:
        """Of one log."""
        log = next((each for each in self.logs if each.signer.name == origin), self.current)
        new = new or log.size
        if not 0 <= old <= new <= log.size:
            raise KeyError(new)
        return tuple(log.tree.proof(old, new)), log.note(new if log is self.current else None)


class NothingKept:
    """Implements `partitions.DroppedTable` over no partition at all."""

    async def digest(self, log: str, partition: int) -> str:
        """There is none."""
        raise KeyError(partition)

    async def keep_hashes(self, log: str, partition: int) -> None:
        """Never asked for."""
        raise AssertionError("there was nothing to keep")

    async def drop(self, log: str, partition: int) -> None:
        """Never asked for."""
        raise AssertionError("there was nothing to drop")
