"""What lies in a log's folder besides the tiles and bundles of its checkpoint.

Partial ones of an earlier size must be beginnings of those that were checked. What the checkpoint does not
cover, and what is no file of a log, is not looked at, and said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from broker.core.bundles import Bundle, decode_bundle
from broker.core.merkle import HASH_BYTES, leaf_hash
from broker.core.tiles import TILE_WIDTH, Tile, hashes_of
from broker.errors import IntegrityError
from broker.offline.comparison import Comparison
from broker.offline.problems import Problem, Report
from broker.offline.source import Missing, Source

_NAMED = 3
_OF_THE_LOG = ("checkpoint", "dropped")
_OTHER_LOG = re.compile(r"[0-9]{4}h[12]/.*", re.ASCII | re.DOTALL)


def look_at_others(source: Source, comparison: Comparison, report: Report) -> None:
    """Hold what else lies there against what was derived. Raises Unreadable."""
    paths = source.paths()
    if paths is None:
        if report.size:
            report.unchecked.append(
                "tiles and bundles of other widths, which an address may serve too: it lists nothing"
            )
        return
    passed, count = list[str](), 0
    for path, why in paths:
        if not why and _covered(source, comparison, path, report):
            continue
        count += 1
        if len(passed) < _NAMED:
            passed.append(path)
    if count:
        names = ", ".join(passed) + (" and so on" if count > len(passed) else "")
        what = "1 file" if count == 1 else f"{count} files"
        report.unchecked.append(f"{what} that this checkpoint does not cover: {names}")


def _covered(source: Source, comparison: Comparison, path: str, report: Report) -> bool:
    """Whether the checkpoint covers this file whole, so that it was looked at."""
    if path in _OF_THE_LOG:
        return True
    if _OTHER_LOG.fullmatch(path):
        return False
    try:
        named = Bundle.parse(path) if path.startswith("tile/entries/") else Tile.parse(path)
    except IntegrityError:
        return False
    tile = Tile(0, named.index, named.width) if isinstance(named, Bundle) else named
    derived = comparison.derived(tile)
    whole = comparison.derived(Tile(tile.level, tile.index))
    if not derived or len(derived) == len(whole) == tile.width:
        # Beyond the log's end; or one that was read already.
        return bool(derived)
    try:
        theirs = list(_hashes(source, named))
    except Missing:
        return True  # it went while we looked
    except IntegrityError as e:
        theirs, why = [], str(e)
    else:
        why = "is not the beginning of the one that is whole"
    known = enumerate(zip(comparison.known(tile), theirs, strict=False))
    differs = next((n for n, (mine, other) in known if mine is not None and mine != other), None)
    if not theirs or differs is not None:
        kind = "bundle" if isinstance(named, Bundle) else "tile"
        first = (tile.index * TILE_WIDTH + (differs or 0)) * TILE_WIDTH**tile.level
        report.add(Problem(kind, first, path, why))
        return True
    return tile.width <= len(derived)


def _hashes(source: Source, named: Bundle | Tile) -> Iterator[bytes]:
    if isinstance(named, Tile):
        yield from hashes_of(named, source.file(named.path, named.width * HASH_BYTES))
        return
    data = source.file(named.path, named.width * (2 + 0xFFFF))
    for each in decode_bundle(data, named.width):
        yield leaf_hash(each)
