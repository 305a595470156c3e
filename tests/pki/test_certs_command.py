"""`broker certs` as it is typed, and the exit codes of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli import main, output
from broker.pki.files import read_certificates
from broker.pki.identity import key_digest


def run(*arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    assert isinstance(exited.value.code, int)
    return exited.value.code


def test_from_nothing_to_an_enrolment_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """init, issue, renew and show work together, and issue prints the enrolment command unfolded."""
    folder = ("--dir", tmp_path / "certs")
    assert run("certs", "init", *folder, "--host", "broker.example.nhs.uk") == 0
    assert run("certs", "issue", "cfrs", "mdt", "--function", "auditor", "--days", 7, *folder) == 0
    digest = key_digest(read_certificates(tmp_path / "certs" / "cfrs-mdt" / "cert.pem")[0])
    command = f"broker system enrol cfrs mdt --function auditor --key-digest {digest}"
    assert any(line.endswith(command) for line in capsys.readouterr().out.splitlines())
    assert run("certs", "issue", "--server", "fhir", "--host", "x.broker.example.nhs.uk", *folder) == 0
    assert run("certs", "renew", "cfrs-mdt", *folder) == 0
    capsys.readouterr()

    assert run("certs", "show", "--json", tmp_path / "certs") == 0
    found = {
        Path(each["file"]).parent.name: each for each in json.loads(capsys.readouterr().out)["certificates"]
    }
    assert {name: each["profile"] for name, each in found.items()} == {
        "certs": "root",
        "authority": "issuing",
        "broker": "server",
        "fhir": "server",
        "cfrs-mdt": "client",
    }
    assert found["cfrs-mdt"]["spiffe_id"] == "spiffe://blue-light.test/agency/cfrs/system/mdt"
    assert found["cfrs-mdt"]["key_digest"] == digest
    assert found["cfrs-mdt"]["valid_now"] is True
    assert found["broker"]["hosts"] == ["localhost", "broker.example.nhs.uk", "127.0.0.1"]

    assert run("certs", "show", tmp_path / "certs" / "cfrs-mdt" / "cert.pem") == 0
    shown = capsys.readouterr().out
    assert digest in shown
    assert "profile     issuing" in shown
    assert "PRIVATE" not in shown


def test_a_named_failure_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`error: ...` on standard error, nothing on standard output, nothing changed."""
    folder = ("--dir", tmp_path / "certs")
    assert run("certs", "init", *folder) == 0
    assert run("certs", "issue", "cfrs", "mdt", *folder) == 0
    key = (tmp_path / "certs" / "cfrs-mdt" / "key.pem").read_bytes()
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    for arguments, words in (
        (("issue", "cfrs", "mdt", *folder), "already exists"),
        (("init", *folder), "already holds"),
        (("issue", "CFRS", "mdt", *folder), "agency: must be"),
        (("issue", "cfrs", "mdt", "--dir", tmp_path / "none"), "cannot read"),
        (("renew", "nobody", *folder), "cannot read"),
        (("show", tmp_path / "empty"), "holds no certificates"),
        (("show", tmp_path / "certs" / "cfrs-mdt" / "key.pem"), "no readable PEM certificate"),
    ):
        assert run("certs", *arguments) == 1
        printed = capsys.readouterr()
        assert printed.err.startswith("error: ")
        assert words in printed.err
        assert printed.err.count("\n") == 1
        assert not printed.out
    assert (tmp_path / "certs" / "cfrs-mdt" / "key.pem").read_bytes() == key


@pytest.mark.parametrize(
    "arguments",
    [
        ("certs", "issue"),
        ("certs", "issue", "cfrs"),
        ("certs", "issue", "cfrs", "mdt", "--server", "x"),
        ("certs", "issue", "cfrs", "mdt", "--host", "x.test"),
        ("certs", "issue", "cfrs", "mdt", "--days", "0"),
        ("certs", "issue", "cfrs", "mdt", "--function", "king"),
        ("certs", "nothing"),
        ("--wrong",),
    ],
)
def test_a_wrong_call_is_exit_2(arguments: tuple[str, ...]) -> None:
    """Missing arguments and wrong options are usage errors, and nothing is done."""
    assert run(*arguments) == 2


def test_help_loads_nothing_heavy() -> None:
    """`broker --help` imports neither grpc, asyncpg, cryptography nor starlette."""
    program = (
        "import sys; from broker.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'asyncpg', 'cryptography', 'starlette'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "certs" in done.stdout


def test_values_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and markup in values come out as harmless text, in tables as in lists."""
    nasty = "\x1b[2J[red]x[/red]\x9b31m\r"
    output.fields([("a", nasty), ("b", None)])
    output.table(["a"], [[nasty], [None]], title=nasty)
    output.say(nasty)
    printed = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\r"} & set(printed)
    assert printed.count("[red]x[/red]") == 4


def test_the_folder_is_that_of_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What commands speak to by BROKER_STATE is where certificates are made and shown, too."""
    monkeypatch.setenv("BROKER_STATE", str(tmp_path / "there"))
    for line in (["init"], ["issue", "cfrs", "cad"], ["renew", "cfrs-cad"], ["show"]):
        with pytest.raises(SystemExit) as ended:
            main(["certs", *line])
        assert ended.value.code == 0, capsys.readouterr().err
    assert (tmp_path / "there" / "certs" / "cfrs-cad" / "cert.pem").exists()
    assert "cfrs" in capsys.readouterr().out
