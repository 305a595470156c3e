"""`broker agreement check`: everything that is wrong with agreements' files, before anybody signs them.

Owns the words of the command, and on which line of a file each thing stands. The rules are `core.checks`, which
a broker applies too: what is an error here is refused there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli import inputs, output, surroundings, toml_lines
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import IntegrityError, InvalidRequest

if TYPE_CHECKING:
    from broker.cli.surroundings import Surroundings
    from broker.core.agreement import Agreement
    from broker.core.checks import Finding

_AT_LINE = re.compile(r"\(at line (\d+)")


@dataclass(frozen=True)
class Checked:
    """A file, what was found in it, and its stage: draft, approved, signed, or as a broker lists it."""

    path: Path
    data: bytes
    agreement: Agreement | None
    findings: tuple[Finding, ...]
    unsigned: tuple[str, ...]
    stage: str

    def told(self) -> list[dict[str, Any]]:
        """The findings with their lines, in the order of the file."""
        lines = toml_lines.lines(self.data)
        rows = [
            {
                "file": str(self.path),
                "line": _line(each, lines),
                "key": each.key,
                "severity": each.severity,
                "rule": each.rule,
                "problem": each.problem,
                "fix": each.fix,
            }
            for each in self.findings
        ]
        return sorted(rows, key=lambda row: (row["line"], row["severity"]))


@remote(OPERATOR, offline=True)
def check(
    link: Link,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="TOML files; they are held against each other too.",
            exists=True,
            dir_okay=False,
        ),
    ],
    agencies: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="TOML with [[agencies]]: id, kind, jurisdiction. By default those of the demonstration.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Check agreements' files: form, names, law, documents, dates, overlaps. Offline, unless a broker is named.

    Each message has the file, its line, the key, the rule and what would mend it. Errors are what a broker
    refuses to apply; warnings are for the authors. Exit code 0: no errors; 1: errors, or with --strict
    warnings.

    With --state or --as, the directory, record types and agreements are those of that broker.
    """
    if agencies is not None and link.asked:
        raise typer.BadParameter(
            "give either --agencies or a broker, which knows its own (--state or --as, or as BROKER_STATE or "
            "BROKER_AS in the environment)"
        )
    checked = check_files(files, link, agencies)
    rows = [row for each in checked for row in each.told()]
    errors = sum(row["severity"] == "error" for row in rows)
    if as_json:
        output.emit_json(
            {
                "files": [_described(each) for each in checked],
                "findings": rows,
                "errors": errors,
                "warnings": len(rows) - errors,
            }
        )
    else:
        for row in rows:
            output.say("{file}:{line}: {severity}: {key}: {problem} [{rule}]".format(**row))
            output.say(f"    {row['fix']}")
        for each in checked:
            output.say(f"{each.path}: {_stage(each)}")
        output.say(f"{_count(errors, 'error')}, {_count(len(rows) - errors, 'warning')}")
    if errors or (strict and rows):
        raise typer.Exit(1)


def check_files(files: list[Path], link: Link, agencies: Path | None) -> list[Checked]:
    """Every file held against the rules, the others, and a broker where one is named."""
    from broker.core import agreement as agreements

    contents = {path: inputs.read_bounded(path, agreements.MAX_FILE, "an agreement") for path in files}
    parsed = {path: _parsed(data) for path, data in contents.items()}
    good = [each for each, _ in parsed.values() if each is not None]
    if link.asked:
        around = surroundings.of_broker(link, {flow.record_type for each in good for flow in each.flows})
    else:
        around = surroundings.at_hand(agencies)
    return [
        _checked(path, contents[path], agreement, found, [g for g in good if g is not agreement], around)
        for path, (agreement, found) in parsed.items()
    ]


def _parsed(data: bytes) -> tuple[Agreement | None, list[InvalidRequest]]:
    """The agreement, or all that keeps it from being read."""
    from broker import law
    from broker.core import agreement as agreements

    if found := agreements.problems(data):
        return None, found
    agreement = agreements.read(data)
    unknown = list(agreements.unknown_codes(agreement, law.load()))
    return (None, unknown) if unknown else (agreement, [])


def _checked(
    path: Path,
    data: bytes,
    agreement: Agreement | None,
    unread: list[InvalidRequest],
    beside: list[Agreement],
    around: Surroundings,
) -> Checked:
    from broker import law
    from broker.core import checks
    from broker.core.agreement import digest

    if agreement is None:
        findings = [_form(each) for each in unread]
        return Checked(path, data, None, tuple(findings), (), "draft")
    listed = {each.terms.id: each for each in around.applied}
    same = next((each for each in around.applied if each.message.digest == digest(data)), None)
    # A file given takes the place of what is applied under its id; itself, applied, is no other.
    others = [
        *beside,
        *(t.terms for i, t in listed.items() if t is not same and i not in {b.id for b in beside}),
    ]
    today = datetime.now(UTC).date()
    setting = checks.Setting(
        agreement,
        law.load(),
        around.agencies,
        around.types,
        today,
        tuple(others),
        whole=around.whole,
        roles=law.roles(),
    )
    findings = list(checks.check(setting))
    unsigned = _unsigned(path, data, agreement)
    if same is not None:
        stage = same.message.status
    elif any(each.severity == checks.ERROR for each in findings):
        stage = "draft"
    else:
        stage = "approved" if unsigned else "signed"
    return Checked(path, data, agreement, tuple(findings), unsigned, stage)


def _form(error: InvalidRequest) -> Finding:
    """What keeps a file from being read, as a finding."""
    from broker.core.checks import ERROR, Finding

    problem, _, fix = error.problem.partition("; ")
    return Finding("form", ERROR, error.field, problem, fix or "docs/agreements.md has every key")


def _unsigned(path: Path, data: bytes, agreement: Agreement) -> tuple[str, ...]:
    """Parties without a signature over these bytes beside the file; whether a key counts, a broker says."""
    from broker.core.agreement import digest
    from broker.core.signature import Signature, file_name
    from broker.core.statement import MAX_STATEMENT

    missing = []
    for party in agreement.parties:
        beside = path.with_name(file_name(path.name, party.agency))
        signed = False
        if beside.exists():
            with suppress(IntegrityError):
                signature = Signature.from_bytes(inputs.read_bounded(beside, MAX_STATEMENT, "a signature"))
                signed = (signature.agency, signature.digest) == (party.agency, digest(data))
        if not signed:
            missing.append(party.agency)
    return tuple(missing)


def _line(finding: Finding, lines: dict[str, int]) -> int:
    at = _AT_LINE.search(finding.problem)
    return int(at[1]) if finding.key == "file" and at else toml_lines.line_of(finding.key, lines)


def _described(checked: Checked) -> dict[str, object]:
    return {
        "file": str(checked.path),
        "id": checked.agreement.id if checked.agreement else None,
        "version": checked.agreement.version if checked.agreement else None,
        "stage": checked.stage,
        "not_signed_by": list(checked.unsigned),
    }


def _stage(checked: Checked) -> str:
    if checked.agreement is None or checked.stage == "draft":
        return "draft: mend the errors"
    if checked.stage == "approved":
        return f"{checked.agreement.label}: approved, to be signed by {', '.join(checked.unsigned)}"
    if checked.stage == "signed":
        return f"{checked.agreement.label}: signed by every party, to be applied"
    return f"{checked.agreement.label}: {checked.stage}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
