"""Whether the log that is current now follows the one that was signed here: as a rotation leaves it, and not as
somebody wrote it.

Whoever goes over to a later log leaves what was signed of the earlier one behind, so that one must be whole
first: it ends no earlier than it was signed, with what was signed as its beginning, its last entry names the
next log's key, its final checkpoint is its own, and the next log begins with that. Refuses everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import asyncpg

from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.merkle import leaf_hash, verify_inclusion
from broker.core.note import Note
from broker.core.rotation import rotation
from broker.errors import IntegrityError
from broker.store.guard import Forked, SignedHead
from broker.store.history import History
from broker.store.proofs import Broken, Proofs

_LOGS = """
select l.id, l.origin, l.vkey, l.entries, l.final,
    (select leaf from entry e where e.log = l.id and e.idx = 0) as first,
    (select leaf from entry e where e.log = l.id and e.idx = l.entries - 1) as last
from log l where l.id >= $1 order by l.id
"""


async def follows(
    connection: asyncpg.Connection,
    log: int,
    verifier: Verifier | None,
    signed: Sequence[SignedHead],
    broken: Broken,
    history: History | None = None,
) -> None:
    """That the logs from this one on follow each other. `verifier` is this log's, where it is at hand; `signed`
    is what is known to have been signed of it, `history` who signed.

    Raises Forked where they do not, IntegrityError, AuditUnavailable where that cannot be told.
    """
    for old, new in pairwise(await connection.fetch(_LOGS, log)):
        end = _end(old, verifier)
        _linked(old, new, end)
        ended = SignedHead(end.origin, end.size, end.root)
        if history is not None and await history.reaches(connection, old["id"], ended, signed):
            verifier, signed, history = Verifier.from_vkey(new["vkey"]), (), None
            continue
        proofs = Proofs(connection, old["id"], end.size, end.root, broken)
        for each in (*signed, ended):
            if each.size > end.size:
                raise Forked(
                    f"{end.origin} was closed with {end.size} entries, of which {each.size} were signed"
                )
            if await proofs.root_at(each.size) != each.root:
                raise Forked(f"{end.origin} was closed over other entries than those that were signed")
        last = leaf_hash(bytes(old["last"]))
        verify_inclusion(last, end.size - 1, end.size, await proofs.inclusion(end.size - 1, end.size), end.root)
        verifier, signed, history = Verifier.from_vkey(new["vkey"]), (), None


def _end(old: asyncpg.Record, verifier: Verifier | None) -> Checkpoint:
    final = bytes(old["final"] or b"")
    try:
        end = open_checkpoint(final, [verifier]) if verifier else Checkpoint.parse(Note.parse(final).text)
    except IntegrityError as e:
        raise Forked(f"{old['origin']} was closed over a checkpoint that its key did not sign") from e
    if (end.origin, end.size) != (old["origin"], old["entries"]) or not end.size:
        raise Forked(f"{old['origin']} was closed over the checkpoint of another log, or of part of it")
    return end


def _linked(old: asyncpg.Record, new: asyncpg.Record, end: Checkpoint) -> None:
    try:
        named, begun = rotation(bytes(old["last"] or b"")), rotation(bytes(new["first"] or b""))
    except IntegrityError as e:
        raise Forked(
            f"{old['origin']} and {new['origin']} are not linked by what they end and begin with"
        ) from e
    if named != new["vkey"] or begun.encode() != bytes(old["final"]):
        raise Forked(f"{new['origin']} is not the log that follows {end.origin} with {end.size} entries")
