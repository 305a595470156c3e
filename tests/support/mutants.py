"""`python -m tests.support.mutants`: does a test notice each small change of the rules? (`make mutants`)

Makes one change at a time to a module of the core (a comparison, a connective, a constant, a statement left
out), imports everything anew in a process of its own with the changed module in place of the real one, and
runs the decision table and then the tests named here. A change that nothing notices survives; the survivors
that docs/mutants.md explains are known, any other makes this fail.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutants.md"
CORE = ("decision", "directive", "walk", "steps.who", "steps.law", "steps.person", "steps.moment", "lawfulness")
TESTS = ("tests/core/test_decision_evidence.py", "tests/core/test_lawfulness.py")
LIMIT = 120

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


class Mutant(NamedTuple):
    """One change: of which module, where, from what to what, and the whole module after it."""

    module: str
    where: str
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """As docs/mutants.md lists it: without a line number, which the next edit would make wrong."""
        return f"{self.module}.{self.where}: `{self.before}` -> `{self.after}`"


def mutants(module: str) -> Iterator[Mutant]:
    """Every change of a module."""
    tree = ast.parse(source_of(module))
    for parent, field, index, node, where in _places(tree):
        for new in _changes(node):
            value = getattr(parent, field)
            if index is None:
                setattr(parent, field, new)
            else:
                value[index] = new
            ast.fix_missing_locations(tree)
            yield Mutant(module, where, _text(node), _text(new), ast.unparse(tree))
            if index is None:
                setattr(parent, field, node)
            else:
                value[index] = node


def source_of(module: str) -> str:
    """The source of a module of the core."""
    return (ROOT / "broker" / "core" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:100]


def _places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str]]:
    """Every expression and statement that does something, and the function or name it stands in."""

    def walk(parent: ast.AST, where: str) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str]]:
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "bases", "keywords") and _declares(parent):
                continue
            each = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for index, node in each:
                if not isinstance(node, ast.AST) or _idle(node):
                    continue
                name = _name(node)
                inside = ".".join(part for part in (where, name) if part)
                yield parent, field, index, node, inside or where
                yield from walk(node, inside)

    yield from walk(tree, "")


def _declares(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign | ast.arg)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    return ""


def _idle(node: ast.AST) -> bool:
    """Imports, docstrings, bare annotations: nothing that could be tested."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    declares = isinstance(node, ast.AnnAssign) and node.value is None
    alias = isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)  # of a type
    return declares or alias or isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARE:
            new = copy.deepcopy(node)
            new.ops = [_COMPARE[type(op)]()]
            yield new
        case ast.Compare():
            for n, op in enumerate(node.ops):
                if type(op) in _COMPARE:
                    new = copy.deepcopy(node)
                    new.ops[n] = _COMPARE[type(op)]()
                    yield new
        case ast.BoolOp(op=op, values=values):
            new = copy.deepcopy(node)
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield new
            if len(values) > 1:
                for n in range(len(values)):
                    new = copy.deepcopy(node)
                    del new.values[n]
                    yield new if len(new.values) > 1 else new.values[0]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(op=op) if type(op) in _BINARY:
            new = copy.deepcopy(node)
            new.op = _BINARY[type(op)]()
            yield new
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)):
            yield ast.Constant("" if value else "XX")
        case ast.Set(elts=elts) | ast.Tuple(elts=elts, ctx=ast.Load()) if len(elts) > 1:
            for n in range(len(elts)):
                new = copy.deepcopy(node)
                del new.elts[n]
                yield new
        case ast.comprehension(ifs=[_, *_]):
            new = copy.deepcopy(node)
            new.ifs = []
            yield new
        case ast.If(test=test):
            for value in (True, False):
                new = copy.deepcopy(node)
                new.test = ast.Constant(value)
                yield new
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.AugAssign() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Call(func=ast.Name(id="any" | "all" as name)):
            new = copy.deepcopy(node)
            new.func = ast.Name("all" if name == "any" else "any")
            yield new


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


# Running one.


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin="a mutant")

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, "a mutant", "exec"), module.__dict__)


def _notices(mutant: Mutant) -> str:
    """What notices the change, in this process; empty where nothing does."""
    sys.meta_path.insert(0, _Changed(f"broker.core.{mutant.module}", mutant.source))
    try:
        from tests.decisions.cases import rows, stands

        for row in rows():
            if not stands(row):
                return f"row {row.case}"
    except Exception as e:  # whatever it raises, it was noticed
        return type(e).__name__
    import pytest

    failed = pytest.main(["-x", "-q", "--no-header", "-p", "no:terminal", *TESTS])
    return "a test" if failed else ""


def run(mutant: Mutant) -> str:
    """What notices a change; empty where nothing does. One that does not end is noticed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(LIMIT)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        said = _notices(mutant)
        os.write(write, said.encode()[:1000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said or ("it did not end" if status else "")


def main() -> int:
    """Print what survives; 1 if docs/mutants.md does not know it."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", default=CORE, help=f"of {', '.join(CORE)}")
    parser.add_argument("--at-once", type=int, default=2, help="processes")
    parser.add_argument("--show", action="store_true", help="what noticed each")
    args = parser.parse_args()
    known = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    unknown, counted = 0, 0
    for module in args.modules:
        made = list(mutants(module))
        with ThreadPoolExecutor(args.at_once) as pool:
            for mutant, noticed in zip(made, pool.map(run, made), strict=True):
                counted += 1
                if args.show and noticed:
                    print(f"noticed   {mutant.name}  by {noticed}", flush=True)
                if not noticed:
                    explained = mutant.name in known
                    unknown += not explained
                    print(f"{'explained' if explained else 'SURVIVES '} {mutant.name}", flush=True)
    print(f"{counted} mutants, {unknown} survive that docs/mutants.md does not explain")
    return 1 if unknown else 0


if __name__ == "__main__":
    # What does not depend on the core is imported once, before the forks.
    for heavy in ("pytest", "hypothesis", "pydantic", "msgspec", "cel", "google.protobuf.descriptor_pb2"):
        importlib.import_module(heavy)
    sys.exit(main())
