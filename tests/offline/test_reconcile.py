"""`reconcile` and `match`: what an agency kept against the log, and a record against what was kept."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf import any_pb2

from broker.core.entry import Opening, seal_entry
from broker.core.keys import Signer
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.core.proof_file import ProofFile
from broker.core.record import Record
from broker.core.views import RequesterView
from broker.errors import IntegrityError, SetupError
from broker.offline.reconcile import matches, reconcile
from broker.offline.source import Folder
from tests.support.static_log import ENTRIES, SIGNER, StaticLog, entry, note

KEYS = (SIGNER.verifier,)
AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
RECORD = Record("type.googleapis.com/records.fire.v1.PremisesRisk", b"\x0a\x0b10000000001")


def released() -> tuple[bytes, Opening]:
    """An entry that says that `RECORD` was released, and the requester's opening."""
    view = RequesterView("disclosure", outcome="permit", response=RECORD.digest())
    full = {**view.as_json(), "policy": 1, "now": AT.isoformat()}
    sealed = seal_entry(AT, "0b8f6f6e-6f1c-4d55-9a3b-0d5a3c1f2e4d", view, None, full, os.urandom)
    assert sealed.requester is not None
    return sealed.entry, sealed.requester


def keep(folder: Path, name: str, entries: list[bytes], index: int, opening: Opening | None = None) -> None:
    """The receipt of one entry, as the client saves it."""
    _, proofs = extend_with_proofs(EMPTY_RANGE, [leaf_hash(each) for each in entries])
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.tlog-proof").write_bytes(ProofFile(index, proofs[index], note(entries)).to_bytes())
    (folder / f"{name}.entry").write_bytes(entries[index])
    if opening is not None:
        (folder / f"{name}.opening").write_bytes(opening.to_bytes())


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Three receipts, of different days' checkpoints."""
    said, opening = released()
    entries = [*ENTRIES[:40], said]
    keep(tmp_path / "kept", "a", ENTRIES[:10], 3)
    keep(tmp_path / "kept", "b", ENTRIES[:30], 29)
    keep(tmp_path / "kept", "c", entries, 40, opening)
    StaticLog(tmp_path / "log").write([*entries, *ENTRIES[41:600]])
    return tmp_path / "kept"


def problems(kept: Path) -> dict[str, str]:
    """What is wrong, by file."""
    found = reconcile(kept, Folder(kept.parent / "log"), KEYS)
    return {each.path.stem: each.problem for each in found}


def test_receipts_stand_in_a_log_that_grew(kept: Path) -> None:
    """Each at its place, its checkpoint the beginning of the log."""
    assert problems(kept) == {"a": "", "b": "", "c": ""}


def test_receipts_of_an_earlier_half_year_are_looked_for_in_its_log(kept: Path) -> None:
    """After a rotation the old log stays beside the current one; without it, nothing can be said."""
    (kept.parent / "log").rename(kept.parent / "2026h2")
    later = type(SIGNER).from_seed("blue-light.test/log/2027h1", bytes(32))
    StaticLog(kept.parent / "log", later).write(ENTRIES[700:800])
    keys = (later.verifier, *KEYS)
    alone = [each.problem for each in reconcile(kept, Folder(kept.parent / "log"), keys)]
    assert all("is of blue-light.test/log/2026h2" in each for each in alone)
    (kept.parent / "2026h2").rename(kept.parent / "log" / "2026h2")
    assert [each.problem for each in reconcile(kept, Folder(kept.parent / "log"), keys)] == ["", "", ""]


def test_an_entry_that_was_exchanged_is_missed_by_who_kept_its_receipt(kept: Path) -> None:
    """A history rewritten whole and signed anew: only receipts tell."""
    entries = [*ENTRIES[:29], entry(9000), *ENTRIES[30:600]]
    StaticLog(kept.parent / "log").write(entries)
    found = problems(kept)
    assert found["a"] == ""
    assert found["b"] == "another entry stands at 29"
    assert found["c"] == "another entry stands at 40"


def test_a_checkpoint_of_another_history_is_told(kept: Path) -> None:
    """The entry is there, and what came before it was not."""
    StaticLog(kept.parent / "log").write([entry(9000), *ENTRIES[1:600]])
    assert "is not the beginning of this log" in problems(kept)["a"]


def test_a_log_that_was_cut_is_told(kept: Path) -> None:
    """Entries that a receipt proves are not in it any more."""
    StaticLog(kept.parent / "log").write(ENTRIES[:20])
    found = problems(kept)
    assert found["a"] == ""
    assert found["b"] == "is entry 29, and the log ends at 20: it was cut"


