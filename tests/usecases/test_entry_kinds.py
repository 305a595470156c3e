"""docs/audit.md says what every kind of entry is for, and which calls are looks: held against the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import broker
from broker.core.vocabulary import EVENTS, KEPT, LOOKS, LOOKS_KEPT
from broker.rpc.server import SERVICES
from broker.v1 import (
    adapter_pb2,
    agreement_pb2,
    audit_pb2,
    directive_pb2,
    directory_pb2,
    exchange_pb2,
    keeping_pb2,
    override_pb2,
    referral_pb2,
    report_pb2,
    rotation_pb2,
    routing_pb2,
    standing_pb2,
)

PACKAGE = Path(broker.__file__).parent
PAGE = PACKAGE.parent / "docs" / "audit.md"
OPERATIONS = {"collection", "alteration", "consultation", "disclosure", "combination", "erasure", "none"}
# What the design of the log lists as everything that is recorded; each by the kinds that stand for it.
RECORDED = {
    "permit": {"disclosure"},
    "refuse": {"refusal"},
    "refer": {"refusal", "referral-asked", "referral-decided"},
    "not found": {"not-found"},
    "provider failure": {"provider-failure"},
    "undelivered": {"undelivered"},
    "received": {"received"},
    "override and review": {"disclosure", "override-reviewed", "override-restricted"},
    "agreement": {"agreement-applied", "agreement-suspended", "agreement-suspension-lifted"},
    "directive": {"directive-recorded", "directive-withdrawn"},
    "directory": {"agency-added", "agency-changed", "agency-succeeded", "agency-left", "system-enrolled"},
    "certificate": {"system-suspended", "suspension-lifted", "key-revoked", "agency-key-enrolled"},
    "recorded late": {"recorded-late"},
    "erasure": {"erasure", "retention"},
    "looks": {
        *("entry-viewed", "log-searched", "explained", "log-replayed", "agreement-planned"),
        *("referrals-viewed", "referral-viewed", "overrides-viewed", "directives-viewed"),
    },
    "refused at the door": {"calls-refused"},
}
# Somebody reads here too, on the way to a record or a decision, whose own reason stands there.
ON_THE_WAY = {"intent", "referral-tried"}
_FILES = (
    *(adapter_pb2, agreement_pb2, audit_pb2, directive_pb2, directory_pb2, exchange_pb2, keeping_pb2),
    *(override_pb2, referral_pb2, report_pb2, rotation_pb2, routing_pb2, standing_pb2),
)


def trees() -> dict[str, ast.Module]:
    """Every module of the broker that serves: not what is generated, and not what only reads entries."""
    others = {"v1", "client", "offline", "reports"}
    paths = [path for path in PACKAGE.rglob("*.py") if not others & set(path.relative_to(PACKAGE).parts)]
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in paths}


def takers(modules: dict[str, ast.Module]) -> dict[str, int]:
    """What takes an `event`, by name (with the module, if private): functions, classes by their fields; and at
    which place."""
    found: dict[str, int] = {}
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [each.arg for each in node.args.args if each.arg not in ("self", "cls")]
            elif isinstance(node, ast.ClassDef):
                names = [
                    each.target.id
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
                ]
            else:
                continue
            if "event" in names:
                found[f"{name}:{node.name}" if node.name.startswith("_") else node.name] = names.index("event")
    return found


def constants(value: ast.expr, tree: ast.Module, inside: ast.AST) -> set[str] | None:
    """The texts that an argument can be; none for what is passed on; None for what cannot be told."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return {value.value}
    if isinstance(value, ast.IfExp):
        both = constants(value.body, tree, inside), constants(value.orelse, tree, inside)
        return None if None in both else set[str]().union(*(each or set() for each in both))
    if not isinstance(value, ast.Name):
        return set() if isinstance(value, ast.Attribute) and value.attr == "event" else None
    if value.id == "event" and any(isinstance(n, ast.arg) and n.arg == "event" for n in ast.walk(inside)):
        return set()
    imported = [
        (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == value.id
    ]
    where = (
        ast.parse((PACKAGE.parent / f"{imported[0][0].replace('.', '/')}.py").read_text()) if imported else tree
    )
    told = set[str]()
    for node in ast.walk(where):
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == value.id for t in node.targets
        ):
            told |= constants(node.value, where, node) or set()
    return told or None


def written() -> Iterator[tuple[str, str]]:
    """(kind, module) of every entry that the code can write."""
    modules = trees()
    taking = takers(modules)
    # Those that read an event, or show one, write none.
    reading = {"Explained", "Recorded", "Line"}
    for name, tree in modules.items():
        for outer in ast.walk(tree):
            if not isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(outer):
                if not isinstance(call, ast.Call):
                    continue
                called = getattr(call.func, "attr", getattr(call.func, "id", ""))
                called = f"{name}:{called}" if called.startswith("_") else called
                if called not in taking or called in reading:
                    continue
                # Not of an entry: the places that were acknowledged, the heads that a guard notes.
                if getattr(getattr(call.func, "value", None), "attr", "") in ("acknowledged", "_guard"):
                    continue
                named = [each.value for each in call.keywords if each.arg == "event"]
                values = named or call.args[taking[called] : taking[called] + 1]
                for value in values:
                    told = constants(value, tree, outer)
                    assert told is not None, f"{name}:{call.lineno}: which kind of entry cannot be told"
                    yield from ((kind, name) for kind in told)


