"""The Consents of a file: one resource, or a Bundle of them.

Refuses a Bundle that holds anything else, or that is one page of several: what is not there may be the denial.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.consent.element import Element, parse

_TYPES = ("collection", "searchset")


class Found(NamedTuple):
    """A resource, and where it stands; empty where it is the whole file."""

    place: str
    resource: object


def consents(data: bytes) -> list[Found]:
    """The resources of a file's bytes, not read yet. Raises InvalidRequest."""
    whole = parse(data)
    if not isinstance(whole, dict) or whole.get("resourceType") != "Bundle":
        return [Found("", whole)]
    bundle = Element("Bundle", whole).only(
        "resourceType", "meta", "identifier", "type", "timestamp", "total", "link", "entry", "signature"
    )
    kind = bundle.child("type")
    if kind.value not in _TYPES:
        raise kind.refuse(f"one of {', '.join(_TYPES)}")
    for link in bundle.each("link"):
        if link.only("relation", "url").child("relation").value == "next":
            raise link.refuse("says that there are more pages; give the whole result")
    entries = [each.only("fullUrl", "link", "resource", "search") for each in bundle.each("entry")]
    return [Found(f"{each.path}.resource", each.child("resource").value) for each in entries]
