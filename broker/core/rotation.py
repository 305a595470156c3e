"""Owns the chain of half-years: how a log names the next one, and the next one names it.

Each half-year has a log and a key of its own. The last entry of a log is the verifier key of the next, the
first entry of the next is the old one's final checkpoint. So who believes the old key comes to the new one
without being told it (`successor`), and who begins at the new log is led back (`predecessor`). Refused: an
entry that is not the last, or not the first; a key of another trust domain, or of a half-year that is not
later; a final checkpoint that is not the one that was signed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.entry import Rotation, parse_entry
from broker.core.keys import KeyKind, Verifier
from broker.core.merkle import leaf_hash, verify_consistency, verify_inclusion
from broker.errors import IntegrityError

_ORIGIN = re.compile(r"([^/]+)/log/([0-9]{4}h[12])", re.ASCII)


def half_year(at: datetime) -> str:
    """The half-year that `at` (UTC) falls into, as it stands in a log's origin: `2026h2`."""
    return f"{at.year:04d}h{1 if at.month <= 6 else 2}"


def split_origin(origin: str) -> tuple[str, str]:
    """Trust domain and half-year of a log's name. Raises IntegrityError where it is none."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise IntegrityError("not the name of a log: <trust-domain>/log/<year>h<1 or 2>")
    return match[1], match[2]


def is_due(origin: str, at: datetime) -> bool:
    """Whether the half-year of this log has ended at `at` (UTC)."""
    return split_origin(origin)[1] < half_year(at)


def next_origin(origin: str, at: datetime) -> str:
    """The log that comes after this one, were it rotated at `at`: that half-year's, or else the next."""
    domain, current = split_origin(origin)
    if is_due(origin, at):
        return f"{domain}/log/{half_year(at)}"
    year, half = int(current[:4]), current[5]
    return f"{domain}/log/{year:04d}h2" if half == "1" else f"{domain}/log/{year + 1:04d}h1"


def may_follow(origin: str, later: str) -> bool:
    """Whether a log of the name `later` may come after `origin`: of the same trust domain, and later."""
    (domain, half), (other, after) = split_origin(origin), split_origin(later)
    return domain == other and half < after


def rotation(entry: bytes) -> str:
    """What a rotation entry names. Raises IntegrityError where it is another entry."""
    parsed = parse_entry(entry)
    if not isinstance(parsed, Rotation):
        raise IntegrityError("rotation: the entry links no logs")
    return parsed.log


def successor(final: Checkpoint, entry: bytes, proof: Sequence[bytes]) -> Verifier:
    """The key of the log after the one that ended with `final`, by its last entry.

    `final` has been verified. Raises IntegrityError.
    """
    if not final.size:
        raise IntegrityError("rotation: an empty log has no last entry")
    verify_inclusion(leaf_hash(entry), final.size - 1, final.size, tuple(proof), final.root)
    verifier = Verifier.from_vkey(rotation(entry))
    if verifier.kind is not KeyKind.LOG:
        raise IntegrityError("rotation: the next log's key is not a log's")
    if not may_follow(final.origin, verifier.name):
        raise IntegrityError(f"rotation: {verifier.name} does not come after {final.origin}")
    return verifier


def predecessor(
    head: Checkpoint, entry: bytes, proof: Sequence[bytes], verifiers: Sequence[Verifier]
) -> Checkpoint:
    """The final checkpoint of the log before the one that `head` is of, by its first entry.

    `head` has been verified; `verifiers` holds the old log's key. Raises IntegrityError.
    """
    if not head.size:
        raise IntegrityError("rotation: an empty log has no first entry")
    verify_inclusion(leaf_hash(entry), 0, head.size, tuple(proof), head.root)
    final = open_checkpoint(rotation(entry).encode(), verifiers)
    if not may_follow(final.origin, head.origin):
        raise IntegrityError(f"rotation: {head.origin} does not come after {final.origin}")
    return final


@dataclass(frozen=True, slots=True)
class Link:
    """Two logs, linked both ways: the old one's last entry under its final checkpoint, the new one's first
    under a checkpoint of its own, each with its inclusion proof; and the proof from an older size."""

    last: bytes
    last_proof: tuple[bytes, ...]
    final: bytes
    consistency: tuple[bytes, ...]
    first: bytes
    first_proof: tuple[bytes, ...]
    head: bytes


@dataclass(frozen=True, slots=True)
class Followed:
    """A link that holds: the old log's end, the new log's key, and a checkpoint of it."""

    final: Checkpoint
    verifier: Verifier
    head: Checkpoint


def follow(link: Link, known: Checkpoint, verifiers: Sequence[Verifier]) -> Followed:
    """Go from a checkpoint that was believed of the old log over to the new one.

    `known` has been verified; `verifiers` holds the old log's key, and perhaps the new one's. Raises
    IntegrityError where anything of the link does not hold, both directions and a key already held included.
    """
    final = open_checkpoint(link.final, verifiers)
    if final.origin != known.origin:
        raise IntegrityError(f"rotation: the link is from {final.origin}, not from {known.origin}")
    verify_consistency(known.size, known.root, final.size, final.root, link.consistency)
    verifier = successor(final, link.last, link.last_proof)
    if any(each.name == verifier.name and each != verifier for each in verifiers):
        raise IntegrityError(f"rotation: the link names another key for {verifier.name} than is held")
    head = open_checkpoint(link.head, (verifier,))
    back = predecessor(head, link.first, link.first_proof, verifiers)
    if back != final:
        raise IntegrityError(f"rotation: {head.origin} begins with another end of {final.origin}")
    return Followed(final, verifier, head)
