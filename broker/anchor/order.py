"""The certificates of a time-stamp response in the order that DER wants of a set (X.690 section 11.6).

Many authorities, OpenSSL's among them, send them in the order of the chain, which a strict reader refuses. They
stand outside of what is signed, and putting them in order changes no length, so nothing else has to be touched.
"""

from __future__ import annotations

from collections.abc import Iterator

_SEQUENCE, _TAGGED = 0x30, 0xA0


def in_order(response: bytes) -> bytes:
    """The response with its certificates sorted; as it is where there are none, or it is no response."""
    try:
        place = _certificates(response)
        if place is None:
            return response
        start, end = place
        parts = [response[first:last] for _, first, _, last in _elements(response, start, end)]
    except IndexError:
        return response
    return response[:start] + b"".join(sorted(parts)) + response[end:]


def _certificates(data: bytes) -> tuple[int, int] | None:
    """Where SignedData.certificates has its content (RFC 3161 section 2.4.2, RFC 5652 section 5.1)."""
    response = _content(data, 0, len(data), 0, _SEQUENCE)  # TimeStampResp
    token = response and _content(data, *response, 1, _SEQUENCE)  # status, ContentInfo
    wrapped = token and _content(data, *token, 1, _TAGGED)  # contentType, [0]
    signed = wrapped and _content(data, *wrapped, 0, _SEQUENCE)  # SignedData
    return (signed and _content(data, *signed, 3, _TAGGED)) or None  # version, digests, content, [0]


def _content(data: bytes, start: int, end: int, number: int, tag: int) -> tuple[int, int] | None:
    """The content of one element among those between `start` and `end`; None where it is another's tag."""
    for n, (found, _, first, last) in enumerate(_elements(data, start, end)):
        if n == number:
            return (first, last) if found == tag else None
    return None


def _elements(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Tag, beginning, beginning of the content and end of each. Raises IndexError where one breaks off."""
    at = start
    while at < end:
        tag, length, first = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[first : first + count], "big")
            first += count
        last = first + length
        if last > end:
            raise IndexError(at)
        yield tag, at, first, last
        at = last
