"""Entries, their views and their openings."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.entry import Entry, Opening, Rotation, commit, parse_entry, seal_entry
from broker.core.views import ProviderView, RequesterView
from broker.errors import IntegrityError

AT = datetime(2026, 11, 21, 10, 0, 7, tzinfo=UTC)
ID = "0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f"
HEX = "0123456789abcdef" * 4
LEAF = (
    f'{{"at":"2026-11-21T10:00:07Z","full":"{HEX}","id":"{ID}","provider":"{HEX}","requester":"{HEX}","v":1}}'
).encode()
ROTATION = f'{{"at":"2026-11-21T10:00:07Z","id":"{ID}","log":"a\\nb","v":1}}'.encode()
KEYS = ["v", "event", "request_id", "outcome", "code", "record_type", "provider", "agreement"]
KEYS += ["response", "regime", "controller", "trace"]


def test_the_leaf_is_exactly_these_bytes() -> None:
    """An entry and a rotation are written as the log's format says, and read back."""
    entry, rotation = Entry(AT, ID, HEX, HEX, HEX), Rotation(AT, ID, "a\nb")
    assert (entry.to_bytes(), rotation.to_bytes()) == (LEAF, ROTATION)
    assert (parse_entry(LEAF), parse_entry(ROTATION)) == (entry, rotation)


@given(st.datetimes(timezones=st.just(UTC)), st.uuids(version=4), st.binary(min_size=32, max_size=32))
def test_entries_come_back(at: datetime, entry_id: object, commitment: bytes) -> None:
    """Every whole second of four-digit years, random UUID and commitment reads back."""
    entry = Entry(at.replace(microsecond=0), str(entry_id), commitment.hex(), HEX, HEX)
    assert parse_entry(entry.to_bytes()) == entry


def changed(**fields: object) -> bytes:
    """The leaf with fields changed, or left out where None, still canonical."""
    value = {**json.loads(LEAF), **fields}
    value = {key: item for key, item in value.items() if item is not None}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        LEAF + b"\n",
        LEAF.replace(b":1}", b": 1}"),
        changed(v=2),
        changed(v=True),
        changed(v="1"),
        changed(v=None),
        changed(at=None),
        changed(at=1),
        changed(at="2026-11-21T10:00:07z"),
        changed(at="2026-11-21T10:00:07+00:00"),
        changed(at="2026-11-21T10:00:07.0Z"),
        changed(at="2026-11-21 10:00:07Z"),
        changed(at="2026-11-21T10:00Z"),
        changed(at="2026-02-30T10:00:07Z"),
        changed(at="2026-11-21T24:00:00Z"),
        changed(at="2026-11-21T23:59:60Z"),
        changed(at="0000-11-21T10:00:07Z"),
        changed(at="２026-11-21T10:00:07Z"),
        changed(at="2026-11-21T10:00:07Z\n"),
        changed(id=ID.upper()),
        changed(id=ID.replace("-", "")),
        changed(id=ID.replace("-4b8a", "-1b8a")),
        changed(id=ID.replace("-9a51", "-ca51")),
        changed(id=f"{{{ID}}}"),
        changed(id=1),
        changed(full=HEX.upper()),
        changed(full=HEX[:-1]),
        changed(full=HEX + "0"),
        changed(full="g" * 64),
        changed(provider=None),
        changed(requester=7),
        changed(kind="permit"),
        changed(log="x"),
        changed(full=None, provider=None, requester=None),
        changed(full=None, provider=None, requester=None, log=""),
        changed(full=None, provider=None, requester=None, log=7),
        changed(full=None, provider=None, requester=None, log="x" * 65_535),
    ],
)
def test_other_leaves_are_refused(data: bytes) -> None:
    """Other keys, versions, times, ids and commitments are no entry."""
    with pytest.raises(IntegrityError):
        parse_entry(data)


def test_entries_that_cannot_be_made() -> None:
    """A time that is not whole UTC seconds, an id of another kind, and a long rotation make no entry."""
    for make in (
        lambda: Entry(AT.replace(tzinfo=None), ID, HEX, HEX, HEX),
        lambda: Entry(AT.replace(microsecond=1), ID, HEX, HEX, HEX),
        lambda: Entry(AT.astimezone(timezone(timedelta(hours=1))), ID, HEX, HEX, HEX),
        lambda: Entry(AT, ID.upper(), HEX, HEX, HEX),
        lambda: Entry(AT, ID, "", HEX, HEX),
        lambda: Rotation(AT, ID, ""),
        lambda: Rotation(AT, ID, "x" * 65_535).to_bytes(),
    ):
        with pytest.raises(IntegrityError):
            make()


