"""Every command that checks something offline, given rubbish for each thing that it reads: a documented exit
and a sentence, in bounded time, never a traceback."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import typer.main
from click.testing import CliRunner

from broker.cli.commands import build
from broker.core.checkpoint import Cosigner
from broker.core.entry import seal_entry
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.core.proof_file import ProofFile
from broker.core.record import Record
from broker.core.views import RequesterView
from broker.errors import BrokerError
from tests.support.certificates import Authority
from tests.support.exporting import NAMES, world_of_kinds, written
from tests.support.exporting import given as given_of
from tests.support.exporting import keys as keys_of
from tests.support.rubbish import CONTENTS, PLACES, place
from tests.support.static_log import ENTRIES, SIGNER, StaticLog, note

RECORD = Record("type.googleapis.com/records.fire.v1.PremisesRisk", b"\x0a\x0b10000000001")
POLICY = 'quorum = 1\n[[witness]]\nname = "w"\nvkey = "{}"\n'
# What a person names themselves may be a pipe, whose writer is waited for; a link that they name is followed.
NAMED = (*CONTENTS, "missing", "folder", "link-to-nothing", "link-to-itself")
FOUND = (*CONTENTS, *PLACES)


@dataclass(frozen=True)
class Case:
    """A command line, `{}` of which is the test's folder; which file of it is spoilt; the exits that there
    are."""

    line: str
    file: str
    exits: set[int]
    found: bool = False
    as_json: bool = True


VERIFY = "verify {}/kept/c.tlog-proof --entry {}/kept/c.entry --vkey {}/log.vkey --opening {}/kept/c.opening"
FSCK = "fsck {}/log --vkey {}/log.vkey"
DATABASE = "fsck postgresql://u@127.0.0.1:9/x --vkey {}/log.vkey"
MONITOR = "monitor {}/log --vkey {}/log.vkey --state {}/state.json --metrics {}/m.prom"
RECONCILE = "reconcile {}/kept {}/log --vkey {}/log.vkey"
MATCH = "match {}/kept/c.record {}/kept --vkey {}/log.vkey"
EXPORT = "partition export {}/out --log {}/log --vkey {}/log.vkey"
PROVE = "partition prove {}/log 7 -o {}/p --vkey {}/log.vkey"
ANCHOR = "anchor {}/log --vkey {}/log.vkey --url http://127.0.0.1:9 --tsa-cert {}/ca.pem -o {}/a"
WITNESS = (
    "witness --state {}/witness --key {}/w.key --log {}/log.vkey --tls-cert {}/server.pem "
    "--tls-key {}/server.key --listen 127.0.0.1:@"
)
LOG = (
    "log/checkpoint",
    "log/tile/0/000",
    "log/tile/0/001.p/44",
    "log/tile/entries/000",
    "log/dropped",
    "log/tile",
)
RECEIPT = tuple(f"kept/c.{part}" for part in ("tlog-proof", "entry", "opening", "record"))
SEEN = {0, 1, 2, 4, 5, 6}
CASES = [
    *(Case(VERIFY, each, {0, 1, 2}, as_json=False) for each in (*RECEIPT[:3], "log.vkey")),
    Case(f"{VERIFY} --record {{}}/kept/c.record", "kept/c.record", {0, 1, 2}, as_json=False),
    Case(f"{VERIFY} --witness-policy {{}}/policy.toml", "policy.toml", {1, 2, 3}, as_json=False),
    Case(f"{VERIFY} --timestamp {{}}/x.tsr --tsa-cert {{}}/ca.pem", "x.tsr", {1, 2}, as_json=False),
    Case(f"{VERIFY} --timestamp {{}}/x.tsr --tsa-cert {{}}/ca.pem", "ca.pem", {1, 2}, as_json=False),
    *(Case(FSCK, each, {0, 1, 6}, found=True) for each in LOG),
    Case(FSCK, "log.vkey", {0, 1, 2}),
    Case(FSCK, "log", {6}),
    Case(f"{DATABASE} --checkpoint {{}}/log/checkpoint", "log/checkpoint", {2, 6}),
    Case(f"{DATABASE} --guard {{}}/guard", "guard", {2}),
    Case(f"{DATABASE} --keys {{}}/ring", "ring", {2}),
    Case(f"{DATABASE} --tsa-cert {{}}/ca.pem", "ca.pem", {2, 6}),
    *(Case(MONITOR, each, SEEN, found=True) for each in (*LOG, "state.json")),
    Case(MONITOR, "log.vkey", {0, 1, 2}),
    Case(MONITOR, "m.prom", {0, 2}, found=True),
    Case(MONITOR, "log", {6}),
    *(Case(RECONCILE, each, {0, 1, 2, 6}, found=True) for each in (*LOG, *RECEIPT)),
    Case(RECONCILE, "kept", {1, 2}),
    Case(RECONCILE, "log.vkey", {0, 1, 2}),
    *(Case(MATCH, each, {0, 3}, found=True) for each in RECEIPT[:3]),
    Case(MATCH, "kept/c.record", {0, 1, 2}),
    Case(MATCH, "kept", {2, 3}),
    Case(MATCH, "log.vkey", {0, 2, 3}),
    *(Case(EXPORT, each, {0, 1, 6}, found=True) for each in LOG),
    Case(EXPORT, "log.vkey", {0, 1, 2}),
    *(Case(PROVE, each, {0, 1, 6}, found=True) for each in LOG),
    Case(ANCHOR, "log/checkpoint", {1, 6}, found=True),
    Case(ANCHOR, "ca.pem", {2, 6}),
    Case(ANCHOR, "log.vkey", {1, 2, 6}),
    # It listens where somebody does already, so that it ends where it is content with the rubbish.
    *(Case(WITNESS, each, {1}, as_json=False) for each in ("w.key", "log.vkey", "server.pem", "server.key")),
    Case(WITNESS, "witness", {1}, as_json=False),
    Case(WITNESS, "witness/@.checkpoint", {1}, found=True, as_json=False),
    *(
        Case(f"export verify {{}}/x.{form} --vkey {{}}/export.vkey", f"x.{form}{more}", {0, 1, 2, 3, 6})
        for form in NAMES
        for more in ("", ".manifest.json")
    ),
    Case("export verify {}/x.jsonl --vkey {}/export.vkey", "export.vkey", {0, 1, 2}),
]


@pytest.fixture(scope="module")
def command() -> click.Command:
    """The command line, made once."""
    return typer.main.get_command(build())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command is content: a log, receipts, keys, certificates."""
    import asyncio

    folder = tmp_path_factory.mktemp("sound")
    said = RequesterView("disclosure", outcome="permit", response=RECORD.digest())
    full = {**said.as_json(), "policy": 1, "now": "2026-11-21T09:00:00Z"}
    at = datetime(2026, 11, 21, 9, tzinfo=UTC)
    sealed = seal_entry(at, "0b8f6f6e-6f1c-4d55-9a3b-0d5a3c1f2e4d", said, None, full, os.urandom)
    assert sealed.requester is not None
    entries = [*ENTRIES[:40], sealed.entry]
    _, proofs = extend_with_proofs(EMPTY_RANGE, [leaf_hash(each) for each in entries])
    log = StaticLog(folder / "log").write([*entries, *ENTRIES[41:300]])
    log.put("dropped", b"")
    files = {
        "kept/c.tlog-proof": ProofFile(40, proofs[40], note(entries)).to_bytes(),
        "kept/c.entry": sealed.entry,
        "kept/c.opening": sealed.requester.to_bytes(),
        "kept/c.record": RECORD.to_any(),
        "log.vkey": f"{SIGNER.verifier.vkey}\n".encode(),
        "w.key": f"{Cosigner.from_seed('w.example/w', bytes(32)).skey}\n".encode(),
        "policy.toml": POLICY.format(Cosigner.from_seed("w.example/w", bytes(32)).vkey).encode(),
        "state.json": json.dumps({"checkpoints": {SIGNER.name: note(entries).decode()}}).encode(),
        "x.tsr": b"0\x05\x30\x03\x02\x01\x00",
        "guard": b"",
        "m.prom": b"",
        "witness/lock": b"",
        f"witness/{_of_log()}.checkpoint": note(entries),
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
        (folder / path).chmod(0o600)
    (folder / "ring").mkdir()
    authority = Authority(folder)
    authority.server().key.chmod(0o600)

    async def exports() -> None:
        world = await world_of_kinds()
        (folder / "export.vkey").write_text("".join(f"{each.vkey}\n" for each in keys_of(world)))
        given = await given_of(world)
        for form in NAMES:
            written(folder / f"x.{form}", form, given)

    asyncio.run(exports())
    return folder


def _of_log() -> str:
    import hashlib

    return hashlib.sha256(SIGNER.name.encode()).hexdigest()[:32]


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def run(command: click.Command, words: list[str]) -> tuple[int, str, str]:
    """Exit and what was said, as `broker.cli.main` would end; any other exception is a traceback."""
    result = CliRunner().invoke(command, ["audit", *words])
    if isinstance(result.exception, BrokerError):
        return 1, result.stdout, f"{result.stderr}error: {result.exception}\n"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


Copy = Callable[[Path, Path], None]


def _copied(sound: Path, to: Path) -> Path:
    """The sound folder by hard links, each of which a test may replace."""
    for folder, _, names in os.walk(sound):
        there = to / Path(folder).relative_to(sound)
        there.mkdir(parents=True, exist_ok=True)
        for name in names:
            os.link(Path(folder) / name, there / name)
    return to


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "case",
    # A database that is not there is waited for, for each kind of rubbish.
    [pytest.param(each, marks=pytest.mark.long if each.line == DATABASE else ()) for each in CASES],
    ids=lambda case: f"{' '.join(case.line.split()[:2])} {case.file}",
)
def test_rubbish_is_told_in_a_sentence_and_with_its_exit(
    command: click.Command, sound: Path, taken: int, tmp_path: Path, case: Case
) -> None:
    """Of all kinds, in the place of one file; with --json, JSON whatever is found."""
    for how in FOUND if case.found else NAMED:
        folder = _copied(sound, tmp_path / how)
        file = folder / case.file.replace("@", _of_log())
        place(file, how, b"" if file.is_dir() else file.read_bytes())
        words = case.line.replace("{}", str(folder)).replace("@", str(taken)).split()
        code, out, err = run(command, words)
        assert code in case.exits, (how, code, out, err)
        said = (out + err).strip()
        assert said, how
        assert "Traceback" not in said
        assert all(char.isprintable() or char in "\n" for char in said), (how, said)
        assert max(map(len, said.splitlines())) < 2000, (how, said[:3000])
        if case.as_json:
            folder = _copied(sound, tmp_path / f"{how}-json")
            file = folder / case.file.replace("@", _of_log())
            place(file, how, b"" if file.is_dir() else file.read_bytes())
            words = case.line.replace("{}", str(folder)).replace("@", str(taken)).split()
            again, out, _ = run(command, [*words, "--json"])
            assert again == code, (how, code, again)
            assert isinstance(json.loads(out), dict), (how, out)


