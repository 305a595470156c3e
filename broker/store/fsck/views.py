"""Whether what was sealed of an entry opens to what the entry commits to.

Owns one row's judgement: good, erased, or wrong and why. What it opens it forgets; nothing is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import asyncpg

from broker.core.canonical import Json
from broker.core.entry import SALT_BYTES, Entry, Opening, commit
from broker.errors import IntegrityError, KeyDestroyed, KeyMissing
from broker.keys import KeyRing
from broker.store.packed import Openings, unpack
from broker.store.said import SIDES, WORDS
from broker.store.seal import ViewKey, unwrap


class Of(Enum):
    """What became of an entry's views."""

    GOOD = auto()
    GONE = auto()
    UNOPENED = auto()
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class Checked:
    """`full` is the full view where it opens; `why` says what is wrong. Of what is gone: the month and class
    whose key was destroyed (`ended`), and what an entry that stands has given up (`parts`: sides, words).
    `words` are what somebody said, None where they are gone."""

    of: Of
    why: str = ""
    full: Mapping[str, Json] | None = None
    parts: tuple[str, ...] = ()
    ended: tuple[str, str] | None = None
    words: str | None = ""
    openings: Openings | None = None


class Views:
    """Opens views of one database under one key ring."""

    def __init__(self, ring: KeyRing, keys: Sequence[asyncpg.Record]) -> None:
        self._keys: dict[int, ViewKey | KeyMissing | IntegrityError] = {}
        self._ended: dict[int, tuple[str, str]] = {}
        self._months = {row["id"]: row["month"] for row in keys}
        for row in keys:
            try:
                self._keys[row["id"]] = unwrap(ring, row)
            except KeyDestroyed:
                self._ended[row["id"]] = row["month"], row["class"]
            except (KeyMissing, IntegrityError) as e:
                self._keys[row["id"]] = e

    def wrong_keys(self) -> list[str]:
        """Why view keys do not open that have not been destroyed: not in the ring, another's, or a changed
        row."""
        return [str(key) for key in self._keys.values() if not isinstance(key, ViewKey)]

    def opened(self, key: int, sealed: bytes, row: str, what: str) -> bool:
        """Whether a part of a row opens as what it was sealed as; also where its key is not at hand."""
        found = self._keys.get(key)
        if not isinstance(found, ViewKey):
            return found is not None or key in self._ended
        try:
            found.open(sealed, row, what)
        except IntegrityError:
            return False
        return True

    def opens(self) -> list[int]:
        """The numbers of the keys that open here."""
        return [number for number, key in self._keys.items() if isinstance(key, ViewKey)]

    def check(self, entry: Entry | None, row: asyncpg.Record) -> Checked:
        """One entry against its row of `view` (`key` None: there is none any more).

        Without the entry, whose bytes are kept in an export alone, only that the row opens under its id, and
        that what it holds agrees with itself.
        """
        if row["key"] is None:
            return Checked(Of.GONE)
        if (ended := self._ended.get(row["key"])) is not None:
            return Checked(Of.GONE, ended=ended)
        key = self._keys.get(row["key"])
        if key is None:
            return Checked(Of.WRONG, f"it is sealed under key {row['key']}, which there is not")
        if isinstance(key, KeyMissing):
            return Checked(Of.UNOPENED)
        if isinstance(key, IntegrityError):
            return Checked(Of.WRONG, str(key))
        words: str | None = ""
        try:
            opened = unpack(key.open(row["views"], row["id"], "views"), committed=entry is not None)
            why, parts = _parties(opened, row)
            why = (_commitments(entry, opened) if entry else "") or why
            if entry is not None and self._months[row["key"]] != f"{entry.at:%Y-%m}":
                why = why or f"it is sealed under the key of {self._months[row['key']]}, not of its own month"
            if not why:
                why, words = self._words(key, row["id"], opened.view, row["words"])
                parts = (*parts, WORDS) if words is None else parts
        except IntegrityError as e:
            return Checked(Of.WRONG, str(e))
        except (LookupError, TypeError):
            return Checked(Of.WRONG, "what was sealed is not the views of an entry")
        return Checked(Of.WRONG if why else Of.GOOD, why, opened.view, parts, words=words, openings=opened)

    def _words(
        self, key: ViewKey, entry: str, full: Mapping[str, Json], words: bytes | None
    ) -> tuple[str, str | None]:
        """What is wrong with them, and what they say: None where they are gone."""
        said = full.get("words")
        if words is None:
            return "", "" if said is None else None
        opened = key.open(words, entry, "words")
        if said is None or commit(opened[:SALT_BYTES], opened[SALT_BYTES:]) != said:
            return "its words are not those that the full view commits to", ""
        return "", opened[SALT_BYTES:].decode()


def _commitments(entry: Entry, opened: Openings) -> str:
    pairs: tuple[tuple[str, Opening | None, str], ...] = (
        ("full", opened.full, entry.full),
        ("requester's", opened.requester, entry.requester),
        ("provider's", opened.provider, entry.provider),
    )
    for whose, opening, commitment in pairs:
        if opening is not None and opening.commitment() != commitment:
            return f"its {whose} view is not the one that the entry commits to"
    return ""


def _parties(opened: Openings, row: asyncpg.Record) -> tuple[str, tuple[str, ...]]:
    """The agencies that may read it, against those that the full view names: what is wrong, and whose part was
    given up. One that has given up its part stands there no more; another in its place is wrong."""
    full, parts = opened.view, list[str]()
    for side, what in zip(SIDES, ("asked", "was asked"), strict=True):
        stands, party = row[f"{side}_agency"], full.get(side) if opened.of(side) else None
        if stands and stands != party:
            return f"the agency that may read it as its {side} is not the one that {what}", ()
        if party and not stands:
            parts.append(side)
    return "", tuple(parts)
