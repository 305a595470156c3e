"""What a check of an agreement's file is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cached_property

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.directory import Agency
from broker.core.flow import flow_question
from broker.core.lawfulness import EVERYTHING, Labels, Question
from broker.core.recordtype import RecordType
from broker.core.terms import FlowTerms
from broker.law import Law

ERROR, WARNING = "error", "warning"
Problems = Iterator[tuple[str, str, str]]
"""Of each thing wrong: the key of the file (`flows.0.permitted.2`), what is wrong, and what would mend it."""


class Setting(Struct, frozen=True, dict=True):
    """One agreement, and what it is held against.

    `others` are agreements beside it: those given with it, or those applied. `whole` says that agencies and
    others are all there are, as a broker knows them; without it, what is not known may still exist.
    """

    agreement: Agreement
    law: Law
    agencies: Mapping[str, Agency]
    types: Mapping[str, RecordType]
    today: date
    others: tuple[Agreement, ...] = ()
    whole: bool = False
    # Roles that people usually act in; empty: none are asked for.
    roles: frozenset[str] = frozenset()

    @cached_property
    def labels(self) -> Labels:
        """What releasing each path gives away; nothing, of a path that is none: that is told by itself."""
        named: dict[str, dict[str, frozenset[str]]] = {}
        for flow in self.agreement.flows:
            if flow.record_type in self.types:
                named.setdefault(flow.record_type, {}).update(dict.fromkeys(flow.permitted, frozenset()))
        return {name: {**paths, **self.types[name].labels} for name, paths in named.items()}

    @cached_property
    def questions(self) -> tuple[tuple[int, Question], ...]:
        """Each flow as the law looks at it, where both its agencies are known, with its place in the file."""
        return tuple(
            (n, flow_question(self.agreement, flow, self.law, self.agencies, self.labels))
            for n, flow in enumerate(self.agreement.flows)
            if {flow.provider, flow.requester} <= self.agencies.keys()
        )

    def gives(self, flow: FlowTerms) -> frozenset[str]:
        """Labels of everything that a flow permits; all there are where its type is not known."""
        known = self.labels.get(flow.record_type, {})
        return frozenset(label for path in flow.permitted for label in known.get(path, EVERYTHING))


class Rule(Struct, frozen=True):
    """One check: its id, how grave what it finds is, and the check."""

    id: str
    severity: str
    check: Callable[[Setting], Problems]


class Finding(Struct, frozen=True):
    """One thing that a check found."""

    rule: str
    severity: str
    key: str
    problem: str
    fix: str

    @property
    def text(self) -> str:
        """What is wrong and what would mend it, in one line."""
        return f"{self.problem}; {self.fix}"
