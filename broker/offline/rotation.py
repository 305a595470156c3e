"""From one published log to the next, by what is published alone.

The old log stays at its half-year beside the current one. Its last entry names the new key, the new log's first
entry its final checkpoint; both are read through tiles that lead to a signed root. Refuses a link that does not
hold both ways.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.core.bundles import bundle_in
from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.rotation import may_follow, predecessor, split_origin, successor
from broker.core.tiles import TILE_WIDTH, inclusion_proof
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError, SetupError
from broker.offline.source import Source, entries_in

MOST = 64  # rotations that are followed at once: thirty-two years


def origin_of(note: bytes) -> str:
    """The log that a checkpoint says it is of; nothing is verified."""
    return note.partition(b"\n")[0].decode("utf-8", "replace")


def leads_to(origin: str, later: str) -> bool:
    """Whether a log of that name may come after this one; False for what is no log's name."""
    try:
        return may_follow(origin, later)
    except IntegrityError:
        return False


def opened(note: bytes, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint of a note that a held key signed.

    Raises IntegrityError; SetupError where it is of a later log than there are keys for: then nothing can be
    said.
    """
    origin, names = origin_of(note), {each.name for each in verifiers}
    if origin not in names and any(leads_to(each, origin) for each in names):
        raise SetupError(
            f"the log is {origin} now, and you hold the keys of {', '.join(sorted(names))}: follow with "
            "`broker audit keys --vkey FILE --update`, or name that half-year's log (/log/2026h2)"
        )
    return open_checkpoint(note, verifiers)


def half_of(source: Source, origin: str) -> Source:
    """Where the log of this name stays, beside the current one at `source`."""
    return source.below(split_origin(origin)[1])


def next_key(
    source: Source, final: Checkpoint, shown: Source, verifiers: Sequence[Verifier]
) -> tuple[Verifier, Checkpoint, bytes]:
    """The key of the log after the one that ended with `final` (verified, at `source`), a checkpoint of it, and
    its note.

    `shown` is where the current log stands. Raises IntegrityError where the link does not hold, Unreadable.
    """
    key = successor(final, *entry_of(source, final, final.size - 1))
    note = shown.checkpoint()
    later = shown
    if origin_of(note) != key.name:
        later = half_of(shown, key.name)
        note = later.checkpoint()
    believed = (key, *(each for each in verifiers if each.name != key.name))
    if any(each.name == key.name and each != key for each in verifiers):
        raise IntegrityError(f"rotation: the last entry names another key for {key.name} than is held")
    head = open_checkpoint(note, believed)
    if predecessor(head, *entry_of(later, head, 0), believed) != final:
        raise IntegrityError(f"rotation: {key.name} begins with another end of {final.origin}")
    return key, head, note


def entry_of(source: Source, checkpoint: Checkpoint, index: int) -> tuple[bytes, tuple[bytes, ...]]:
    """An entry and its inclusion proof, by tiles that lead to the root. Raises IntegrityError, Unreadable."""
    if not 0 <= index < checkpoint.size:
        raise IntegrityError(f"{checkpoint.origin} has no entry {index}")
    tiles = VerifiedTiles(checkpoint.size, checkpoint.root, source.tile)
    bundle = bundle_in(index // TILE_WIDTH, checkpoint.size)
    entry = entries_in(source, bundle)[index % TILE_WIDTH]
    return entry, inclusion_proof(index, checkpoint.size, tiles.read)


def find(source: Source, checkpoint: Checkpoint, identifier: str) -> int:
    """The index of the entry of this id, looked for from the first to the last.

    Raises IntegrityError where there is none, Unreadable.
    """
    wanted = f'"id":"{identifier}"'.encode()
    for n in range((checkpoint.size + TILE_WIDTH - 1) // TILE_WIDTH):
        bundle = bundle_in(n, checkpoint.size)
        for at, each in enumerate(entries_in(source, bundle)):
            if wanted in each:
                return n * TILE_WIDTH + at
    raise IntegrityError(f"{checkpoint.origin} has no entry {identifier}")
