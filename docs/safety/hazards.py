"""Reads docs/safety/hazard-log.toml, whole or not at all.

Owns what makes a row of the hazard log complete and honest: a risk that is its severity and likelihood by
the matrix, controls that name files, settings and tests which are there, an owner and a reason for what is
left, and a status that the rest of the row bears out. Refuses the log by the first row that is not, naming it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

# Pages whose tables list every setting; the tests hold those tables to the code.
SETTINGS = ("docs/operations.md", "docs/adapters.md", "docs/agreements.md")
ACCEPTABLE = 2  # the highest level that is accepted without asking whether more could be done
MOST_ACCEPTABLE = 3  # the highest that may be accepted at all, where more cannot be done
_ID = re.compile(r"H[0-9]{2}")

Owner = Literal["manufacturer", "deploying organisation"]
Status = Literal["open", "mitigated", "transferred"]


class HazardLogError(Exception):
    """What is wrong with the log, naming the row."""


class Harm(Struct, frozen=True, forbid_unknown_fields=True):
    """What a severity means, and of how many people."""

    what: str
    people: Literal["one", "several"]


class Severity(Struct, frozen=True, forbid_unknown_fields=True):
    """A severity, mildest first in the file."""

    code: str
    means: tuple[Harm, ...]


class Likelihood(Struct, frozen=True, forbid_unknown_fields=True):
    """A likelihood, rarest first, and the risk that it makes with each severity in turn."""

    code: str
    means: str
    risk: tuple[int, ...]


class Level(Struct, frozen=True, forbid_unknown_fields=True):
    """A level of risk, and whether it can be accepted."""

    level: int
    means: str


class Risk(Struct, frozen=True, forbid_unknown_fields=True):
    """One estimate: what the matrix gives for the two."""

    severity: str
    likelihood: str
    risk: int


class Effects(Struct, frozen=True, forbid_unknown_fields=True):
    """What may come of it: to a patient, to any other person, to a crew or other staff."""

    patient: str = ""
    person: str = ""
    crew: str = ""


class Control(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing in this release that stands in the way, where it is, and what shows that it works."""

    what: str
    where: tuple[str, ...]
    settings: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


class Hazard(Struct, frozen=True, forbid_unknown_fields=True):
    """One row."""

    id: str
    group: str
    hazard: str
    causes: tuple[str, ...]
    effects: Effects
    controls: tuple[Control, ...]
    initial: Risk
    residual: Risk
    owner: Owner
    status: Status
    reason: str
    not_in_this_release: tuple[str, ...] = ()
    deploying: tuple[str, ...] = ()
    to_close: tuple[str, ...] = ()


class HazardLog(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    groups: Mapping[str, str]
    severity: tuple[Severity, ...]
    likelihood: tuple[Likelihood, ...]
    level: tuple[Level, ...]
    hazard: tuple[Hazard, ...]

    def risk(self, severity: str, likelihood: str) -> int:
        """What the matrix says. Raises KeyError where it has no such word."""
        column = {each.code: n for n, each in enumerate(self.severity)}[severity]
        return {each.code: each.risk for each in self.likelihood}[likelihood][column]


def read(data: bytes, root: Path) -> HazardLog:
    """The log, its files looked for under `root`. Raises HazardLogError."""
    try:
        log = msgspec.toml.decode(data, type=HazardLog)
    except msgspec.DecodeError as e:
        raise HazardLogError(f"hazard-log.toml: {e}") from e
    for problem in _problems(log, root):
        raise HazardLogError(problem)
    return log


def _problems(log: HazardLog, root: Path) -> Iterator[str]:
    if any(len(each.risk) != len(log.severity) for each in log.likelihood):
        yield "matrix: each likelihood needs a risk for each severity"
    seen: set[str] = set()
    for row in log.hazard:
        if row.id in seen:
            yield f"{row.id}: is there twice"
        seen.add(row.id)
        for problem in (*_form(row, log), *_estimates(row, log), *_standing(row), *_evidence(row, root)):
            yield f"{row.id}: {problem}"


def _form(row: Hazard, log: HazardLog) -> Iterator[str]:
    if not _ID.fullmatch(row.id):
        yield "an id is H and two digits"
    if row.group not in log.groups:
        yield f"{row.group} is no group"
    effects = (row.effects.patient, row.effects.person, row.effects.crew)
    if not any(effects):
        yield "says nobody to whom it matters"
    if not row.causes:
        yield "names no cause"
    if not row.controls:
        yield "names no control; where there is none, say so under not_in_this_release and name what there is"
    said = (row.hazard, row.reason, *row.causes, *row.not_in_this_release, *row.deploying, *row.to_close)
    if not all(text.strip() for text in (*said, *(control.what for control in row.controls))):
        yield "has an empty text"


def _estimates(row: Hazard, log: HazardLog) -> Iterator[str]:
    for name, estimate in (("initial", row.initial), ("residual", row.residual)):
        try:
            risk = log.risk(estimate.severity, estimate.likelihood)
        except KeyError as e:
            yield f"{name}: {e} is not in the matrix"
            return
        if risk != estimate.risk:
            yield f"{name}: {estimate.severity} and {estimate.likelihood} make {risk}, not {estimate.risk}"
    if row.residual.risk > row.initial.risk:
        yield "its controls would make it worse"


def _standing(row: Hazard) -> Iterator[str]:
    """Whether the status is what the rest of the row says."""
    if row.residual.risk > MOST_ACCEPTABLE and row.status != "open":
        yield f"a residual risk of {row.residual.risk} cannot be accepted: it is open"
    if row.not_in_this_release and row.status != "open":
        yield "a control that is not in this release leaves it open"
    if row.status == "open" and not row.to_close:
        yield "is open and does not say what would close it"
    if row.status != "open" and row.to_close:
        yield "says what would close it and is not open"
    if row.status == "mitigated" and row.residual.risk > ACCEPTABLE:
        yield f"a residual risk of {row.residual.risk} is not mitigated"
    if row.status == "mitigated" and row.owner != "manufacturer":
        yield "what the product mitigates is the manufacturer's"
    if row.status == "transferred" and not (row.deploying and row.owner == "deploying organisation"):
        yield "what is transferred needs its new owner and what they must do"


def _evidence(row: Hazard, root: Path) -> Iterator[str]:
    for control in row.controls:
        if not control.where:
            yield f"a control says nowhere where it is: {control.what}"
        for path in control.where:
            if not (root / path).exists():
                yield f"there is no {path}"
        for setting in control.settings:
            if setting not in _settings(root):
                yield f"no page lists the setting {setting}"
        # What only a page asks for no test can show; everything else must have one.
        if not control.tests and not all(path.endswith(".md") for path in control.where):
            yield f"no test shows that it works: {control.what}"
        for test in control.tests:
            file, _, name = test.partition("::")
            if name not in _tests(root / file):
                yield f"there is no test {test}"


@lru_cache(maxsize=8)
def _settings(root: Path) -> frozenset[str]:
    """Every name in code type at the start of a table's row, in the pages that list settings."""
    rows = (
        line.split("|")[1]
        for page in SETTINGS
        for line in (root / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    )
    return frozenset(name for cell in rows for name in re.findall(r"`([^`]+)`", cell))


@lru_cache(maxsize=512)
def _tests(file: Path) -> frozenset[str]:
    """The test functions of a file; none where there is no such file."""
    if not (file.name.startswith("test_") and file.is_file()):
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))
