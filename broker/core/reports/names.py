"""What the codes in a report mean: for the page that people read, and as a key for whoever has the codes.

Programs get the codes as they stand in the log. A page shows the name in a code's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from broker.core.directory import Agency
from broker.core.reports import words
from broker.core.reports.document import Document
from broker.law import Law

_LABELS = {
    "identifying": "who somebody is",
    "contact": "how to reach somebody",
    "special-category": "special category, such as health",
    "offence": "criminal offences",
    "third-party": "other people",
    "location": "where somebody is",
    "free-text": "free words",
    "safe-contact": "a safe way to reach somebody",
}


def named(document: Document, agencies: Mapping[str, Agency], law: Law) -> Document:
    """The document with a name for each code that its tables hold, where there is one."""

    def agency(code: str) -> str:
        known = agencies.get(code)
        return f"{known.name} ({code})" if known else ""

    def purpose(code: str) -> str:
        known = law.purposes.get(code)
        return known.meaning if known else ""

    kinds: Mapping[str, Callable[[str], str]] = {
        "agency": agency,
        "purpose": purpose,
        "event": words.event_or_nothing,
        "record-type": words.record_type,
        "refusal": lambda code: words.REFUSED.get(code, ""),
        "role": words.plain,
        "override": words.plain,
        "labels": lambda cell: ", ".join(_LABELS.get(each, each) for each in cell.split(", ")),
    }
    found = dict[tuple[str, str], str]()
    for table in document.tables:
        for at, column in enumerate(table.columns):
            if column.kind not in kinds:
                continue
            for cell in {row[at] for row in table.rows}:  # few, however many rows there are
                if isinstance(cell, str) and cell and (name := kinds[column.kind](cell)) not in ("", cell):
                    found[column.kind, cell] = name
    return replace(document, names=tuple((kind, code, name) for (kind, code), name in sorted(found.items())))
