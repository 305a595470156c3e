"""The Consents of a file: one resource, or a Bundle of them.

Refuses a Bundle that holds anything else, or that is one page of several: what is not there may be the denial.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.consent.element import Element, parse, whole

_TYPES = ("collection", "searchset")
# Of a result in pages, this is one (FHIR R4, 3.1.1.4): RFC 5988 has two spellings of one of them.
_PAGES = frozenset({"next", "previous", "prev"})


class Found(NamedTuple):
    """A resource, and where it stands; empty where it is the whole file."""

    place: str
    resource: object


def consents(data: bytes) -> list[Found]:
    """The resources of a file's bytes, not read yet. Raises InvalidRequest."""
    read = parse(data)
    if not isinstance(read, dict) or read.get("resourceType") != "Bundle":
        return [Found("", read)]
    bundle = Element("Bundle", read).only(
        "resourceType", "meta", "identifier", "type", "timestamp", "total", "link", "entry", "signature"
    )
    kind = bundle.child("type")
    if kind.value not in _TYPES:
        raise kind.refuse(f"one of {', '.join(_TYPES)}")
    whole(bundle)
    for link in bundle.each("link"):
        if str(link.only("relation", "url").child("relation").value).lower() in _PAGES:
            raise link.refuse("says that there are more pages; give the whole result")
    entries = [each.only("fullUrl", "link", "resource", "search") for each in bundle.each("entry")]
    if bundle.has("total") and bundle.child("total").value != len(entries):
        raise bundle.child("total").refuse("is not the number of entries; give the whole result")
    return [Found(f"{each.path}.resource", each.child("resource").value) for each in entries]
