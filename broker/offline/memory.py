"""What a monitor believed of each log: signed notes, in one file that is replaced whole or not at all.

The last one decides. Some of those before it are kept as well, close together where the log was read lately and
far apart before: a history that is shorter than the last one is held against them. Whatever is wrong with that
file is no fault of a log, and raises SetupError, which says what to do.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.note import MAX_NOTE_BYTES, Note
from broker.errors import IntegrityError, SetupError
from broker.offline import files

EARLIER = 64  # notes of a log that are kept beside the last one
_MAX_STATE = 64 * MAX_NOTE_BYTES
_LONGEST = 4096  # bytes of a note that is kept beside the last one


class Memory:
    """The file may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def notes(self) -> dict[str, bytes]:
        """Signed notes by origin. Raises SetupError where the file is not one of ours, or cannot be read."""
        return self._read()[0]

    def earlier(self, origin: str) -> list[bytes]:
        """Signed notes of a log that were believed before the last one, the shortest first."""
        return self._read()[1].get(origin, [])

    def _read(self) -> tuple[dict[str, bytes], dict[str, list[bytes]]]:
        try:
            state = json.loads(files.read(self._path, _MAX_STATE))
            last, before = state["checkpoints"], state.get("earlier", {})
            earlier = {origin: [note.encode("utf-8") for note in notes] for origin, notes in before.items()}
            for notes in earlier.values():
                sizes = [size_of(note) for note in notes]
                if sizes != sorted(sizes) or len(notes) > EARLIER:
                    raise ValueError("not as it was kept")
            return {origin: note.encode("utf-8") for origin, note in last.items()}, earlier
        except FileNotFoundError:
            if self._path.parent.is_dir():
                return {}, {}
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
        last, earlier = self._read()
        if (before := last.get(origin)) is not None and len(before) <= _LONGEST:
            earlier[origin] = _thinned([*earlier.get(origin, []), before], size_of(note))
        state = {
            "checkpoints": {name: each.decode("utf-8") for name, each in {**last, origin: note}.items()},
            "earlier": {name: [each.decode("utf-8") for each in notes] for name, notes in earlier.items()},
        }
        try:
            self._replace(state)
        except OSError as e:
            raise SetupError(f"the state {self._path} cannot be written: {e.strerror or e}") from e

    def _replace(self, state: Mapping[str, object]) -> None:
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


def size_of(note: bytes) -> int:
    """How many entries a note says, without a look at who signed it. Raises IntegrityError."""
    return Checkpoint.parse(Note.parse(note).text).size


def _thinned(notes: list[bytes], size: int) -> list[bytes]:
    """At most EARLIER of them: one goes whose neighbours lie closest, for how far they lie before `size`."""
    if len(notes) <= EARLIER:
        return notes
    sizes = [*map(size_of, notes), size]

    def gap(at: int) -> float:
        return (sizes[at + 1] - sizes[at - 1]) / (size - sizes[at - 1] or 1)

    least = min(range(1, len(notes)), key=gap)
    return [*notes[:least], *notes[least + 1 :]]
