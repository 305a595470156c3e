"""`broker audit fsck`, `monitor`, `reconcile` and `match` as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from broker.cli.commands import build
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


def test_what_cannot_be_read_is_neither_good_nor_bad(log: StaticLog, tmp_path: Path) -> None:
    """Exit 6 for a log, 1 for an argument that makes no sense, 2 for a missing option."""
    keys = log.root.parent / "log.vkey"
    (tmp_path / "empty").mkdir()
    assert run("fsck", tmp_path / "empty", "--vkey", keys).exit_code == 6
    assert run("fsck", "https://127.0.0.1:9/log", "--vkey", keys).exit_code == 6
    assert run("fsck", log.root).exit_code == 2


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
