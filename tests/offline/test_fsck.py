"""`fsck`: every way of tampering with a published log is found, and named by its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.keys import Signer
from broker.core.tiles import tiles_of
from broker.errors import SetupError
from broker.offline.fsck import fsck
from broker.offline.problems import Report
from broker.offline.source import Folder
from tests.support.static_log import ENTRIES, ORIGIN, SIGNER, StaticLog, entry, note

KEYS = (SIGNER.verifier,)
SIZE = 700  # two full bundles and a partial one
LOG = ENTRIES[:SIZE]


def check(log: StaticLog, keys: tuple[object, ...] = KEYS) -> Report:
    """What fsck says of the folder."""
    return fsck(Folder(log.root), keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 1024, 1100])
def test_a_log_that_is_whole_is_good(tmp_path: Path, size: int) -> None:
    """At sizes around those of tiles; everything was looked at."""
    report = check(StaticLog(tmp_path).write(ENTRIES[:size]))
    assert report.good, report.problems
    assert (report.entries, report.size, report.origin) == (size, size, ORIGIN)
    assert report.tiles == len(list(tiles_of(size)))


def test_checkpoints_that_were_kept_elsewhere_are_held_against_it(tmp_path: Path) -> None:
    """The log must begin with each: another history or a later end is BAD; one of another log is refused."""
    log = StaticLog(tmp_path).write(LOG)
    source, other = Folder(log.root), Signer.from_seed(ORIGIN.replace("h2", "h1"), bytes(32))
    kept = [(f"kept {size}", note(ENTRIES[:size])) for size in (0, 1, 256, 300, 512, 699, SIZE)]
    report = fsck(source, KEYS, kept=kept)
    assert (report.good, report.held, report.unchecked) == (True, 7, [])
    history = [*ENTRIES[:200], entry(9000), *ENTRIES[201:]]
    for size in (201, 300, SIZE):
        report = fsck(source, KEYS, kept=[*kept, ("theirs", note(history[:size]))])
        assert [(each.kind, each.path) for each in report.problems] == [("checkpoint", "theirs")]
        assert f"{size} entries that the log does not begin with" in report.problems[0].text
    report = fsck(source, KEYS, kept=[("later", note(ENTRIES[: SIZE + 1]))])
    assert [(each.kind, each.index) for each in report.problems] == [("entry", SIZE)]
    report = fsck(source, KEYS, kept=[("forged", note(LOG, Signer.from_seed(ORIGIN, bytes(32))))])
    assert [each.path for each in report.problems] == ["forged"]
    with pytest.raises(SetupError, match=rf"older is of {other.name}, and this log is {ORIGIN}"):
        fsck(source, (*KEYS, other.verifier), kept=[("older", note(LOG, other))])


def test_a_folder_that_kept_only_full_tiles_of_a_grown_log_is_read(tmp_path: Path) -> None:
    """A partial tile that was dropped is the beginning of the full one."""
    log = StaticLog(tmp_path).write(LOG)
    for path in ("tile/0/002.p/188", "tile/entries/002.p/188"):
        (log.root / path).unlink()
    log.bundles(ENTRIES[:768])
    log.tiles(ENTRIES[:768], most=0)
    assert check(log).good


Tamper = Callable[[StaticLog], None]


def _flip(log: StaticLog) -> None:
    log.bundles([*LOG[:300], LOG[300].replace(b'"v":1', b'"v":2'), *LOG[301:]])


def _flip_and_leaf(log: StaticLog) -> None:
    forged = [*LOG[:300], entry(9000), *LOG[301:]]
    log.bundles(forged)
    log.tiles(forged, most=0)


def _delete(log: StaticLog) -> None:
    log.bundles([*LOG[:300], *LOG[301:], b"{}"])


def _delete_and_renumber(log: StaticLog) -> None:
    shorter = [*LOG[:300], *LOG[301:], entry(9000)]
    log.bundles(shorter)
    log.tiles(shorter, most=0)


def _swap(log: StaticLog) -> None:
    log.bundles([*LOG[:300], LOG[301], LOG[300], *LOG[302:]])


def _truncate(log: StaticLog) -> None:
    (log.root / "tile/entries/002.p/188").unlink()


def _shorten(log: StaticLog) -> None:
    data = (log.root / "tile/entries/002.p/188").read_bytes()
    log.put("tile/entries/002.p/188", data[: len(data) // 188 * 100])


def _insert_back_dated(log: StaticLog) -> None:
    log.bundles([*LOG[:300], entry(9000, datetime(2026, 11, 21, 0, 5, tzinfo=UTC)), *LOG[300:-1]])


def _twice(log: StaticLog) -> None:
    log.bundles([*LOG[:300], LOG[20], *LOG[301:]])


def _not_an_entry(log: StaticLog) -> None:
    log.bundles([*LOG[:300], b'{"at":"yesterday"}', *LOG[301:]])


@pytest.mark.parametrize(
    ("tamper", "index", "kind"),
    [
        (_flip, 300, "entry"),
        (_flip_and_leaf, 256, "entry"),
        (_delete, 300, "entry"),
        (_delete_and_renumber, 256, "tile"),
        (_swap, 300, "entry"),
        (_truncate, 512, "entry"),
        (_shorten, 612, "entry"),
        (_insert_back_dated, 300, "entry"),
        (_twice, 300, "entry"),
        (_not_an_entry, 300, "entry"),
    ],
)
def test_what_was_done_to_entries_is_named_by_index(
    tmp_path: Path, tamper: Tamper, index: int, kind: str
) -> None:
    """The first entry that is wrong; the first of 256 where the tile was changed with it.

    Where the tile at the edge was changed too, nothing vouches for the one above, and it is named as a tile.
    """
    log = StaticLog(tmp_path).write(LOG)
    tamper(log)
    report = check(log)
    assert report.first is not None
    assert (report.first.index, report.first.kind) == (index, kind), [str(p) for p in report.problems]


def test_entries_that_are_good_are_not_accused_for_a_tile(tmp_path: Path) -> None:
    """A spoilt tile over good entries is named as a tile, and nothing else is."""
    for tile in tiles_of(SIZE):
        log = StaticLog(tmp_path / tile.path.replace("/", "-")).write(LOG)
        log.spoil(tile.path)
        report = check(log)
        assert [(p.kind, p.path) for p in report.problems] == [("tile", tile.path)]


def test_a_history_rewritten_whole_is_not_the_one_that_was_signed(tmp_path: Path) -> None:
    """Entries and tiles that agree with each other do not make the root of the checkpoint."""
    forged = [*LOG[:300], entry(9000), *LOG[301:]]
    report = check(StaticLog(tmp_path).write(forged, checkpoint=note(LOG)))
    assert [p.kind for p in report.problems] == ["checkpoint"]


@pytest.mark.parametrize("at", [3, 28, 40, 90, 140])
def test_a_changed_checkpoint_is_not_the_logs(tmp_path: Path, at: int) -> None:
    """Origin, size, root or signature."""
    log = StaticLog(tmp_path).write(LOG)
    log.spoil("checkpoint", at)
    report = check(log)
    assert [p.kind for p in report.problems] == ["checkpoint"]


def test_another_key_is_not_the_logs(tmp_path: Path) -> None:
    """Whoever holds another key under the same name is told so."""
    log = StaticLog(tmp_path).write(LOG)
    other = Signer.from_seed(ORIGIN, bytes(32))
    assert [p.kind for p in check(log, (other.verifier,)).problems] == ["checkpoint"]


def test_a_tile_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Its path says which."""
    log = StaticLog(tmp_path).write(LOG)
    (log.root / "tile/0/001").unlink()
    report = check(log)
    assert {(p.kind, p.path) for p in report.problems} == {("tile", "tile/0/001")}


