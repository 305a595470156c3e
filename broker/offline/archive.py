"""Entries of a closed log from the folder that it was exported to, for whoever proves them to a broker's word.

Owns the reading of them, a bundle in memory at a time. Nothing is believed: an entry is held against the proof
that it goes with by whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker.core.bundles import bundle_in
from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.tiles import TILE_WIDTH
from broker.errors import IntegrityError, SetupError
from broker.offline.source import Folder, Missing, entries_in


class Archive:
    """The entries of one log in a folder (C2SP tlog-tiles), by their places."""

    def __init__(self, folder: Path, verifiers: Sequence[Verifier]) -> None:
        """Raises SetupError where there is no log, IntegrityError where its checkpoint is not of these keys."""
        self._source = Folder(folder)
        try:
            self.checkpoint: Checkpoint = open_checkpoint(self._source.checkpoint(), verifiers)
        except Missing as e:
            raise SetupError(f"{folder} holds no log: no `checkpoint` is there") from e
        self._folder = folder
        self._held: tuple[int, tuple[bytes, ...]] = (-1, ())

    def entry(self, log: str, index: int) -> bytes:
        """The bytes of the entry at this place of the log of that name, which are not verified.

        Raises SetupError where they are not there, IntegrityError, Unreadable.
        """
        if log != self.checkpoint.origin:
            raise SetupError(f"{self._folder} holds {self.checkpoint.origin}, and not {log}")
        number, at = divmod(index, TILE_WIDTH)
        if number != self._held[0]:
            self._held = number, self._bundle(number)
        if at >= len(self._held[1]):
            raise SetupError(f"{self._folder} does not hold entry {index}")
        return self._held[1][at]

    def _bundle(self, number: int) -> tuple[bytes, ...]:
        if number * TILE_WIDTH >= self.checkpoint.size:
            return ()
        bundle = bundle_in(number, self.checkpoint.size)
        try:
            return entries_in(self._source, bundle)
        except Missing:
            return ()


def filled(receipt_entry: bytes, archive: Archive | None, log: str, index: int) -> bytes:
    """An entry's bytes: as they came, or where none came from the archive. Raises as `Archive.entry`."""
    if receipt_entry:
        return receipt_entry
    if archive is None:
        raise IntegrityError(f"entry {index} came without its bytes")
    return archive.entry(log, index)
