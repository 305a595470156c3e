"""What the witnesses have seen, asked at every start: a database may have been put back with its guard file.

Refuses a database that is behind what a witness cosigned, or that holds another history. Where the guard is
empty they stand in for it, before anything of this log is signed again (`vouch`): a log that is not empty is
refused where too few answer, since every quorum there ever was must have a member among those who do. Where it
is not, one that does not answer holds nothing up (`confirm`). What was signed after the newest witnessed
checkpoint they cannot know.
"""

from __future__ import annotations

import asyncio

from broker.core.checkpoint import Checkpoint, Signer, sign_checkpoint
from broker.core.merkle import EMPTY_ROOT, CompactRange
from broker.core.quorum import Witness, WitnessPolicy
from broker.core.witness import Submission
from broker.errors import IntegrityError
from broker.store.guard import Guard, SignedHead
from broker.store.pool import Database
from broker.store.proofs import Broken, Proofs
from broker.witnessed import Asker, Cosigned, ProvableLog, Refused, Stale, own_line

_TRIES = 3
PATIENCE = 5.0  # seconds that a start waits for witnesses where the guard is there
_HEAD = "select log, size, range, current_setting('synchronous_standby_names') <> '' as standby from head"


async def vouch(database: Database, signer: Signer, guard: Guard, policy: WitnessPolicy, asker: Asker) -> None:
    """Fill an empty guard with this database's head, once the witnesses have nothing against it.

    Does nothing where the guard remembers something. Raises IntegrityError, AuditUnavailable.
    """
    if guard.load() is not None:
        return
    asked = _Asked(database, signer, asker)
    answers = await asyncio.gather(*(asked.seen(each) for each in policy.witnesses))
    head = await asked.head()
    known = [size for size in answers if size is not None]
    if head.size and (len(known) < policy.enough_to_ask or max(known) <= 0):
        raise IntegrityError(
            f"the log holds {head.size} entries, {guard.path} remembers none, and {len(known)} of "
            f"{len(policy.witnesses)} witnesses answered that they know it, where {policy.enough_to_ask} must: "
            "bring back this node's guard file, or start again when they can be reached"
        )
    guard.note(SignedHead(head.origin, head.size, head.root))


async def confirm(log: ProvableLog, policy: WitnessPolicy, asker: Asker, patience: float = PATIENCE) -> None:
    """That no witness which answers has cosigned what this log, held to the guard, does not hold.

    Raises IntegrityError where one has, AuditUnavailable.
    """
    asked = [asyncio.ensure_future(_confirm(log, each, asker)) for each in policy.witnesses]
    try:
        done, _ = await asyncio.wait(asked, timeout=patience)
        for each in done:
            each.result()
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _confirm(log: ProvableLog, witness: Witness, asker: Asker) -> None:
    old = 0
    for _ in range(_TRIES):
        # After the answer: other workers append meanwhile, and have it cosigned.
        size, note = await log.head()
        if old > size:
            raise IntegrityError(_refusal(witness, size, f"has cosigned {old} entries"))
        answer = await asker.add_checkpoint(witness, Submission(old, await log.proof_between(old, size), note))
        if isinstance(answer, Refused) and answer.disputed:
            raise IntegrityError(_refusal(witness, size, "has cosigned another history"))
        if not isinstance(answer, Stale):
            return
        if answer.size == old == size and old:
            raise IntegrityError(_refusal(witness, size, "has cosigned another root"))
        old = answer.size


class _Asked:
    def __init__(self, database: Database, signer: Signer, asker: Asker) -> None:
        self._database = database
        self._signer = signer
        self._asker = asker

    async def head(self) -> Checkpoint:
        """The committed head, unsigned."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_HEAD)
            if row is None:
                return Checkpoint(self._signer.name, 0, EMPTY_ROOT)
            if row["standby"]:
                await self._database.acknowledged.require(connection, row["log"], row["size"])
        root = CompactRange(row["size"], tuple(bytes(each) for each in row["range"])).root()
        return Checkpoint(self._signer.name, row["size"], root)

    async def seen(self, witness: Witness) -> int | None:
        """How far a witness is that agrees with this database; None where it does not answer.

        Nothing is signed but the empty log, until it is known that this one is not behind. Whatever follows
        in the database has been signed by whoever appended it.
        """
        empty = Checkpoint(self._signer.name, 0, EMPTY_ROOT)
        old, head = 0, empty
        for _ in range(_TRIES):
            answer = await self._submit(witness, old, head)
            if isinstance(answer, Cosigned):
                own_line(witness, head.text(), answer.lines)
                return head.size if old else 0
            if isinstance(answer, Refused):
                if answer.disputed:
                    raise IntegrityError(_refusal(witness, head.size, "has cosigned another history"))
                return None
            if answer.size == old == head.size and old:
                raise IntegrityError(_refusal(witness, head.size, "has cosigned another root"))
            old, head = answer.size, await self.head()
            if old > head.size:
                raise IntegrityError(_refusal(witness, head.size, f"has cosigned {old} entries"))
        return None

    async def _submit(self, witness: Witness, old: int, head: Checkpoint) -> Cosigned | Stale | Refused:
        proof: tuple[bytes, ...] = ()
        if old:
            async with self._database.connection() as connection:
                log = await connection.fetchval("select log from head")
                proofs = Proofs(connection, log, head.size, head.root, Broken())
                proof, _ = await proofs.consistency(old, head.size)
        note = sign_checkpoint(head, self._signer)
        return await self._asker.add_checkpoint(witness, Submission(old, proof, note))


def _refusal(witness: Witness, size: int, what: str) -> str:
    return (
        f"the witness {witness.name} {what}, and this database holds {size}: it was restored from a backup, "
        "failed over to a replica that lagged, or another broker signs with this key. Do not sign on from "
        "here: bring "
        "back the database that holds those entries, or open a new log under a new key and publish both"
    )
