"""Agencies as FHIR references to organisations, and back.

By ODS code where the directory has one that is nobody else's, by our own id otherwise. Refuses whatever it
cannot resolve to exactly one agency of the directory: a literal reference is an address on somebody's server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from broker.consent.element import Element
from broker.consent.names import AGENCY_ID, ODS
from broker.core.directory import Agency

# Whose published code is an ODS code; councils' are the ONS's.
_ODS_KINDS = frozenset({"nhs", "ambulance"})
# What an organisation may say of itself here; who they are is in the directory.
_ORGANIZATION = (
    *("resourceType", "meta", "text", "identifier", "active", "type", "name", "alias", "telecom", "address"),
    *("partOf", "contact"),
)


class Agencies:
    """The directory, by id and by ODS code."""

    def __init__(self, agencies: Iterable[Agency]) -> None:
        known = tuple(agencies)
        coded = [a for a in known if a.code and a.kind in _ODS_KINDS]
        often = Counter(a.code for a in coded)
        self.ids = frozenset(a.id for a in known)
        self._codes = {a.id: a.code for a in coded if often[a.code] == 1}
        self._by_code = {code: agency for agency, code in self._codes.items()}

    def write(self, agency: str) -> dict[str, Any]:
        """A Reference to an agency."""
        code = self._codes.get(agency)
        identifier = {"system": ODS, "value": code} if code else {"system": AGENCY_ID, "value": agency}
        return {"type": "Organization", "identifier": identifier}

    def read(self, reference: Element, contained: dict[str, Element]) -> str:
        """The agency that a Reference names, by its identifier or by a contained Organization's."""
        reference.only("reference", "type", "identifier", "display")
        target = contained.get(str(reference.value.get("reference")))
        if target is None and reference.has("identifier"):
            return self._of(reference.child("identifier"))
        if target is None or target.value.get("resourceType") != "Organization":
            raise reference.refuse("names no agency by identifier (its ODS code, or its id here)")
        if target.only(*_ORGANIZATION).value.get("active", True) is not True:
            raise target.child("active").refuse("is not true")
        found = {self._of(each) for each in target.each("identifier")}
        if reference.has("identifier"):
            found.add(self._of(reference.child("identifier")))
        if len(found) != 1:
            raise reference.refuse("names no agency, or several")
        return found.pop()

    def _of(self, identifier: Element) -> str:
        identifier.only("use", "type", "system", "value", "period", "assigner")
        system, value = identifier.child("system").text(), identifier.child("value").text()
        if system == ODS and value in self._by_code:
            return self._by_code[value]
        if system == AGENCY_ID and value in self.ids:
            return value
        raise identifier.refuse("is no agency of the directory; `broker agency list` shows those there are")
