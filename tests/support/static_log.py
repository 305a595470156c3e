"""A log as a folder of files, as anybody may mirror it: written whole, and spoilt where a test wants it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.core.bundles import bundle_in, encode_bundle
from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.entry import commit, format_time
from broker.core.keys import Signer
from broker.core.merkle import CompactRange, leaf_hash
from broker.core.tiles import TILE_WIDTH, subtree_root, tiles_of

ORIGIN = "blue-light.test/log/2026h2"
SIGNER = Signer.from_seed(ORIGIN, bytes(range(32)))
_SINCE = datetime(2026, 11, 21, tzinfo=UTC)


def entry(n: int, at: datetime | None = None) -> bytes:
    """An entry like those of a broker; the same for the same number."""
    views = [commit(bytes([each]) * 32, str(n).encode()) for each in range(3)]
    identifier = uuid.UUID(int=n, version=4)
    when = format_time(at or _SINCE + timedelta(seconds=n))
    return (
        f'{{"at":"{when}","full":"{views[0]}","id":"{identifier}",'
        f'"provider":"{views[1]}","requester":"{views[2]}","v":1}}'
    ).encode()


ENTRIES = [entry(n) for n in range(1200)]


def levels(entries: Sequence[bytes]) -> list[list[bytes]]:
    """Hashes of each tile level."""
    made = [[leaf_hash(each) for each in entries]]
    while len(made[-1]) >= TILE_WIDTH:
        last = made[-1]
        whole = range(0, len(last) - TILE_WIDTH + 1, TILE_WIDTH)
        made.append([subtree_root(last[n : n + TILE_WIDTH]) for n in whole])
    return made


def note(entries: Sequence[bytes], signer: Signer = SIGNER) -> bytes:
    """The signed checkpoint of these entries."""
    root = CompactRange(0, ()).extend(leaf_hash(each) for each in entries).root()
    return sign_checkpoint(Checkpoint(signer.name, len(entries), root), signer)


@dataclass
class StaticLog:
    """Files below `root`. `write` makes them all; `spoil` changes a byte of one."""

    root: Path
    signer: Signer = field(default=SIGNER)

    def write(self, entries: Sequence[bytes], *, checkpoint: bytes | None = None) -> StaticLog:
        """Everything that a log of these entries publishes, partial tiles of its size included."""
        self.put("checkpoint", checkpoint or note(entries, self.signer))
        self.tiles(entries)
        self.bundles(entries)
        return self

    def anew(self, entries: Sequence[bytes]) -> StaticLog:
        """The same where nothing that stood there before is left: a forger who cleans up."""
        shutil.rmtree(self.root)
        return self.write(entries)

    def tiles(self, entries: Sequence[bytes], most: int = 9) -> None:
        """The tiles of these entries, up to a level."""
        made = levels(entries)
        for tile in tiles_of(len(entries)):
            if tile.level <= most:
                first = tile.index * TILE_WIDTH
                self.put(tile.path, b"".join(made[tile.level][first : first + tile.width]))

    def bundles(self, entries: Sequence[bytes]) -> None:
        """The entry bundles."""
        for n in range((len(entries) + TILE_WIDTH - 1) // TILE_WIDTH):
            bundle = bundle_in(n, len(entries))
            first = n * TILE_WIDTH
            self.put(bundle.path, encode_bundle(entries[first : first + bundle.width]))

    def put(self, path: str, data: bytes) -> None:
        """One file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def spoil(self, path: str, at: int = 5) -> None:
        """Flip a bit of one file."""
        data = bytearray((self.root / path).read_bytes())
        data[at] ^= 1
        self.put(path, bytes(data))
