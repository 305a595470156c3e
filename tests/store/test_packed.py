"""What is sealed of an entry opens to exactly what the entry committed to."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.entry import parse_entry, seal_entry
from broker.core.receipt import Audience
from broker.core.steps import STEPS
from broker.core.views import ProviderView, RequesterView
from broker.errors import IntegrityError
from broker.store.packed import PROVIDER, REQUESTER, pack, unpack, views_of
from broker.store.words import TABLES, WORDS

AT = datetime(2026, 11, 21, 10, tzinfo=UTC)
ID = "0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f"
texts = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20)
maybe = st.none() | texts
requesters = st.builds(RequesterView, texts.filter(bool), maybe, maybe, maybe, maybe, trace=maybe)
providers = st.builds(
    ProviderView,
    requesters,
    st.none() | st.dictionaries(st.sampled_from(["id", "role"]), texts),
    st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    maybe,
)


@given(st.none() | requesters, st.none() | providers, st.booleans(), st.dictionaries(st.just("detail"), texts))
def test_what_is_packed_opens_the_entry(
    asked: RequesterView | None, held: ProviderView | None, alike: bool, more: dict[str, Any]
) -> None:
    """Whether views agree with the full one, differ from it or are not there, each opens its commitment."""
    base = ProviderView(RequesterView("other"))
    if alike and held is not None:
        base, asked = held, asked and held.common
    full = {**base.as_json(), "policy": 7, "now": "2026-11-21T10:00:00Z", **more}
    sealed = seal_entry(AT, ID, asked, held, full, os.urandom)
    packed = pack(sealed, asked, held, full)
    opened = unpack(packed)
    assert (opened.requester, opened.provider, opened.full) == (sealed.requester, sealed.provider, sealed.full)
    assert opened.view == full
    said = [None if view is None else view.as_json() for view in (asked, held)]
    read = [
        view and {key: view[key] for key in of or ()}
        for view, of in zip(views_of(packed)[1:], said, strict=True)
    ]
    assert (views_of(packed)[0], read) == (full, said)
    entry = parse_entry(sealed.entry)
    for audience in Audience:
        if (opening := opened.of(audience)) is not None:
            assert opening.opens(audience.commitment(entry))  # type: ignore[arg-type]


def test_what_a_view_shares_is_not_written_twice() -> None:
    """Views that say nothing else than the full one cost their salts."""
    asked = RequesterView("disclosure", request_id=ID, record_type="records.fire.v1.PremisesRisk")
    held = ProviderView(asked, {"id": "r.bell"}, (("uprn", "10000000001"),))
    full = {**held.as_json(), "policy": 7, "now": "2026-11-21T10:00:00Z"}
    sealed = seal_entry(AT, ID, asked, held, full, os.urandom)
    both, one = pack(sealed, asked, held, full), pack(sealed, None, None, full)
    assert len(both) - len(one) <= 2 * 32 + 32


def test_views_are_kept_short() -> None:
    """What every view says costs next to nothing, and the length is a multiple of 32."""
    held = ProviderView(
        RequesterView("disclosure", outcome="permit"), {"id": "r.bell"}, (("uprn", "10000000001"),)
    )
    rules = [f"{step.rule} pass" for step in STEPS]
    full = {**held.as_json(), "policy": 7, "now": "2026-11-21T10:00:00Z", "rules": [*rules]}
    sealed = seal_entry(AT, ID, held.common, held, full, os.urandom)
    packed = pack(sealed, held.common, held, full)
    assert len(packed) % 32 == 0
    assert len(packed) < 3 * 32 + len(sealed.full.view) / 4


def test_the_words_never_change() -> None:
    """What was sealed with them could not be read with others."""
    assert (
        hashlib.sha256(TABLES + WORDS).hexdigest()
        == "b88d1890edac6fa9a07c3fa83809bcb2ece6ef4e4b34900810d17c0f9374f74c"
    )


@given(st.binary(max_size=200))
def test_what_was_not_packed_is_refused(data: bytes) -> None:
    """Bytes of the layout that hold something else, or are cut, or go on after their end."""
    with pytest.raises(IntegrityError):
        unpack(b"\x03" + data)


def test_what_was_changed_is_refused() -> None:
    """Cut, or followed by anything but what fills it up."""
    full = {**RequesterView("x").as_json(), "policy": 7, "now": "x"}
    packed = pack(seal_entry(AT, ID, None, None, full, os.urandom), None, None, full)
    for spoilt in (packed[:-33], packed + b"x", packed[:1] + packed[40:]):
        with pytest.raises(IntegrityError):
            unpack(spoilt)


def test_the_layout_goes_with_its_keys() -> None:
    """A key added to a view needs a new layout: what was sealed before must still be made with the old ones."""
    assert tuple(RequesterView("x").as_json()) == REQUESTER
    assert tuple(ProviderView(RequesterView("x")).as_json()) == PROVIDER


@pytest.mark.parametrize("data", [b"", b"\x02\x00\x00" + bytes(40)])
def test_an_unknown_layout_is_said(data: bytes) -> None:
    """What a later release may have written is refused, not guessed at."""
    with pytest.raises(IntegrityError, match="layout"):
        unpack(data)
