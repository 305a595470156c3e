"""Receipts as commands handle them: read from the wire, checked against the log's keys, written as files.

Refuses to write evidence that does not hold, and to overwrite any.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from broker.errors import IntegrityError, SetupError

if TYPE_CHECKING:
    from broker.core.receipt import Audience, Receipt, VerifiedReceipt
    from broker.v1 import exchange_pb2

PROOF, ENTRY, OPENING, STAMP = ".tlog-proof", ".entry", ".opening", ".tsr"


def read(message: exchange_pb2.Receipt) -> Receipt:
    """The receipt of the wire, unverified. Raises IntegrityError for an opening that can be none."""
    from broker.core.entry import Opening
    from broker.core.receipt import Receipt

    opening = Opening.from_bytes(message.opening) if message.opening else None
    return Receipt(message.entry, message.index, tuple(message.proof), message.checkpoint, opening)


def verify(receipt: Receipt, vkey: Path, audience: Audience | None = None) -> VerifiedReceipt:
    """Check a receipt, and its opening as that audience's view, against the keys in a file.

    Raises IntegrityError, and SetupError where there is no such file.
    """
    from broker.cli.audit_verify import parse_vkeys
    from broker.cli.inputs import read_bounded
    from broker.core.receipt import NOT_AT_HAND, Audience, verify_receipt

    require_keys(vkey)
    verifiers = parse_vkeys(read_bounded(vkey, 64 * 1024, "a file of verifier keys"))
    return verify_receipt(receipt, verifiers, record=NOT_AT_HAND, audience=audience or Audience.REQUESTER)


def require_keys(vkey: Path) -> Path:
    """Return the path of the log's verifier keys; raises SetupError where there is no such file."""
    if not vkey.exists():
        raise SetupError(
            f"{vkey} does not exist: give the log's verifier keys with --vkey FILE, from somebody you trust "
            "(the broker serves them at /log/vkey)"
        )
    return vkey


def entry_id(receipt: Receipt) -> str:
    """The id of the receipt's entry. Raises IntegrityError."""
    from broker.core.entry import parse_entry

    return parse_entry(receipt.entry).id


def noted(message: exchange_pb2.Receipt, vkey: Path) -> dict[str, object]:
    """The entry of a change: its receipt is verified where the log's keys are at hand."""
    receipt = read(message)
    verified = vkey.exists()
    if verified:
        verify(receipt, vkey)
    return {"entry": entry_id(receipt), "index": receipt.index, "verified": verified}


def save(receipt: Receipt, proof: Path, timestamp: bytes = b"") -> list[Path]:
    """Write the proof as a C2SP tlog-proof, and beside it the entry, and opening and time stamp if there are.

    `x.tlog-proof`, or `x` for short, is joined by `x.entry`, `x.opening` and `x.tsr`, mode 0600. Returns the
    paths.
    Raises SetupError.
    """
    from broker.core.proof_file import ProofFile
    from broker.pki.files import write_new

    stem = proof.with_suffix("") if proof.suffix == PROOF else proof
    files = {
        stem.with_name(stem.name + PROOF): ProofFile(
            receipt.index, receipt.proof, receipt.checkpoint
        ).to_bytes(),
        stem.with_name(stem.name + ENTRY): receipt.entry,
    }
    if receipt.opening is not None:
        files[stem.with_name(stem.name + OPENING)] = receipt.opening.to_bytes()
    if timestamp:
        files[stem.with_name(stem.name + STAMP)] = timestamp
    for path in files:  # all or none: evidence in pieces helps nobody
        if path.exists():
            raise SetupError(f"{path} already exists: it is never overwritten; choose another name")
    for path, data in files.items():
        write_new(path, data, 0o600)
    return list(files)


def require_entry(receipt: Receipt, asked: str | int) -> None:
    """Check that a receipt is of the entry that was asked for, by id or by index. Raises IntegrityError."""
    if asked != (receipt.index if isinstance(asked, int) else entry_id(receipt)):
        raise IntegrityError("receipt: it is of another entry than the one asked for")
