"""Under which account PostgreSQL runs, which refuses to run as root.

Owns that choice. An ordinary user's server is their own process. Root's runs in a user namespace in which
root's own files belong to an unprivileged account, without any capability: nothing changes owner, nothing is
created in /etc. Where namespaces are refused it runs as the machine's account 65534, which then owns its data
folder. Refuses to change any folder above the state folder so that something becomes reachable.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.errors import SetupError
from broker.store.embedded import binaries

_NOBODY = 65534
_OVERFLOW_UID = Path("/proc/sys/fs/overflowuid")
_PROBE_SECONDS = 10.0
# Exit codes of the probe; anything else means that `through` itself was refused.
_NO_BINARIES, _NO_FOLDER = 3, 4
_PROBE = f'"$1" --version >/dev/null 2>&1 || exit {_NO_BINARIES}; test -x "$2" || exit {_NO_FOLDER}'


@dataclass(frozen=True, slots=True)
class Account:
    """An account PostgreSQL can run under."""

    through: tuple[str, ...]
    """The command that becomes it and executes the rest of its line; empty when it is ours already."""
    owner: int
    """Numeric user that owns its files, as we see it."""
    client: str
    """The name under which PostgreSQL sees our own connections."""

    @property
    def foreign(self) -> bool:
        """Whether its files cannot be ours, so that the server's folders must be handed over to it."""
        return self.owner != os.geteuid()


def choose(programs: Path, state: Path) -> Account:
    """The first account that can execute `programs` and enter `state`, which exists.

    For the account 65534 it is enough to reach `state`: that one is ours and can be made passable. Raises
    SetupError, one sentence that says what stands in the way, when there is none.
    """
    uid = os.geteuid()
    own = _name_of(uid)
    if uid != 0 and own is not None:
        return Account(through=(), owner=uid, client=own)
    mapped = _mapped_account()
    if mapped is None:
        raise SetupError("The embedded PostgreSQL cannot run: /etc/passwd names no unprivileged account.")
    through = ("unshare", "--user", f"--map-user={mapped.pw_uid}", f"--map-group={mapped.pw_gid}")
    code = _probe(through, programs, state)
    if code == 0:
        return Account(through=through, owner=uid, client=mapped.pw_name)
    refused = [_problem(code, programs, state, "a user namespace")]
    nobody = _name_of(_NOBODY)
    if uid == 0 and own is not None and nobody is not None:
        through = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
        code = _probe(through, programs, state.parent)
        if code == 0:
            return Account(through=through, owner=_NOBODY, client=own)
        refused.append(_problem(code, programs, state.parent, f"the account {nobody}"))
    raise SetupError(
        f"The embedded PostgreSQL cannot run as {own or f'user {uid}'} here ({'; '.join(refused)}): "
        "start as an ordinary user, or set BROKER_DATABASE_URL."
    )


def _probe(through: Sequence[str], programs: Path, folder: Path) -> int | None:
    """The probe's exit code under that account; None if the command that becomes it is missing or hangs."""
    command = shutil.which(through[0])
    if command is None:
        return None
    try:
        return subprocess.run(  # noqa: S603 - no shell reads the paths, which are the script's arguments
            [command, *through[1:], "/bin/sh", "-c", _PROBE, "sh", str(programs / "postgres"), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=binaries.environment(),
            cwd="/",
            timeout=_PROBE_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def _problem(code: int | None, programs: Path, folder: Path, who: str) -> str:
    if code == _NO_BINARIES:
        return f"from {who} {programs / 'postgres'} cannot be executed"
    if code == _NO_FOLDER:
        return f"from {who} {folder} cannot be entered"
    return f"{who} is refused"


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _mapped_account() -> pwd.struct_passwd | None:
    """An account to appear as inside the namespace: one with a name, since `initdb` looks it up.

    Not the overflow account (usually 65534, nobody) if it can be helped: every user outside the namespace
    looks like that one, and `peer` could not tell them from us.
    """
    try:
        overflow = int(_OVERFLOW_UID.read_text())
    except OSError:
        overflow = _NOBODY
    accounts = (entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    return min(accounts, key=lambda entry: (entry.pw_uid == overflow, entry.pw_uid), default=None)
