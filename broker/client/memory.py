"""Owns what is remembered of the logs, in memory and, if wanted, in one file that outlives the process.

The file is replaced in one step and synced. It holds each log's newest proven checkpoint, those that wait to be
proven, and, once a log has contradicted itself, the two checkpoints that show it: from then on nothing is
believed until somebody has looked and moved the file away. Refuses a file that does not verify under the keys
given. One file serves one process.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from broker.client.believed import Learnt
from broker.client.trail import Contradiction, Seen, Trail
from broker.core import canonical
from broker.core.canonical import Json
from broker.errors import IntegrityError, SetupError
from broker.pki.files import read_file, replace

_VERSION = 1

OpenNote = Callable[[bytes], Seen]


class Memory:
    """The trails of all logs seen, by origin, and whether one has contradicted itself."""

    def __init__(self) -> None:
        self.trails: dict[str, Trail] = {}
        self.learnt: Sequence[Learnt] = ()
        self.contradiction: Contradiction | None = None
        self.changed = False

    @property
    def current(self) -> Trail | None:
        """The trail of the newest log seen: names of half-years sort by time."""
        return self.trails[max(self.trails)] if self.trails else None

    @property
    def behind(self) -> Trail | None:
        """A trail on which something waits to be proven, the newest such."""
        return next(
            (self.trails[each] for each in sorted(self.trails, reverse=True) if self.trails[each].behind), None
        )

    def observe(self, seen: Seen) -> None:
        """Take note of a checkpoint that verified. Raises Contradiction, now and at every later call."""
        if self.contradiction is not None:
            raise self.again()
        origin = seen.checkpoint.origin
        trail = self.trails.get(origin)
        if trail is None:
            self.trails[origin] = Trail(seen, choose=secrets.randbelow)
            self.changed = True
            return
        try:
            self.changed = trail.observe(seen) or self.changed
        except Contradiction as error:
            self.contradict(error)
            raise

    def contradict(self, error: Contradiction) -> None:
        """Remember for good that a log contradicted itself."""
        self.contradiction = self.contradiction or error
        self.changed = True

    def again(self) -> Contradiction:
        """The contradiction as a fresh error."""
        known = self.contradiction
        if known is None:
            raise AssertionError("no log has contradicted itself")
        why = str(known).partition("contradicts itself: ")[2]
        return Contradiction(why, known.first, known.second)

    async def persist(self, path: Path | None) -> None:
        """Write what has changed into the file, where there is one. Raises SetupError."""
        if path is None:
            self.changed = False
        elif self.changed:
            data = self.to_bytes()
            self.changed = False
            try:
                await asyncio.to_thread(save, path, data)
            except SetupError:
                self.changed = True
                raise

    def to_bytes(self) -> bytes:
        """Canonical JSON of all that is remembered."""
        broken = self.contradiction
        links: list[Json] = [each.as_json() for each in self.learnt]
        return canonical.encode(
            {
                "v": _VERSION,
                "logs": [_trail(t) for t in self.trails.values()],
                "links": links,
                "contradiction": None if broken is None else [_text(broken.first), _text(broken.second)],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, open_note: OpenNote, learn: Callable[[Learnt], None]) -> Memory:
        """Return what was remembered; what was learnt of later keys is told first.

        Raises IntegrityError for a note that does not open or a wrong form.
        """
        memory = cls()
        fields = canonical.decode_object(data)
        logs, broken = fields.get("logs"), fields.get("contradiction")
        if fields.get("v") != _VERSION or not isinstance(logs, list):
            raise IntegrityError("memory: not of a form that is known here")
        for each in _list(fields.get("links", [])):
            learn(Learnt.from_json(each))
        for log in logs:
            if not isinstance(log, dict):
                raise IntegrityError("memory: not of a form that is known here")
            proven = open_note(_note(log.get("proven")))
            waiting = [open_note(_note(each)) for each in _list(log.get("waiting"))]
            memory.trails[proven.checkpoint.origin] = Trail(proven, waiting, choose=secrets.randbelow)
        if broken is not None:
            first, second = (open_note(_note(each)) for each in _list(broken))
            memory.contradiction = Contradiction("remembered from an earlier run", first, second)
        return memory


def load(path: Path, open_note: OpenNote, learn: Callable[[Learnt], None]) -> Memory:
    """What the file remembers; nothing where there is no file. Raises SetupError, IntegrityError naming it."""
    if not path.exists():
        return Memory()
    try:
        return Memory.from_bytes(read_file(path), open_note, learn)
    except (IntegrityError, ValueError) as error:
        raise IntegrityError(f"{path}: {error}") from error


def save(path: Path, data: bytes) -> None:
    """Replace the file in one step, and sync it and its folder. Blocks. Raises SetupError."""
    replace(path, data, 0o600)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SetupError(f"cannot sync {path.parent}: {error.strerror}") from error


def _trail(trail: Trail) -> Json:
    waiting: list[Json] = [_text(seen) for seen in trail.waiting]
    return {"proven": _text(trail.proven), "waiting": waiting}


def _text(seen: Seen) -> str:
    return seen.note.decode("utf-8")


def _note(value: Json | None) -> bytes:
    if not isinstance(value, str):
        raise IntegrityError("memory: a checkpoint that is not text")
    return value.encode("utf-8")


def _list(value: Json | None) -> list[Json]:
    if not isinstance(value, list):
        raise IntegrityError("memory: not of a form that is known here")
    return value
