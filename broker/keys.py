"""Secret keys of the broker, kept outside PostgreSQL: one small port and a folder that implements it.

Separate keys for separate uses: signing the log (one for each half-year), blinding the index, wrapping view
keys (one for each month and retention class, so that destroying one ends every view of that class, backups
included). A KMS takes the folder's place by implementing `KeyRing`.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Protocol

from broker.errors import KeyMissing, SetupError

_HALF_YEAR = re.compile(r"[0-9]{4}h[12]", re.ASCII)
_CLASS = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])\.[a-z][a-z0-9-]{0,31}", re.ASCII)


class KeyRing(Protocol):
    """What the broker asks of whatever keeps its keys."""

    def signing_seed(self) -> bytes:
        """32 bytes: the Ed25519 seed that signs the deployment's first log; made if it is not there."""

    def make_log_seed(self, half_year: str) -> bytes:
        """32 bytes: the seed of that half-year's log (`2027h1`), after a rotation; made if it is not there."""

    def log_seed(self, half_year: str) -> bytes | None:
        """The same; None where it is not there."""

    def index_key(self) -> bytes:
        """32 bytes: blinds identifiers in keys, claims and the index."""

    def make_wrapping_key(self, month: str, retention: str) -> bytes:
        """32 bytes: wraps the view key of that month (YYYY-MM) and retention class; made if it is not there."""

    def wrapping_key(self, month: str, retention: str) -> bytes:
        """The same of an earlier use. Raises KeyMissing where it is not there: it is never made again."""

    def destroy_wrapping_key(self, month: str, retention: str) -> None:
        """End it for good, in this ring: copies elsewhere are not its to know. Nothing where it is gone."""


class FolderKeys:
    """Keys as files of mode 0600 in a folder of mode 0700. Several workers may share the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _private_folder(folder)
        _private_folder(folder / "views")

    def signing_seed(self) -> bytes:
        """In `log.key`."""
        return _secret(self._folder / "log.key")

    def make_log_seed(self, half_year: str) -> bytes:
        """In `logs/<half-year>.key`."""
        path = self._log_key(half_year)
        _private_folder(path.parent)
        return _secret(path)

    def log_seed(self, half_year: str) -> bytes | None:
        """In `logs/<half-year>.key`."""
        try:
            return _read(self._log_key(half_year))
        except FileNotFoundError:
            return None

    def index_key(self) -> bytes:
        """In `index.key`."""
        return _secret(self._folder / "index.key")

    def make_wrapping_key(self, month: str, retention: str) -> bytes:
        """In `views/<month>.<class>.key`."""
        return _secret(self._view_key(month, retention))

    def wrapping_key(self, month: str, retention: str) -> bytes:
        """In `views/<month>.<class>.key`. That it is not there says nothing of why: the database knows
        whether it was destroyed."""
        path = self._view_key(month, retention)
        try:
            return _read(path)
        except FileNotFoundError as e:
            raise KeyMissing(
                f"the key of {month}, {retention} is not in the key folder, and was not destroyed: bring back "
                f"views/{path.name} from a copy, or mount the folder that has it"
            ) from e

    def _log_key(self, half_year: str) -> Path:
        if not _HALF_YEAR.fullmatch(half_year):
            raise ValueError(f"not a half-year: {half_year}")
        return self._folder / "logs" / f"{half_year}.key"

    def destroy_wrapping_key(self, month: str, retention: str) -> None:
        """Overwrite the file, then remove it, each durably. What a disk keeps of what was overwritten
        (journals, flash, snapshots) is the machine's."""
        path = self._view_key(month, retention)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            os.pwrite(handle, secrets.token_bytes(32).hex().encode() + b"\n", 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        path.unlink(missing_ok=True)
        _sync(path.parent)

    def _view_key(self, month: str, retention: str) -> Path:
        name = f"{month}.{retention}"
        if not _CLASS.fullmatch(name):
            raise ValueError(f"not a month and retention class: {name}")
        return self._folder / "views" / f"{name}.key"


def _private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise SetupError(f"cannot make the key folder {folder}: {e.strerror}") from e
    if folder.stat().st_mode & 0o077:
        raise SetupError(f"{folder} can be read by others; run: chmod 700 {folder}")


def _secret(path: Path) -> bytes:
    """The 32 bytes in `path`, made if it is not there."""
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as e:
        raise SetupError(f"cannot make the key {path}: {e.strerror}") from e


def _make(path: Path) -> None:
    """Written whole under another name, then linked, so that two workers starting at once agree on one key and
    a crash leaves none half written; the folder too, since what is sealed under a lost key is lost."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(32).hex().encode() + b"\n")
        os.fsync(handle)
        os.link(fresh, path)
    except FileExistsError:
        pass  # another worker was first; its key counts
    finally:
        os.close(handle)
        fresh.unlink()
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """What was made or removed in a folder survives a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> bytes:
    """The 32 bytes in `path`. Raises FileNotFoundError."""
    try:
        if path.stat().st_mode & 0o077:
            raise SetupError(f"{path} can be read by others; run: chmod 600 {path}")
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError as e:
        raise SetupError(f"{path} does not hold a key (64 hex digits)") from e
    except PermissionError as e:
        raise SetupError(f"cannot read the key {path}: {e.strerror}") from e
    if len(key) != 32:
        raise SetupError(f"{path} holds {len(key)} bytes; a key has 32")
    return key
