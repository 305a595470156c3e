"""A piece of a FHIR resource with its FHIRPath, so that whatever is refused is refused by name.

Refuses elements that nobody here reads: an element that is passed over may be the one that changes the meaning.
Extensions may be passed over (FHIR R4, 2.4.0); modifier extensions may not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from broker.consent.names import canonical
from broker.errors import InvalidRequest

MAX_BYTES = 1 << 20
_ALWAYS = frozenset({"id", "extension"})


class Code(NamedTuple):
    """A code and the system it is of."""

    system: str
    code: str


class Element(NamedTuple):
    """A value and where it stands."""

    path: str
    value: Any

    def refuse(self, problem: str) -> InvalidRequest:
        """The error that names this element. `problem` must hold nothing personal."""
        return InvalidRequest(self.path, problem)

    def missing(self, name: str) -> InvalidRequest:
        """The error that names an element which is not there."""
        return InvalidRequest(f"{self.path}.{name}", "is missing")

    def only(self, *names: str) -> Element:
        """This object, refused where it has other elements than these."""
        if not isinstance(self.value, dict):
            raise self.refuse("is not an object")
        for name in self.value:
            if name == "modifierExtension":
                raise self.child(name).refuse("changes the meaning in a way that nobody here knows")
            if name not in _ALWAYS and name not in names:
                # Its name is a stranger's words, and may be long.
                raise InvalidRequest(f"{self.path}.{name[:64]}", "cannot be expressed here; record it by hand")
        return self

    def has(self, name: str) -> bool:
        """Whether there is such an element."""
        return isinstance(self.value, dict) and name in self.value

    def child(self, name: str) -> Element:
        """An element of this object; refused where there is none."""
        if not isinstance(self.value, dict):
            raise self.refuse("is not an object")
        inner = Element(f"{self.path}.{name}", self.value.get(name))
        if inner.value is None:
            raise self.missing(name)
        return inner

    def each(self, name: str) -> list[Element]:
        """The items of a repeating element; none where there is none, and never an empty list."""
        if not self.has(name):
            return []
        inner = self.child(name)
        if not isinstance(inner.value, list) or not inner.value:
            raise inner.refuse("is not a list of at least one")
        return [Element(f"{inner.path}[{n}]", value) for n, value in enumerate(inner.value)]

    def text(self) -> str:
        """This as a string that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.refuse("is not a string")
        return self.value

    def code(self) -> Code:
        """This as a Coding."""
        self.only("system", "version", "code", "display", "userSelected")
        return Code(canonical(self.child("system").text()), self.child("code").text())

    def meaning(self, table: Mapping[Code, str]) -> str:
        """What a CodeableConcept means by this table: its codings are translations of one thing.

        Refused: none that is known, two that differ, and one unknown of a system that is known.
        """
        self.only("coding", "text")
        codes = [(coding, coding.code()) for coding in self.each("coding")]
        systems = {known.system for known in table}
        for coding, code in codes:
            if code not in table and code.system in systems:
                raise coding.refuse(f"{shown(code.code)} has no meaning here; one of {listed(table)}")
        meanings = {table[code] for _, code in codes if code in table}
        if not meanings:
            raise self.refuse(f"has no coding that is known here; one of {listed(table)}")
        if len(meanings) > 1:
            raise self.refuse("says two things at once")
        return meanings.pop()


# What says of a whole resource that it is not all there (FHIR R4, 3.1.1.5.8), or about nobody.
_UNUSABLE = {
    "SUBSETTED": "is a part of the resource: what was left out may be the denial; ask for the whole",
    "HTEST": "is test data",
}


def whole(resource: Element) -> None:
    """Refused where its tags or security labels say that a resource is a part of one, or made up."""
    if resource.has("meta"):
        meta = resource.child("meta")
        for label in (*meta.each("tag"), *meta.each("security")):
            code = label.value.get("code") if isinstance(label.value, dict) else None
            if code in _UNUSABLE:
                raise label.refuse(_UNUSABLE[code])


def shown(code: str) -> str:
    """A code as an error may repeat it."""
    return repr(code[:40])


def listed(table: Iterable[Code]) -> str:
    """The codes of a table, in words."""
    return ", ".join(sorted({code for _, code in table}))


def parse(data: bytes) -> Any:
    """JSON of bounded size, each key once, numbers finite. Raises InvalidRequest."""
    if len(data) > MAX_BYTES:
        raise InvalidRequest("file", f"over {MAX_BYTES // 1024} KiB")
    try:
        return json.loads(data, object_pairs_hook=_once, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("file", "is not JSON, or has a key twice") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice")
    return made


def _finite(name: str) -> float:
    raise ValueError(name)
