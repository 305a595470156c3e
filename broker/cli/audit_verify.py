"""Owns `broker audit verify`: reads a receipt's files, says in one line whether they hold, offline.

Exit 0 good; 1 bad, files that cannot be parsed included; 2 only a file that cannot be opened, or options that
make no sense together; 3 good but not cosigned by the quorum of the witness policy that was given. Needs
nothing running and no library but `cryptography`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from broker.core.checkpoint import Verifier
from broker.core.entry import MAX_ENTRY_BYTES, Opening, format_time
from broker.core.proof_file import ProofFile
from broker.core.quorum import WitnessPolicy, parse_policy
from broker.core.receipt import (
    NOT_AT_HAND,
    Audience,
    Receipt,
    VerifiedReceipt,
    audience_of,
    verify_receipt,
)
from broker.core.record import Record
from broker.errors import IntegrityError

GOOD: Final = 0
BAD: Final = 1
USAGE: Final = 2
NOT_WITNESSED: Final = 3

MAX_KEYS = 64
ENDING: Final = ".tlog-proof"
_LARGEST_FILE = 4 << 20  # past the bound of every kind of file here, so a read never grows without end


def verify_files(
    proof: Path, entry: Path, vkey: Path, opening: Path | None, record: Path | None, policy: Path | None = None
) -> tuple[int, str]:
    """Return the exit code and the verdict, one line without its newline.

    `vkey` holds verifier keys, newest first, one a line; `entry` and `opening` raw bytes; `record` a
    serialised Any, which needs the opening that ties it to the entry; `policy` a witness policy (TOML).
    """
    if record is not None and opening is None:
        return USAGE, "cannot verify: --record needs --opening, which ties the record to the entry"
    if not proof.exists() and (named := proof.with_name(proof.name + ENDING)).exists():
        proof = named  # as `prove -o x` takes it
    try:
        files = {
            path: _read(path) for path in (proof, entry, vkey, opening, record, policy) if path is not None
        }
    except OSError as error:
        return USAGE, _one_line(f"cannot verify: {error.filename}: {error.strerror}")
    return verify_bytes(
        files[proof],
        files[entry],
        files[vkey],
        None if opening is None else files[opening],
        None if record is None else files[record],
        None if policy is None else files[policy],
    )


def verify_bytes(
    proof: bytes,
    entry: bytes,
    vkey: bytes,
    opening: bytes | None,
    record: bytes | None,
    policy: bytes | None = None,
) -> tuple[int, str]:
    """Return the exit code, 0, 1 or 3, and the verdict for the content of the files."""
    try:
        verified, audience = _verify(proof, entry, vkey, opening, record)
        verdict = _verdict(verified, audience, record is not None)
        if policy is None:
            return GOOD, _one_line(verdict)
        met, said = _witnessed(proof, vkey, parse_policy(policy))
    except IntegrityError as error:
        return BAD, _one_line(f"BAD {error}")
    if not met:
        return NOT_WITNESSED, _one_line(f"NOT YET WITNESSED, otherwise {verdict}; {said}")
    return GOOD, _one_line(f"{verdict}; {said}")


def _witnessed(proof: bytes, vkey: bytes, policy: WitnessPolicy) -> tuple[bool, str]:
    """Whether the quorum cosigned the proof's checkpoint, and who did and when in words."""
    opened, met = policy.open(ProofFile.from_bytes(proof).checkpoint, parse_vkeys(vkey))
    times = {each.name: each.timestamp for each in opened.cosignatures}
    signed = [each for each in policy.witnesses if each.verifier.name in times]
    who = ", ".join(f"{each.name} at {_time(times[each.verifier.name])}" for each in signed) or "nobody"
    of = f"{len(signed)} of {len(policy.witnesses)}, {policy.quorum} needed"
    return met, f"cosigned by {who} ({of})"


def _time(timestamp: int) -> str:
    try:
        return format_time(datetime.fromtimestamp(timestamp, UTC))
    except (ValueError, OverflowError, OSError):
        return f"second {timestamp}"


def parse_vkeys(data: bytes) -> tuple[Verifier, ...]:
    """Return the keys of a verifier key file, in its order.

    Raises:
        IntegrityError: no keys, too many, or a line that is not a verifier key.
    """
    try:
        lines = data.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise IntegrityError("verifier keys: not UTF-8") from error
    if len(lines) > MAX_KEYS:
        raise IntegrityError(f"verifier keys: more than {MAX_KEYS}")
    return tuple(Verifier.from_vkey(line) for line in lines)


def _verify(
    proof: bytes, entry: bytes, vkey: bytes, opening: bytes | None, record: bytes | None
) -> tuple[VerifiedReceipt, Audience]:
    verifiers = parse_vkeys(vkey)
    file = ProofFile.from_bytes(proof)
    if file.extra is not None:
        # Our log writes none, and nothing authenticates it: a byte changed there would go unseen.
        raise IntegrityError("proof file: it carries extra data, which a receipt of this log never does")
    if len(entry) > MAX_ENTRY_BYTES:
        raise IntegrityError(f"entry: more than {MAX_ENTRY_BYTES} bytes")
    opens = None if opening is None else Opening.from_bytes(opening)
    # Auditors and providers are given their own view; which one a file opens, the entry itself says.
    whose = Audience.REQUESTER if opens is None else audience_of(entry, opens) or Audience.REQUESTER
    receipt = Receipt(entry, file.index, file.proof, file.checkpoint, opens)
    received = NOT_AT_HAND if record is None else Record.from_any(record)
    return verify_receipt(receipt, verifiers, record=received, audience=whose), whose


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST_FILE)


def _verdict(verified: VerifiedReceipt, audience: Audience, with_record: bool) -> str:
    checkpoint = verified.checkpoint
    at = format_time(verified.entry.at)
    place = f"is number {verified.index} of the {checkpoint.size} entries in {checkpoint.origin}"
    parts = [f"GOOD entry {verified.entry.id} of {at} {place}"]
    if (view := verified.view) is not None:
        said = view.event if view.outcome is None else f"{view.event}, {view.outcome}"
        whose = "the full" if audience is Audience.FULL else f"its {audience}'s"
        parts.append(f"the opening is {whose} view ({said})")
    if with_record:
        parts.append("the record is the one released")
    elif view is not None and view.response is not None:
        parts.append("the record it speaks of was not given")
    return "; ".join(parts)


def _one_line(text: str) -> str:
    """Files come from strangers: nothing in them may end the line or drive a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
