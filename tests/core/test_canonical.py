"""Canonical JSON: one byte form for each value, and nothing else read."""

from __future__ import annotations

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import canonical
from broker.errors import IntegrityError


def naive(value: object) -> str:
    """RFC 8785 section 3.2, read on its own and written out by hand."""
    match value:
        case None:
            return "null"
        case True:
            return "true"
        case False:
            return "false"
        case int():
            return str(value)
        case str():
            short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
            out = '"'
            for char in value:
                point = ord(char)
                out += short.get(point) or (f"\\u00{point:02x}" if point < 32 else char)
            return out + '"'
        case list():
            return "[" + ",".join(naive(item) for item in value) + "]"
        case dict():
            keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
            return "{" + ",".join(f"{naive(key)}:{naive(value[key])}" for key in keys) + "}"
    raise AssertionError


KEYS = st.text(st.characters(max_codepoint=127), max_size=6)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_encodes_as_the_rfc_says_and_comes_back(value: object) -> None:
    """Every allowed value has the bytes of an independent reading of RFC 8785, and reads back equal."""
    data = canonical.encode(value)
    assert data == naive(value).encode()
    assert canonical.decode(data) == value


@given(st.binary(max_size=40) | VALUES.map(lambda value: naive(value).encode()), st.data())
def test_reads_only_what_it_would_write(data: bytes, draw: st.DataObject) -> None:
    """Whatever bytes are accepted are exactly the bytes of the value they give."""
    at = draw.draw(st.integers(0, max(0, len(data) - 1)))
    changed = data[:at] + draw.draw(st.binary(max_size=2)) + data[at + 1 :]
    try:
        value = canonical.decode(changed)
    except IntegrityError:
        return
    assert canonical.encode(value) == changed


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        2**53,
        -(2**53),
        "\ud800",
        {"é": 1},
        {"\ud800": 1},
        {1: 2},
        {None: 1},
        (1, 2),
        {1},
        b"x",
        Number.ONE,
        Text("a"),
        {Text("a"): 1},
        [[object()]],
    ],
)
def test_refuses_values_outside_the_form(value: object) -> None:
    """Floats, large integers, lone surrogates, other keys and other types have no bytes."""
    with pytest.raises(IntegrityError):
        canonical.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b"01",
        b"-0",
        b"1.0",
        b"1e3",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"9007199254740992",
        b"-9007199254740992",
        b"9" * 5000,
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b'"\\u0041"',
        b'"\\u001F"',
        b'"\\/"',
        b'"\\ud800"',
        b'{"\xc3\xa9":1}',
        b'"\xff"',
        b'\xef\xbb\xbf"a"',
        b"[1,]",
        b"{}\n",
        b"[" * 60_000,
        b"[" * 33 + b"]" * 33,
    ],
)
def test_refuses_bytes_that_are_not_canonical(data: bytes) -> None:
    """Repeated keys, other spellings, other numbers and deep nesting are refused with our own error."""
    with pytest.raises(IntegrityError):
        canonical.decode(data)


def test_bounds_are_exact() -> None:
    """The size limit, the depth and the largest integers are accepted, one more is not."""
    assert canonical.decode(b'"abc"', limit=5) == "abc"
    with pytest.raises(IntegrityError):
        canonical.decode(b'"abc"', limit=4)
    deep = b"[" * canonical.MAX_DEPTH + b"]" * canonical.MAX_DEPTH
    assert canonical.encode(canonical.decode(deep)) == deep
    assert canonical.decode(b"[9007199254740991,-9007199254740991]") == [2**53 - 1, -(2**53) + 1]


def test_an_object_is_asked_for() -> None:
    """`decode_object` refuses a value that is no object."""
    assert canonical.decode_object(b"{}") == {}
    with pytest.raises(IntegrityError):
        canonical.decode_object(b"[]")
