"""Entries that are written with a stencil: what many of them say alike is checked and written once.

Owns no form of its own. What comes out is, byte for byte, what `seal_entry` makes of the whole views, and opens
to them again; a property test holds it to that. Where a draft has no halves, or is the first of its kind, there
is no stencil, and it is written the long way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from datetime import datetime
from operator import itemgetter
from typing import TypeVar

from msgspec import Struct

from broker.core.canonical import Json, check
from broker.core.entry import SealedEntry, seal_entry, seal_views
from broker.core.views import check_full_view
from broker.ids import random_bytes
from broker.ports import Draft, Shown
from broker.store.fastjson import encode, write, write_each
from broker.store.packed import PROVIDER, REQUESTER, joined, pack, shared
from broker.store.terms import BlindTerms

Value = TypeVar("Value")
_IN_FULL = (None, Shown.IN_FULL)


class Written(Struct, frozen=True):
    """An entry, its views' openings as they are to be sealed, and what it is found by, as array literals.

    `at` is the time as it stands in the leaf.
    """

    at: datetime
    sealed: SealedEntry
    openings: bytes
    found_by: tuple[str, str]


class _Text:
    """The canonical text of an object, with blanks where some of its values go."""

    def __init__(self, keys: Collection[str], common: Mapping[str, Json], blanks: tuple[str, ...]) -> None:
        between: list[bytes] = [b"{"]
        where: list[int] = []
        for n, key in enumerate(sorted(keys)):
            between[-1] += b"," * (n > 0) + encode(key) + b":"
            if key in blanks:
                where.append(blanks.index(key))
                between.append(b"")
            else:
                between[-1] += encode(common[key])
        between[-1] += b"}"
        # Text and value in turn; the values are put in later.
        self._parts = [part for text in between for part in (text, b"")][:-1]
        self._pick = itemgetter(*where) if len(where) > 1 else lambda values: [values[n] for n in where]

    def filled(self, values: list[bytes]) -> bytes:
        """With all values in the order of the blanks, of which it takes its own."""
        parts = self._parts.copy()
        parts[1::2] = self._pick(values)
        return b"".join(parts)


class Stencil:
    """For entries of two given parties (None where there is none) that say the same but for some keys."""

    def __init__(
        self, common: Mapping[str, Json], blanks: tuple[str, ...], like: Draft, terms: BlindTerms
    ) -> None:
        keys = {*common, *blanks}
        check(common)
        check_full_view(dict.fromkeys(keys), *(dict.fromkeys(kind) for kind in (REQUESTER, PROVIDER)))
        self._blanks = blanks
        self._requester = _Text(REQUESTER, common, blanks) if like.requester else None
        self._provider = _Text(PROVIDER, common, blanks) if like.provider else None
        self._full = _Text(keys, common, blanks)
        self._terms = terms
        printed = {key: value for key, value in common.items() if key not in blanks}
        told = like.requester is not None, like.provider is not None
        self._known = terms.known(printed, told, (like.requester_agency or None, like.provider_agency or None))

    def write(self, at: datetime, entry: str, own: dict[str, Json]) -> Written:
        """The entry whose full view has `own` in its blanks. Raises IntegrityError as `seal_entry` does."""
        check(own)
        values = write_each(own.values())
        requester, provider = self._requester, self._provider
        sealed = seal_views(
            at,
            entry,
            requester.filled(values) if requester else None,
            provider.filled(values) if provider else None,
            self._full.filled(values),
            random_bytes,
        )
        openings = joined(shared(sealed.requester), shared(sealed.provider), sealed.full)
        return Written(at, sealed, openings, self._terms.beside(self._known, own))


_Key = tuple[int, tuple[str, ...], str, str, bool, bool]


class Stencils:
    """Writes entries, with the stencils of those kinds that came last. One is made for the second of a kind."""

    def __init__(self, terms: BlindTerms, most: int = 1024) -> None:
        self._terms = terms
        self._most = most
        # What is common is kept beside: as long as it is, no other object has its address.
        self._seen: OrderedDict[_Key, dict[str, Json]] = OrderedDict()
        self._ready: OrderedDict[_Key, tuple[dict[str, Json], Stencil]] = OrderedDict()

    @property
    def ready(self) -> int:
        """How many there are: some 10 KiB each."""
        return len(self._ready)

    def write(self, draft: Draft, more: dict[str, Json]) -> Written:
        """The entry; `more` goes into its full view. Raises IntegrityError for what has no canonical form."""
        at, halves = draft.at.replace(microsecond=0), draft.halves
        if halves is not None and halves.full is draft.full and _unwritten(draft):
            own = {**halves.own, **more} if more else halves.own
            if (stencil := self._stencil(draft, halves.common, tuple(own))) is not None:
                return stencil.write(at, draft.id, own)
        full = {**draft.full, **more} if more else draft.full
        # The other views hold texts that have been parsed; only this one is made of whatever was decided.
        check(full)
        views = draft.requester_view, draft.provider_view
        sealed = seal_entry(at, draft.id, *views, full, random_bytes, write)
        sides = draft.requester_agency or None, draft.provider_agency or None
        openings = pack(sealed, *views, full)
        asked, held = (view.as_json() if view else None for view in views)
        return Written(at, sealed, openings, self._terms.literals(full, asked, held, sides))

    def _stencil(self, draft: Draft, common: dict[str, Json], blanks: tuple[str, ...]) -> Stencil | None:
        told = draft.requester is not None, draft.provider is not None
        key = (id(common), blanks, draft.requester_agency, draft.provider_agency, *told)
        if (ready := self._ready.get(key)) is not None:
            self._ready.move_to_end(key)
            return ready[1]
        if key not in self._seen:
            _keep(self._seen, key, common, self._most)
            return None
        made = Stencil(self._seen.pop(key), blanks, draft, self._terms)
        _keep(self._ready, key, (common, made), self._most)
        return made


def _unwritten(draft: Draft) -> bool:
    """Whether the parties' views are what the full one says."""
    return draft.requester in _IN_FULL and draft.provider in _IN_FULL


def _keep(into: OrderedDict[_Key, Value], key: _Key, value: Value, most: int) -> None:
    into[key] = value
    if len(into) > most:
        into.popitem(last=False)
