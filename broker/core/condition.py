"""A context condition of an agreement: a CEL expression over what the request says and what the clock shows.

Owns the names an expression may use, and that anything but plain `true` refuses. An expression reads nothing
about the person, so what it says may be told to the requester. Lists are not walked (`all`, `map` and their
like are refused), so that it ends as soon as it is read.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import prod
from typing import Any

import cel

from broker.core.london import local
from broker.core.model import Assurance, Request
from broker.errors import InvalidRequest

# What an expression may name, with an example of each: docs/agreements.md has them for people.
_EXAMPLE: dict[str, Any] = {
    "purpose": "",
    "record_type": "",
    "requester": "",
    "provider": "",
    "system": "",
    "incident": "",
    "reason": "",
    "scheme": "",
    "actor": {
        "id": "",
        "role": "",
        "on_behalf_of": "",
        "callsign": "",
        "device": "",
        "employer": "",
        "assurance": 0,
    },
    "place": {"uprn": "", "district": "", "known": False},
    "now": {"hour": 0, "minute": 0, "weekday": 1, "date": "2026-11-21"},
    # Levels of actor.assurance, to compare with.
    "assurance": {level.name.lower(): level.value for level in Assurance},
}
_FUNCTIONS = frozenset({"startsWith", "endsWith", "contains", "matches", "size"})
# Whatever else is called on a value walks lists (`all`, `existsOne`, `map`), and one inside another may not end
# in our time. The library does not list such macros among an expression's functions.
_CALLED = re.compile(r"\.\s*(\w+)\s*\(")
# What hides a call from the line above.
_COMMENT = "//"
# A pattern is compiled each time it is asked, while others wait: as one plain string, so that what it costs can
# be seen, without the classes that stand for all of Unicode, and with few repetitions.
_CALLS = re.compile(r"\bmatches\b")
_PLAIN = re.compile(r"""\.\s*matches\s*\(\s*(?:"((?:[^"\\]|\\\\.)*)"|'((?:[^'\\]|\\\\.)*)')\s*\)""")
_WIDE = re.compile(r"\\\\[wdspWDSP]")
_TIMES = re.compile(r"\{\s*(\d+)\s*(?:,\s*(\d*)\s*)?\}")
_MOST_PATTERNS, _MOST_TIMES = 4, 256
_NO_PLACE = {"uprn": "", "district": "", "known": False}
_MINUTE = timedelta(minutes=1)


class Condition:
    """One compiled expression."""

    def __init__(self, text: str, field: str = "context") -> None:
        """Raises InvalidRequest for `field`: not CEL, something unknown in it, or neither true nor false."""
        if problem := _dear(text):
            raise InvalidRequest(field, f"matches: {problem}")
        if _COMMENT in text:
            raise InvalidRequest(field, f"{_COMMENT} cannot be used here; write a comment in the file's TOML")
        if walks := next((m[1] for m in _CALLED.finditer(text) if m[1] not in _FUNCTIONS), None):
            raise InvalidRequest(field, f"{walks} cannot be used here")
        try:
            self._program = cel.compile(text)
            names, functions = set(self._program.variables()), set(self._program.functions())
        except Exception as e:  # the library has no error of its own: whatever it raises, this is not CEL
            raise InvalidRequest(field, f"not a CEL expression: {str(e).splitlines()[0][:200]}") from e
        if unknown := sorted(names - _EXAMPLE.keys()):
            raise InvalidRequest(field, f"{unknown[0]} is not known here; one of {', '.join(sorted(_EXAMPLE))}")
        if unknown := sorted(f for f in functions if f[0].isalpha() and f not in _FUNCTIONS):
            allowed = ", ".join(sorted(_FUNCTIONS))
            raise InvalidRequest(field, f"{unknown[0]} cannot be used here; functions are {allowed}")
        try:
            tried = self._program.execute(_EXAMPLE)
        except Exception as e:  # nor here: whatever it raises, requests could not be decided by it
            raise InvalidRequest(field, f"cannot be decided: {str(e).splitlines()[0][:200]}") from e
        if not isinstance(tried, bool):
            raise InvalidRequest(field, "is neither true nor false")
        self.text = text
        self._clock = "now" in names
        self._used = {name: _members(name, text) for name in names}

    def holds(self, request: Request, now: datetime) -> bool:
        """Whether it is true of this request now; what cannot be decided is not."""
        return self._true(_values(request, now))

    def ever(self, samples: Iterable[Mapping[str, Any]]) -> bool:
        """Whether it is true of one of these; each gives some of the names' values (`actor.role`)."""
        for sample in samples:
            values: dict[str, Any] = copy.deepcopy(_EXAMPLE)
            for name, value in sample.items():
                group, _, inner = name.partition(".")
                if inner:
                    values[group][inner] = value
                else:
                    values[group] = value
            if self._true(values):
                return True
        return False

    def _true(self, values: dict[str, Any]) -> bool:
        try:
            # Handing a value over costs more than all the rest: only what is used is.
            used = {
                name: values[name] if members is None else {m: values[name][m] for m in members}
                for name, members in self._used.items()
            }
            return self._program.execute(used) is True
        except Exception:  # noqa: BLE001 - fail closed, whatever the evaluator finds to say
            return False

    def until(self, now: datetime) -> datetime | None:
        """When time alone could change it: where it looks at the clock, the next minute."""
        return now.replace(second=0, microsecond=0) + _MINUTE if self._clock else None


def _dear(text: str) -> str:
    """Why the patterns of an expression might take long to compile; empty where they do not."""
    patterns = [double or single for double, single in _PLAIN.findall(text)]
    if len(_CALLS.findall(text)) != len(patterns):
        return "its pattern is one plain string, such as incident.matches('^nwas/')"
    if len(patterns) > _MOST_PATTERNS:
        return f"at most {_MOST_PATTERNS} of them"
    if any(map(_WIDE.search, patterns)):
        return "\\w, \\d, \\s and \\p stand for all of Unicode; name the characters, as [A-Z0-9]"
    counts = [max(int(low), int(high or 0)) for each in patterns for low, high in _TIMES.findall(each)]
    if prod(max(1, count) for count in counts) > _MOST_TIMES:
        return f"its repetitions multiply to more than {_MOST_TIMES}"
    return ""


def _members(name: str, text: str) -> frozenset[str] | None:
    """What of a name an expression looks at; None where it is looked at whole."""
    has = _EXAMPLE[name]
    if not isinstance(has, dict) or re.search(rf"(?<!\.)\b{name}\b(?!\s*\.\s*[a-z])", text):
        return None
    return frozenset(re.findall(rf"\b{name}\s*\.\s*([a-z_]+)", text)) & has.keys()


def _values(request: Request, now: datetime) -> dict[str, Any]:
    actor, place, clock = request.actor, request.place, local(now)
    return {
        **_EXAMPLE,
        "purpose": request.purpose,
        "record_type": request.record_type,
        "requester": request.requester,
        "provider": request.provider,
        "system": request.system,
        "incident": request.incident,
        "reason": request.reason.code,
        "scheme": request.subject.scheme if request.subject else "",
        "actor": {
            "id": actor.id,
            "role": actor.role,
            "on_behalf_of": actor.on_behalf_of,
            "callsign": actor.callsign,
            "device": actor.device,
            "employer": actor.employer,
            "assurance": int(actor.assurance),
        },
        "place": {"uprn": place.uprn, "district": place.district, "known": True} if place else _NO_PLACE,
        "now": {
            "hour": clock.hour,
            "minute": clock.minute,
            "weekday": clock.isoweekday(),
            "date": clock.date().isoformat(),
        },
    }
