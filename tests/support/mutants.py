"""Small changes of modules, one at a time: a comparison, a connective, a constant, a statement left out.

Owns what is changed. Whether a test notices is `mutation.py`'s to see.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

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
    """One change: of which module, where, from what to what, and the whole module after it.

    `inside` says that it is in a function, so that no other code of the module is another.
    """

    module: str
    where: str
    before: str
    after: str
    source: str
    inside: bool = False

    @property
    def name(self) -> str:
        """As docs/mutants.md lists it: without a line number, which the next edit would make wrong."""
        return f"{self.module}.{self.where}: `{self.before}` -> `{self.after}`"


def mutants(module: str) -> Iterator[Mutant]:
    """Every change of a module."""
    tree = ast.parse(source_of(module))
    for parent, field, index, node, where, inside in _places(tree):
        for new in _changes(node):
            value = getattr(parent, field)
            if index is None:
                setattr(parent, field, new)
            else:
                value[index] = new
            ast.fix_missing_locations(tree)
            yield Mutant(module, where, _text(node), _text(new), ast.unparse(tree), inside)
            if index is None:
                setattr(parent, field, node)
            else:
                value[index] = node


def source_of(module: str) -> str:
    """The source of a module of the core."""
    return (ROOT / "broker" / "core" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:100]


_Place = tuple[ast.AST, str, int | None, ast.AST, str, bool]


def _places(tree: ast.Module) -> Iterator[_Place]:
    """Every expression and statement that does something, and the function or name it stands in."""

    def walk(parent: ast.AST, where: str, inside: bool) -> Iterator[_Place]:
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "bases", "keywords") and _declares(parent):
                continue
            each = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for index, node in each:
                if not isinstance(node, ast.AST) or _idle(node):
                    continue
                name = ".".join(part for part in (where, _name(node)) if part)
                body = inside and field not in ("defaults", "kw_defaults")
                yield parent, field, index, node, name or where, body
                yield from walk(node, name, inside or isinstance(node, ast.FunctionDef))

    yield from walk(tree, "", False)


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
