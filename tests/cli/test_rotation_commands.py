"""`broker audit rotate`, `keys` and `partition`, and every other look at a rotated log, as it is typed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.clock import SystemClock
from broker.core.rotation import next_origin, split_origin
from tests.cli.conftest import Run, run
from tests.support.fleet import becomes
from tests.support.postgres import Server
from tests.support.running import RunningBroker, serving

AS_OPERATOR = ("--as", "operator-cli")
WHO = ("--actor-id", "ann", "--role", "auditor", "--reason", "audit")


@pytest.fixture(scope="module")
async def own(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBroker]:
    """A broker whose log may be rotated."""
    async with postgres.fresh() as dsn:
        with serving(dsn, tmp_path_factory.mktemp("rotated")) as running:
            running.join("auditor", "console", "auditor", "auditor")
            yield running


def test_nothing_is_due_and_nothing_is_done(broker: Run, running_broker: RunningBroker) -> None:
    """A plan within the half-year exits 3, with --yes too; --early alone is a plan."""
    for more in ((), ("--yes",)):
        planned = broker("audit", "rotate", "--json", *more)
        assert planned.code == 3
        told = planned.json
        assert (told["log"], told["due"], told["rotated"], told["vkey"]) == (
            running_broker.origin,
            False,
            False,
            None,
        )
        assert len(told["lacking"]) == 1
    assert "carry it out with --yes" in broker("audit", "rotate", "--early").out
    assert broker("audit", "keys", *AS_OPERATOR).out == f"{running_broker.vkey}\n"


def published(own: RunningBroker, *command: object, path: str = "/log") -> tuple[object, ...]:
    """A command on the published log."""
    files = ("--ca", own.ca, "--cert", own.cert, "--key", own.key, "--vkey", own.state / "log.vkey")
    return ("audit", *command, own.https + path, *files)


@pytest.mark.long
async def test_a_rotation_from_all_sides(own: RunningBroker, tmp_path: Path) -> None:
    """Rotated by its operator, the log is followed by monitor and keys; both halves are checked and proven."""
    state = ("--state", own.state)
    old, new = own.origin, next_origin(own.origin, SystemClock().now())
    first, second = (split_origin(each)[1] for each in (old, new))
    monitor = published(own, "monitor", "--state", tmp_path / "monitor")
    assert run(*monitor).code == 0
    given = tmp_path / "given.vkey"
    given.write_bytes((own.state / "log.vkey").read_bytes())
    assert run("audit", "prove", "0", "-o", tmp_path / "old", *state, *AS_OPERATOR).code == 0

    rotated = run("audit", "rotate", "--early", "--reason", "key-lost", "--yes", "--json", *state)
    assert (rotated.code, rotated.json["rotated"], rotated.json["next"]) == (0, True, new), rotated.err
    vkey = rotated.json["vkey"]
    assert (own.state / "log.vkey").read_text() == f"{vkey}\n{own.vkey}\n"
    again = run("audit", "rotate", "--early", "--reason", "key-lost", "--yes", *state)
    assert again.code == 1
    assert "ahead of its time" in again.err

    found = run("audit", "keys", "--vkey", given, "--update", *state, *AS_OPERATOR)
    assert (found.code, found.out) == (0, f"{vkey}\n{own.vkey}\n")
    assert given.read_text() == found.out

    await becomes(lambda: new in run(*monitor).out, 30)
    assert run(*monitor).out.startswith("SAME")
    for path, name in (("/log", new), (f"/log/{first}", old), (f"/log/{second}", new)):
        checked = run(*published(own, "fsck", path=path))
        assert (checked.code, checked.out.startswith(f"GOOD {name}")) == (0, True), checked.out

    for n, place in enumerate(("0", f"{first}:0", f"{second}:0")):
        out = tmp_path / f"x{n}"
        proven = run("audit", "prove", place, "-o", out, "--json", *state, *AS_OPERATOR)
        assert proven.code == 0, proven.err
        assert proven.json["log"] == (old if n == 1 else new)
        line = ("audit", "verify", f"{out}.tlog-proof", "--entry", f"{out}.entry", "--vkey", given)
        assert run(*line).out.startswith("GOOD")
    assert (tmp_path / "old.entry").read_bytes() == (tmp_path / "x1.entry").read_bytes()
    assert run("audit", "prove", "2020h1:0", "-o", tmp_path / "no", *state, *AS_OPERATOR).code == 1

    searched = ("audit", "search", *WHO, "--where", "event=log-rotated", *state)
    await becomes(lambda: "1 found" in run(*searched).out, 30)
    (line, end) = run(*searched).out.splitlines()
    assert "log-rotated" in line
    assert f"of {old}." in end
    assert "is no log of this broker" in run(*searched, "--log", "2020h1").err


def test_a_closed_log_as_a_folder(own: RunningBroker, tmp_path: Path) -> None:
    """Exported over HTTPS, checked and proven from; a log below a whole partition has nothing to be dropped."""
    half, out, keys = split_origin(own.origin)[1], tmp_path / "out", own.state / "log.vkey"
    done = run(*published(own, "partition", "export", out, "--json", "--log", path=f"/log/{half}"))
    assert done.code == 0, done.err
    assert done.json["log"] == own.origin
    assert run("audit", "fsck", out, "--vkey", keys).code == 0
    assert run("audit", "partition", "prove", out, "0", "-o", tmp_path / "x", "--vkey", keys).code == 0
    line = ("audit", "verify", tmp_path / "x.tlog-proof", "--entry", tmp_path / "x.entry", "--vkey", keys)
    assert run(*line).code == 0
    dropped = run("audit", "partition", "drop", out, "--place", "vault 3", "--yes", "--state", own.state)
    assert (dropped.code, "no whole partition" in dropped.out) == (0, True), dropped.err
