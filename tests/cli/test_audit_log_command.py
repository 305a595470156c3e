"""`broker audit fsck`, `monitor`, `reconcile` and `match` as somebody types them."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from broker.cli.commands import build
from broker.core.keys import Signer
from tests.support.certificates import Authority
from tests.support.hostile_site import hostile, ok
from tests.support.running import RunningBroker
from tests.support.static_log import ENTRIES, SIGNER, StaticLog, entry


def run(*words: object) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(build(), ["audit", *map(str, words)])


@pytest.fixture
def log(tmp_path: Path) -> StaticLog:
    """A log in a folder, and its key beside it."""
    (tmp_path / "log.vkey").write_text(SIGNER.verifier.vkey + "\n")
    return StaticLog(tmp_path / "log").write(ENTRIES[:300])


def test_fsck_says_good_in_a_line_and_bad_by_index(log: StaticLog) -> None:
    """Exit 0 and 1; JSON has the problems."""
    keys = log.root.parent / "log.vkey"
    good = run("fsck", log.root, "--vkey", keys)
    assert (good.exit_code, good.output.startswith("GOOD ")) == (0, True)
    log.bundles([*ENTRIES[:7], entry(9000), *ENTRIES[8:300]])
    bad = run("fsck", log.root, "--vkey", keys)
    assert bad.exit_code == 1
    assert "BAD entry 7: " in bad.output
    told = json.loads(run("fsck", log.root, "--vkey", keys, "--json").output)
    assert (told["good"], told["problems"][0]["index"]) == (False, 7)


def test_a_folder_is_held_against_a_checkpoint_that_was_kept(log: StaticLog, tmp_path: Path) -> None:
    """By whoever has no more than that: exit 0 where the log begins with it, 1 where it was signed anew."""
    kept, words = tmp_path / "kept", ("fsck", log.root, "--vkey", tmp_path / "log.vkey", "--checkpoint")
    kept.write_bytes((log.root / "checkpoint").read_bytes())
    log.write(ENTRIES[:310])
    good = run(*words, kept)
    assert (good.exit_code, good.output.endswith("signed root, and begin with 1 kept checkpoint\n")) == (
        0,
        True,
    )
    log.write([entry(9000), *ENTRIES[1:310]])
    bad = run(*words, kept)
    assert bad.exit_code == 1
    assert f"BAD {kept}: was signed for 300 entries that the log does not begin with" in bad.output
    assert run(*words, tmp_path / "nowhere").exit_code == 2


def test_what_cannot_be_read_is_neither_good_nor_bad(log: StaticLog, tmp_path: Path) -> None:
    """Exit 6 for a log; 2 for an option or a file of ours that is missing or makes no sense."""
    keys = log.root.parent / "log.vkey"
    (tmp_path / "empty").mkdir()
    assert run("fsck", tmp_path / "empty", "--vkey", keys).exit_code == 6
    assert run("fsck", "https://127.0.0.1:9/log", "--vkey", keys).exit_code == 6
    assert run("fsck", tmp_path / "nowhere", "--vkey", keys).exit_code == 6
    assert run("fsck", log.root).exit_code == 2
    assert run("fsck", log.root, "--vkey", tmp_path / "nothing").exit_code == 2
    assert run("fsck", "http://x/log", "--vkey", keys).exit_code == 2
    assert run("fsck", log.root, "--vkey", keys, "--state", tmp_path).exit_code == 2


def test_monitor_wakes_somebody_for_a_rollback_and_for_a_fork(log: StaticLog, tmp_path: Path) -> None:
    """Exits 4 and 5, both notes printed; metrics say which."""
    words = ("monitor", log.root, "--vkey", tmp_path / "log.vkey", "--state", tmp_path / "seen.json")
    assert run(*words).exit_code == 0
    log.write(ENTRIES[:200])
    back = run(*words, "--metrics", tmp_path / "monitor.prom")
    assert (back.exit_code, back.output.count("— blue-light.test")) == (4, 2)
    assert 'broker_monitor_verdict{verdict="rollback"} 1' in (tmp_path / "monitor.prom").read_text()
    log.write([entry(9000), *ENTRIES[1:310]])
    assert run(*words).exit_code == 5
    log.write(ENTRIES[:310])
    grown = run(*words, "--json")
    assert (grown.exit_code, json.loads(grown.output)["verdict"]) == (0, "grown")


def test_a_single_problem_is_said_once(log: StaticLog, tmp_path: Path) -> None:
    """Which is first needs saying where there are more."""
    words = ("fsck", log.root, "--vkey", tmp_path / "log.vkey")
    log.spoil("tile/0/000")
    assert run(*words).output.count("tile/0/000") == 1
    log.spoil("tile/0/001.p/44")
    assert run(*words).output.splitlines()[-1].startswith("First: tile/0/000: ")


def test_what_is_wrong_with_the_monitors_own_files_is_no_alarm(log: StaticLog, tmp_path: Path) -> None:
    """Exit 2 and the sentence: nothing is said of the log."""
    words = ("monitor", log.root, "--vkey", tmp_path / "log.vkey")
    for state in ("[]", "{", '{"checkpoints":{"blue-light.test/log/2026h2":"x"}}'):
        (tmp_path / "seen.json").write_text(state)
        told = run(*words, "--state", tmp_path / "seen.json", "--metrics", tmp_path / "m.prom")
        assert (told.exit_code, told.output.startswith("FAILED ")) == (2, True), told.output
        assert 'broker_monitor_verdict{verdict="failed"} 1' in (tmp_path / "m.prom").read_text()
    (tmp_path / "seen.json").unlink()
    other = Signer.from_seed(SIGNER.name, bytes(32))
    StaticLog(tmp_path / "other", other).write(ENTRIES[:9])
    (tmp_path / "other.vkey").write_text(other.verifier.vkey + "\n")
    aside = ("--state", tmp_path / "seen.json")
    assert run("monitor", tmp_path / "other", "--vkey", tmp_path / "other.vkey", *aside).exit_code == 0
    stranger = run(*words, *aside)
    assert (stranger.exit_code, "give the key that it was believed with" in stranger.output) == (2, True)
    assert run(*words, "--state", tmp_path / "nowhere" / "x.json").exit_code == 2
    nowhere = ("--metrics", tmp_path / "nowhere" / "x.prom")
    assert run(*words, "--state", tmp_path / "new.json", *nowhere).exit_code == 2
    log.write(ENTRIES[:200])
    assert run(*words, "--state", tmp_path / "new.json", *nowhere).exit_code == 4


def _metrics(file: Path) -> dict[str, int]:
    """By name; empty before there are any."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {name: int(value) for name, _, value in (each.rpartition(" ") for each in lines) if name[0] != "#"}


