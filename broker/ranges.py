"""Which places of which log are taken away: a range, and what there is none of.

Owns what may be asked for. Refuses places and sizes that the log does not have, and of a closed log every
checkpoint but its last.
"""

from __future__ import annotations

from msgspec import Struct

from broker.core.rotation import split_origin
from broker.core.searchterms import Question
from broker.entryrows import SLACK, Half
from broker.errors import InvalidRequest


class Range(Struct, frozen=True):
    """Places [first, before) of a log (0: to its end), proven in its first `size` entries (0: in all). `log`
    is its origin or half-year; empty: the current one."""

    first: int = 0
    before: int = 0
    size: int = 0
    log: str = ""


def named(halves: tuple[Half, ...], log: str) -> Half:
    """The log of this origin or half-year; empty: the current one. Raises InvalidRequest."""
    for half in halves:
        if log in ("", half.origin, split_origin(half.origin)[1]):
            return half
    raise InvalidRequest("log", "is no log of this broker")


def others(halves: tuple[Half, ...], question: Question, within: Range) -> tuple[str, ...]:
    """The other logs that may have entries of the time that was asked about. Places are of one log alone."""
    if within.first or within.before:
        return ()
    return tuple(
        half.origin
        for half in halves
        if half.origin != within.log
        and (question.since is None or half.closed_at is None or half.closed_at > question.since - SLACK)
        and (question.until is None or half.opened_at < question.until + SLACK)
    )


def closed(log: str, size: int) -> InvalidRequest:
    """What is said of a checkpoint of a closed log that is not its last."""
    return InvalidRequest(
        "size", f"{log} is closed, and its last checkpoint, of {size} entries, serves for all of it: begin anew"
    )


def fits(within: Range, log: Half) -> None:
    """That the log has these places. Raises InvalidRequest."""
    size = log.size
    if within.size > size:
        raise InvalidRequest("size", f"the log has {size} entries")
    if within.before and within.before < within.first:
        raise InvalidRequest("before", "is less than first")
    if within.first > (within.size or size):
        raise InvalidRequest("first", f"the log has {within.size or size} entries; places are counted from 0")
    if within.before > (within.size or size):
        raise InvalidRequest("before", f"the checkpoint is of {within.size or size} entries")
    if within.size and log.closed_at is not None and within.size != size:
        raise closed(log.origin, size)
