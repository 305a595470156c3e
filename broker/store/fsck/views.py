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
from broker.errors import IntegrityError, KeyDestroyed
from broker.keys import KeyRing
from broker.store.packed import Openings, unpack
from broker.store.seal import ViewKey, unwrap

_DECIDED = "decided"  # stands in the full view of a request's end, and in no other


class Of(Enum):
    """What became of an entry's views."""

    GOOD = auto()
    ERASED = auto()
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class Checked:
    """`full` is the full view where it opens; `why` says what is wrong."""

    of: Of
    why: str = ""
    full: Mapping[str, Json] | None = None
    words_erased: bool = False


class Views:
    """Opens views of one database under one key ring."""

    def __init__(self, ring: KeyRing, keys: Sequence[asyncpg.Record]) -> None:
        self._keys: dict[int, ViewKey | KeyDestroyed | IntegrityError] = {}
        for row in keys:
            try:
                self._keys[row["id"]] = unwrap(ring, row)
            except (KeyDestroyed, IntegrityError) as e:
                self._keys[row["id"]] = e

    def wrong_keys(self) -> list[str]:
        """Why view keys do not open that have not been destroyed: another ring, or a changed row."""
        return [
            str(key)
            for key in self._keys.values()
            if isinstance(key, IntegrityError) and not isinstance(key, KeyDestroyed)
        ]

    def check(self, entry: Entry | None, row: asyncpg.Record) -> Checked:
        """One entry against its row of `view` (`key` None: there is none any more).

        Without the entry, whose bytes are kept in an export alone, only that the row opens under its id, and
        that what it holds agrees with itself.
        """
        if row["key"] is None:
            return Checked(Of.ERASED)
        key = self._keys.get(row["key"])
        if key is None or isinstance(key, KeyDestroyed):
            return Checked(Of.ERASED)
        if isinstance(key, IntegrityError):
            return Checked(Of.WRONG, str(key))
        try:
            opened = unpack(key.open(row["views"], row["id"], "views"), committed=entry is not None)
            why = (_commitments(entry, opened) if entry else "") or _parties(opened, row)
            erased = False
            if not why:
                why, erased = self._words(key, row["id"], opened.view, row["words"])
        except IntegrityError as e:
            return Checked(Of.WRONG, str(e))
        except (LookupError, TypeError):
            return Checked(Of.WRONG, "what was sealed is not the views of an entry")
        return Checked(Of.WRONG if why else Of.GOOD, why, opened.view, erased)

    def _words(
        self, key: ViewKey, entry: str, full: Mapping[str, Json], words: bytes | None
    ) -> tuple[str, bool]:
        said = full.get("words")
        if words is None:
            return "", said is not None
        opened = key.open(words, entry, "words")
        if said is None or commit(opened[:SALT_BYTES], opened[SALT_BYTES:]) != said:
            return "its words are not those that the full view commits to", False
        return "", False


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


def _parties(opened: Openings, row: asyncpg.Record) -> str:
    """The agencies that may read it, where the full view of a request says which they are.

    One that has given up its part stands there no more; another in its place is wrong.
    """
    full = opened.view
    if _DECIDED not in full:
        return ""
    provider = full.get("provider") if opened.provider else None
    if row["requester_agency"] and row["requester_agency"] != full.get("requester"):
        return "the agency that may read it as its requester is not the one that asked"
    if row["provider_agency"] and row["provider_agency"] != provider:
        return "the agency that may read it as its provider is not the one that was asked"
    return ""
