"""The downtime card of one agency: whom to ring, what may be asked and given, and a form to write it down.

Owns what stands on the card, from the directory, the agreements in force and the routes. Names posts and
telephone numbers, never a person. Nothing on it is decided by the broker: it is what two people on a telephone
need in order to keep to what was agreed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from broker.cli import output
from broker.cli.late_rows import COLUMNS

if TYPE_CHECKING:
    from broker.core.agreement import Agreement
    from broker.core.directory import Agency
    from broker.core.terms import FlowTerms
    from broker.law import Law
    from broker.v1 import routing_pb2

# Millimetres that the rows of both tables may take on one side of A4, beside so many forms, as a browser prints
# it; and what one line, and the edges of a row, take of them. Some is left over for other fonts.
ROOM = {2: 50.0, 1: 82.0}
_LINE, _EDGES = 3.2, 1.1
# Characters that fit into a line of a table, over all its columns; lines break at words, and so earlier.
_CHARACTERS, _WORDS = 190, 1.15
_HALF = len(COLUMNS) // 2


@dataclass(frozen=True)
class Telephone:
    """An agency to ring: `holds` are records in words, `hours` when it holds which."""

    agency: str
    name: str
    phone: str
    holds: tuple[str, ...]
    hours: tuple[str, ...]


@dataclass(frozen=True)
class Agreed:
    """What may be asked, of whom, by whom, and what is said then."""

    asks: str
    of: str
    record: str
    record_type: str
    fields: tuple[str, ...]
    purpose: str
    purpose_code: str
    roles: tuple[str, ...]
    agreement: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """Everything on it."""

    agency: Agency
    made_on: date
    telephones: tuple[Telephone, ...]
    agreed: tuple[Agreed, ...]

    @property
    def fits(self) -> bool:
        """Whether it comes out on one side of A4."""
        return self._height <= max(ROOM.values())

    @property
    def forms(self) -> int:
        """How many forms there is room for; two again where it takes a second page anyway."""
        return next((count for count, room in ROOM.items() if self._height <= room), max(ROOM))

    @property
    def _height(self) -> float:
        """Millimetres of the rows of both tables."""
        rows: list[tuple[tuple[str, ...], ...]] = [
            ((f"{t.name} ({t.agency})",), (f"{t.phone}     ",), ("; ".join(t.holds),), ("; ".join(t.hours),))
            for t in self.telephones
        ]
        agreed = [
            (
                *((a.asks,), (a.of,), (a.record, a.record_type), (", ".join(a.fields),)),
                *(
                    (f"{a.purpose} ({a.purpose_code})",),
                    (", ".join(a.roles),),
                    (a.agreement,),
                    (" ".join(a.notes),),
                ),
            )
            for a in self.agreed
        ]
        return _rows_take(rows) + _rows_take(agreed)


def card(
    agency: Agency,
    agreements: Sequence[Agreement],
    agencies: Mapping[str, Agency],
    routes: Iterable[routing_pb2.Route],
    law: Law,
    made_on: date,
) -> Card:
    """The card of an agency, from the agreements that are in force."""
    ours = [
        (terms, flow)
        for terms in agreements
        for flow in terms.flows
        if agency.id in (flow.requester, flow.provider)
    ]
    agreed = [_agreed(terms, flow, agencies, law) for terms, flow in ours]
    others = sorted({name for _, flow in ours for name in (flow.provider, flow.requester)} - {agency.id})
    timed = list(routes)
    return Card(
        agency,
        made_on,
        tuple(_telephone(name, ours, agencies, timed) for name in others),
        # What one's own people ask first.
        tuple(sorted(agreed, key=lambda each: (each.asks != _name(agency.id, agencies), each.of, each.record))),
    )


def as_html(of: Card) -> str:
    """A page, whole in itself: see downtime.html.j2."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("broker.cli", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = lambda value: output.clean(str(value))
    columns = [(name, name.replace("_", " "), may_be_empty) for name, (may_be_empty, _) in COLUMNS.items()]
    form = (columns[:_HALF], columns[_HALF:])
    told = [(name.replace("_", " "), words) for name, (_, words) in COLUMNS.items()]
    template = environment.get_template("downtime.html.j2")
    return template.render(card=of, form=form, told=told, forms=of.forms) + "\n"


