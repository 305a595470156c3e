"""A log's folder made by a stranger: every byte is accounted for, nothing outside is read, and nobody waits."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.tiles import PARTITION, tiles_of
from broker.errors import IntegrityError
from broker.offline import files
from broker.offline.fsck import fsck
from broker.offline.partition import export
from broker.offline.problems import MOST, Report
from broker.offline.reading import ON_END, split
from broker.offline.source import Folder, Unreadable
from tests.support.static_log import ENTRIES, SIGNER, StaticLog, entry, note

KEYS = (SIGNER.verifier,)
LOG = ENTRIES[:700]


@pytest.fixture
def log(tmp_path: Path) -> StaticLog:
    """Two full bundles and a partial one."""
    return StaticLog(tmp_path / "log").write(LOG)


def check(log: StaticLog) -> Report:
    """What fsck says."""
    return fsck(Folder(log.root), KEYS)


@pytest.mark.parametrize("path", ["tile/entries/000", "tile/entries/002.p/188"])
@pytest.mark.parametrize(
    "junk", [b"\0", b"\0\0", b"\x00\x05HELLO", b"\x00\x05HELLO" * 3 + b"junk", b"\xff" * 300]
)
def test_bytes_after_the_last_entry_are_not_passed_over(log: StaticLog, path: str, junk: bytes) -> None:
    """Nor is an entry too many: no log has written them, though the entries before are good."""
    log.put(path, (log.root / path).read_bytes() + junk)
    report = check(log)
    assert [(each.kind, each.path) for each in report.problems] == [("bundle", path)]
    assert "bytes follow its last entry" in str(report.first)
    assert report.entries == len(LOG)


def test_every_change_of_a_bundle_is_found(log: StaticLog) -> None:
    """Bytes changed, cut out, put in and put after, wherever: the report is never good."""
    dice = random.Random(5)
    path = "tile/entries/001"
    sound = (log.root / path).read_bytes()
    for _ in range(60):
        at, data = dice.randrange(len(sound)), bytearray(sound)
        how = dice.choice(("change", "cut", "insert", "append"))
        if how == "change":
            data[at] ^= dice.randrange(1, 256)
        elif how == "cut":
            del data[at : at + dice.randrange(1, 400)]
        else:
            where = at if how == "insert" else len(data)
            data[where:where] = dice.randbytes(dice.randrange(1, 400))
        log.put(path, bytes(data))
        report = check(log)
        assert not report.good, (how, at)
        assert len(report.problems) <= MOST


def test_a_wider_tile_or_bundle_in_place_of_a_partial_one_is_read_whole(log: StaticLog) -> None:
    """A full one that is cut must itself be right to its end."""
    for path, full in (("tile/0/002", "tile/0/002.p/188"), ("tile/entries/002", "tile/entries/002.p/188")):
        log.anew(LOG)
        (log.root / full).unlink()
        log.tiles(ENTRIES[:768], most=0)
        log.bundles(ENTRIES[:768])
        assert check(log).good
        whole = (log.root / path).read_bytes()
        for spoilt in (whole + b"\0", whole[:-1], whole + whole):
            log.put(path, spoilt)
            assert not check(log).good, (path, len(spoilt))


def test_what_was_mirrored_before_is_not_blamed_for_an_entry_that_was_changed_since(log: StaticLog) -> None:
    """A folder that was taken over twice: the entry is named by its index, first, and nothing else is."""
    log.anew(ENTRIES[:600])
    log.write(ENTRIES[:700])
    path = "tile/entries/002.p/188"
    data = (log.root / path).read_bytes()
    log.put(path, data.replace(ENTRIES[550], entry(9000)))
    report = check(log)
    assert [(each.kind, each.index) for each in report.problems] == [("entry", 550)]
    assert report.first == report.problems[0]


def test_what_was_mirrored_before_and_changed_is_named_by_its_first_bad_entry(log: StaticLog) -> None:
    """Also among others that come later in the log."""
    log.anew(ENTRIES[:600])
    log.write(ENTRIES[:700])
    path = "tile/entries/002.p/88"
    data = (log.root / path).read_bytes()
    log.put(path, data.replace(ENTRIES[570], entry(9000)))
    report = check(log)
    assert [(each.kind, each.index, each.path) for each in report.problems] == [("bundle", 570, path)]


def test_partial_tiles_of_earlier_sizes_are_held_against_the_whole_one(log: StaticLog) -> None:
    """Good where they are its beginning; named where they are not."""
    log.anew(ENTRIES[:600])
    log.write(LOG)
    report = check(log)
    assert (report.good, report.unchecked) == (True, [])
    for path in ("tile/0/002.p/88", "tile/entries/002.p/88"):
        log.spoil(path, 70)
        report = check(log)
        assert [each.path for each in report.problems] == [path]
        log.spoil(path, 70)
        log.put(path, b"\0" * 10)
        assert [each.path for each in check(log).problems] == [path]
        log.write(ENTRIES[:600]).write(LOG)


def test_what_the_checkpoint_does_not_cover_is_said(log: StaticLog) -> None:
    """Tiles beyond its size, and files that no log has: it is good, and they were not looked at."""
    log.write(ENTRIES[:1100]).put("checkpoint", note(LOG))
    log.put("tile/0/x001/000", b"x")
    log.put("notes.txt", b"x")
    os.mkfifo(log.root / "tile" / "pipe")
    report = check(log)
    assert report.good, report.problems
    (said,) = report.unchecked
    assert "files that this checkpoint does not cover: notes.txt, " in said


@pytest.mark.parametrize("path", ["checkpoint", "tile", "tile/0", "tile/0/001", "tile/entries/001"])
def test_links_are_not_followed(log: StaticLog, tmp_path: Path, path: str) -> None:
    """Not out of the folder and not within it; the folder itself may be one."""
    (tmp_path / "by-link").symlink_to(log.root)
    assert fsck(Folder(tmp_path / "by-link"), KEYS).good
    (log.root / path).rename(tmp_path / "elsewhere")
    (log.root / path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match="links are not followed"):
        check(log)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("path", ["checkpoint", "dropped", "tile/0/001", "tile/entries/001"])
def test_only_files_are_opened(log: StaticLog, path: str) -> None:
    """A pipe that nobody writes to keeps nobody waiting."""
    (log.root / path).unlink(missing_ok=True)
    os.mkfifo(log.root / path)
    with pytest.raises(Unreadable, match="is not a file"):
        check(log)


def _endless(log: StaticLog, bundle: bytes) -> None:
    """Every path of a tile of entries leads to a file, as far as links lead."""
    entries = log.root / "tile" / "entries"
    log.put("checkpoint", sign_checkpoint(Checkpoint(SIGNER.name, 1 << 60, bytes(32)), SIGNER))
    for n in range(1000):
        (entries / f"x{n:03d}").symlink_to(".")
        (entries / f"{n:03d}").unlink(missing_ok=True)
        (entries / f"{n:03d}").write_bytes(bundle)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("bundle", [b"", b"\0", b"\0\0" * 256, b"\0\0" * 255])
def test_a_small_folder_under_a_huge_signed_size_keeps_nobody_busy(log: StaticLog, bundle: bytes) -> None:
    """Whatever stands in the bundles: after so many on end it stops, and says where."""
    _endless(log, bundle)
    report = check(log)
    assert len(report.problems) <= MOST
    assert str(report.unchecked).count(f"{ON_END} bundles on end") == 1


@pytest.mark.long
@pytest.mark.timeout(300)
def test_entries_that_lead_nowhere_end_it_too(log: StaticLog) -> None:
    """Sound ones without end, under a root that somebody signed: a million are read, and no more."""
    log.put("checkpoint", sign_checkpoint(Checkpoint(SIGNER.name, 1 << 60, bytes(32)), SIGNER))

    class Endless(Folder):
        """Makes what it is asked for."""

        def file(self, path: str, most: int) -> bytes:
            if not path.startswith("tile/entries/"):
                return super().file(path, most)
            first = 256 * int(path.removeprefix("tile/entries/").replace("x", "").replace("/", ""))
            each = (entry(n) for n in range(first, first + 256))
            return b"".join(len(one).to_bytes(2, "big") + one for one in each)

    report = fsck(Endless(log.root), KEYS)
    assert not report.good
    assert report.entries == 16 * PARTITION


@pytest.mark.parametrize(
    "said",
    [
        b"9" * 6000 + b" 1 2\n",
        "²\n".encode(),
        b"\n",
        b"0 65536\n",
        b"0 65536 " + b"0" * 64,
        b"0 65536 " + b"0" * 64 + b" x\n",
        b"1 65537 " + b"0" * 64 + b"\n",
        b"0 65537 " + b"0" * 64 + b"\n",
        2 * (b"0 65536 " + b"0" * 64 + b"\n"),
        b"\xff\n",
        b"x" * (1 << 20),
        b"x" * (1 << 21),
    ],
    ids=range(12),
)
def test_a_list_of_what_was_dropped_that_no_log_writes_is_named(log: StaticLog, said: bytes) -> None:
    """It is a fault of the log by itself, whatever else is good."""
    log.put("dropped", said)
    assert [each.kind for each in check(log).problems] == ["dropped"]


def test_an_open_log_has_dropped_nothing(log: StaticLog) -> None:
    """A list may excuse entries of a closed log alone: without a last entry that closes it they are a loss."""
    entries = [entry(n) for n in range(PARTITION + 10)]
    log.anew(entries).put("dropped", b"0 65536 " + b"0" * 64 + b"\n")
    for path in (log.root / "tile/entries").glob("*"):
        if path.name not in ("000", "256.p"):
            path.unlink()
    (found,) = check(log).problems
    assert (found.kind, found.index) == ("dropped", 0)
    assert "of a log that no last entry has closed" in found.text


def test_a_log_as_it_was_left_in_the_middle_of_an_export_is_read(log: StaticLog, tmp_path: Path) -> None:
    """What an export has not renamed yet is not looked at, and said."""
    export(Folder(log.root), KEYS, tmp_path / "out")
    (tmp_path / "out" / "tile" / "0" / ".003.partial").write_bytes(b"half")
    report = fsck(Folder(tmp_path / "out"), KEYS)
    assert report.good
    assert "1 file that this checkpoint does not cover: tile/0/.003.partial" in report.unchecked


def test_reading_a_file_names_what_is_strange(tmp_path: Path) -> None:
    """Folders, pipes, links, and files longer than they may be."""
    (tmp_path / "f").write_bytes(b"12345")
    assert files.read(tmp_path / "f", 5) == b"12345"
    with pytest.raises(IntegrityError, match="longer than 4"):
        files.read(tmp_path / "f", 4)
    with pytest.raises(OSError, match="folder"):
        files.read_below(tmp_path, ".", 5)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "g", 5)
    (tmp_path / "l").symlink_to(tmp_path / "f")
    with pytest.raises(OSError, match="links are not followed"):
        files.read(tmp_path / "l", 5)


def test_a_walk_ends_at_a_depth_and_at_links(tmp_path: Path) -> None:
    """However the folders are nested: what is not walked is told."""
    deep = tmp_path / "w"
    for _ in range(40):
        deep /= "d"
    deep.mkdir(parents=True)
    (tmp_path / "w" / "again").symlink_to(tmp_path / "w")
    found = dict(files.below(tmp_path / "w"))
    assert found.pop("again").endswith("made with cp -rL)")
    assert list(found.values()) == ["lies deeper than anything of a log"]


def test_a_bundle_is_split_as_far_as_it_goes() -> None:
    """Whole entries, and how many bytes follow the last."""
    assert split(b"\0\x01a\0\0\0\x02bc", 3) == ([b"a", b"", b"bc"], 0)
    assert split(b"\0\x01a\0\0\0\x02bc", 2) == ([b"a", b""], 4)
    assert split(b"\0\x01a\0\x03bc", 9) == ([b"a"], 4)
    assert split(b"\0", 9) == ([], 1)
    assert split(b"", 9) == ([], 0)


def test_each_tile_is_still_named_by_itself(log: StaticLog) -> None:
    """A tile of the wrong length is wrong, however much of it is right."""
    for tile in tiles_of(len(LOG)):
        sound = (log.root / tile.path).read_bytes()
        for spoilt in (sound + b"\0", sound[:-1], sound + sound, b""):
            log.put(tile.path, spoilt)
            assert {(each.kind, each.path) for each in check(log).problems} == {("tile", tile.path)}
        log.put(tile.path, sound)
