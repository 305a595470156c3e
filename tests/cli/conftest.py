"""Commands run in this process, on the session's broker; two agencies with an agreement between them."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.cli import main
from broker.core.signature import file_name
from tests.support.running import RunningBroker
from tests.support.signing import Signatory

SUBJECT = "nhs-number:9434765919"
ACTOR = ("--actor-id", "j.wilson", "--role", "fire-crew")
# What makes each form of an export.
FORMS = {
    "jsonl": ("--format", "jsonl"),
    "csv": ("--format", "csv"),
    "parquet": ("--format", "parquet"),
    "fhir": ("--format", "fhir"),
    "otlp": ("--format", "otlp"),
    "details": ("--format", "otlp", "--with-details"),
}


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def rows(self) -> Any:
        """The array of a list that was printed as JSON: an object that has it under one name."""
        (rows,) = [value for value in self.json.values() if isinstance(value, list)]
        return rows


Run = Callable[..., Result]


def run(*arguments: object, stdin: str = "") -> Result:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    kept, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as exited,
        ):
            main([str(argument) for argument in arguments])
    finally:
        sys.stdin = kept
    assert isinstance(exited.value.code, int)
    return Result(exited.value.code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine's reaches a command, and help is not folded at 80 columns."""
    for name in ("STATE", "AS", "TARGET", "CLIENT_CA", "CLIENT_CERT", "CLIENT_KEY", "ACTOR_ID", "ACTOR_ROLE"):
        monkeypatch.delenv(f"BROKER_{name}", raising=False)
    monkeypatch.setenv("COLUMNS", "240")
    # Who decides here is known; what becomes of somebody who is not is tried by itself.
    monkeypatch.setenv("BROKER_ACTOR_ASSURANCE", "personal-login")


@pytest.fixture
def broker(running_broker: RunningBroker) -> Run:
    """`broker ARGUMENTS... --state DIR` on the session's broker."""

    def on_it(*arguments: object, stdin: str = "") -> Result:
        return run(*arguments, "--state", running_broker.state, stdin=stdin)

    return on_it


@pytest.fixture(scope="session")
def auditor(running_broker: RunningBroker) -> str:
    """The auditor's identity, the default of `broker audit`."""
    return running_broker.join("auditor", "console", "auditor", "auditor")


@dataclass(frozen=True, slots=True)
class Parties:
    """A fire service that may ask a trust for patient summaries, under the agreement in `file`."""

    requester: str
    provider: str
    file: Path
    signatories: tuple[Signatory, ...]

    def sign(self, *files: Path) -> None:
        """Both parties' signatures on each file, beside it; those of an older text are replaced."""
        for file in files:
            for each in self.signatories:
                signed = each.sign(file.read_bytes())
                file.with_name(file_name(file.name, each.agency)).write_bytes(signed.to_bytes())


AGREEMENT = """\
id = "summaries-for-crews"
version = 1
title = "Patient summaries for fire crews"
purpose = "emergency-response"
valid_from = 2026-01-01
valid_until = 2099-12-31
review_on = 2027-06-30

[legal]
basis = "art6-1-e"
condition = "art9-2-g-sch1-para18"
gateway = "frsa-2004-s7"
confidentiality = "public-interest"
justification = "A crew must know what could harm the person it is about to help."

[governance]
policy_document = "APD-7"

[directives]
weight = "respected"

[actors]
minimum_assurance = "asserted"

[[parties]]
agency = "clifire"
regime = "uk-gdpr"

[[parties]]
agency = "clinhs"
regime = "uk-gdpr"

[[flows]]
provider = "clinhs"
requester = "clifire"
record_type = "records.nhs.v1.PatientSummary"
permitted = ["nhs_number", "allergies.state", "allergies.as_at", "allergies.items.substance.display"]
roles = ["fire-crew"]
subject_schemes = ["nhs-number"]
"""


@pytest.fixture(scope="session")
def parties(running_broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Parties:
    """Those of the session's broker."""
    return agreed(running_broker, tmp_path_factory.mktemp("agreements"))


def agreed(running: RunningBroker, folder: Path) -> Parties:
    """Two agencies with enrolled keys, our record types approved, the agreement applied: all by commands."""
    requester = running.join("clifire", "mdt", "fire")
    provider = running.join("clinhs", "ed", "nhs")
    file = folder / "summaries.toml"
    file.write_text(AGREEMENT)
    made = Parties(requester, provider, file, (Signatory("clifire"), Signatory("clinhs")))
    made.sign(file)
    enrolling = [
        ("agency", "key", "enrol", each.agency, each.pin(folder / f"{each.agency}.pub"), "--actor-id", "ann")
        for each in made.signatories
    ]
    for arguments in (*enrolling, ("records", "approve", "--shipped"), ("agreement", "apply", file)):
        result = run(*arguments, "--state", running.state)
        assert result.code == 0, result.err
    return made
