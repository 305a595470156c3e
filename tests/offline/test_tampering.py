"""Who finds what: each way of tampering with a published log or a kept receipt, and the tool that must tell.

What `fsck` finds by itself is in test_fsck.py, and of a database in tests/store/test_fsck.py. Here are the ways
that leave a log well-formed, and those that touch what somebody keeps of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.core.entry import Opening, seal_entry
from broker.core.keys import Signer
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.core.proof_file import ProofFile
from broker.core.record import Record
from broker.core.views import RequesterView
from broker.offline.fsck import fsck
from broker.offline.memory import Memory
from broker.offline.monitor import Verdict, look
from broker.offline.reconcile import reconcile
from broker.offline.source import Folder
from tests.support.static_log import ENTRIES, ORIGIN, SIGNER, StaticLog, entry, note

KEYS = (SIGNER.verifier,)
SIZE, INDEX = 700, 300
AT = datetime(2026, 11, 21, 0, 5, tzinfo=UTC)
RECORD = Record("type.googleapis.com/records.fire.v1.PremisesRisk", b"\x0a\x0b10000000001")


class World:
    """A log of 700 entries as it was on the day: a monitor has seen it, and an agency kept receipt 300."""

    def __init__(self, folder: Path) -> None:
        view = RequesterView("disclosure", outcome="permit", response=RECORD.digest())
        full = {**view.as_json(), "policy": 1, "now": AT.isoformat()}
        sealed = seal_entry(AT, "0b8f6f6e-6f1c-4d55-9a3b-0d5a3c1f2e4d", view, None, full, os.urandom)
        assert sealed.requester is not None
        self.opening = sealed.requester
        self.entries = [*ENTRIES[:INDEX], sealed.entry, *ENTRIES[INDEX + 1 : SIZE]]
        self.log = StaticLog(folder / "log").write(self.entries)
        self.memory = Memory(folder / "monitor.json")
        self.kept = folder / "kept"
        _, proofs = extend_with_proofs(EMPTY_RANGE, [leaf_hash(each) for each in self.entries])
        self.kept.mkdir()
        file = ProofFile(INDEX, proofs[INDEX], note(self.entries))
        self.keep("tlog-proof", file.to_bytes())
        self.keep("entry", sealed.entry)
        self.keep("opening", self.opening.to_bytes())
        assert look(Folder(self.log.root), KEYS, self.memory).verdict is Verdict.FIRST

    def keep(self, ending: str, data: bytes) -> None:
        """One file of the receipt."""
        (self.kept / f"x.{ending}").write_bytes(data)

    def fsck(self) -> bool:
        """Whether the log is well-formed."""
        return fsck(Folder(self.log.root), KEYS).good

    def monitor(self) -> Verdict:
        """What the monitor says on its next look."""
        return look(Folder(self.log.root), KEYS, self.memory).verdict

    def reconcile(self) -> str:
        """What is wrong with the receipt; empty where it stands."""
        (found,) = reconcile(self.kept, Folder(self.log.root), KEYS)
        return found.problem


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Before anything was done to it."""
    return World(tmp_path)


def test_before_anything_is_done_all_three_are_content(world: World) -> None:
    """Or what follows would mean nothing."""
    assert (world.fsck(), world.monitor(), world.reconcile()) == (True, Verdict.SAME, "")


Rewrite = Callable[[list[bytes]], list[bytes]]
REWRITES: dict[str, Rewrite] = {
    "flip": lambda log: [*log[:INDEX], log[INDEX].replace(b'"full":"', b'"full":"0')[:-2] + b"1}", *log[301:]],
    "exchange": lambda log: [*log[:INDEX], entry(9000), *log[INDEX + 1 :]],
    "delete-and-renumber": lambda log: [*log[:INDEX], *log[INDEX + 1 :]],
    "swap": lambda log: [*log[:INDEX], log[INDEX + 1], log[INDEX], *log[INDEX + 2 :]],
    "back-dated-insert": lambda log: [*log[:INDEX], entry(9000, AT), *log[INDEX:]],
}


