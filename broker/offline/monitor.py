"""A watch on one log: that it only ever grows, and never shows two faces.

Keeps the last checkpoint it believed (`memory`), and moves it forward only over a consistency proof made of
checked tiles. What it finds is one of the words of `Verdict`; a fork comes with both signed notes, which
convict the log's key before anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.merkle import verify_consistency
from broker.core.note import Note
from broker.core.rotation import split_origin
from broker.core.tiles import consistency_proof, tiles_for_consistency
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError, SetupError
from broker.offline.memory import Memory, size_of
from broker.offline.rotation import MOST, half_of, leads_to, next_key, origin_of
from broker.offline.source import Missing, Source, Unreadable


class Verdict(StrEnum):
    """What a look found."""

    FIRST = "first"
    SAME = "same"
    GROWN = "grown"
    BAD = "bad"
    ROLLBACK = "rollback"
    FORK = "fork"
    UNREADABLE = "unreadable"
    FAILED = "failed"


EXITS = {
    Verdict.FIRST: 0,
    Verdict.SAME: 0,
    Verdict.GROWN: 0,
    Verdict.BAD: 1,
    Verdict.ROLLBACK: 4,
    Verdict.FORK: 5,
    Verdict.UNREADABLE: 6,
    Verdict.FAILED: 2,
}
"""Exit codes by verdict. FAILED says nothing of the log: our own state could not be read or written."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look: what it found in a sentence, what was believed before and what was shown now (signed notes)."""

    verdict: Verdict
    text: str
    origin: str = ""
    size: int = 0
    before: bytes = b""
    shown: bytes = b""

    @property
    def alarm(self) -> bool:
        """Whether somebody must be woken."""
        return self.verdict in (Verdict.BAD, Verdict.ROLLBACK, Verdict.FORK)

    @property
    def sound(self) -> bool:
        """Whether the log was looked at, and is as it should be."""
        return self.verdict in (Verdict.FIRST, Verdict.SAME, Verdict.GROWN)


def look(source: Source, verifiers: Sequence[Verifier], memory: Memory) -> Look:
    """Look once, and remember what is believed now. Raises nothing that a log or a state file can cause.

    Where the log was rotated since, the old one is looked at a last time and followed to the new one, whose key
    need not be among `verifiers`.
    """
    try:
        return _look(source, verifiers, memory)
    except Unreadable as e:
        return Look(Verdict.UNREADABLE, str(e))
    except SetupError as e:
        return Look(Verdict.FAILED, str(e))
    except _Alarm as e:
        return e.look


def _look(source: Source, verifiers: Sequence[Verifier], memory: Memory) -> Look:
    memory.notes()  # or what a log shows would be judged before it is known whether it can be compared
    try:
        shown = source.checkpoint()
    except IntegrityError as e:
        return Look(Verdict.BAD, f"the checkpoint is not the log's: {e}")
    try:
        verifiers, led = _followed(source, shown, verifiers, memory)
    except IntegrityError as e:
        return Look(Verdict.BAD, f"the log before does not lead to this one: {e}", shown=shown)
    try:
        now = open_checkpoint(shown, verifiers)
    except IntegrityError as e:
        return Look(Verdict.BAD, f"the checkpoint is not the log's: {e}", shown=shown)
    _look_at_others(source, now.origin, verifiers, memory)
    note = memory.notes().get(now.origin)
    if note is None:
        return _first(source, now, shown, memory, led)
    found = _held(source, now, note, verifiers, memory)
    if found.verdict is Verdict.GROWN:
        memory.keep(now.origin, shown)
    return Look(found.verdict, found.text, now.origin, now.size, found.before, shown)


class _Alarm(Exception):  # noqa: N818 - it is none of ours to name
    def __init__(self, look: Look) -> None:
        super().__init__(look.text)
        self.look = look


def _followed(
    source: Source, shown: bytes, verifiers: Sequence[Verifier], memory: Memory
) -> tuple[tuple[Verifier, ...], str]:
    """The keys that are believed, and those that the logs before this one lead to; and which these are, in
    words.

    Raises IntegrityError where a link does not hold, _Alarm where a log before has changed, Unreadable.
    """
    believed, wanted, notes = tuple(verifiers), origin_of(shown), memory.notes()
    held = {each.name for each in believed}
    before = [name for name in notes if leads_to(name, wanted)]
    if (wanted in notes and wanted in held) or (not before and wanted in held):
        return believed, ""
    known = [name for name in before if name in held]
    origin = max(known or [name for name in held if leads_to(name, wanted)], default="")
    steps, led = 0, ""
    while origin and origin != wanted:
        if (steps := steps + 1) > MOST:
            raise IntegrityError(f"rotation: more than {MOST} logs")
        old = half_of(source, origin)
        end = old.checkpoint()
        final = open_checkpoint(end, believed)
        if final.origin != origin:
            raise IntegrityError(f"{old.name} is {final.origin}")
        _look_last(old, final, end, believed, memory)
        led = f"; {final.origin} was closed with {final.size} entries and leads here"
        key, head, note = next_key(old, final, source, believed)
        believed = (key, *(each for each in believed if each.name != key.name))
        if key.name != wanted and key.name not in notes:
            memory.keep(head.origin, note)
        origin = key.name
    return believed, led


