"""Nothing of the rules or of the law files is there for nothing: without it, a named row fails."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest

from broker.core import decision as decisions
from broker.core.steps import STEPS
from broker.law import Condition, Gateway, Law
from broker.law import Row as LawRow
from tests.decisions.cases import LAW, Row, rows, stands
from tests.decisions.examples import agencies, example
from tests.support.values import replace

# What the walk of a decision reads of each row.
READ = {
    "purposes": ("law_enforcement", "only_law_enforcement", "individual_care", "vital"),
    "regimes": ("law_enforcement",),
    "bases": ("regime", "private_only", "consent"),
    "conditions": ("regime", "covers", "secrecy", "consent"),
    "gateways": (
        "purposes",
        "requesters",
        "providers",
        "jurisdictions",
        "uncommenced",
        "closed_to",
        "closed_to_providers",
        "opens",
        "further_use",
    ),
    "confidentiality": (
        "individual_care_only",
        "consent",
        "justification",
        "not_confidential",
        "outweighs_opt_out",
    ),
    # A nation's holidays of a year are one row; which days they are, who publishes them says.
    "bank_holidays": (),
    "kinds": ("public_authority", "competent_authority", "secrecy", "holds_confidential"),
}
_OTHER = {
    "uk-gdpr": "dpa-2018-part-3",
    "dpa-2018-part-3": "uk-gdpr",
    "special-category": "offence",
    "offence": "special-category",
}


class Change(NamedTuple):
    """The law with one thing taken out of it: of which file, which row, and what."""

    file: str
    code: str
    what: str
    law: Law

    @property
    def name(self) -> str:
        """As a test is named."""
        return f"{self.file} {self.code} {self.what}"


def changes() -> Iterator[Change]:
    """Every row taken out; every attribute as if it were not there; every member of every set taken out."""
    for file, attributes in READ.items():
        table = getattr(LAW, file)
        for code, row in table.items():
            rest = {c: r for c, r in table.items() if c != code}
            yield Change(file, code, "taken out", replace(LAW, **{file: rest}))
            for attribute in attributes:
                if not reads(row, attribute):
                    continue
                for what, value in without(attribute, getattr(row, attribute)):
                    changed = {**table, code: replace(row, **{attribute: value})}
                    yield Change(file, code, what, replace(LAW, **{file: changed}))


def reads(row: LawRow, attribute: str) -> bool:
    """Whether the walk comes to an attribute of this row.

    A gateway that opens nothing is asked nothing more; offence data under Part 3 needs no condition, so those
    for it are never asked for their regime.
    """
    if isinstance(row, Gateway) and not row.opens:
        return attribute == "opens"
    return not (isinstance(row, Condition) and row.covers == "offence" and attribute == "regime")


def without(attribute: str, value: object) -> Iterator[tuple[str, object]]:
    """An attribute's value as if nothing had been said: for a set also with each member taken out."""
    if isinstance(value, frozenset):
        if value:
            yield f"{attribute} empty", frozenset()
        if len(value) > 1:
            for each in sorted(value):
                yield f"{attribute} less {each}", value - {each}
    elif isinstance(value, str):
        yield f"{attribute} the other", _OTHER[value]
    elif value is not (attribute == "opens"):
        yield f"not {attribute}", not value


# No kind of agency gives law-enforcement data and holds in confidence what it gives, so this step and the next
# never both refuse.
_UNORDERED = [step.rule for step in STEPS].index("further-use.authorised")


@cache
def by_code() -> dict[str, list[Row]]:
    """Rows by the codes that their requests and agreements name, those with few codes first."""
    codes = {code for file in READ for code in getattr(LAW, file)}
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows():
        named = set(f"{row.differs} {row.purpose} {row.circumstances}".replace(";", " ").split())
        if row.agreement:
            named |= _strings(example(row.agreement))
        named |= {agencies()[name].kind for name in (row.who, row.of) if name}
        named |= {f"{word}-{row.when[:4]}" for word in named}  # holidays: a nation's, of a year
        for code in named & codes:
            found[code].append(row)
    # A row that is about a code says so in its differences or in its name.
    return {
        code: sorted(of, key=lambda row, code=code: code not in f"{row.case} {row.differs}")  # type: ignore[misc]
        for code, of in found.items()
    }


def _strings(value: object) -> set[str]:
    if isinstance(value, dict):
        return {s for each in value.values() for s in _strings(each)}
    if isinstance(value, list):
        return {s for each in value for s in _strings(each)}
    return {value} if isinstance(value, str) else set()


def test_the_rows_stand_as_the_law_is() -> None:
    """Or that one changes would say nothing."""
    assert [row.case for row in rows() if not stands(row)] == []


@pytest.mark.parametrize("change", list(changes()), ids=lambda change: change.name)
def test_a_named_row_fails_without_it(change: Change) -> None:
    """Each row of each law file, and each attribute that the walk reads, decides some row of the table."""
    assert any(not stands(row, change.law) for row in by_code()[change.code])


@pytest.mark.parametrize("rule", [step.rule for step in STEPS])
def test_a_named_row_fails_without_the_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step taken out of the walk lets through a row that it ended, or ends it elsewhere."""
    monkeypatch.setattr(decisions, "STEPS", tuple(step for step in STEPS if step.rule != rule))
    assert any(not stands(row) for row in rows() if row.step == rule)


@pytest.mark.parametrize("first", [n for n in range(len(STEPS) - 1) if n != _UNORDERED])
def test_a_named_row_fails_with_two_rules_exchanged(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that both refuse is refused by the first of them: what is told depends on the order."""
    order = list(STEPS)
    order[first], order[first + 1] = order[first + 1], order[first]
    monkeypatch.setattr(decisions, "STEPS", tuple(order))
    pair = {order[first].rule, order[first + 1].rule}
    assert any(not stands(row) for row in sorted(rows(), key=lambda row: row.step not in pair))


def test_no_attribute_is_forgotten() -> None:
    """What the law files say of a row beyond its meaning is read by the walk, or is for people and checks."""
    for_others = {"hl7", "dpv", "policy_document", "nation", "year", "days"}
    texts = {"code", "meaning", "source", "read_on"}
    for file, attributes in READ.items():
        for row in getattr(LAW, file).values():
            assert set(row.__struct_fields__) - texts - for_others - {"commences"} == set(attributes)
            break
