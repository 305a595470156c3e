"""A published log taken over into a folder, so that it stands there whole: a mirror, and an archive.

The folder is itself a log as C2SP tlog-tiles wants it, which `fsck` and every reader of such logs can check.
Every file is written under another name, synced and then put in its place, and the checkpoint comes last:
whatever is cut off at whatever moment, what stands is good, and the next export goes on from there. Nothing is
written that does not lead to the signed root.

A partition is 65,536 entries, a full tile of tiles: what a broker can be told to drop.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.core.bundles import Bundle, bundle_in, decode_bundle, encode_bundle
from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.merkle import leaf_hash, verify_consistency
from broker.core.tiles import PARTITION, TILE_WIDTH, Tile, consistency_proof, hashes_of, tile_in, tiles_of
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError, SetupError
from broker.offline import files
from broker.offline.rotation import opened
from broker.offline.source import Folder, Missing, Source, entries_in

BUNDLES = PARTITION // TILE_WIDTH

Progress = Callable[[int, int], None]
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What stands in the folder now, and how many files of it were written by this run."""

    origin: str
    size: int
    written: int

    @property
    def partitions(self) -> int:
        """Whole ones."""
        return self.size // PARTITION


def export(
    source: Source,
    verifiers: Sequence[Verifier],
    folder: Path,
    progress: Progress = lambda _done, _of: None,
    step: Step = lambda _path: None,
) -> Exported:
    """Take over what a log publishes. `step` hears of each file that stands.

    Raises IntegrityError where the log, or what stands in the folder already, is not what was signed;
    Unreadable, SetupError.
    """
    note = source.checkpoint()
    checkpoint = opened(note, verifiers)
    tiles = VerifiedTiles(checkpoint.size, checkpoint.root, source.tile)
    _require_same(folder, checkpoint, tiles, verifiers)
    stands = _Files(folder, step)
    count = (checkpoint.size + TILE_WIDTH - 1) // TILE_WIDTH
    for n in range(count):
        bundle = bundle_in(n, checkpoint.size)
        tile = tile_in(0, n, checkpoint.size)
        hashes = hashes_of(tile, tiles.read(tile))
        if not _holds(folder, bundle, hashes):
            stands.put(bundle.path, _bundle(source, bundle, hashes))
        stands.put(tile.path, tiles.read(tile))
        progress(min(checkpoint.size, (n + 1) * TILE_WIDTH), checkpoint.size)
    for tile in tiles_of(checkpoint.size):
        if tile.level:
            stands.put(tile.path, tiles.read(tile))
    stands.sync()
    stands.put("checkpoint", note)
    stands.sync()
    return Exported(checkpoint.origin, checkpoint.size, stands.written)


def digest(source: Source, verifiers: Sequence[Verifier], number: int) -> tuple[Checkpoint, str]:
    """Read one partition again, from its entries up, and give the hex SHA-256 of its bundles in their order.

    Raises IntegrityError where an entry is not the one that was signed, IndexError where there is no such whole
    partition, Unreadable.
    """
    checkpoint = open_checkpoint(source.checkpoint(), verifiers)
    if not 0 <= number < checkpoint.size // PARTITION:
        raise IndexError(number)
    tiles = VerifiedTiles(checkpoint.size, checkpoint.root, source.tile)
    made = hashlib.sha256()
    for n in range(number * BUNDLES, (number + 1) * BUNDLES):
        tile = Tile(0, n)
        made.update(_bundle(source, Bundle(n), hashes_of(tile, tiles.read(tile))))
    return checkpoint, made.hexdigest()


def _bundle(source: Source, bundle: Bundle, hashes: Sequence[bytes]) -> bytes:
    """A bundle each of whose entries has its hash in the tree. Raises IntegrityError otherwise."""
    try:
        entries = entries_in(source, bundle)
    except Missing as e:
        first = bundle.index * TILE_WIDTH
        raise IntegrityError(
            f"entries {first} to {first + bundle.width - 1} are not served any more ({e}): go on in the folder "
            "that holds them"
        ) from e
    for n, expected in enumerate(hashes):
        if leaf_hash(entries[n]) != expected:
            raise IntegrityError(f"entry {bundle.index * TILE_WIDTH + n} is not the one that was logged")
    return encode_bundle(entries)


def _holds(folder: Path, bundle: Bundle, hashes: Sequence[bytes]) -> bool:
    """Whether the folder has this very bundle already."""
    try:
        data = files.read_below(folder, bundle.path, bundle.width * (2 + 0xFFFF))
        entries = decode_bundle(data, bundle.width)
    except (OSError, IntegrityError):
        return False
    return [leaf_hash(each) for each in entries] == list(hashes)


def _require_same(
    folder: Path, checkpoint: Checkpoint, tiles: VerifiedTiles, verifiers: Sequence[Verifier]
) -> None:
    """That what was exported here before is the beginning of the same log: proven, or nothing is written over
    it.

    The checkpoint that lies there may be the only proof that two histories were signed.
    """
    try:
        before = open_checkpoint(Folder(folder).checkpoint(), verifiers)
    except Missing:
        return
    if before.origin != checkpoint.origin:
        raise SetupError(f"{folder} holds {before.origin}, not {checkpoint.origin}: name another folder")
    if before.size > checkpoint.size:
        raise IntegrityError(f"{folder} holds {before.size} entries, and the log shows {checkpoint.size}")
    proof = consistency_proof(before.size, checkpoint.size, tiles.read)
    try:
        verify_consistency(before.size, before.root, checkpoint.size, checkpoint.root, proof)
    except IntegrityError as e:
        raise IntegrityError(
            f"the {checkpoint.size} entries signed now do not begin with the {before.size} in {folder}: two "
            "histories were signed. Nothing was written over; keep the checkpoint there and the log's as "
            "evidence"
        ) from e


class _Files:
    """Files that are put in their places whole, and folders that are synced before anybody relies on them."""

    def __init__(self, root: Path, step: Step) -> None:
        self._root = root
        self._step = step
        self._folders = set[Path]()
        self.written = 0

    def put(self, path: str, data: bytes) -> None:
        """Write a file, unless it stands there as it is."""
        file = self._root / path
        try:
            if self._stands(path, data):
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.partial")
            with partial.open("wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            self._step(f"{path} written")
            partial.replace(file)
        except OSError as e:
            raise SetupError(f"cannot write {file}: {e.strerror}") from e
        folder = file.parent
        while folder not in self._folders and self._root in (folder, *folder.parents):
            self._folders.add(folder)
            folder = folder.parent
        self.written += 1
        self._step(path)

    def _stands(self, path: str, data: bytes) -> bool:
        try:
            return files.read_below(self._root, path, len(data)) == data
        except (OSError, IntegrityError):
            return False

    def sync(self) -> None:
        """Make what was put outlast a crash of the machine."""
        for folder in sorted(self._folders, reverse=True):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