def test_what_a_command_line_leaves_open_is_exit_2_or_looked_for(
    command: click.Command, sound: Path, tmp_path: Path
) -> None:
    """Without a manifest the form of an export must be named, and then it is 3; of x.tlog-proof x will do."""
    folder = _copied(sound, tmp_path / "x")
    (folder / "x.csv.manifest.json").unlink()
    words = ["export", "verify", str(folder / "x.csv"), "--vkey", str(folder / "export.vkey")]
    code, _, err = run(command, words)
    assert (code, "say with --format" in err) == (2, True)
    assert run(command, [*words, "--format", "csv"])[0] == 3
    assert run(command, VERIFY.replace("c.tlog-proof", "c").replace("{}", str(folder)).split())[0] == 0


@pytest.mark.parametrize(
    "line",
    [FSCK, MONITOR, RECONCILE, MATCH, VERIFY, EXPORT, PROVE, "export verify {}/x.csv --vkey {}/export.vkey"],
    ids=lambda line: " ".join(line.split()[:2]),
)
def test_what_is_sound_is_good(command: click.Command, sound: Path, tmp_path: Path, line: str) -> None:
    """Or what is said of rubbish would mean nothing."""
    folder = _copied(sound, tmp_path / "x")
    assert run(command, line.replace("{}", str(folder)).split())[0] == 0
