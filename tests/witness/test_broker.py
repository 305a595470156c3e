"""A broker with witnesses, all of it in processes: what auditors and partners see on the command line."""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.core.checkpoint import Signer
from broker.core.rotation import half_year
from broker.keys import FolderKeys
from tests.support.postgres import Server
from tests.support.processes import true_within
from tests.support.running import RunningBroker, command, serving
from tests.support.witnesses import Quorum, quorum, write_policy


@pytest.fixture
async def watched(postgres: Server, tmp_path: Path) -> AsyncIterator[tuple[RunningBroker, Quorum]]:
    """A broker whose log has three witnesses; two must cosign."""
    seed = FolderKeys(tmp_path / "keys").signing_seed()
    vkey = Signer.from_seed(f"blue-light.test/log/{half_year(datetime.now(UTC))}", seed).vkey
    with quorum(tmp_path / "w", vkey) as made:
        async with postgres.fresh() as dsn:
            more = {"WITNESS_POLICY": made.file, "WITNESS_CA": made.authority.ca}
            with serving(dsn, tmp_path, **more) as running:
                yield running, made


def page(running: RunningBroker, path: str) -> str:
    """What the broker's HTTPS port answers to the operator."""
    context = ssl.create_default_context(cafile=str(running.ca))
    context.load_cert_chain(running.cert, running.key)
    with urllib.request.urlopen(running.https + path, context=context, timeout=10) as answer:
        return str(answer.read().decode())


def prove(running: RunningBroker, out: Path, *more: str) -> int:
    """`broker audit prove` of the first entry; its exit."""
    line = ["audit", "prove", "0", "-o", out, "--state", running.state, "--as", "operator-cli"]
    return command(*line, *more).returncode


def verify(running: RunningBroker, out: Path, policy: Path) -> tuple[int, str]:
    """`broker audit verify` under a witness policy."""
    line = ["audit", "verify", f"{out}.tlog-proof", "--entry", f"{out}.entry"]
    done = command(*line, "--vkey", running.state / "log.vkey", "--witness-policy", policy)
    return done.returncode, done.stdout


async def test_stage_two_on_the_command_line(watched: tuple[RunningBroker, Quorum], tmp_path: Path) -> None:
    """`prove --witnessed` gives a proof that is good under the policy; without it, exit 3; none from nobody."""
    running, made = watched
    assert prove(running, tmp_path / "two", "--witnessed") == 0
    code, said = verify(running, tmp_path / "two", made.file)
    assert (code, said.startswith("GOOD ")) == (0, True)
    assert "of 3, 2 needed)" in said
    assert prove(running, tmp_path / "one") == 0
    code, said = verify(running, tmp_path / "one", made.file)
    assert (code, said.startswith("NOT YET WITNESSED, otherwise GOOD ")) == (3, True)
    everybody = write_policy(tmp_path / "other.toml", 1, made.witnesses[:1])
    everybody.write_text(everybody.read_text().replace(made.witnesses[0].cosigner.vkey, _stranger()))
    assert verify(running, tmp_path / "two", everybody)[0] == 3
    broken = tmp_path / "broken.toml"
    broken.write_text("quorum = 0\n")
    assert verify(running, tmp_path / "two", broken)[0] == 1
    assert verify(running, tmp_path / "two", tmp_path / "missing.toml")[0] == 2
    proof = tmp_path / "two.tlog-proof"
    whole = proof.read_text()
    line = next(
        each for each in whole.splitlines() if each.startswith("— w0.example/w") or "w1.example/w" in each
    )
    proof.write_text(whole.replace(line, line[:-20] + ("A" if line[-20] != "A" else "B") + line[-19:]))
    assert verify(running, tmp_path / "two", made.file)[0] == 1


def _stranger() -> str:
    from broker.core.keys import Cosigner

    return Cosigner.from_seed("stranger.example/w", bytes(32)).vkey