@pytest.mark.parametrize("how", REWRITES)
@pytest.mark.parametrize("more", [0, 50], ids=["as-long", "longer"])
def test_a_history_rewritten_whole_and_signed_anew(world: World, how: str, more: int) -> None:
    """The key's holder did it: the log is well-formed, the monitor has both signed notes, and the receipt names
    its entry's place."""
    forged = [*REWRITES[how](world.entries), *ENTRIES[SIZE : SIZE + 2 + more]]
    world.log.anew(forged)
    assert world.monitor() is Verdict.FORK
    assert world.reconcile() == f"another entry stands at {INDEX}"
    assert world.fsck() is (how != "flip")


def test_a_history_rewritten_over_another_is_told_by_what_lies_about(world: World) -> None:
    """A partial tile of the size before is not the beginning of the one in its place."""
    world.log.write([*world.entries[:400], *(entry(9000 + n) for n in range(500))])
    assert not world.fsck()


def test_an_insertion_behind_the_receipt_is_told_by_its_checkpoint(world: World) -> None:
    """The entry is at its place, and what was signed with it is not the beginning of this log."""
    world.log.write([*world.entries[:650], entry(9000), *world.entries[650:]])
    assert "is not the beginning of this log" in world.reconcile()
    assert world.monitor() is Verdict.FORK


@pytest.mark.parametrize("size", [0, 1, 256, INDEX, INDEX + 1, SIZE - 1])
def test_an_old_log_replayed(world: World, size: int) -> None:
    """A backup that was brought back, tail cut off: well signed and well-formed, and entries are gone."""
    world.log.write(world.entries[:size])
    assert world.fsck()
    assert world.monitor() is Verdict.ROLLBACK
    said = world.reconcile()
    assert said == (
        f"is entry {INDEX}, and the log ends at {size}: it was cut"
        if size <= INDEX
        else f"leads to a log of {SIZE} entries, and it shows {size}: it was cut"
    )


def test_an_old_log_replayed_and_gone_on_with(world: World) -> None:
    """Longer than it was, with other entries after the cut."""
    world.log.anew([*world.entries[:400], *(entry(9000 + n) for n in range(500))])
    assert world.fsck()
    assert world.monitor() is Verdict.FORK
    assert "is not the beginning of this log" in world.reconcile()


def test_a_log_under_another_key(world: World, tmp_path: Path) -> None:
    """Whatever it holds, nobody takes it for this one."""
    other = Signer.from_seed(ORIGIN, bytes(32))
    world.log.put("checkpoint", note(world.entries, other))
    assert not world.fsck()
    assert world.monitor() is Verdict.BAD


@pytest.mark.parametrize(
    ("ending", "at", "step"),
    [
        ("entry", 40, "inclusion"),
        ("opening", 3, "opening"),
        ("opening", 60, "opening"),
        ("tlog-proof", 60, "inclusion"),
        ("tlog-proof", -20, "checkpoint"),
    ],
    ids=["entry", "salt", "view", "proof", "checkpoint"],
)
def test_a_kept_receipt_that_was_changed_says_which_part(world: World, ending: str, at: int, step: str) -> None:
    """And accuses nobody's log."""
    data = bytearray((world.kept / f"x.{ending}").read_bytes())
    data[at] = ord("a") if data[at] != ord("a") else ord("b")
    world.keep(ending, bytes(data))
    assert world.reconcile().startswith(f"does not verify: {step}"), world.reconcile()


def test_another_view_under_the_same_salt_opens_nothing(world: World) -> None:
    """What the entry says cannot be made to say something else."""
    forged = Opening(world.opening.salt, world.opening.view.replace(b"permit", b"refuse"))
    world.keep("opening", forged.to_bytes())
    assert world.reconcile().startswith("does not verify: opening")


@pytest.mark.parametrize("size", [SIZE, SIZE + 400])
def test_a_tile_or_bundle_spoilt_on_the_way_is_nobodys_fork(world: World, size: int) -> None:
    """`fsck` and `monitor` say bad, of a log that is read from a disk or a mirror that spoilt it."""
    entries = [*world.entries, *ENTRIES[SIZE:size]]
    world.log.write(entries)
    for path in ("tile/0/000", "tile/0/001", "tile/entries/001"):
        right = (world.log.root / path).read_bytes()
        world.log.spoil(path, 3333)
        assert not world.fsck()
        assert world.monitor() not in (Verdict.FORK, Verdict.ROLLBACK)
        world.log.put(path, right)
    assert world.fsck()
