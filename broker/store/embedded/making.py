"""The first start: an empty database, its owner, and a superuser that can never log in.

Owns what happens once in a state folder's life. It is made under another name and renamed when it is whole,
so a kill in between costs the time it took and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from broker.children import Child, spawn
from broker.store.embedded import binaries
from broker.store.embedded.account import Account
from broker.store.embedded.layout import Layout
from broker.store.embedded.problems import explained

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_STEP_SECONDS = 60.0
# Checksums find pages that a disk has changed. The collation is PostgreSQL's own, so an upgrade of the
# machine's C library cannot silently reorder an index.
_INITDB = (
    "--username=postgres",
    "--auth=reject",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
    "--no-instructions",
)
# Needs no login and no socket: one process that reads statements, a line each, and stops at the first error.
_ALONE = ("--single", "-c", "exit_on_error=on", "-c", "log_min_messages=error", "-c", "log_checkpoints=off")


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a server is for: the database, and the role that owns it and connects. Raises ValueError."""

    database: str
    role: str
    may_create_databases: bool = False

    def __post_init__(self) -> None:
        for word in (self.database, self.role):
            if not _IDENTIFIER.fullmatch(word) or word == "postgres" or word.startswith(("pg_", "template")):
                raise ValueError(f"{word!r} cannot name an embedded server's database or role")

    def statements(self) -> str:
        """What makes them, a statement a line."""
        createdb = "CREATEDB" if self.may_create_databases else "NOCREATEDB"
        return (
            f"CREATE ROLE {self.role} LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS {createdb};\n"
            f"CREATE DATABASE {self.database} OWNER {self.role};\n"
            f"REVOKE ALL ON DATABASE {self.database} FROM PUBLIC;\n"
            # What was erased leaves the write-ahead log at a checkpoint (broker audit scrub).
            f"GRANT pg_checkpoint TO {self.role};\n"
            "ALTER ROLE postgres NOLOGIN;\n"
        )


def make(layout: Layout, purpose: Purpose, programs: Path, account: Account, lock: int) -> None:
    """Make `layout.data`; a remainder of an earlier attempt is removed. Blocks for about 0.3 s.

    `lock` is inherited by the programs, so that the folder stays locked if we are killed before them.
    Raises SetupError, OSError.
    """
    new = layout.data.with_name("data.new")
    if new.exists():
        shutil.rmtree(new)

    def run(program: str, *arguments: str, statements: str = "") -> None:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(statements.encode())
            stdin.seek(0)
            child: Child = spawn(
                [str(programs / program), *arguments],
                name=f"PostgreSQL's {program}",
                log=layout.log,
                env=binaries.environment(),
                cwd=Path("/"),
                stdin=stdin,
                through=account.through,
                pass_fds=(lock,),
            )
            explained(layout, child, lambda: child.wait(_STEP_SECONDS))

    run("initdb", f"--pgdata={new}", *_INITDB)
    run("postgres", *_ALONE, "-D", str(new), "postgres", statements=purpose.statements())
    new.rename(layout.data)
    _sync(layout.files)


def _sync(folder: Path) -> None:
    """Make a rename in `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
