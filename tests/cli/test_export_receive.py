"""What an export takes of a broker that lies: nothing that is not proven, nothing less than was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.cli.audit_export_receive import go_on, receive, request_of, sign
from broker.core.model import Caller
from broker.errors import IntegrityError
from broker.offline.export import forms
from broker.offline.export.file import Partial
from broker.rpc.export import export
from broker.v1 import audit_pb2 as pb
from tests.support.exporting import keys, world_of_kinds
from tests.support.world import AUDITOR, World, caller

Lie = Callable[[list[pb.ExportPage]], Any]


class Liar:
    """A link to a broker that gives these pages, whatever it is asked."""

    channel = grpc.insecure_channel("127.0.0.1:1")  # nothing is ever sent

    def __init__(self, pages: list[pb.ExportPage]) -> None:
        self._pages = pages

    def stream(self, *_: object, **__: object) -> Iterator[pb.ExportPage]:
        """The pages."""
        return iter(self._pages)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of three rows, so that even a small log has several."""
    monkeypatch.setattr("broker.exports.MOST", 3)


async def asked(world: World, who: Caller = AUDITOR) -> tuple[pb.ExportRequest, list[pb.ExportPage]]:
    """A request for everything, and what an honest broker answers."""
    request = request_of("jsonl", (), "", "", "", 0)
    sign(request, "ann", "auditor", "complaint", "")
    return request, [page async for page in export(world.exports, request, who)]


def take(link: Liar, request: pb.ExportRequest, path: Path, world: World) -> Partial:
    """Take it all, as the command does."""
    partial = Partial(path, forms.form("jsonl"), b"asked")
    try:
        receive(link, request, partial, keys(world))  # type: ignore[arg-type]
        partial.finish()
    finally:
        partial.close()
    return partial


async def test_what_an_honest_broker_gives_is_taken(tmp_path: Path, in_parts: None) -> None:
    """So that what follows is refused for the lie alone."""
    world = await world_of_kinds()
    request, pages = await asked(world)
    assert len(pages) > 3
    manifest = take(Liar(pages), request, tmp_path / "x", world).manifest
    assert manifest is not None
    assert manifest.rows == manifest.before == len(world.store.entries) - 2


def _swap(pages: list[pb.ExportPage]) -> None:
    rows = [*pages[1].rows]
    del pages[1].rows[:]
    pages[1].rows.extend(reversed(rows))


def _other_entry(pages: list[pb.ExportPage]) -> None:
    pages[1].rows[1].entry, pages[1].rows[1].opening = pages[1].rows[0].entry, pages[1].rows[0].opening


def _other_key(pages: list[pb.ExportPage]) -> None:
    pages[0].head.checkpoint = pages[0].head.checkpoint[:-8] + b"AAAAAA=\n"


LIES: dict[str, Lie] = {
    "no head": lambda pages: pages.pop(0),
    "nothing": lambda pages: pages.clear(),
    "a row less": lambda pages: pages[1].rows.pop(1),
    "the last row less": lambda pages: pages[1].rows.pop(),
    "a page less": lambda pages: pages.pop(1),
    "the last page less": lambda pages: pages.pop(),
    "two rows in another order": _swap,
    "a row twice": lambda pages: pages[1].rows.append(pages[1].rows[-1]),
    "a page twice": lambda pages: pages.insert(1, pages[1]),
    "another entry in a place": _other_entry,
    "an opening cut": lambda pages: setattr(pages[1].rows[0], "opening", pages[1].rows[0].opening[:-1]),
    "no proof": lambda pages: pages[1].rows[0].ClearField("proof"),
    "another audience": lambda pages: setattr(pages[1].rows[0], "audience", "requester"),
    "another key": _other_key,
    "a shorter range": lambda pages: setattr(pages[0].head, "before", pages[0].head.before - 1),
    "a later beginning": lambda pages: setattr(pages[0].head, "first", 1),
    "not all of it": lambda pages: setattr(pages[0].head, "whole", False),
    "an older checkpoint": lambda pages: setattr(pages[0].head, "index", 1 << 40),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_is_noticed_and_there_is_no_file(tmp_path: Path, name: str) -> None:
    """Each by itself; nothing has the name of a complete export."""
    world = await world_of_kinds()
    request, pages = await asked(world)
    LIES[name](pages)
    with pytest.raises(IntegrityError):
        take(Liar(pages), request, tmp_path / "x", world)
    assert not (tmp_path / "x").exists()


HEADS: dict[str, Lie] = {
    "another checkpoint": lambda head: head.ClearField("checkpoint"),
    "another beginning": lambda head: setattr(head, "first", 0),
    "another end": lambda head: setattr(head, "before", head.before - 1),
    "another agency": lambda head: setattr(head, "agency", "nwas"),
    "not whole": lambda head: setattr(head, "whole", False),
}


@pytest.mark.parametrize("name", [*HEADS, "the same"])
async def test_an_export_goes_on_with_what_was_begun_or_not_at_all(
    tmp_path: Path, in_parts: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another checkpoint or range is refused, and the same one makes the same file."""
    monkeypatch.setattr("broker.offline.export.file.BLOCK", 1)
    world = await world_of_kinds()
    request, pages = await asked(world)
    take(Liar(pages), request, tmp_path / "whole", world)
    with pytest.raises(IntegrityError):
        take(Liar(pages[:2]), request, tmp_path / "x", world)
    partial = Partial(tmp_path / "x", forms.form("jsonl"), b"asked")
    go_on(request, partial.resume())
    rest = [page async for page in export(world.exports, request, AUDITOR)]
    if name in HEADS:
        if name == "another checkpoint":
            other = await asked(world)
            rest[0].head.checkpoint = other[1][0].head.checkpoint
        else:
            HEADS[name](rest[0].head)
        with pytest.raises(IntegrityError, match=r"begin anew|asked for"):
            receive(Liar(rest), request, partial, keys(world))  # type: ignore[arg-type]
        return
    receive(Liar(rest), request, partial, keys(world))  # type: ignore[arg-type]
    assert len(partial.finish().entries) == 2
    assert (tmp_path / "x").read_bytes() == (tmp_path / "whole").read_bytes()


async def test_an_agency_may_have_gaps(tmp_path: Path) -> None:
    """What it is no party to is not there, and that is no lie."""
    world = await world_of_kinds()
    request, pages = await asked(world, caller("nwas"))
    manifest = take(Liar(pages), request, tmp_path / "x", world).manifest
    assert manifest is not None
    assert 0 < manifest.rows < manifest.before