def test_a_hundred_problems_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    """A log that is all wrong does not fill a screen, or the memory."""
    log = StaticLog(tmp_path).write(LOG)
    log.bundles([entry(9000 + n) for n in range(SIZE)])
    report = check(log)
    assert len(report.problems) == 100
    assert report.more >= SIZE - 100


@pytest.mark.timeout(20)
def test_a_size_that_nobody_could_read_keeps_nobody_busy(tmp_path: Path) -> None:
    """A signed size is a claim: where nothing follows, what is missing is named and the rest not looked for."""
    signed = sign_checkpoint(Checkpoint(ORIGIN, 1 << 60, bytes(32)), SIGNER)
    log = StaticLog(tmp_path).write(ENTRIES[:512], checkpoint=signed)
    report = check(log)
    assert report.first is not None
    assert (report.first.kind, report.first.index) == ("entry", 512)
    assert f"to {(1 << 60) - 1} were not looked for" in str(report.unchecked)


def _every_tile(tmp_path: Path, sizes: range) -> int:
    """Each tile of each size spoilt in turn: how many there were."""
    log, spoilt = StaticLog(tmp_path), 0
    for size in sizes:
        shutil.rmtree(tmp_path)
        log.write(ENTRIES[:size])
        for tile in tiles_of(size):
            right = (log.root / tile.path).read_bytes()
            log.spoil(tile.path, len(right) // 2)
            report = check(log)
            assert [(p.kind, p.path) for p in report.problems] == [("tile", tile.path)], (size, tile.path)
            log.put(tile.path, right)
            spoilt += 1
    return spoilt


def test_each_tile_spoilt_around_the_sizes_of_tiles_is_found(tmp_path: Path) -> None:
    """Full tiles too, which readers that check the edge alone have let through."""
    assert _every_tile(tmp_path, range(254, 260)) + _every_tile(tmp_path, range(510, 515)) > 20


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_tile_spoilt_at_every_size_is_found(tmp_path: Path) -> None:
    """Up to 1,100 entries."""
    assert _every_tile(tmp_path, range(1, 1101)) > 3000
