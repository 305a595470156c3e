"""A monitor over rotations: it follows by what is published, and a link that does not hold is an alarm."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.core.keys import Signer
from broker.errors import SetupError
from broker.offline.fsck import fsck
from broker.offline.memory import Memory
from broker.offline.monitor import Look, Verdict, look
from broker.offline.partition import export
from broker.offline.reconcile import reconcile
from broker.offline.source import Folder
from tests.support.chain import AFTER, NEXT, ORIGIN, linking
from tests.support.static_log import ENTRIES, SIGNER, StaticLog, entry, note


@dataclass
class Site:
    """Logs as a broker publishes them: the current one, and each at its half-year."""

    root: Path
    signers: list[Signer] = field(default_factory=lambda: [SIGNER])
    entries: list[list[bytes]] = field(default_factory=lambda: [list(ENTRIES[:300])])

    def write(self) -> Site:
        """Everything, anew."""
        for signer, entries in zip(self.signers, self.entries, strict=True):
            StaticLog(self.root / signer.name.rpartition("/")[2], signer).write(entries)
        StaticLog(self.root, self.signers[-1]).write(self.entries[-1])
        return self

    def rotate(self, later: str = NEXT, *, last: bytes = b"", first: bytes = b"") -> Site:
        """On to the next log; `last` and `first` are forged linking entries."""
        signer = Signer.from_seed(later, bytes(range(1, 33)))
        old = self.entries[-1]
        old.append(last or linking(signer.vkey))
        opening = first or linking(note(old, self.signers[-1]).decode())
        self.signers.append(signer)
        self.entries.append([opening, *(entry(n) for n in range(2000, 2300))])
        return self.write()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """One log."""
    return Site(tmp_path / "log").write()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """A monitor's state that does not exist yet."""
    return Memory(tmp_path / "monitor.json")


def seen(site: Site, memory: Memory, keys: int = 1) -> Look:
    """One look with the keys of the first so many logs."""
    return look(Folder(site.root), [each.verifier for each in site.signers[:keys]], memory)


@pytest.mark.parametrize("keys", [1, 2], ids=["with the old key", "with both keys"])
def test_a_monitor_follows(site: Site, memory: Memory, keys: int) -> None:
    """With the old key alone, it believes the new log, and goes on watching it."""
    assert seen(site, memory).verdict is Verdict.FIRST
    site.entries[0] += ENTRIES[300:600]
    site.rotate()
    found = seen(site, memory, keys)
    assert (found.verdict, found.origin, found.size) == (Verdict.FIRST, NEXT, 301), found.text
    assert f"{ORIGIN} was closed with 601 entries and leads here" in found.text
    assert seen(site, memory, keys).verdict is Verdict.SAME
    site.entries[1] += ENTRIES[700:900]
    site.write()
    assert seen(site, memory, keys).verdict is Verdict.GROWN
    assert memory.notes()[ORIGIN] == note(site.entries[0])


def test_who_holds_the_last_half_years_key_is_told_how_to_follow(site: Site, tmp_path: Path) -> None:
    """It is no alarm: of a log whose key is not held nothing is said. Another name is bad."""
    site.rotate()
    old = [site.signers[0].verifier]
    (tmp_path / "kept").mkdir()
    for check in (
        lambda: fsck(Folder(site.root), old),
        lambda: list(reconcile(tmp_path / "kept", Folder(site.root), old)),
        lambda: export(Folder(site.root), old, tmp_path / "out"),
    ):
        with pytest.raises(SetupError, match="audit keys --vkey FILE --update"):
            check()
    stranger = [Signer.from_seed("elsewhere.test/log/2026h2", bytes(32)).verifier]
    assert [each.kind for each in fsck(Folder(site.root), stranger).problems] == ["checkpoint"]


def test_a_monitor_follows_two_rotations(site: Site, memory: Memory) -> None:
    """Away for a year, it goes from link to link, and then again from the first key."""
    seen(site, memory)
    site.rotate().rotate(AFTER)
    for verdict in (Verdict.FIRST, Verdict.SAME):
        found = seen(site, memory)
        assert (found.verdict, found.origin) == (verdict, AFTER), found.text
    assert set(memory.notes()) == {ORIGIN, NEXT, AFTER}


def test_a_monitor_that_begins_after_a_rotation(site: Site, memory: Memory) -> None:
    """The first key leads to the newest log also where nothing was watched yet."""
    site.rotate()
    assert seen(site, memory).verdict is Verdict.FIRST


