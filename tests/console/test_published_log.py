"""The log over HTTPS, as somebody sees it who has nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from broker.core.bundles import Bundle, bundle_in, decode_bundle
from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.keys import Verifier
from broker.core.merkle import leaf_hash
from broker.core.tiles import Tile, hashes_of, tile_in, tiles_of
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.pki.folder import CertificateFolder
from tests.console.conftest import DOMAIN, ENTRIES, ORIGIN, Site, Written, serving, written
from tests.support.postgres import Server

FOR_EVER = "private, max-age=31536000, immutable"


async def get(client: httpx.AsyncClient, path: str) -> bytes:
    """The body at a path that must be there."""
    answer = await client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.content


async def newest(client: httpx.AsyncClient, prefix: str = "/log") -> Checkpoint:
    """The published checkpoint, verified by a key of that log's vkey page."""
    keys = [Verifier.from_vkey(line) for line in (await get(client, f"{prefix}/vkey")).decode().splitlines()]
    return open_checkpoint(await get(client, f"{prefix}/checkpoint"), keys)


async def rebuild(
    client: httpx.AsyncClient, size: int, root: bytes, corrupt: str = "", prefix: str = "/log"
) -> list[bytes]:
    """Every entry of the log at `size`, each checked against the root through tiles; nothing else is believed.

    `corrupt` names a page of which a bit is flipped on the way.
    """

    async def fetch(path: str) -> bytes:
        data = await get(client, f"{prefix}/{path}")
        return bytes([data[0], data[1], data[2] ^ 1]) + data[3:] if path == corrupt else data

    pages = {tile: await fetch(tile.path) for tile in tiles_of(size)}
    tiles = VerifiedTiles(size, root, pages.__getitem__)
    entries: list[bytes] = []
    for tile in (tile for tile in pages if tile.level == 0):
        bundle = bundle_in(tile.index, size)
        found = decode_bundle(await fetch(bundle.path), bundle.width)
        if [leaf_hash(entry) for entry in found] != hashes_of(tile, tiles.read(tile)):
            raise IntegrityError(bundle.path)
        entries += found
    return entries


async def test_a_reader_with_nothing_but_https_rebuilds_the_whole_log_as_it_grows(
    postgres: Server, tmp_path: Path, https_certs: CertificateFolder
) -> None:
    """At every size, checkpoint, tiles and bundles give exactly what was appended."""
    async with postgres.fresh() as dsn, written(dsn, tmp_path) as log:
        appended: list[bytes] = []
        for size in (0, 1, 2, 255, 256, 257, 300, 512, 700):
            appended += await log.grow(size - len(appended))
            async with (
                serving(https_certs, {ORIGIN: log.reader}, (log.notary.vkey,)) as site,
                site.client("cfrs-mdt") as client,
            ):
                checkpoint = await newest(client)
                assert (checkpoint.origin, checkpoint.size) == (ORIGIN, size)
                assert await rebuild(client, size, checkpoint.root) == appended


@pytest.mark.parametrize(
    "page",
    [
        "tile/0/000",
        "tile/0/001",
        "tile/0/002.p/88",
        "tile/1/000.p/2",
        "tile/entries/001",
        "tile/entries/002.p/88",
    ],
)
async def test_a_flipped_bit_in_any_page_is_found(site: Site, page: str) -> None:
    """The reader of these tests can fail: a page changed on the way, full or partial, is not accepted."""
    async with site.client("cfrs-mdt") as client:
        checkpoint = await newest(client)
        with pytest.raises(IntegrityError):
            await rebuild(client, checkpoint.size, checkpoint.root, corrupt=page)


@pytest.mark.long
async def test_a_log_of_three_tile_levels_is_served_whole(
    postgres: Server, tmp_path: Path, https_certs: CertificateFolder
) -> None:
    """Past 65,536 entries there are two levels above the leaves, which lead to the root alike."""
    async with postgres.fresh() as dsn, written(dsn, tmp_path) as log:
        appended: list[bytes] = []
        for _ in range(33):
            appended += await log.grow(2000)
        async with (
            serving(https_certs, {ORIGIN: log.reader}, (log.notary.vkey,)) as site,
            site.client("cfrs-mdt") as client,
        ):
            checkpoint = await newest(client)
            assert Tile(2, 0, 1) in tiles_of(checkpoint.size)
            assert await rebuild(client, checkpoint.size, checkpoint.root) == appended


async def test_a_partial_page_of_any_width_is_a_prefix(site: Site) -> None:
    """Tiles and bundles are there at each width up to what the log has, and no wider."""
    async with site.client("cfrs-mdt") as client:
        whole, entries = await get(client, "/log/tile/0/000"), await get(client, "/log/tile/entries/000")
        for width in (1, 2, 100, 255):
            assert await get(client, f"/log/tile/0/000.p/{width}") == whole[: 32 * width]
            bundle = await get(client, f"/log/tile/entries/000.p/{width}")
            assert decode_bundle(bundle, width) == decode_bundle(entries, 256)[:width]
        edge = ENTRIES % 256
        assert await get(client, f"/log/tile/0/002.p/{edge}")
        for path in ("tile/0/002", f"tile/0/002.p/{edge + 1}", "tile/1/000.p/3", "tile/2/000.p/1"):
            assert (await client.get(f"/log/{path}")).status_code == 404, path
        for path in ("tile/entries/002", f"tile/entries/002.p/{edge + 1}", "tile/entries/003.p/1"):
            assert (await client.get(f"/log/{path}")).status_code == 404, path