def _rows_take(rows: Sequence[Sequence[Sequence[str]]]) -> float:
    """Millimetres of a table's rows: of each cell the lines that stand in it. Columns share the width by what
    is longest in them, as browsers deal it out."""
    if not rows:
        return 0.0
    longest = [max(len(line) for row in rows for line in row[n]) or 1 for n in range(len(rows[0]))]
    share = min(1.0, _CHARACTERS / sum(longest))
    lines = [
        max(
            sum(_lines(len(line), share * longest[n], wraps=share < 1) for line in cell)
            for n, cell in enumerate(row)
        )
        for row in rows
    ]
    return sum(_LINE * count + _EDGES for count in lines)


def _lines(length: int, width: float, *, wraps: bool) -> int:
    return max(1, math.ceil(length * (_WORDS if wraps else 1.0) / width))


def _telephone(
    name: str,
    flows: list[tuple[Agreement, FlowTerms]],
    agencies: Mapping[str, Agency],
    routes: Iterable[routing_pb2.Route],
) -> Telephone:
    agency = agencies.get(name)
    held = sorted({flow.record_type for _, flow in flows if flow.provider == name})
    kind = agency.kind if agency else ""
    hours = [
        f"{in_words(each.record_type) if each.record_type else 'all it holds'}: {_hours(each)}"
        for each in routes
        if each.holder == name and (each.record_type in held or (each.kind == kind and held))
    ]
    return Telephone(
        name,
        _name(name, agencies),
        (agency.phone if agency else "") or "not in the directory",
        tuple(in_words(each) for each in held),
        tuple(dict.fromkeys(hours)),
    )


def _hours(route: routing_pb2.Route) -> str:
    where = ", ".join(route.districts)
    when = {"office": route.timetable, "out-of-hours": f"outside {route.timetable}"}.get(route.hours, "always")
    return f"{when} ({where})"


def _agreed(terms: Agreement, flow: FlowTerms, agencies: Mapping[str, Agency], law: Law) -> Agreed:
    purpose = law.purposes.get(terms.purpose)
    return Agreed(
        asks=_name(flow.requester, agencies),
        of=_name(flow.provider, agencies),
        record=in_words(flow.record_type),
        record_type=flow.record_type,
        fields=tuple(dict.fromkeys(_spaced(path.partition(".")[0]) for path in flow.permitted)),
        purpose=purpose.meaning if purpose else terms.purpose,
        purpose_code=terms.purpose,
        roles=flow.roles,
        agreement=terms.id,
        notes=tuple(_notes(terms, flow)),
    )


def _notes(terms: Agreement, flow: FlowTerms) -> Iterable[str]:
    """What the broker would have looked at, and people must now."""
    if terms.directives.weight == "required":
        yield "Only with the person's recorded consent."
    elif terms.directives.weight == "respected":
        yield "Not where the person has refused or objected."
    if flow.judgement:
        who = terms.referral.role or "a named person of the agency that holds it"
        ring = f", {terms.referral.phone}" if terms.referral.phone else ""
        yield f"{who[:1].upper()}{who[1:]} decides{ring}."
    if terms.ncnd:
        yield "Neither confirm nor deny that there is a record."
    if flow.context:
        yield "Only as the agreement says (its condition)."
    if any(each.code == "no-onward-sharing" for each in terms.obligations):
        yield "Not to be passed on."


def in_words(record_type: str) -> str:
    """`records.fire.v1.PremisesRisk` as people say it: premises risk (fire)."""
    parts = record_type.split(".")
    name = "".join(f" {char.lower()}" if char.isupper() else char for char in parts[-1]).strip()
    return f"{name} ({parts[1]})" if len(parts) > 2 else name


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _name(agency: str, agencies: Mapping[str, Agency]) -> str:
    known = agencies.get(agency)
    return known.name if known else agency
