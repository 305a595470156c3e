"""Where the embedded server of a state folder takes connections, for who did not start it.

Refuses to guess: a server that does not run has no address. Who may connect, the server decides (`peer`): the
user whose process `broker up` is, and no other.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from broker.errors import SetupError
from broker.store.embedded import settings


def address(state: Path, *, name: str = "postgres", database: str = "broker", role: str = "broker") -> str:
    """The connection URI of the server in `state/name`; it holds no secret. Raises SetupError."""
    folder = state.absolute() / name
    # A private folder in /tmp where the path would be too long for a socket's.
    for named in (folder / "socket-folder", folder / "files" / "socket"):
        try:
            socket = named.readlink() if named.is_symlink() else named
            if (socket / f".s.PGSQL.{settings.PORT}").exists():
                return f"postgresql://{role}@/{database}?host={quote(str(socket))}&port={settings.PORT}"
        except OSError as e:
            raise SetupError(f"{named}: {e.strerror}; be the user that `broker up` runs as") from e
    raise SetupError(
        f"{state} has no running database: start it with `broker up --state {state}`, or name the database, "
        "postgresql://USER@HOST/DATABASE"
    )
