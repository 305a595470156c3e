"""What the log itself says went: views of its entries, directives, entries' bytes.

An erasure's entry names what it erased by id, and of which of those only one party's part: the rest of such an
entry is there until the other party gives up its own. A retention's entry names the month and class that it
ended, and how many entries lost their views by it; that of a dropped partition the log, and the digest of what
was exported. Each is opened, and held against what its leaf commits to, before it is heard. Tables say nothing
here: they can be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from broker.core.canonical import Json
from broker.core.retention import CHANGES

SIDES = ("requester", "provider")
WORDS = "words"
Ended = tuple[str, str]  # a month and a class


class Said:
    """What has been heard: by `fsck` of all logs of a database, by a replay of the entries it was led to."""

    def __init__(self) -> None:
        self.ended: dict[Ended, int | None] = {}
        # Which entry says so, here and in each of the following.
        self.ended_by: dict[Ended, str] = {}
        # By what of an entry went: all of it, one side's part, its words.
        self._whole = dict[bytes, str]()
        self._parts = {part: dict[bytes, str]() for part in (*SIDES, WORDS)}
        self._directives = dict[bytes, str]()
        # By a log's name and the number of a partition: digest and place of its export.
        self._dropped: dict[tuple[str, int], set[tuple[str, str]]] = {}

    def hear(self, full: Mapping[str, Json], by: str = "") -> None:
        """A full view that has been verified, of the entry of this id."""
        heard = _HEARD.get(str(full.get("event")))
        if heard is not None and isinstance(detail := full.get("detail"), dict):
            heard(self, detail, by)

    def gave_up(self, entry: bytes, part: str) -> bool:
        """Whether an erasure says that this part of an entry went: a side's, or its words."""
        return entry in self._parts[part] or (part in SIDES and entry in self._whole)

    def erased(self) -> list[bytes]:
        """The entries of which erasures say that no party keeps them any more."""
        first, second = (self._parts[side] for side in SIDES)
        return [*(self._whole.keys() | (first.keys() & second.keys()))]

    def named(self) -> list[bytes]:
        """The entries of which erasures say that anything went."""
        return [*set(self._whole).union(*self._parts.values())]

    def by(self, entry: bytes, part: str) -> str:
        """The erasure that says that this part of an entry went; empty where none does."""
        return self._parts[part].get(entry, "") or (self._whole.get(entry, "") if part in SIDES else "")

    def directive_by(self, directive: bytes) -> str:
        """The erasure that says that a directive went; empty where none does."""
        return self._directives.get(directive, "")

    def is_erased(self, entry: bytes) -> bool:
        """Whether it is among those."""
        return all(self.gave_up(entry, side) for side in SIDES)

    def directive(self, directive: bytes) -> bool:
        """Whether a directive was erased, or went with the changes of a month, as all do that are withdrawn."""
        return directive in self._directives or any(name == CHANGES for _, name in self.ended)

    def silent(self, month: str) -> bool:
        """Whether what was said of this month, then or later, may have ended itself."""
        return any(name == CHANGES and month <= ended for ended, name in self.ended)

    def allowed(self, month: str) -> int | None:
        """How many entries of a month lost their views by retention; None: it is not said."""
        counts = [count for (ended, _), count in self.ended.items() if ended == month]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def dropped(self, log: str, partition: int, digest: str, place: str) -> bool:
        """Whether it says that a partition was dropped, and that this is its export."""
        return (digest, place) in self._dropped.get((log, partition), ())

    def _erasure(self, detail: Mapping[str, Json], by: str) -> None:
        parts = detail.get("parts")
        only = {side: _ids(parts.get(side)) if isinstance(parts, dict) else set[bytes]() for side in SIDES}
        self._whole |= dict.fromkeys(_ids(detail.get("entries")).difference(*only.values()), by)
        for side, given_up in only.items():
            self._parts[side] |= dict.fromkeys(given_up, by)
        self._parts[WORDS] |= dict.fromkeys(_ids(detail.get("words")), by)
        self._directives |= dict.fromkeys(_ids(detail.get("directives")), by)

    def _retention(self, detail: Mapping[str, Json], by: str) -> None:
        month, name, count = detail.get("month"), detail.get("class"), detail.get("entries")
        if isinstance(month, str) and isinstance(name, str):
            self.ended[month, name] = count if isinstance(count, int) else None
            self.ended_by[month, name] = by

    def _drop(self, detail: Mapping[str, Json], _by: str) -> None:
        log, partition = detail.get("log"), detail.get("partition")
        if isinstance(log, str) and isinstance(partition, int):
            export = str(detail.get("digest")), str(detail.get("place"))
            self._dropped.setdefault((log, partition), set()).add(export)


_HEARD = {"erasure": Said._erasure, "retention": Said._retention, "partition-dropped": Said._drop}


def _ids(listed: Json) -> set[bytes]:
    found = set[bytes]()
    for each in listed if isinstance(listed, list) else ():
        try:
            found.add(UUID(str(each)).bytes)
        except ValueError:
            continue
    return found
