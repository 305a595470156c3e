"""What an entry's look at another is found by: the person, the incident and the request of what was shown.

Owns that a look at somebody is found like any other look at them, held and erased with them, and counted among
signs of snooping. It names what its looker could find the entry by in the view that was shown, and nothing
finer: the looking agency and auditors read it, as they read whom a search was about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.core import canonical
from broker.core.canonical import Json
from broker.core.model import SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import people, terms_of


def found_by(full: Mapping[str, Any], audience: str, view: bytes | None) -> dict[str, Json]:
    """For the detail of a look: `subjects`, `incidents` and `requests` of what was shown; nothing without a
    `view` to show."""
    if view is None or not full:
        return {}
    shown = canonical.decode_object(view)
    terms = terms_of(full, Audience(audience), None if audience == Audience.FULL else shown)
    first = [*_identifiers(shown), *_identifiers({"identifiers": [full.get("asked_by")]})]
    subjects = sorted(people(terms), key=lambda each: (_place(first, each), each.scheme, each.value))
    detail: dict[str, Json] = {}
    if subjects:
        detail["subjects"] = [{"scheme": each.scheme, "value": each.value} for each in subjects]
    for name, kind in (("incidents", "incident"), ("requests", "request")):
        if values := sorted(each.partition("|")[2] for each in terms if each.startswith(f"{kind}|")):
            detail[name] = [*values]
    return detail


def _identifiers(view: Mapping[str, Any]) -> list[SubjectRef]:
    """In the order in which a report names them."""
    listed = view.get("identifiers") or ()
    return [
        SubjectRef(str(each["scheme"]), str(each["value"]))
        for each in listed
        if isinstance(each, Mapping) and each.get("scheme")
    ]


def _place(first: list[SubjectRef], each: SubjectRef) -> int:
    return first.index(each) if each in first else len(first)
