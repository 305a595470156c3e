"""Entry bundles (C2SP tlog-tiles)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.bundles import Bundle, bundle_in, decode_bundle, encode_bundle
from broker.errors import IntegrityError

ENTRIES = st.lists(st.binary(max_size=70), min_size=1, max_size=256)


def test_bytes_are_those_of_the_standard() -> None:
    """Each entry stands behind its length as a big-endian uint16."""
    assert encode_bundle([b"", b"a", b"b" * 258]) == b"\0\0" + b"\0\1a" + b"\1\2" + b"b" * 258


@given(ENTRIES)
def test_entries_come_back(entries: list[bytes]) -> None:
    """A bundle gives back its entries, and only for its own width."""
    data = encode_bundle(entries)
    assert decode_bundle(data, len(entries)) == tuple(entries)
    for width in (len(entries) - 1, len(entries) + 1):
        with pytest.raises(IntegrityError):
            decode_bundle(data, width)


@given(ENTRIES, st.data())
def test_cut_and_lengthened_bundles_are_refused(entries: list[bytes], draw: st.DataObject) -> None:
    """A bundle with bytes missing or left over is refused."""
    data = encode_bundle(entries)
    with pytest.raises(IntegrityError):
        decode_bundle(data[: draw.draw(st.integers(0, len(data) - 1))], len(entries))
    with pytest.raises(IntegrityError):
        decode_bundle(data + draw.draw(st.binary(min_size=1, max_size=5)), len(entries))


@pytest.mark.parametrize("entries", [[], [b""] * 257, [b"a" * 65_536]])
def test_what_no_bundle_holds(entries: list[bytes]) -> None:
    """None, more than 256, or an entry past 65,535 bytes make no bundle."""
    with pytest.raises(IntegrityError):
        encode_bundle(entries)
    assert decode_bundle(encode_bundle([b"a" * 65_535]), 1) == (b"a" * 65_535,)


def test_names() -> None:
    """A bundle's path is written as tlog-tiles says, and no other spelling is read."""
    assert Bundle(1234067).path == "tile/entries/x001/x234/067"
    assert bundle_in(2, 600) == Bundle(2, 88)
    assert Bundle.parse("tile/entries/002.p/88") == Bundle(2, 88)
    for path in (
        "tile/entries/2",
        "tile/entries/x000/002",
        "tile/entries/002.p/0",
        "tile/0/002",
        "tile/entries/002.p/256",
        "tile/entries/002\n",
    ):
        with pytest.raises(IntegrityError):
            Bundle.parse(path)
    with pytest.raises(IntegrityError):
        bundle_in(3, 768)