@cache
def all_kinds() -> frozenset[str]:
    """Every kind of entry that the code can write."""
    return frozenset(kind for kind, _ in written())


def table(heading: str) -> dict[str, list[str]]:
    """A table of docs/audit.md by the name in its first cell, from under a heading."""
    part = PAGE.read_text().split(f"\n{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
    return {
        name: [cell.strip() for cell in row[1:]] for row in rows for name in re.findall("`([^`]+)`", row[0])
    }


def looks() -> set[str]:
    """Every kind of entry that `Administration.note_look` is asked for: by whoever says who looks, and why."""
    found = set[str]()
    for tree in trees().values():
        for call in ast.walk(tree):
            if (
                isinstance(call, ast.Call)
                and getattr(call.func, "attr", "") == "note_look"
                and len(call.args) > 2
            ):
                found |= constants(call.args[1], tree, tree) or set()
    return found


def test_every_kind_that_the_code_can_write_is_in_the_table() -> None:
    """None is missing and none is there that nothing writes: whoever adds a kind says what it is for."""
    # What a repeat shows in place of a view that is gone; no entry is of that kind.
    kinds = all_kinds() - {"erased"}
    documented = table("### Kinds of entry")
    assert kinds - documented.keys() == set()
    assert documented.keys() - kinds == set()


def test_a_search_knows_every_kind() -> None:
    """One that it does not know it refuses to look for."""
    assert all_kinds() - {"erased"} == EVENTS


def test_the_table_speaks_of_the_six_operations() -> None:
    """Each kind has operations of DPA 2018 s.62 or says that it has none, and each of the six has its kinds."""
    told = {kind: set(re.split(", ", cells[0])) for kind, cells in table("### Kinds of entry").items()}
    assert set().union(*told.values()) <= OPERATIONS
    for operation in OPERATIONS - {"none"}:
        assert any(operation in operations for operations in told.values()), operation


@pytest.mark.parametrize("what", sorted(RECORDED))
def test_everything_that_must_be_recorded_has_its_kinds(what: str) -> None:
    """By the code, not by the page."""
    assert RECORDED[what] <= all_kinds()


def test_every_call_says_whether_it_is_a_look() -> None:
    """All methods of all services stand in the page with the entry that they make, or with why none is."""
    methods = {
        f"{service.name}.{method.name}"
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert len({each.partition(".")[0] for each in methods}) == len(SERVICES)
    documented = table("### Calls and their entries")
    assert documented.keys() == methods
    kinds = table("### Kinds of entry").keys()
    for call, (told, *_) in documented.items():
        made = set(re.findall("`([^`]+)`", told))
        assert made <= kinds, call
        assert made or told.startswith("none: "), call


def test_whoever_looks_says_who_and_why_in_one_way() -> None:
    """Each kind that is a consultation and nothing else goes by `note_look`, which asks for both.

    Not by it, and with a reason of their own: what is read on the way to a record or to a decision, and what
    begins or repeats an answer to a person, which is a change.
    """
    consulted = {kind for kind, (told, *_) in table("### Kinds of entry").items() if told == "consultation"}
    assert looks() <= LOOKS == consulted - ON_THE_WAY
    assert consulted - looks() == ON_THE_WAY | {"access-started", "access-answer-viewed"}


def test_every_call_that_is_a_look_asks_who_and_why() -> None:
    """A new one cannot be without: its request has an actor and a reason."""
    consulted = {kind for kind, (told, *_) in table("### Kinds of entry").items() if told == "consultation"}
    calls = {
        call
        for call, (told, *_) in table("### Calls and their entries").items()
        if (consulted - ON_THE_WAY) & set(re.findall("`([^`]+)`", told))
    }
    assert len(calls) > 20
    inputs = {
        f"{service.name}.{method.name}": method.input_type
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    for call in calls:
        of = {field.name: field.message_type.full_name for field in inputs[call].fields if field.message_type}
        assert of.get("actor") == "broker.v1.Actor", call
        assert of.get("reason") == "broker.v1.ReasonCode", call


def test_every_look_is_kept() -> None:
    """What notes a look says which kind it is: one that no erasure takes, whatever it is called."""
    named = set[str]()
    for tree in trees().values():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(node, ast.Call) and isinstance(called, ast.Attribute) and called.attr == "note_look":
                event = node.args[1]
                assert isinstance(event, ast.Constant)
                named.add(event.value)
    assert len(named) >= 15
    assert named <= LOOKS_KEPT <= KEPT <= EVENTS
