"""What a monitor believed last of each log: signed notes, in one file that is replaced whole or not at all.

Whatever is wrong with that file is no fault of a log, and raises SetupError, which says what to do.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.note import MAX_NOTE_BYTES
from broker.errors import IntegrityError, SetupError
from broker.offline import files

_MAX_STATE = 64 * MAX_NOTE_BYTES


class Memory:
    """The file may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def notes(self) -> dict[str, bytes]:
        """Signed notes by origin. Raises SetupError where the file is not one of ours, or cannot be read."""
        try:
            kept = json.loads(files.read(self._path, _MAX_STATE))["checkpoints"]
            return {origin: note.encode("utf-8") for origin, note in kept.items()}
        except FileNotFoundError:
            if self._path.parent.is_dir():
                return {}
            raise SetupError(f"{self._path.parent} is no folder: name the state file in one that is") from None
        except OSError as e:
            raise SetupError(f"the state {self._path} cannot be read: {e.strerror or e}") from e
        except (IntegrityError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as e:
            raise SetupError(f"{self._path} is not a monitor's state: move it away to begin anew") from e

    def believed(self, origin: str, note: bytes, verifiers: Sequence[Verifier]) -> Checkpoint:
        """The checkpoint of a note that was kept. Raises SetupError where none of these keys signed it."""
        try:
            before = open_checkpoint(note, verifiers)
        except IntegrityError as e:
            raise SetupError(
                f"what {self._path} holds of {origin} is signed by no key that was given ({e}): give the key "
                "that it was believed with too, or move the state away to begin anew"
            ) from e
        if before.origin != origin:
            raise SetupError(
                f"{self._path} holds a note of {before.origin} as {origin}: move it away to begin anew"
            )
        return before

    def keep(self, origin: str, note: bytes) -> None:
        """Remember a note: durable before this returns. Raises SetupError where it cannot be."""
        kept = {name: each.decode("utf-8") for name, each in {**self.notes(), origin: note}.items()}
        try:
            self._replace({"checkpoints": kept})
        except OSError as e:
            raise SetupError(f"the state {self._path} cannot be written: {e.strerror or e}") from e

    def _replace(self, state: dict[str, dict[str, str]]) -> None:
        folder = self._path.parent
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(state, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:  # whatever ends it, nothing is left lying about
            Path(name).unlink(missing_ok=True)
            raise
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