@pytest.mark.timeout(60)
def test_a_watch_goes_on_whatever_the_log_answers(log: StaticLog, tmp_path: Path) -> None:
    """Its metrics say that it fails, and when it last succeeded; when the log is back, so is the verdict."""
    files, metrics = Authority(tmp_path / "certs").server(), tmp_path / "m.prom"
    broken = [True]

    def answer(wire: ssl.SSLSocket, path: str) -> None:
        if broken[0]:
            wire.sendall(b"garbage\r\n\r\n")
            return
        file = log.root / path.removeprefix("/log/")
        wire.sendall(ok(file.read_bytes()))

    def reached(wanted: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        for _ in range(200):
            if (found := _metrics(metrics)) and wanted(found):
                return found
            time.sleep(0.1)
        raise AssertionError(_metrics(metrics))

    with hostile(files.cert, files.key, answer) as site:
        words = ["monitor", site.url, "--vkey", tmp_path / "log.vkey", "--state", tmp_path / "seen.json"]
        words += ["--every", "1", "--metrics", metrics, "--ca", files.ca]
        line = [sys.executable, "-m", "broker", "audit", *map(str, words)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as watching:
            try:
                never = reached(lambda found: found["broker_monitor_failing"] == 1)
                assert never["broker_monitor_succeeded_at"] == 0
                broken[0] = False
                good = reached(lambda found: found["broker_monitor_failing"] == 0)
                assert good["broker_monitor_succeeded_at"] == good["broker_monitor_looked_at"]
                broken[0] = True
                again = reached(lambda found: found["broker_monitor_failing"] == 1)
                assert good["broker_monitor_succeeded_at"] <= again["broker_monitor_succeeded_at"]
                assert again['broker_monitor_verdict{verdict="unreadable"}'] == 1
                (tmp_path / "seen.json").write_text("{")
                reached(lambda found: found['broker_monitor_verdict{verdict="failed"}'] == 1)
                assert watching.poll() is None
            finally:
                watching.terminate()
                said, _ = watching.communicate(timeout=10)
        assert "Traceback" not in said
        assert "answers with what is no sound HTTP" in said


def test_a_state_folder_without_a_running_database_says_so(tmp_path: Path) -> None:
    """And what to do; nothing is made there."""
    (tmp_path / "log.vkey").write_text(SIGNER.verifier.vkey + "\n")
    none = run("fsck", "--state", tmp_path / "x")
    assert (none.exit_code, "has no running database" in none.output) == (2, True)
    assert not (tmp_path / "x").exists()


def test_a_folder_without_receipts_is_no_success(log: StaticLog, tmp_path: Path) -> None:
    """Nothing to compare is said, not passed over."""
    (tmp_path / "kept").mkdir()
    told = run("reconcile", tmp_path / "kept", log.root, "--vkey", tmp_path / "log.vkey")
    assert told.exit_code == 1
    assert "0 of 0" in told.output


def test_the_log_of_a_running_broker_is_checked_over_https(
    running_broker: RunningBroker, tmp_path: Path
) -> None:
    """fsck and monitor with an enrolled certificate, without anybody's help."""
    certs = running_broker.state / "certs"
    who = certs / "operator-cli"
    files = ("--ca", certs / "ca.pem", "--cert", who / "cert.pem")
    reach = (
        *files,
        "--key",
        who / "key.pem",
        "--vkey",
        running_broker.state / "log.vkey",
    )
    checked = run("fsck", f"{running_broker.https}/log", *reach, "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.output)["entries"] > 0
    look = ("monitor", f"{running_broker.https}/log", *reach, "--state", tmp_path / "seen.json", "--json")
    watched = [run(*look) for _ in range(4)]
    assert [each.exit_code for each in watched] == [0, 0, 0, 0], watched[0].output
    # Who reads tiles and checkpoints is not written down: a monitor's looks would make the log grow for ever.
    assert [json.loads(each.output)["verdict"] for each in watched[1:]] == ["same", "same", "same"]
