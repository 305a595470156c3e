"""TOML that nobody may be harmed by: whoever reads such files has them from somebody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker import law
from broker.core import agreement, quorum, routing, tables
from broker.errors import BrokerError, InvalidRequest

LAW = law.load()
# Whatever reads such a file, as it is called.
READERS: dict[str, Callable[[bytes], Any]] = {
    "agreement": lambda file: agreement.parse(file, LAW),
    "routes": lambda file: routing.parse(file, LAW),
    "policy": quorum.parse_policy,
}
# A key of so many parts took `tomllib` 20 bytes a part for each part before it: many gigabytes.
BAD = {
    "not UTF-8": b"\xff\xfe",
    "not TOML": b"id = ",
    "too large": b"x" * (tables.MAX_FILE + 1),
    "nested without end": b"x = " + b"[" * 50_000,
    "a number without end": b"x = " + b"9" * 5000,
    "a key without end": b"a." * 30_000 + b"a = 1",
    "a quoted key without end": b'"a" . ' * 10_000 + b"a = 1",
    "a table without end": b"[" + b"a." * 30_000 + b"a]",
    "an inline key without end": b"x = {" + b"a." * 30_000 + b"a = 1}",
}


@pytest.mark.parametrize("what", list(BAD))
@pytest.mark.parametrize("reader", list(READERS))
def test_a_file_that_cannot_be_read_is_bad_input(reader: str, what: str) -> None:
    """Bytes of any kind give an error of ours and nothing worse."""
    with pytest.raises(BrokerError) as caught:
        READERS[reader](BAD[what])
    if isinstance(caught.value, InvalidRequest):
        assert caught.value.field == "file"


def test_what_people_write_is_read() -> None:
    """Sentences, addresses and nested tables stay far below the bounds; arrays come as tuples."""
    sentence = "See s.10, s.11, s.115 and Art. 6(1)(e). " * 10
    file = f'title = "{sentence}"\nlist = [1, [2, 3]]\n[a.b.c]\nd.e = "x"\n[[flows]]\nn = 1\n'
    assert tables.read(file.encode()) == {
        "title": sentence,
        "list": (1, (2, 3)),
        "a": {"b": {"c": {"d": {"e": "x"}}}},
        "flows": ({"n": 1},),
    }