def test_commitments_are_hmac() -> None:
    """A commitment is hex HMAC-SHA256 of the view under the salt."""
    salt = bytes(range(32))
    assert commit(salt, b"view") == hmac.new(salt, b"view", hashlib.sha256).hexdigest()
    assert Opening(salt, b"view").opens(commit(salt, b"view"))
    assert not Opening(salt, b"views").opens(commit(salt, b"view"))


def test_an_opening_is_salt_then_view() -> None:
    """An opening's bytes are exactly 32 of salt and then the view; less than that is refused."""
    opening = Opening(b"s" * 32, b"{}")
    assert opening.to_bytes() == b"s" * 32 + b"{}"
    assert Opening.from_bytes(opening.to_bytes()) == opening
    for data in (b"", b"s" * 31, b"s" * 32, b"s" * (33 + (1 << 20))):
        with pytest.raises(IntegrityError):
            Opening.from_bytes(data)
    with pytest.raises(IntegrityError):
        Opening(b"s" * 31, b"{}")


def test_the_three_views_are_sealed_apart(views) -> None:
    """Each view is canonical, has its own salt and opens its own commitment and no other."""
    asked, held, full = views
    sealed = seal_entry(AT, ID, asked, held, full, os.urandom)
    entry = parse_entry(sealed.entry)
    openings = {"requester": sealed.requester, "provider": sealed.provider, "full": sealed.full}
    for name, opening in openings.items():
        assert [other for other in openings if opening.opens(getattr(entry, other))] == [name]
    assert len({opening.salt for opening in openings.values()}) == 3
    assert RequesterView.parse(sealed.requester.view) == asked
    assert ProviderView.parse(sealed.provider.view) == held
    assert json.loads(sealed.full.view) == full


def test_the_requesters_view_has_the_keys_of_the_contract(views) -> None:
    """The requester's view has all its keys, null where none; the provider's adds five."""
    asked, held, _ = views
    assert list(RequesterView("erasure").as_json()) == KEYS
    assert list(asked.as_json()) == KEYS
    assert list(held.as_json()) == [*KEYS, "actor", "identifiers", "override", "requester", "purpose"]
    assert ProviderView(RequesterView("erasure")).as_json()["identifiers"] == []


def test_without_a_party_nobody_can_tell(views) -> None:
    """Without requester or provider there is still a fresh commitment, and no opening."""
    _, _, full = views
    first, second = (seal_entry(AT, ID, None, None, full, os.urandom) for _ in range(2))
    assert first.requester is None
    assert first.provider is None
    one, two = parse_entry(first.entry), parse_entry(second.entry)
    assert len({one.requester, one.provider, one.full, two.requester, two.provider, two.full}) == 6


def test_the_full_view_holds_every_key(views) -> None:
    """A full view without `policy`, `now`, or a key that another view has, is not sealed."""
    asked, held, full = views
    for key in ("policy", "now", "event", "agreement", "actor"):
        with pytest.raises(IntegrityError, match=key):
            seal_entry(AT, ID, asked, held, {k: v for k, v in full.items() if k != key}, os.urandom)
    with pytest.raises(IntegrityError):
        seal_entry(AT, ID, asked, held, {**full, "score": 0.5}, os.urandom)


def test_a_view_may_have_more_keys_but_not_fewer(views) -> None:
    """A reader lets keys added later by, and refuses one missing, of another type, or another version."""
    asked, held, _ = views

    def written(view: dict) -> bytes:
        return json.dumps(view, sort_keys=True, separators=(",", ":")).encode()

    assert RequesterView.parse(written({**asked.as_json(), "zone": 1})) == asked
    assert ProviderView.parse(written({**held.as_json(), "zone": 1})) == held
    for key, value in asked.as_json().items():
        with pytest.raises(IntegrityError):
            RequesterView.parse(written({k: v for k, v in asked.as_json().items() if k != key}))
        for wrong in ([value], 7, True):
            with pytest.raises(IntegrityError):
                RequesterView.parse(written({**asked.as_json(), key: wrong}))
    wrong_parts = [("actor", 1), ("actor", {"id": 1}), ("override", 1), ("identifiers", None), ("event", "")]
    wrong_parts += [("identifiers", [1]), ("identifiers", [{"scheme": "uprn"}]), ("response", HEX.upper())]
    for key, value in wrong_parts:
        with pytest.raises(IntegrityError):
            ProviderView.parse(written({**held.as_json(), key: value}))
    for key in held.as_json():
        with pytest.raises(IntegrityError):
            ProviderView.parse(written({k: v for k, v in held.as_json().items() if k != key}))
