"""What a witness has cosigned last of each log: one file for each, durable before anything is signed.

Refuses to be opened twice, to go back, to hold two roots for a size, and files that are not as it left them.
A signature is made only of what is on disk: a crash at any moment leaves at most a checkpoint that was kept and
never cosigned.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.note import MAX_NOTE_BYTES
from broker.errors import IntegrityError, SetupError
from broker.offline import files


class WitnessState:
    """A folder that one process holds until it ends, however it ends."""

    def __init__(self, folder: Path, logs: Mapping[str, tuple[Verifier, ...]]) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[Checkpoint, bytes]] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise SetupError(f"cannot open the state folder {folder}: {e.strerror}") from e
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._lock)
            raise SetupError(f"{folder} is in use by another witness process") from e
        try:
            for origin, keys in logs.items():
                self._load(origin, keys)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._lock)

    def seen(self, origin: str) -> Checkpoint | None:
        """The last checkpoint kept of a log."""
        kept = self._seen.get(origin)
        return kept[0] if kept else None

    def note(self, origin: str) -> bytes | None:
        """The same as the log signed it."""
        kept = self._seen.get(origin)
        return kept[1] if kept else None

    def keep(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Remember a checkpoint; on the disk before this returns.

        Raises:
            IntegrityError: it is smaller than the one kept, or has another root.
            OSError: it could not be made durable, and perhaps was: it may not be signed.
        """
        last = self.seen(checkpoint.origin)
        if last is not None:
            if checkpoint.size < last.size:
                raise IntegrityError("a smaller checkpoint than the one that was cosigned last")
            if checkpoint.size == last.size:
                if checkpoint.root != last.root:
                    raise IntegrityError("another root than the one that was cosigned for this size")
                return
        self._write(self._path(checkpoint.origin), note)
        self._seen[checkpoint.origin] = (checkpoint, note)

    def convict(self, origin: str, note: bytes) -> Path | None:
        """Put both notes of a log that signed two roots for one size where they stay; None if some are there.

        The first pair convicts the log's key; more would only fill the disk.
        """
        path = self._path(origin).with_suffix(".fork")
        ours = self.note(origin)
        if ours is None or path.exists():
            return None
        self._write(path, ours + b"\n" + note)
        return path

    def _path(self, origin: str) -> Path:
        return self._folder / f"{hashlib.sha256(origin.encode()).hexdigest()[:32]}.checkpoint"

    def _load(self, origin: str, keys: tuple[Verifier, ...]) -> None:
        path = self._path(origin)
        try:
            note = files.read(path, MAX_NOTE_BYTES)
            checkpoint = open_checkpoint(note, keys)
        except FileNotFoundError:
            return
        except (OSError, IntegrityError) as e:
            raise SetupError(
                f"{path} is not what was cosigned last of {origin} ({e}): bring it back; a witness that "
                "forgets would cosign a second history"
            ) from e
        if checkpoint.origin != origin:
            raise SetupError(f"{path} is of {checkpoint.origin}, not of {origin}")
        self._seen[origin] = (checkpoint, note)

    def _write(self, path: Path, data: bytes) -> None:
        staged = path.with_name(f".{path.name}")  # one process writes, one file at a time
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
