"""One batch of entries as the arguments of one statement, and its answer.

Owns the order of `log_append`'s and `log_change`'s arguments, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.core.canonical import Json
from broker.core.entry import SealedEntry
from broker.ports import Change, Draft, Queued
from broker.store.blind import Blind
from broker.store.fastjson import encode
from broker.store.seal import ViewKey
from broker.store.stencil import Written


def _call(function: str, arguments: int) -> str:
    places = ",".join(f"${n}" for n in range(1, arguments + 1))
    return f"select (r).* from {function}({places}) r"  # noqa: S608 - ours


APPEND = _call("log_append", 25)
CHANGE = _call("log_change", 19)


class Prepared(Struct, frozen=True):
    """A draft with its leaf made and its views sealed: what a batch is made of."""

    draft: Draft
    at: datetime  # as it stands in the leaf
    sealed: SealedEntry
    key: int
    views: bytes
    words: bytes | None
    queued: bytes = b""
    queued_words: bytes | None = None
    # What it is found by, as array literals: terms that many entries have, and those that few have.
    terms: str = "{}"
    rare: str = "{}"

    @property
    def size(self) -> int:
        """Bytes it adds to a statement."""
        queued = len(self.queued) + len(self.queued_words or b"")
        return len(self.sealed.entry) + len(self.views) + len(self.words or b"") + queued


def prepare(draft: Draft, written: Written, words: bytes | None, key: ViewKey) -> Prepared:
    """Seal the views, and the words by themselves."""
    item = Prepared(
        draft,
        written.at,
        written.sealed,
        key.id,
        key.seal(written.openings, draft.id, "views"),
        None if words is None else key.seal(words, draft.id, "words"),
        terms=written.found_by[0],
        rare=written.found_by[1],
    )
    if (queued := draft.queued) is None:
        return item
    said = key.seal(queued.words.encode(), draft.id, f"{queued.kind}-words") if queued.words else None
    return replace(item, queued=key.seal(encode(queued.sealed), draft.id, queued.kind), queued_words=said)


def append_arguments(batch: Sequence[Prepared], blind: Blind, now: datetime, again: bool) -> list[Any]:
    """Arguments of APPEND."""
    reads = [
        (n, blind.key(key))
        for n, item in enumerate(batch, 1)
        if item.draft.reads is not None
        for key in item.draft.reads.keys
    ]
    drafts = [item.draft for item in batch]
    claims = [d.claim for d in drafts]
    return [
        now,
        again,
        [d.id for d in drafts],
        [i.sealed.entry for i in batch],
        [i.key for i in batch],
        [d.requester_agency or None for d in drafts],
        [d.provider_agency or None for d in drafts],
        [i.views for i in batch],
        [i.words for i in batch],
        [d.reads.policy if d.reads else None for d in drafts],
        [d.reads.valid_until if d.reads else None for d in drafts],
        [n for n, _ in reads],
        [key for _, key in reads],
        [c.system if c else None for c in claims],
        [c.request_id if c else None for c in claims],
        [c.content if c else None for c in claims],
        [c.retry_of or None if c else None for c in claims],
        [c.settled if c else None for c in claims],
        [c.effect or None if c else None for c in claims],
        *_queued(batch),
        [i.at for i in batch],
        [i.terms for i in batch],
        [i.rare for i in batch],
    ]


def _queued(batch: Sequence[Prepared]) -> tuple[list[Any], list[Any], list[Any]]:
    """What humans are to look at; nearly always nothing."""
    if all(item.draft.queued is None for item in batch):
        return [], [], []
    return (
        [_queue_row(item.draft.queued) for item in batch],
        [item.queued or None for item in batch],
        [item.queued_words for item in batch],
    )


def _queue_row(queued: Queued | None) -> dict[str, Json] | None:
    """What of it stands in clear."""
    if queued is None:
        return None
    clear: dict[str, Json] = {
        name: getattr(queued, name)
        for name in ("kind", "provider", "requester", "system", "request", "code", "district")
    }
    return {**clear, "at": queued.at.isoformat(), "due": queued.due.isoformat()}


def change_arguments(item: Prepared, change: Change, blind: Blind, now: datetime, again: bool) -> list[Any]:
    """Arguments of CHANGE."""
    draft = item.draft
    subject: dict[str, Json] = {"subject": blind.subject(change.subject).hex()} if change.subject else {}
    if change.subjects:
        subject["subjects"] = [blind.subject(each).hex() for each in change.subjects]
    if change.blind:
        subject["blind"] = blind.key(change.blind).hex()
    # Under which view key `blob` was sealed, for tables that keep it beside.
    sealed = {"key": item.key} if change.sealed is not None else {}
    return [
        now,
        again,
        draft.id,
        item.sealed.entry,
        item.key,
        draft.requester_agency or None,
        draft.provider_agency or None,
        item.views,
        item.words,
        draft.reads.policy if draft.reads else None,
        draft.reads.valid_until if draft.reads else None,
        [blind.key(k) for k in draft.reads.keys] if draft.reads else [],
        {"kind": change.kind, **change.detail, **subject, **sealed},
        change.blob,
        [blind.key(k) for k in change.writes],
        change.reference,
        item.at,
        item.terms,
        item.rare,
    ]
