"""The whole log derived again from its entries, and held against every tile and the checkpoint's root.

Names what is wrong by index or by path, first things first. What the root vouches for is believed, so an entry
that was changed is told from a tile that was. Where an entry and its tile were changed together, the tile above
tells of which 256 entries one is wrong; which of them, only a receipt or a mirror can say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.merkle import verify_consistency
from broker.core.tiles import TILE_WIDTH, consistency_proof
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError, SetupError
from broker.offline.comparison import Comparison
from broker.offline.leftovers import look_at_others
from broker.offline.problems import Problem, Report
from broker.offline.reading import Leaves, Reading
from broker.offline.rotation import opened
from broker.offline.source import Missing, Source

Progress = Callable[[int, int], None]


def fsck(
    source: Source,
    verifiers: Sequence[Verifier],
    progress: Progress = lambda _done, _of: None,
    kept: Sequence[tuple[str, bytes]] = (),
) -> Report:
    """Check everything that a log publishes. `progress` hears of entries done and to do; `kept` are signed
    checkpoints of this log that were kept elsewhere, by the names of their files: it must begin with each.

    Raises Unreadable where the log cannot be read, SetupError where it is a later one than there are keys for,
    or a kept checkpoint is another log's; what is not there counts as wrong.
    """
    report = Report()
    try:
        checkpoint = opened(source.checkpoint(), verifiers)
    except IntegrityError as e:
        report.add(Problem("checkpoint", -1, "checkpoint", str(e).removeprefix("checkpoint: ")))
        return report
    report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root
    trusted = _trusted(source, checkpoint)
    for name, note in kept:
        _hold_against(name, note, checkpoint, verifiers, trusted, report)
    leaves = _leaves(Reading(source, checkpoint, trusted, report), checkpoint.size, progress)
    if leaves is not None:
        comparison = Comparison(source, checkpoint, leaves, trusted, report)
        comparison.run()
        look_at_others(source, comparison, report)
    report.problems.sort(key=lambda each: (each.index, each.kind))
    return report


def _hold_against(
    name: str,
    note: bytes,
    checkpoint: Checkpoint,
    verifiers: Sequence[Verifier],
    trusted: VerifiedTiles | None,
    report: Report,
) -> None:
    """Whether the log begins with what was signed before (RFC 6962 section 2.1.2).

    Raises Unreadable; SetupError where it is another log's.
    """
    try:
        before = open_checkpoint(note, verifiers)
    except IntegrityError as e:
        report.add(Problem("checkpoint", -1, name, str(e).removeprefix("checkpoint: ")))
        return
    if before.origin != checkpoint.origin:
        raise SetupError(
            f"{name} is of {before.origin}, and this log is {checkpoint.origin}: check that one with it"
        )
    if before.size > checkpoint.size:
        text = f"{name} says {before.size} entries, the log {checkpoint.size}: it was cut or set back"
        report.add(Problem("entry", checkpoint.size, "entry", f"is not there: {text}"))
        return
    try:
        if trusted is None:
            raise IntegrityError("the log's tiles do not lead to its root")
        proof = consistency_proof(before.size, checkpoint.size, trusted.read)
    except (Missing, IntegrityError) as e:
        report.unchecked.append(f"{name}: {e}")
        return
    try:
        verify_consistency(before.size, before.root, checkpoint.size, checkpoint.root, proof)
    except IntegrityError:
        text = (
            f"was signed for {before.size} entries that the log does not begin with: two histories were signed"
        )
        report.add(Problem("checkpoint", -1, name, text))
        return
    report.held += 1


def _trusted(source: Source, checkpoint: Checkpoint) -> VerifiedTiles | None:
    """Tiles as the root says that they are; None where not even the right edge leads there."""
    try:
        return VerifiedTiles(checkpoint.size, checkpoint.root, source.tile)
    except (Missing, IntegrityError):
        return None


def _leaves(reading: Reading, size: int, progress: Progress) -> Leaves | None:
    """Leaf hashes of all entries; None where the rest was not looked for."""
    found: Leaves = []
    for number in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        found += reading.bundle(number)
        if reading.enough(number):
            return None
        progress(min(size, (number + 1) * TILE_WIDTH), size)
    return found