async def test_a_page_says_what_it_is_and_how_long_it_holds(site: Site) -> None:
    """Content types are C2SP's; full pages never change, and no shared cache may keep any."""
    async with site.client("cfrs-mdt") as client:
        seen = {
            path: ((answer := await client.get(path)).headers["content-type"], answer.headers["cache-control"])
            for path in ("/log/tile/0/000", "/log/tile/entries/000", "/log/tile/0/000.p/7", "/log/checkpoint")
        }
        assert (await client.head("/log/tile/0/000")).headers["content-length"] == "8192"
    assert seen == {
        "/log/tile/0/000": ("application/octet-stream", FOR_EVER),
        "/log/tile/entries/000": ("application/octet-stream", FOR_EVER),
        "/log/tile/0/000.p/7": ("application/octet-stream", "private, max-age=3600"),
        "/log/checkpoint": ("text/plain; charset=utf-8", "no-cache"),
    }


@pytest.mark.parametrize(
    "path",
    [
        tile_in(0, 1_234, 10**9).path,
        tile_in(0, 1_234_067, 10**9).path,
        Bundle(1_234).path,
        Tile(63, (1 << 63) - 1).path,
        Tile(7, (1 << 62) + 5, 3).path,
        Bundle((1 << 63) - 1, 255).path,
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/entries/" + "x999/" * 1500 + "999",
        "tile/64/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/x000/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000/",
        "tile/0/000.p/",
        "tile/0/%30%30%30",
        "tile/0/%D9%A0%D9%A0%D9%A0",
        "tile//000",
        "tile/entries/",
        "tile/entries/1234",
        "tile/entries/000.p/257",
        "tile/entries/../0/000",
        "2026h3/checkpoint",
        "2025h1/checkpoint",
        "2026h2",
        "2026h2/",
        "2026h2/2026h2/checkpoint",
        "checkpoint/",
        "Checkpoint",
        "",
    ],
)
async def test_what_the_log_does_not_have_is_a_plain_404(site: Site, path: str) -> None:
    """Places past the end, however far, and every other spelling of a page's name are not there."""
    async with site.client("cfrs-mdt") as client:
        answer = await client.send(_raw(client, f"/log/{path}"))
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.count("\n") == 1


def _raw(client: httpx.AsyncClient, path: str) -> httpx.Request:
    """A request whose path goes out as written: httpx would tidy it."""
    request = client.build_request("GET", "/")
    request.extensions["target"] = path.encode()
    return request


async def test_the_half_years_log_stays_where_it_was(
    postgres: Server,
    tmp_path: Path,
    https_certs: CertificateFolder,
    shared_log: tuple[Written, list[bytes]],
) -> None:
    """Each log is at its half-year with its own key; the current one is at /log/ too, with all keys."""
    current, _ = shared_log
    old_origin = f"{DOMAIN}/log/2026h1"
    async with postgres.fresh() as dsn, written(dsn, tmp_path, old_origin) as old:
        appended = await old.grow(260)
        logs = {ORIGIN: current.reader, old_origin: old.reader}
        vkeys = (current.notary.vkey, old.notary.vkey)
        async with serving(https_certs, logs, vkeys) as site, site.client("cfrs-mdt") as client:
            assert (await get(client, "/log/vkey")).decode().splitlines() == list(vkeys)
            assert (await get(client, "/log/2026h1/vkey")).decode() == f"{old.notary.vkey}\n"
            assert (await newest(client)).origin == (await newest(client, "/log/2026h2")).origin == ORIGIN
            checkpoint = await newest(client, "/log/2026h1")
            assert (checkpoint.origin, checkpoint.size) == (old_origin, 260)
            assert await rebuild(client, 260, checkpoint.root, prefix="/log/2026h1") == appended
            at_both = [await get(client, f"{prefix}/tile/0/000") for prefix in ("/log", "/log/2026h2")]
            assert at_both[0] == at_both[1]


async def test_the_checkpoint_is_signed_once_a_second_and_what_is_newer_is_there_already(
    postgres: Server, tmp_path: Path, https_certs: CertificateFolder
) -> None:
    """Many readers in one second cost one signature; a receipt's newer head can be followed without waiting."""
    times = [datetime.now(UTC)]
    async with postgres.fresh() as dsn, written(dsn, tmp_path) as log:
        await log.grow(10)
        log.notary.signatures = 0
        async with (
            serving(https_certs, {ORIGIN: log.reader}, (log.notary.vkey,), now=lambda: times[-1]) as site,
            site.client("cfrs-mdt") as client,
        ):
            seen = await asyncio.gather(*(newest(client) for _ in range(8)))
            assert ({each.size for each in seen}, log.notary.signatures) == ({10}, 1)
            await log.grow(5)
            log.notary.signatures = 0
            times.append(times[0] + timedelta(milliseconds=999))
            assert ((await newest(client)).size, log.notary.signatures) == (10, 0)
            assert len(await get(client, "/log/tile/0/000.p/15")) == 15 * 32
            times.append(times[0] + timedelta(seconds=1))
            assert ((await newest(client)).size, log.notary.signatures) == (15, 1)
            times.append(times[0] - timedelta(hours=1))  # a clock set back must not freeze the checkpoint
            assert ((await newest(client)).size, log.notary.signatures) == (15, 2)