@pytest.mark.long
async def test_the_published_checkpoint_is_cosigned_and_watched(
    watched: tuple[RunningBroker, Quorum], tmp_path: Path
) -> None:
    """At /log/checkpoint with its cosignatures, for `monitor` too; metrics say how far each witness is."""
    running, made = watched
    verifiers = (_verifier(running),)
    assert true_within(15, lambda: made.policy.open(page(running, "/log/checkpoint").encode(), verifiers)[1])
    line = ["audit", "monitor", f"{running.https}/log", "--vkey", running.state / "log.vkey"]
    line += ["--state", tmp_path / "monitor", "--ca", running.ca, "--cert", running.cert, "--key", running.key]
    assert command(*line).returncode == 0
    running.join("w-agency", "system", "fire")
    assert true_within(15, lambda: "GROWN" in command(*line).stdout)
    assert true_within(10, lambda: 'broker_witness_up{witness="w2"} 1.0' in page(running, "/metrics"))
    assert "broker_log_witnessed " in page(running, "/metrics")
    made.witnesses[2].stop()
    running.join("x-agency", "system", "fire")
    assert true_within(15, lambda: 'broker_witness_up{witness="w2"} 0.0' in page(running, "/metrics"))
    assert page(running, "/readyz") == "ready\n"


@pytest.mark.long
async def test_with_the_quorum_stopped_stage_two_never_appears(
    watched: tuple[RunningBroker, Quorum], tmp_path: Path
) -> None:
    """A new entry is proven at once and is not witnessed until they are back; the words say why."""
    running, made = watched
    for each in made.witnesses[:2]:
        each.stop()
    running.join("y-agency", "system", "fire")
    line = ["audit", "prove", "9999", "-o", tmp_path / "x", "--state", running.state, "--as", "operator-cli"]
    newest = json.loads(command(*[*line[:2], "0", *line[3:]], "--json").stdout)["size"] - 1
    line[2] = str(newest)
    line[4] = tmp_path / "late"
    late = command(*line, "--witnessed", "--timeout", "15")
    assert late.returncode == 1
    assert "no quorum of witnesses has cosigned" in late.stderr
    assert not (tmp_path / "late.tlog-proof").exists()
    made.witnesses[0].start()
    assert true_within(40, lambda: command(*line, "--witnessed").returncode == 0)


@pytest.mark.long
async def test_two_brokers_on_one_key_are_convicted_by_a_monitor(
    postgres: Server, watched: tuple[RunningBroker, Quorum], tmp_path: Path
) -> None:
    """The second is refused at its start where it knows the witnesses; else a monitor prints both notes."""
    running, made = watched
    running.join("z-agency", "system", "fire")
    assert prove(running, tmp_path / "two", "--witnessed") == 0
    twin = tmp_path / "twin"
    twin.mkdir()
    shutil.copytree(running.state / "keys", twin / "keys")
    line = ["audit", "monitor", "", "--vkey", running.state / "log.vkey", "--state", tmp_path / "monitor"]

    def look(at: RunningBroker) -> tuple[int, str]:
        done = command(
            *[*line[:2], f"{at.https}/log", *line[3:]], "--ca", at.ca, "--cert", at.cert, "--key", at.key
        )
        return done.returncode, done.stdout

    async with postgres.fresh() as dsn:
        more = {"WITNESS_POLICY": made.file, "WITNESS_CA": made.authority.ca}
        with pytest.raises(Exception, match=r"another broker signs with this key"), serving(dsn, twin, **more):
            pass
        with serving(dsn, twin) as second:
            for n in range(3):
                second.join(f"t{n}-agency", "system", "fire")
            assert look(running)[0] == 0
            code, said = look(second)
    assert code == 5, said
    assert said.startswith("FORK ")
    assert said.count(f"— {running.origin} ") == 2
    assert "believed before:" in said
    assert "shown now:" in said


def _verifier(running: RunningBroker):  # type: ignore[no-untyped-def]
    from broker.core.keys import Verifier

    return Verifier.from_vkey(running.vkey)
