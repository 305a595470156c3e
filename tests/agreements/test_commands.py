"""`broker agency key` and `broker agreement sign|apply`, as they are typed, against a running broker."""

from __future__ import annotations

import io
import json
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from broker.cli import main
from broker.core.signature import Signature
from broker.core.signingkey import SigningKey
from broker.pki.signing import read_public_key, read_signing_key
from tests.support.office import SECOND, Office, numbers
from tests.support.running import OPERATOR, command
from tests.support.signing import agreement, today


@pytest.fixture
def two(office: Office) -> tuple[str, str]:
    """Ids of a fire and an ambulance agency without keys."""
    return office.agency("fire").agency, office.agency("ambulance").agency


def typed(*arguments: object, **env: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of a command, run in this process: it is the same program."""
    out, err = io.StringIO(), io.StringIO()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(os, "environ", kept | env)
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def done(*arguments: object, **env: str) -> Any:
    """What a command that must succeed prints as JSON."""
    code, out, err = typed(*arguments, "--json", **env)
    assert code == 0, err
    return json.loads(out)


def failed(*arguments: object, **env: str) -> str:
    """What a command says that must fail with exit code 1, in words of its own."""
    code, out, err = typed(*arguments, **env)
    assert code == 1, (out, err)
    return " ".join(err.split())


def at(office: Office, actor: str = "ann", as_: str = OPERATOR) -> dict[str, str]:
    """The environment of an operator's shell."""
    return {"BROKER_STATE": str(office.broker.state), "BROKER_AS": as_, "BROKER_ACTOR_ID": actor}


def test_from_keys_to_an_agreement_in_force(office: Office, two: tuple[str, str], tmp_path: Path) -> None:
    """Each agency makes a key and signs offline; the operator enrols the keys and applies the file."""
    env, file = at(office), tmp_path / "premises.toml"
    name = f"agreement-{next(numbers)}"
    file.write_bytes(agreement(id=name, provider=two[0], requester=two[1]))
    for agency in two:
        key = tmp_path / f"{agency}.pem"
        made = done("agency", "key", "new", key)
        assert key.stat().st_mode & 0o777 == 0o600
        assert done("agency", "key", "show", made["public"])["key_id"] == made["key_id"]
        assert done("agency", "key", "show", key)["key_id"] == made["key_id"]
        signed = done(
            *("agreement", "sign", file, "--agency", agency, "--key", key),
            *("--signatory", "Pat Example", "--role", "Caldicott Guardian"),
        )
        assert signed["signature"] == f"{file}.{agency}.sig"
        enrolled = done("agency", "key", "enrol", agency, made["public"], **env)
        assert (enrolled["status"], enrolled["key_id"]) == ("in force", made["key_id"])
        (listed,) = done("agency", "key", "list", "--agency", agency, **env)["keys"]
        assert listed["valid_from"] == today().isoformat()
    (applied,) = done("agreement", "apply", file, **env)["applied"]
    assert applied["signed_by"] == sorted(two)
    listed = [each for each in done("agreement", "list", **env)["agreements"] if each["id"] == name]
    assert [(s["signatory"], s["role"]) for s in listed[0]["signatures"]] == [
        ("Pat Example", "Caldicott Guardian")
    ] * 2


def test_what_is_missing_is_said_with_its_file(office: Office, two: tuple[str, str], tmp_path: Path) -> None:
    """A missing party, an edited agreement, and a spoilt signature each name the file and what to do."""
    env, file = at(office), tmp_path / "premises.toml"
    file.write_bytes(agreement(id=f"agreement-{next(numbers)}", provider=two[0], requester=two[1]))
    words = ("--signatory", "Pat", "--role", "SIRO")
    for agency in two:
        done("agency", "key", "new", tmp_path / f"{agency}.pem")
        done("agency", "key", "enrol", agency, tmp_path / f"{agency}.pem.pub", **env)
    fire, ambulance = two
    done("agreement", "sign", file, "--agency", ambulance, "--key", tmp_path / f"{ambulance}.pem", *words)
    said = failed("agreement", "apply", file, **env)
    assert f"{file}: signatures: {fire} has not signed" in said
    assert f"broker agreement sign FILE --agency {fire}" in said

    done("agreement", "sign", file, "--agency", fire, "--key", tmp_path / f"{fire}.pem", *words)
    beside = Path(f"{file}.{fire}.sig")
    # Given by name, only those given count.
    assert f"{ambulance} has not signed" in failed("agreement", "apply", file, "--signature", beside, **env)

    whole, kept = file.read_bytes(), beside.read_bytes()
    file.write_bytes(whole.replace(b'["uprn"]\nroles', b'["uprn", "crew_notes"]\nroles'))
    said = failed("agreement", "apply", file, **env)
    assert "signed other bytes than this file's" in said
    assert ".sig: digest" in said
    file.write_bytes(whole)
    beside.write_bytes(kept.replace(b"Pat", b"Eve"))
    assert "does not verify" in failed("agreement", "apply", file, **env)
    beside.write_bytes(kept[:60])
    assert f"{beside}: signature: not JSON" in failed("agreement", "apply", file, **env)
    beside.write_bytes(kept)
    done("agreement", "apply", file, **env)


def test_a_key_is_replaced_with_the_old_ones_word_or_by_two_people(
    office: Office, two: tuple[str, str], tmp_path: Path
) -> None:
    """`endorse` offline and `enrol --endorsement`; or `enrol` by two operators; and `end`."""
    agency, env = two[0], at(office)
    files = [tmp_path / f"{n}.pem" for n in range(3)]
    ids = [done("agency", "key", "new", file)["key_id"] for file in files]
    done("agency", "key", "enrol", agency, f"{files[0]}.pub", **env)
    until = ("--until", "2099-01-31")
    word = done("agency", "key", "endorse", agency, f"{files[1]}.pub", "--key", files[0], *until)["endorsement"]
    second = done("agency", "key", "enrol", agency, f"{files[1]}.pub", "--endorsement", word, **env)
    assert (second["status"], second["valid_until"]) == ("in force", "2099-01-31")
    said = failed("agency", "key", "enrol", agency, f"{files[2]}.pub", "--endorsement", word, **env)
    assert "is for another key" in said

    third = ("agency", "key", "enrol", agency, f"{files[2]}.pub")
    assert done(*third, **env)["status"] == "proposed"
    assert "second person" in failed(*third, **at(office, "bob"))
    assert done(*third, **at(office, "bob", SECOND))["status"] == "in force"

    done("agency", "key", "end", agency, ids[0], "--reason", "laptop stolen", **env)
    listed = done("agency", "key", "list", "--agency", agency, **env)["keys"]
    assert {each["key_id"]: each["status"] for each in listed} == {
        ids[0]: "ended",
        ids[1]: "in force",
        ids[2]: "in force",
    }


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A signing key."""
    path = tmp_path / "signing.pem"
    done("agency", "key", "new", path)
    return path


def signing(file: Path, key: Path, *more: object, agency: str = "cfrs") -> tuple[object, ...]:
    """The words of a command that signs."""
    words = ("--agency", agency, "--key", key, "--signatory", "P", "--role", "R")
    return ("agreement", "sign", file, *words, *more)


def test_signing_is_offline_exact_and_never_replaces(key: Path, tmp_path: Path) -> None:
    """The file is whole and verifies; the day can be said; a second signature does not overwrite the first."""
    file = tmp_path / "a.toml"
    file.write_bytes(agreement())
    done(*signing(file, key, "--date", "2026-03-01"))
    beside = tmp_path / "a.toml.cfrs.sig"
    signature = Signature.from_bytes(beside.read_bytes())
    public = read_public_key(key).public_bytes_raw()
    signature.verify(agreement(), SigningKey("cfrs", public, today()))
    assert signature.signed_at.isoformat() == "2026-03-01"
    before = beside.read_bytes()
    assert "already exists" in failed(*signing(file, key))
    assert beside.read_bytes() == before


def test_what_should_not_be_signed_is_refused(key: Path, tmp_path: Path) -> None:
    """No party's name, a file that is no agreement or uses unknown codes, a key that others can read, and a
    key of another kind: exit 1 with the reason, and nothing is written."""
    file = tmp_path / "a.toml"
    file.write_bytes(agreement())
    assert "wf is no party of cumbria-blue-light/1" in failed(*signing(file, key, agency="wf"))
    file.write_bytes(agreement(purpose="curiosity"))
    assert "purpose: unknown code 'curiosity'" in failed(*signing(file, key))
    file.write_bytes(b"\xff")
    assert "not UTF-8" in failed(*signing(file, key))
    file.write_bytes(agreement())
    assert "no readable private key" in failed(*signing(file, Path(f"{key}.pub")))
    key.chmod(0o640)
    assert "can be read by others" in failed(*signing(file, key))
    other = tmp_path / "ec.pem"
    with other.open("wb") as out:
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            stdout=out,
            check=True,
            timeout=30,
        )
    other.chmod(0o600)
    assert "no Ed25519 key" in failed(*signing(file, other))
    assert list(tmp_path.glob("*.sig")) == []


def test_a_key_is_never_replaced(key: Path) -> None:
    """`new` on a file that exists fails and leaves it."""
    before = read_signing_key(key).private_bytes_raw()
    assert "already exists" in failed("agency", "key", "new", key)
    assert read_signing_key(key).private_bytes_raw() == before


def test_wrong_options_are_said_before_anything_is_asked(office: Office, key: Path, tmp_path: Path) -> None:
    """Exit 2: a day that is none, and signatures for more than one file."""
    file = tmp_path / "a.toml"
    file.write_bytes(agreement())
    assert typed(*signing(file, key, "--date", "yesterday"))[0] == 2
    code, _, err = typed("agreement", "apply", file, file, "--signature", file, **at(office))
    assert code == 2
    assert "--signature goes with one FILE" in " ".join(err.replace("│", " ").split())


def test_the_program_itself_signs(key: Path, tmp_path: Path) -> None:
    """As a process of its own, as it is typed."""
    file = tmp_path / "a.toml"
    file.write_bytes(agreement())
    ended = command(*signing(file, key))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "a.toml.cfrs.sig").is_file()
