"""What could be erased, or was, in the words that the commands show. Owns these words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.v1 import keeping_pb2 as pb


def told(reply: pb.ErasePersonResponse) -> dict[str, object]:
    """Counts, each under its name."""
    return {
        "entries": reply.entries,
        "words": reply.words,
        "directives": reply.directives,
        "kept_under_hold": reply.held,
        "kept_for_a_human": reply.waiting,
        "directives_to_withdraw_first": reply.standing,
        "looks_that_stay": reply.looks,
        "others_may_keep": [f"{agency} {count}" for agency, count in sorted(reply.others.items())],
        "also_known_by": [
            f"{scheme} in {count} of the entries" for scheme, count in sorted(reply.known_by.items())
        ],
    }
