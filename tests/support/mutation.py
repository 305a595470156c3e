"""`python -m tests.support.mutation`: does a test notice each small change of the rules? (`make mutants`)

Makes each change in a process of its own and runs the decision table there, and then the tests named here. A
change that nothing notices survives; the survivors that docs/mutants.md explains are known, any other makes
this fail.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType, ModuleType

from tests.support.mutants import ROOT, Mutant, mutants, source_of

PAGE = ROOT / "docs" / "mutants.md"
CORE = (
    *("decision", "directive", "walk", "lawfulness"),
    *("steps.sides", "steps.who", "steps.law", "steps.person", "steps.moment"),
)
TESTS = tuple(
    f"tests.core.test_{name}" for name in ("decision_evidence", "lawfulness", "rulings", "routing", "sides")
)
# Seconds after which a change counts as one that never ends.
LIMIT = 120


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


def _put(mutant: Mutant) -> None:
    """The change in place: other code in the module's functions, or everything imported anew with it."""
    name = f"broker.core.{mutant.module}"
    if mutant.inside:
        module = sys.modules[name]
        fresh = ModuleType(name)
        fresh.__dict__["__name__"] = "a mutant"
        sys.modules["a mutant"] = fresh  # dataclasses look their module up
        exec(compile(mutant.source, "a mutant", "exec"), fresh.__dict__)
        _take_over(module, fresh)
        return
    sys.meta_path.insert(0, _Changed(name, mutant.source))
    for each in list(sys.modules):
        if each.startswith(("broker.", "tests.")) and not each.startswith("broker.v1"):
            del sys.modules[each]


def _take_over(old: object, new: object) -> None:
    for name, value in vars(new).items():
        was = vars(old).get(name)
        if isinstance(value, type) and value.__module__ == "a mutant" and isinstance(was, type):
            _take_over(was, value)
            continue
        function, mine = _function(value), _function(was)
        if function is not None and mine is not None and function.__module__ == "a mutant":
            mine.__code__ = function.__code__
            if hasattr(was, "cache_clear"):
                was.cache_clear()


def _function(value: object) -> FunctionType | None:
    """What runs behind a name: of a property, a class method or a remembered result too."""
    for inner in ("fget", "func", "__wrapped__", "__func__"):
        value = getattr(value, inner, None) or value
    return value if isinstance(value, FunctionType) else None


def _notices(mutant: Mutant) -> str:
    """What notices the change, in this process; empty where nothing does."""
    try:
        _put(mutant)
        cases = importlib.import_module("tests.decisions.cases")
        for row in cases.rows():
            if not cases.stands(row):
                return f"row {row.case}"
        for name in TESTS:
            for test, arguments in _tests(importlib.import_module(name)):
                test(**arguments)
    except BaseException as e:  # whatever it raises, it was noticed; pytest's own failure is no Exception
        return f"{type(e).__name__} {e}"
    return ""


def _tests(module: ModuleType) -> Iterator[tuple[Callable[..., object], dict[str, object]]]:
    """Every test of a module, with each set of its parameters."""
    for name, test in vars(module).items():
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        if not marks:
            yield test, {}
            continue
        (mark,) = marks
        names, values = mark.args
        names = [each.strip() for each in names.split(",")] if isinstance(names, str) else list(names)
        for value in values:
            yield test, dict(zip(names, value if len(names) > 1 else (value,), strict=True))


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
        os.write(write, _notices(mutant).encode()[:1000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return said or ("it did not end" if status else "")


def main() -> int:
    """Print what survives; 1 if docs/mutants.md does not know it."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", default=CORE, help=f"of {', '.join(CORE)}")
    parser.add_argument("--at-once", type=int, default=2, help="processes")
    parser.add_argument("--show", action="store_true", help="what noticed each")
    args = parser.parse_args()
    known = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    unknown, counted = 0, 0
    for module in args.modules:
        if noticed := run(Mutant(module, "", "", "", source_of(module))):
            print(f"{module} as it is does not pass: {noticed}")
            return 2
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


def warm() -> None:
    """Import what is needed and read the table, once, before the forks."""
    for needed in (*TESTS, *(f"broker.core.{module}" for module in CORE)):
        importlib.import_module(needed)
    cases = importlib.import_module("tests.decisions.cases")
    assert all(cases.stands(row) for row in cases.rows())


if __name__ == "__main__":
    warm()
    sys.exit(main())