def test_an_entry_that_is_no_longer_served_is_told(kept: Path) -> None:
    """The tiles still hold its hash; the bundle holds other bytes."""
    log = StaticLog(kept.parent / "log")
    log.bundles([*ENTRIES[:3], entry(9000), *ENTRIES[4:600]])
    assert problems(kept)["a"] == "the log no longer serves entry 3 as it was"


def test_a_receipt_that_was_spoilt_is_no_fault_of_the_log(kept: Path) -> None:
    """It says so of itself, and the others are looked at."""
    file = kept / "a.entry"
    file.write_bytes(file.read_bytes().replace(b'"v":1', b'"v":2'))
    found = problems(kept)
    assert found["a"].startswith("does not verify: inclusion")
    assert found["b"] == ""


def test_a_record_that_was_changed_is_told_by_its_receipt(kept: Path) -> None:
    """Where it lies beside: it must be the one that the opening speaks of, and an Any."""
    wrapped = any_pb2.Any(type_url=RECORD.type_url, value=RECORD.value)
    (kept / "c.record").write_bytes(wrapped.SerializeToString())
    assert problems(kept)["c"] == ""
    wrapped.value += b"\x00"
    (kept / "c.record").write_bytes(wrapped.SerializeToString())
    assert "it is not the one that the entry commits to" in problems(kept)["c"]
    (kept / "c.record").write_bytes(b"\xff")
    assert problems(kept)["c"].startswith("does not verify: record")
    (kept / "c.record").unlink()
    (kept / "a.record").write_bytes(wrapped.SerializeToString())
    assert "without an opening nothing ties it to the entry" in problems(kept)["a"]


def test_no_receipt_is_passed_over(kept: Path) -> None:
    """One that does not verify, and a link that may hide some: told, and then nobody says NO."""
    record = any_pb2.Any(type_url=RECORD.type_url, value=RECORD.value).SerializeToString()
    (kept / "b.entry").write_bytes(b"x")
    (kept / "more").symlink_to(kept.parent)
    told = matches(record, kept, KEYS)
    assert [each.index for each in told.found] == [40]
    assert {each.path.name for each in told.unsound} == {"more", "b.tlog-proof"}
    other = Signer.from_seed(SIGNER.name, bytes(32))
    nothing = matches(record, kept, (other.verifier,))
    assert (nothing.found, nothing.decided, len(nothing.unsound)) == ([], False, 4)
    with pytest.raises(SetupError):
        matches(record, kept / "nowhere", KEYS)
    found = problems(kept)
    assert found["more"].startswith("does not verify: is a link")
    assert found["b"]


def test_what_the_log_shows_no_proof_of_is_told_for_each_receipt(kept: Path) -> None:
    """A bundle that is gone, or spoilt behind the entry, is the log's fault, and the others are looked at."""
    log = StaticLog(kept.parent / "log")
    path = log.root / "tile" / "entries" / "000"
    path.write_bytes(path.read_bytes() + b"junk")
    assert all("the log shows nothing that proves its entry" in each for each in problems(kept).values())
    path.unlink()
    assert all("is not there" in each for each in problems(kept).values())


def test_a_record_matches_the_receipt_of_its_release_and_nothing_else_does(kept: Path) -> None:
    """To the byte, type included."""
    wrapped = any_pb2.Any(type_url=RECORD.type_url, value=RECORD.value)
    told = matches(wrapped.SerializeToString(), kept, KEYS)
    assert ([each.index for each in told.found], told.looked, told.unopened) == ([40], 3, 2)
    wrapped.value += b"\x00"
    told = matches(wrapped.SerializeToString(), kept, KEYS)
    assert (told.found, told.decided) == ([], False)
    for name in ("a", "b"):
        (kept / f"{name}.tlog-proof").unlink()
    assert matches(wrapped.SerializeToString(), kept, KEYS).decided
    with pytest.raises(IntegrityError):
        matches(b"\xff", kept, KEYS)


def test_these_checks_stand_on_cryptography_alone() -> None:
    """Whoever distrusts us reads a small module: no gRPC, protobuf, database or web library behind it."""
    code = (
        "import sys\n"
        "from broker.offline import derive, fsck, marks, monitor, partition, reconcile, source\n"
        "print(' '.join(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    foreign = set(found) - set(sys.stdlib_module_names) - {"broker", "cryptography", "cffi", "_cffi_backend"}
    assert {m for m in foreign if not m.startswith(("_", "sitecustomize", "__"))} == set()
