"""Blind keys: keyed digests that stand for identifiers in the database.

Whoever reads a table or a backup finds no identifier and cannot try one, for want of the index key.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

import asyncpg

from broker.core.canonical import Json
from broker.core.decision import is_subject_key, subject_key
from broker.core.model import Actor, Request, SubjectRef
from broker.errors import IntegrityError
from broker.store.fastjson import encode, write
from broker.store.keyed import Keyed
from broker.store.terms import BlindTerms


class Blind:
    """Digests under one index key (HMAC-SHA256, RFC 2104), each use under a label of its own."""

    def __init__(self, index_key: bytes) -> None:
        self._keys = {
            use: Keyed(hmac.digest(index_key, use.encode(), "sha256")) for use in ("key", "content", "said")
        }
        # Most keys name agencies, systems and agreements: few, and asked for with every request.
        self._remembered = lru_cache(maxsize=4096)(self._key)
        self.terms = BlindTerms(index_key)

    def key(self, key: str | bytes) -> bytes:
        """16 bytes for the key of one input of decisions; bytes are blind already."""
        if isinstance(key, bytes):
            return key
        # Whom somebody asked about stays in memory no longer than the asking takes.
        return self._key(key) if is_subject_key(key) else self._remembered(key)

    def _key(self, key: str) -> bytes:
        return self._keys["key"].digest(key.encode())[:16]

    async def check(self, connection: asyncpg.Connection) -> None:
        """That the database was written with this key; IntegrityError where it was another.

        Under another key nothing that anybody has said would be found, and every refusal overlooked.
        """
        mine = self._key("check")
        await connection.execute("update head set index_check = $1 where index_check is null", mine)
        if await connection.fetchval("select index_check from head") != mine:
            raise IntegrityError(
                "the identifiers in this database are blinded with another index key than the key folder "
                "holds: bring back the key folder from before"
            )

    def subject(self, subject: SubjectRef) -> bytes:
        """16 bytes for one identifier; the same as for its key."""
        return self.key(subject_key(subject.scheme, subject.value))

    def content(self, request: Request) -> bytes:
        """32 bytes for everything asked but the ids, the time allowed and the trace.

        Two requests with the same digest ask the same; see `Claim`.
        """
        return self._keys["content"].digest(write(_content(request)))

    def said(self, what: dict[str, Json]) -> bytes:
        """32 bytes for everything that was said of something, other than a request."""
        return self._keys["said"].digest(encode(what))


def _content(request: Request) -> dict[str, object]:
    place, override, query = request.place, request.override, request.query
    return {
        "record_type": request.record_type,
        "provider": request.provider,
        "subject": [request.subject.scheme, request.subject.value] if request.subject else None,
        "query": [str(getattr(query, f)) for f in query.__struct_fields__] if query else None,
        "purpose": request.purpose,
        "actor": _actor(request.actor),
        "reason": [request.reason.code, request.reason.words],
        "override": [override.code, override.words, str(override.until)] if override else None,
        "incident": request.incident,
        "place": [str(getattr(place, f)) for f in place.__struct_fields__] if place else None,
    }


@lru_cache(maxsize=1024)
def _actor(actor: Actor) -> list[str]:
    return [str(getattr(actor, f)) for f in actor.__struct_fields__]
