"""`monitor`: a log that is taken back, or shows two faces, is found out by whoever looked before."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.core.keys import Signer
from broker.errors import SetupError
from broker.offline.memory import Memory
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
    file.write_text("{}")
    with pytest.raises(SetupError, match="move it away"):
        Memory(file).notes()


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
