"""How the embedded server is configured: durable, local, small, and silent about what it holds.

Owns `postgresql.conf`, `pg_hba.conf` and `pg_ident.conf`. They lie beside the data, not in it, and are
written anew at every start, so that what runs is what this file says. Refuses `ALTER SYSTEM`.
"""

from __future__ import annotations

from pathlib import Path

PORT = 5432
"""Names the socket (`.s.PGSQL.5432`); no TCP port is opened."""

_CONFIG = """\
# Written at every start: changes made here do not last.
unix_socket_directories = '{socket}'
listen_addresses = ''
port = {port}
unix_socket_permissions = 0700
allow_alter_system = off

# A commit that was acknowledged survives a power failure.
fsync = on
synchronous_commit = on
full_page_writes = on

# One machine, shared with everything else.
max_connections = 100
shared_buffers = 128MB
# After a checkpoint each page that is touched goes into the write-ahead log once more, whole. Ids are random,
# so that is every page of their index: seldom, and packed. And rows are frozen soon, before the next one.
max_wal_size = 2GB
checkpoint_timeout = 15min
wal_compression = on
autovacuum_naptime = 2s
# A segment of the write-ahead log that is needed no more goes, and does not come back with what it held.
wal_recycle = off
max_wal_senders = 0
max_logical_replication_workers = 0
max_parallel_workers_per_gather = 0
jit = off

# Statements, parameters and rejected values are personal data: clients are told their errors, the log is not.
# (The level 'log' lies above 'error'; 'terse' leaves out the detail, which quotes keys and queries.)
logging_collector = off
log_destination = 'stderr'
log_line_prefix = '%m [%p] '
log_min_messages = log
log_error_verbosity = terse
log_min_error_statement = panic
log_statement = none
log_min_duration_statement = -1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = off

timezone = 'UTC'
log_timezone = 'UTC'
"""
_ACCESS = "# One role, from the account that started the server; whatever is not named here is refused.\n"


def write(folder: Path, *, socket: Path, role: str, client: str) -> None:
    """Write the three files into `folder` (0644: they hold no secret). Raises OSError.

    `client` is the operating-system account, as PostgreSQL sees it, that may connect as `role`.
    """
    for name, text in (
        ("postgresql.conf", _CONFIG.format(socket=socket, port=PORT)),
        ("pg_hba.conf", f"{_ACCESS}local all {role} peer map=starter\n"),
        ("pg_ident.conf", f'starter "{client}" {role}\n'),
    ):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)


def arguments(folder: Path) -> tuple[str, ...]:
    """The arguments that make `postgres` use the files written into `folder`."""
    return (
        f"--config_file={folder / 'postgresql.conf'}",
        f"--hba_file={folder / 'pg_hba.conf'}",
        f"--ident_file={folder / 'pg_ident.conf'}",
    )
