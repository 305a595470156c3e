"""The log as anybody enrolled may read it over HTTPS: it holds every receipt, and reveals nobody."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.client.settings import from_state
from broker.core.bundles import bundle_in, decode_bundle
from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.tiles import TILE_WIDTH, hashes_of, tiles_of
from tests.e2e import words
from tests.support.stack import Deployment


async def _log(stack: Deployment, name: str) -> tuple[Checkpoint, list[bytes]]:
    """The published checkpoint, and every entry up to it, fetched with a member's certificate."""
    keys = from_state(stack.state.folder, name).verifiers
    entries: list[bytes] = []
    async with stack.https(name) as http:
        head = open_checkpoint((await http.get("/log/checkpoint")).raise_for_status().content, keys)
        for index in range(-(-head.size // TILE_WIDTH)):
            bundle = bundle_in(index, head.size)
            answer = (await http.get(f"/log/{bundle.path}")).raise_for_status()
            entries += decode_bundle(answer.content, bundle.width)
    return head, entries


async def test_the_published_entries_are_the_signed_log_and_hold_the_receipts(stack: Deployment):
    """Hashing every entry gives the signed root, and each receipt's entry stands where it says."""
    async with stack.client("nwas-cad") as broker:
        receipts = [(await words.premises(broker)).receipt for _ in range(3)]
    head, entries = await _log(stack, "wf-mash")
    if head.size <= receipts[-1].index:  # the published head is renewed once a second
        await asyncio.sleep(1.1)
        head, entries = await _log(stack, "wf-mash")
    assert len(entries) == head.size
    assert EMPTY_RANGE.extend(leaf_hash(entry) for entry in entries).root() == head.root
    for receipt in receipts:
        assert entries[receipt.index] == receipt.entry


async def test_the_tiles_hold_the_entries_hashes(stack: Deployment):
    """Level 0 tiles are the hashes of the published entries, in order."""
    head, entries = await _log(stack, "auditor-console")
    hashes: list[bytes] = []
    async with stack.https("auditor-console") as http:
        for tile in (t for t in tiles_of(head.size) if t.level == 0):
            answer = (await http.get(f"/log/{tile.path}")).raise_for_status()
            hashes += hashes_of(tile, answer.content)
    assert hashes == [leaf_hash(entry) for entry in entries]


async def test_the_published_log_reveals_only_volume_and_time(stack: Deployment):
    """Every leaf has the same six keys, and none of them names anybody."""
    _, entries = await _log(stack, "cfrs-mdt")
    for entry in entries:
        leaf = json.loads(entry)
        assert sorted(leaf) == ["at", "full", "id", "provider", "requester", "v"]
        assert all(len(leaf[view]) == 64 for view in ("full", "provider", "requester"))
    everything = b"".join(entries)
    for word in (b"nwas", b"cfrs", b"9000001005", b"100062990001", b"PremisesRisk", b"permit", b"refus"):
        assert word not in everything


async def test_the_key_is_published_beside_the_log(stack: Deployment):
    """/log/vkey is the key that `log.vkey` holds."""
    async with stack.https("nwas-cad") as http:
        assert (await http.get("/log/vkey")).text == stack.state.vkey.read_text()


@pytest.mark.parametrize("path", ["/log/checkpoint", "/log/vkey", "/log/tile/0/000.p/1", "/metrics"])
async def test_strangers_read_nothing(stack: Deployment, path: str):
    """Without a certificate the log and the metrics stay closed."""
    async with stack.https(None) as http:
        assert (await http.get(path)).status_code == 401


async def test_metrics_are_for_operators(stack: Deployment):
    """A partner may not read them; the operator's name the adapters that are attached, and no person."""
    async with stack.https("nwas-cad") as http:
        assert (await http.get("/metrics")).status_code == 403
    async with stack.https("operator-cli") as http:
        text = (await http.get("/metrics")).raise_for_status().text
    assert 'agency="cfrs"' in text
    assert 'agency="ncic"' in text
    assert "9000001005" not in text


async def test_health_is_open_to_all(stack: Deployment):
    """/healthz and /readyz answer 200 to anybody while everything is well."""
    async with stack.https(None) as http:
        for path in ("/healthz", "/readyz"):
            assert (await http.get(path)).status_code == 200, path