def _look_at_others(source: Source, origin: str, verifiers: Sequence[Verifier], memory: Memory) -> None:
    """Hold every other log that is remembered against what is shown of it now: none may go.

    Nothing where the one that is looked at was named by its half-year: beside that stands no other. Raises
    _Alarm, Unreadable; SetupError where what is remembered is signed by no key that is held.
    """
    if source.name.rstrip("/").endswith(f"/{split_origin(origin)[1]}"):
        return
    for name, note in memory.notes().items():
        if name == origin or not (leads_to(name, origin) or leads_to(origin, name)):
            continue
        there = half_of(source, name)
        try:
            end = there.checkpoint()
        except Missing:
            size = Checkpoint.parse(Note.parse(note).text).size
            text = f"{name}, which had {size} entries, is not there any more"
            raise _Alarm(Look(Verdict.BAD, text, name, size, note)) from None
        except IntegrityError as e:
            raise _Alarm(Look(Verdict.BAD, f"{name}: the checkpoint is not the log's: {e}", name)) from e
        if end.partition(b"\n\n")[0] == note.partition(b"\n\n")[0]:
            continue  # witnesses may have cosigned it since
        memory.believed(name, note, verifiers)
        try:
            now = open_checkpoint(end, verifiers)
        except IntegrityError as e:
            text = f"{name}: the checkpoint is not the log's: {e}"
            raise _Alarm(Look(Verdict.BAD, text, name, before=note, shown=end)) from e
        if now.origin != name:
            text = f"{there.name} is {now.origin}, and was {name}"
            raise _Alarm(Look(Verdict.BAD, text, name, before=note, shown=end))
        _look_last(there, now, end, verifiers, memory)


def _look_last(
    old: Source, final: Checkpoint, end: bytes, verifiers: Sequence[Verifier], memory: Memory
) -> None:
    """Hold a log that has been closed against what was believed of it."""
    note = memory.notes().get(final.origin)
    if note is None:
        return
    found = _held(old, final, note, verifiers, memory)
    if found.verdict not in (Verdict.SAME, Verdict.GROWN):
        raise _Alarm(Look(found.verdict, found.text, final.origin, final.size, found.before, end))
    if found.verdict is Verdict.GROWN:
        memory.keep(final.origin, end)


def _first(source: Source, now: Checkpoint, shown: bytes, memory: Memory, led: str) -> Look:
    """Nothing is known yet: the right edge at least must make the root."""
    try:
        VerifiedTiles(now.size, now.root, source.tile)
    except Unreadable as e:
        return Look(Verdict.UNREADABLE, str(e), now.origin, now.size, shown=shown)
    except IntegrityError as e:
        return Look(Verdict.BAD, str(e), now.origin, now.size, shown=shown)
    memory.keep(now.origin, shown)
    text = f"{now.size} entries, watched from here on{led}"
    return Look(Verdict.FIRST, text, now.origin, now.size, shown=shown)


def _held(source: Source, now: Checkpoint, note: bytes, verifiers: Sequence[Verifier], memory: Memory) -> Look:
    """What is shown now, held against what was believed; with the note that it was held against in the end.

    Where it is shorter, that is the longest that was believed before and is no longer: two signed histories are
    told from one that was cut, unless they part only behind that one.
    """
    before = memory.believed(now.origin, note, verifiers)
    if now.size >= before.size:
        return replace(_compare(source, before, now), before=note)
    text = f"the log had {before.size} entries and shows {now.size}: some were taken back"
    shorter = [each for each in memory.earlier(now.origin) if 0 < size_of(each) <= now.size]
    if shorter:
        found = _compare(source, memory.believed(now.origin, shorter[-1], verifiers), now)
        if found.verdict is Verdict.FORK:
            return replace(found, text=f"{found.text}; the log had {before.size}", before=shorter[-1])
        if found.verdict in (Verdict.SAME, Verdict.GROWN):
            text += f"; its first {size_of(shorter[-1])} are as they were"
    return Look(Verdict.ROLLBACK, text, before=note)


def _compare(source: Source, before: Checkpoint, now: Checkpoint) -> Look:
    """Of a history that is as long, or longer."""
    if now.size == before.size:
        if now.root == before.root:
            return Look(Verdict.SAME, f"{now.size} entries, as before")
        return Look(Verdict.FORK, f"two roots were signed for {now.size} entries")
    try:
        proof = _proof(source, before.size, now)
    except Missing as e:
        return Look(Verdict.BAD, f"a tile that the checkpoint needs is not there: {e}")
    except Unreadable as e:
        return Look(Verdict.UNREADABLE, str(e))
    except IntegrityError as e:
        return Look(Verdict.BAD, str(e))
    try:
        verify_consistency(before.size, before.root, now.size, now.root, proof)
    except IntegrityError:
        return Look(
            Verdict.FORK,
            f"the {now.size} entries signed now do not begin with the {before.size} signed before",
        )
    return Look(Verdict.GROWN, f"{now.size} entries, {now.size - before.size} more, all after the others")


def _proof(source: Source, size: int, now: Checkpoint) -> tuple[bytes, ...]:
    """The tiles' own proof: each is checked against the root of now, so the proof says what that root says."""
    tiles = VerifiedTiles(now.size, now.root, source.tile)
    for tile in tiles_for_consistency(size, now.size):
        tiles.read(tile)
    return consistency_proof(size, now.size, tiles.read)
