"""Stores that fail on demand, call by call: before a call has had an effect, or although it has had one.

What fails is a statement to PostgreSQL, a note to the guard file, or a call of a port of the memory store: each
counts as one step. A plan names the step. Nothing is patched: each is a part in place of the real one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from broker.errors import AuditUnavailable
from broker.store.guard import Guard, SignedHead
from broker.store.pool import Database

T = TypeVar("T")
_STATEMENTS = ("execute", "executemany", "fetch", "fetchrow", "fetchval", "fetchmany")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which step fails (from 0), whether only after it has had its effect, and whether all later ones fail."""

    step: int
    persisted: bool
    lasting: bool

    def __str__(self) -> str:
        how = "failed but persisted" if self.persisted else "failed"
        return f"step {self.step} {how}{' and stays away' if self.lasting else ''}"


@dataclass
class Faults:
    """Counts the steps while `armed`, and fails those that the plan names."""

    plan: Plan | None = None
    armed: bool = False
    steps: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def arm(self, plan: Plan | None) -> None:
        """From now on every step counts."""
        self.plan, self.armed = plan, True
        self.steps.clear()
        self.failed.clear()

    def heal(self) -> list[str]:
        """No step counts or fails any more; those that were taken."""
        self.armed = False
        return list(self.steps)

    @property
    def missed(self) -> bool:
        """Whether the walk was shorter than the plan: it had fetched for itself what this one found at hand."""
        assert self.plan is not None
        assert bool(self.failed) == (self.plan.step < len(self.steps)), self.plan
        return not self.failed

    def before(self, name: str, error: Exception) -> bool:
        """Take a step. Raises `error` where it fails before its effect; True where it shall fail after it."""
        if not self.armed:
            return False
        number = len(self.steps)
        self.steps.append(name)
        if self.plan is None or number < self.plan.step:
            return False
        if number > self.plan.step:
            if not self.plan.lasting:
                return False
        elif self.plan.persisted:
            return True
        self.failed.append(name)
        raise error

    def after(self, name: str, error: Exception) -> None:
        """The effect is there, and nobody hears of it."""
        self.failed.append(name)
        raise error

    async def around(self, name: str, error: Exception, run: Callable[[], Awaitable[T]]) -> T:
        """One step."""
        lost = self.before(name, error)
        result = await run()
        if lost:
            self.after(name, error)
        return result


class Faulted:
    """A port of the memory store, each of whose calls is a step."""

    def __init__(self, port: Any, faults: Faults) -> None:
        self._port = port
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.iscoroutinefunction(found):
            return found

        def call(*args: Any, **named: Any) -> Awaitable[Any]:
            error = AuditUnavailable("the evidence store cannot be reached")
            return self._faults.around(name, error, lambda: found(*args, **named))

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        """What a test sets, it sets of the real one."""
        if name in ("_port", "_faults"):
            super().__setattr__(name, value)
        else:
            setattr(self._port, name, value)


class _FaultyConnection:
    """A connection whose every statement is a step: a lost one ends as a lost connection does."""

    def __init__(self, connection: asyncpg.Connection, faults: Faults) -> None:
        self._connection = connection
        self._faults = faults

    async def prepare(self, sql: str) -> _FaultyStatement:
        """A statement that is kept: each time it is sent is a step."""
        return _FaultyStatement(await self._connection.prepare(sql), sql, self._faults)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in _STATEMENTS:
            return found

        def call(sql: str, *args: Any, **named: Any) -> Awaitable[Any]:
            return self._faults.around(_words(sql), _lost(), lambda: found(sql, *args, **named))

        return call


class _FaultyStatement:
    """A prepared statement, each of whose uses is a step."""

    def __init__(self, statement: Any, sql: str, faults: Faults) -> None:
        self._statement = statement
        self._sql = sql
        self._faults = faults

    def fetch(self, *args: Any) -> Awaitable[Any]:
        """As the real one."""
        return self._faults.around(_words(self._sql), _lost(), lambda: self._statement.fetch(*args))


def _words(sql: str) -> str:
    return " ".join(sql.split()[:4])


def _lost() -> Exception:
    return ConnectionResetError("the connection was lost")


class FaultyDatabase(Database):
    """The pool, giving connections whose statements may fail."""

    def __init__(self, dsn: str, faults: Faults, *, size: int = 8) -> None:
        super().__init__(dsn, size=size)
        self._faults = faults

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """As the real one."""
        async with super().connection() as connection:
            made: Any = _FaultyConnection(connection, self._faults)
            yield made

    async def _dial(self) -> asyncpg.Connection:
        made: Any = _FaultyConnection(await super()._dial(), self._faults)
        dialled: asyncpg.Connection = made
        return dialled


class FaultyGuard(Guard):
    """The guard file, whose notes may fail."""

    def __init__(self, path: Path, faults: Faults) -> None:
        super().__init__(path)
        self._faults = faults

    def note(self, head: SignedHead, over: SignedHead | None = None) -> None:
        """As the real one."""
        error = AuditUnavailable("the guard file cannot be read and written")
        lost = self._faults.before("guard.note", error)
        super().note(head, over)
        if lost:
            self._faults.after("guard.note", error)
