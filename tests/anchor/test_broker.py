"""A broker whose log is time-stamped, all of it in processes: what an auditor gets and verifies."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.authority import TestAuthority
from tests.support.postgres import Server
from tests.support.processes import true_within
from tests.support.running import RunningBroker, command, serving


@pytest.fixture
async def stamped(postgres: Server, authority: TestAuthority, tmp_path: Path) -> AsyncIterator[RunningBroker]:
    """A broker that asks for a time stamp each second."""
    more = {"TIMESTAMP_URL": authority.url, "TIMESTAMP_CERT": authority.root, "TIMESTAMP_SECONDS": 1}
    async with postgres.fresh() as dsn:
        with serving(dsn, tmp_path, **more) as running:
            yield running


def metric(running: RunningBroker, name: str) -> float:
    """One metric's value."""
    context = ssl.create_default_context(cafile=str(running.ca))
    context.load_cert_chain(running.cert, running.key)
    with urllib.request.urlopen(f"{running.https}/metrics", context=context, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


async def test_a_receipt_with_its_time_stamp(
    stamped: RunningBroker, authority: TestAuthority, tmp_path: Path
) -> None:
    """`prove --timestamped` writes x.tsr, `verify --timestamp` believes it, and nothing in its place; an
    authority that goes bad is seen in the metrics and hurts nothing."""
    assert true_within(20, lambda: metric(stamped, "broker_timestamp_size") > 0)
    x = tmp_path / "x"
    line = ["audit", "prove", "0", "-o", x, "--state", stamped.state, "--as", "operator-cli", "--timestamped"]
    made = command(*line)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "x.tsr").stat().st_size > 100
    check = ["audit", "verify", f"{x}.tlog-proof", "--entry", f"{x}.entry"]
    check += ["--vkey", stamped.state / "log.vkey", "--tsa-cert", authority.root]
    good = command(*check, "--timestamp", f"{x}.tsr")
    assert (good.returncode, good.stdout.startswith("GOOD ")) == (0, True), good.stdout
    assert "; its checkpoint existed at 20" in good.stdout
    assert good.stdout.endswith("says CN=Example Time-stamping\n")
    other = tmp_path / "other.tsr"
    other.write_bytes(authority.reply(authority.query(b"other bytes")))
    bad = command(*check, "--timestamp", other)
    assert (bad.returncode, bad.stdout) == (1, "BAD time stamp: it is over other bytes\n")
    assert command(*check, "--timestamp", tmp_path / "missing").returncode == 2
    assert command(*check).returncode == 2
    assert command(*line[:-1], "--witnessed", "--timestamped").returncode == 2

    authority.mood = "garbage"
    stamped.join("w-agency", "system", "fire")
    assert true_within(20, lambda: metric(stamped, "broker_timestamp_up") == 0)
    assert metric(stamped, 'broker_timestamps_total{outcome="failed"}') >= 1
    stamped.join("x-agency", "system", "fire")


async def test_anybody_anchors_a_log_on_their_own(
    running_broker: RunningBroker, authority: TestAuthority, tmp_path: Path
) -> None:
    """The checkpoint and its time stamp are written; exit 6 and nothing written where there is none."""
    who = ["--ca", running_broker.ca, "--cert", running_broker.cert, "--key", running_broker.key]
    line = ["audit", "anchor", f"{running_broker.https}/log", "--vkey", running_broker.state / "log.vkey", *who]
    line += ["--url", authority.url, "--tsa-cert", authority.root]
    made = command(*line, "-o", tmp_path / "day")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "day.checkpoint").read_text().startswith(running_broker.origin)
    assert (tmp_path / "day.tsr").exists()
    assert "already exists" in command(*line, "-o", tmp_path / "day").stderr
    authority.mood = "refuses"
    none = command(*line, "-o", tmp_path / "night")
    assert none.returncode == 6
    assert "no time stamp: it answers 503" in none.stderr
    assert not (tmp_path / "night.checkpoint").exists()
