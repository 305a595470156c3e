"""`monitor`: a log that is taken back, or shows two faces, is found out by whoever looked before."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from broker.core.keys import Signer
from broker.errors import SetupError
from broker.offline.memory import EARLIER, Memory, size_of
from broker.offline.monitor import EXITS, Look, Verdict, look
from broker.offline.source import Folder
from tests.support.static_log import ENTRIES, ORIGIN, SIGNER, StaticLog, entry, note

KEYS = (SIGNER.verifier,)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """A monitor's state that does not exist yet."""
    return Memory(tmp_path / "monitor.json")


def seen(log: StaticLog, memory: Memory) -> Look:
    """One look."""
    return look(Folder(log.root), KEYS, memory)


def test_a_log_that_grows_is_as_it_should_be(tmp_path: Path, memory: Memory) -> None:
    """The first look remembers, the next finds the same or more, each over a proof."""
    log = StaticLog(tmp_path / "log").write(ENTRIES[:300])
    assert seen(log, memory).verdict is Verdict.FIRST
    assert seen(log, memory).verdict is Verdict.SAME
    for size in (301, 512, 513, 1100):
        log.write(ENTRIES[:size])
        found = seen(log, memory)
        assert (found.verdict, found.size) == (Verdict.GROWN, size), found.text
        assert not found.alarm


def test_entries_taken_back_are_a_rollback(tmp_path: Path, memory: Memory) -> None:
    """Also where everything that is left is well signed; what was believed stays believed."""
    log = StaticLog(tmp_path / "log").write(ENTRIES[:700])
    seen(log, memory)
    log.write(ENTRIES[:650])
    for _ in range(2):
        found = seen(log, memory)
        assert (found.verdict, found.alarm) == (Verdict.ROLLBACK, True)
    assert (found.before, found.shown) == (note(ENTRIES[:700]), note(ENTRIES[:650]))


@pytest.mark.parametrize("size", [600, 601, 650])
def test_a_shorter_second_history_is_a_fork_where_it_parts_before_what_was_seen(
    tmp_path: Path, memory: Memory, size: int
) -> None:
    """A database of yesterday that goes on by itself: what was believed on the way here tells it from a cut."""
    log = StaticLog(tmp_path / "log")
    for seen_size in (500, 600, 700):
        seen(log.write(ENTRIES[:seen_size]), memory)
    forged = [*ENTRIES[:550], entry(9000), *ENTRIES[551:size]]
    log.write(forged)
    for _ in range(2):
        found = seen(log, memory)
        assert (found.verdict, found.before, found.shown) == (Verdict.FORK, note(ENTRIES[:600]), note(forged))
        assert found.text.endswith("; the log had 700")


def test_a_shorter_history_that_parts_behind_all_that_was_seen_is_a_rollback(
    tmp_path: Path, memory: Memory
) -> None:
    """Nothing that was seen tells it from a cut; how much is as it was is said, where its tiles can be read."""
    log = StaticLog(tmp_path / "log")
    for seen_size in (600, 700):
        seen(log.write(ENTRIES[:seen_size]), memory)
    log.write([*ENTRIES[:610], entry(9000)])
    found = seen(log, memory)
    assert (found.verdict, found.before) == (Verdict.ROLLBACK, note(ENTRIES[:700]))
    assert found.text.endswith("its first 600 are as they were")
    log.spoil("tile/0/001")
    assert seen(log, memory).verdict is Verdict.ROLLBACK


def test_what_was_seen_on_the_way_is_bounded(tmp_path: Path, memory: Memory) -> None:
    """However often a monitor looks: notes lie close where the log was read lately, and the first one stays."""
    log = StaticLog(tmp_path / "log")
    for size in range(1, 201):
        seen(log.write(ENTRIES[:size]), memory)
    sizes = [size_of(each) for each in memory.earlier(ORIGIN)]
    assert len(sizes) == EARLIER
    assert sizes[0] == 1
    assert sizes[-8:] == list(range(192, 200))
    assert max(later - sooner for sooner, later in pairwise(sizes)) < 20


@pytest.mark.parametrize("size", [700, 701, 1100])
def test_two_histories_are_a_fork_with_both_notes(tmp_path: Path, memory: Memory, size: int) -> None:
    """Of the same size or longer: the two signed notes are the evidence."""
    log = StaticLog(tmp_path / "log").write(ENTRIES[:700])
    seen(log, memory)
    forged = [*ENTRIES[:300], entry(9000), *ENTRIES[301:size]]
    log.write(forged)
    found = seen(log, memory)
    assert (found.verdict, found.alarm) == (Verdict.FORK, True)
    assert (found.before, found.shown) == (note(ENTRIES[:700]), note(forged))


def test_a_tile_that_does_not_lead_to_the_root_is_bad_and_no_fork(tmp_path: Path, memory: Memory) -> None:
    """Nobody is accused of signing twice for a file that was spoilt on the way."""
    log = StaticLog(tmp_path / "log").write(ENTRIES[:700])
    seen(log, memory)
    log.write(ENTRIES[:1100])
    log.spoil("tile/0/002")
    assert seen(log, memory).verdict is Verdict.BAD
    log.write(ENTRIES[:1100])
    assert seen(log, memory).verdict is Verdict.GROWN


def test_what_another_key_signed_is_bad(tmp_path: Path, memory: Memory) -> None:
    """Whoever it is, it is not this log."""
    other = Signer.from_seed(ORIGIN, bytes(32))
    log = StaticLog(tmp_path / "log", other).write(ENTRIES[:10])
    assert seen(log, memory).verdict is Verdict.BAD


def test_a_log_that_cannot_be_read_is_no_alarm(tmp_path: Path, memory: Memory) -> None:
    """Nothing is said of it, and nothing forgotten."""
    log = StaticLog(tmp_path / "log").write(ENTRIES[:10])
    seen(log, memory)
    (log.root / "checkpoint").unlink()
    found = seen(log, memory)
    assert (found.verdict, found.alarm) == (Verdict.UNREADABLE, False)


def test_a_state_that_is_not_one_is_refused(tmp_path: Path) -> None:
    """It says what to do; to begin anew silently would be to forget."""
    file = tmp_path / "monitor.json"
    for text in ("{}", '{"checkpoints": {}, "earlier": {"a": ["b"]}}', '{"checkpoints": {}, "earlier": []}'):
        file.write_text(text)
        with pytest.raises(SetupError, match="move it away"):
            Memory(file).notes()


def test_a_state_from_before_is_taken(tmp_path: Path, memory: Memory) -> None:
    """One without what was seen on the way."""
    log = StaticLog(tmp_path / "log").write(ENTRIES[:700])
    (tmp_path / "monitor.json").write_text(
        json.dumps({"checkpoints": {ORIGIN: note(ENTRIES[:600]).decode("utf-8")}})
    )
    assert seen(log, memory).verdict is Verdict.GROWN
    assert memory.earlier(ORIGIN) == [note(ENTRIES[:600])]


def test_each_verdict_has_its_exit() -> None:
    """A script tells an alarm from a cable that was pulled."""
    assert EXITS == {
        Verdict.FIRST: 0,
        Verdict.SAME: 0,
        Verdict.GROWN: 0,
        Verdict.BAD: 1,
        Verdict.ROLLBACK: 4,
        Verdict.FORK: 5,
        Verdict.UNREADABLE: 6,
        Verdict.FAILED: 2,
    }
