"""Owns what a partner is handed: the record, what was withheld of it, the decision, and the evidence.

A `Disclosure` exists only where its evidence has been verified. Refuses to overwrite evidence already saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from google.protobuf.message import Message

from broker.core.model import Obligation
from broker.core.proof_file import ProofFile
from broker.core.receipt import Receipt
from broker.core.record import Record
from broker.core.redaction import Withheld
from broker.errors import SetupError
from broker.pki.files import write_new
from broker.v1 import exchange_pb2 as wire


@dataclass(frozen=True, slots=True)
class Decision:
    """The requester's view of the decision; `decided_at` is UTC, None where the broker did not say.

    `outcome`, `agreement`, `controller` and `regime` are what the log's entry commits to. The rest is the
    broker's word, as the entry holds it for auditors only.
    """

    outcome: str
    agreement: str
    agreement_version: int
    controller: str
    regime: str
    basis: str
    condition: str
    gateway: str
    obligations: tuple[Obligation, ...]
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a disclosure's four files lie, as `broker audit verify` takes them."""

    record: Path
    entry: Path
    opening: Path
    proof: Path


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One record released, its evidence verified.

    `record` is the parsed message where `records` has its class, else the bytes; `record_any` is what was
    received, to the byte; `receipt` holds its checkpoint and opening, so it can be verified offline.
    """

    request_id: str
    record: Message | bytes
    record_any: Record
    _withheld: Sequence[wire.Withheld] = field(repr=False)
    decision: Decision
    receipt: Receipt
    # Where the id given had been answered before, that entry's: this is then another, under a new id.
    earlier: Receipt | None = None

    @property
    def withheld(self) -> tuple[Withheld, ...]:
        """Every leaf that was not released, sorted by path. Long and seldom read: made when asked for."""
        return tuple(Withheld(each.path, each.rule) for each in self._withheld)

    def save(self, folder: Path) -> Saved:
        """Write `<request_id>.record`, `.entry`, `.opening` and `.tlog-proof`, mode 0600; return their paths.

        Formats: serialised Any; raw bytes; raw bytes (32 of salt, then the view); C2SP tlog-proof. Makes the
        folder if it is missing. Raises SetupError if a file cannot be written or is already there.
        """
        if self.receipt.opening is None:
            raise AssertionError("a disclosure without the opening that ties the record to its entry")
        saved = Saved(
            *(folder / f"{self.request_id}.{kind}" for kind in ("record", "entry", "opening", "tlog-proof"))
        )
        proof = ProofFile(self.receipt.index, self.receipt.proof, self.receipt.checkpoint)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"cannot make {folder}: {error.strerror}") from error
        write_new(saved.record, self.record_any.to_any(), 0o600)
        write_new(saved.entry, self.receipt.entry, 0o600)
        write_new(saved.opening, self.receipt.opening.to_bytes(), 0o600)
        write_new(saved.proof, proof.to_bytes(), 0o600)
        return saved