def test_an_old_log_cut_before_its_end_is_a_rollback(site: Site, memory: Memory) -> None:
    """What was taken back in the last moment, hidden behind a rotation, is found."""
    seen(site, memory)
    del site.entries[0][250:]
    site.rotate()
    for _ in range(2):
        found = seen(site, memory)
        assert (found.verdict, found.origin, found.alarm) == (Verdict.ROLLBACK, ORIGIN, True)


def test_an_old_log_rewritten_before_its_end_is_a_fork(site: Site, memory: Memory) -> None:
    """Both signed notes of the old log are the evidence."""
    seen(site, memory)
    before = note(site.entries[0])
    site.entries[0][7] = entry(9000)
    site.entries[0] += ENTRIES[300:400]
    site.rotate()
    found = seen(site, memory)
    assert (found.verdict, found.origin, found.before) == (Verdict.FORK, ORIGIN, before)
    assert found.shown == note(site.entries[0])


STRANGER = Signer.from_seed(NEXT, bytes(32))


@pytest.mark.parametrize(
    "forge",
    [
        lambda site: site.rotate(last=linking(STRANGER.vkey)),
        lambda site: site.rotate(last=entry(5000)),
        lambda site: site.rotate(first=linking(note(ENTRIES[:300]).decode())),
        lambda site: site.rotate(first=entry(5001)),
    ],
    ids=["another key", "no last entry", "another end", "no first entry"],
)
@pytest.mark.parametrize("keys", [1, 2], ids=["with the old key", "with both keys"])
def test_a_link_that_does_not_hold_is_an_alarm(
    site: Site, memory: Memory, forge: Callable[[Site], Site], keys: int
) -> None:
    """A new log that the old one does not lead to, or that does not lead back, is not believed."""
    seen(site, memory)
    forge(site)
    for _ in range(2):
        found = seen(site, memory, keys)
        assert (found.verdict, found.alarm) == (Verdict.BAD, True)
    assert set(memory.notes()) == {ORIGIN}


def test_fsck_of_both_logs(site: Site) -> None:
    """Each is a whole log under its own key, with the entries that link it."""
    site.rotate()
    for each, signer in zip(("2026h2", "2027h1"), site.signers, strict=True):
        report = fsck(Folder(site.root / each), [signer.verifier])
        assert (report.good, report.rotations, report.origin) == (True, 1, signer.name)


def test_a_log_that_is_remembered_may_not_go(site: Site, memory: Memory) -> None:
    """After a rotation the old one is still looked at, every time; so is a newer one that is hidden again."""
    seen(site, memory)
    site.rotate()
    assert seen(site, memory).verdict is Verdict.FIRST
    assert seen(site, memory, 2).verdict is Verdict.SAME
    (site.root / "2026h2").rename(site.root / "away")
    for keys in (1, 2):
        found = seen(site, memory, keys)
        assert (found.alarm, found.verdict is Verdict.SAME) == (keys == 2, False), found.text
    assert found.text == f"{ORIGIN}, which had 301 entries, is not there any more"
    (site.root / "away").rename(site.root / "2026h2")
    assert seen(site, memory, 2).verdict is Verdict.SAME
    shutil.rmtree(site.root / "2027h1")
    StaticLog(site.root, SIGNER).write(site.entries[0])
    found = seen(site, memory, 2)
    assert (found.verdict, found.origin) == (Verdict.BAD, NEXT), found.text


def test_an_old_log_that_shows_another_end_is_an_alarm(site: Site, memory: Memory) -> None:
    """What is signed with an old key after all is held against what was believed of it."""
    seen(site, memory)
    site.rotate()
    seen(site, memory)
    StaticLog(site.root / "2026h2", SIGNER).write([*ENTRIES[:299], entry(9001), entry(9002)])
    found = seen(site, memory, 2)
    assert (found.verdict, found.origin, found.alarm) == (Verdict.FORK, ORIGIN, True), found.text


def test_fsck_names_a_link_amid_a_log(site: Site) -> None:
    """A link may stand first or last: amid a log it leads where somebody else wants."""
    site.entries[0][77] = linking(STRANGER.vkey)
    site.write()
    report = fsck(Folder(site.root), [site.signers[0].verifier])
    assert [(each.kind, each.index) for each in report.problems] == [("entry", 77)]
    assert "links to another log" in report.problems[0].text
