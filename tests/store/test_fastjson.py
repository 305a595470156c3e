"""The encoder of the hot path: the same bytes, and the same refusals, as the one in the core."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core import canonical
from broker.errors import IntegrityError
from broker.store.fastjson import encode

_SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
_KEYS = st.text(st.characters(max_codepoint=127))
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner), max_leaves=30)


@given(_VALUES)
def test_it_writes_the_canonical_bytes(value: Any) -> None:
    """Whatever may stand in a view, escapes and the order of keys included."""
    assert encode(value) == canonical.encode(value)


@pytest.mark.parametrize("value", [1.5, 2**53, "\ud800", {"é": 1}, {1: 1}, (1,), b"x", {"a": [{"b": 0.0}]}])
def test_it_refuses_what_has_no_canonical_form(value: Any) -> None:
    """Or an entry would stand in the log that nobody could verify."""
    with pytest.raises(IntegrityError):
        encode(value)
    with pytest.raises(IntegrityError):
        canonical.encode(value)
