"""Requests that a flow could see, to try its condition of context on.

Only what the condition names is varied: roles and schemes as the flow has them, every assurance, the week's
hours, and of free text the words that the condition itself compares it with. Where that is too much to try, or
a pattern would have to be guessed, there are no samples, and nothing is said of the condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from broker.core.model import Assurance
from broker.core.terms import FlowTerms

_MOST = 20_000
_DATES = ("1900-01-01", "2026-11-21", "2200-12-31")
_GUESSED = re.compile(r"\b(matches|size)\b")
_STRING = r"""(?:"([^"]*)"|'([^']*)')"""
# `incident.startsWith("nwas/")`, `reason == "complaint"`, and the other way round.
_COMPARED = re.compile(rf"\b([a-z_]+(?:\.[a-z_]+)?)\s*(?:(?:==|!=|<=?|>=?)|\.[a-zA-Z]+\()\s*{_STRING}")
_REVERSED = re.compile(rf"{_STRING}\s*(?:==|!=|<=?|>=?)\s*([a-z_]+(?:\.[a-z_]+)?)")
_TEXTS = (
    "system",
    "incident",
    "reason",
    "actor.id",
    "actor.on_behalf_of",
    "actor.callsign",
    "actor.device",
    "actor.employer",
    "place.uprn",
    "place.district",
)


def samples(flow: FlowTerms, purpose: str) -> Iterator[Mapping[str, Any]] | None:
    """Values by name (`actor.role`) for each sample; None where what is true cannot be tried out."""
    text = flow.context
    if _GUESSED.search(text):
        return None
    words = _words(text)
    # A list (`in`) compares with words that no pattern finds: each of them is tried for every name.
    loose = _strings(text) if " in " in text else []
    values: dict[str, tuple[Any, ...]] = {
        "purpose": (purpose,),
        "record_type": (flow.record_type,),
        "requester": (flow.requester,),
        "provider": (flow.provider,),
        "scheme": (*flow.subject_schemes, *(("",) if flow.queries else ())),
        "actor.role": flow.roles,
        "actor.assurance": tuple(int(level) for level in Assurance if level),
        "now.hour": tuple(range(24)),
        "now.minute": tuple(range(60)),
        "now.weekday": tuple(range(1, 8)),
        "now.date": (*_DATES, *words.get("now.date", ())),
        "place.known": (False, True),
    }
    for name in _TEXTS:
        values[name] = ("", f"{flow.requester}/2026-11-21/0042", *words.get(name, ()), *loose)
    named = {name: each for name, each in values.items() if re.search(rf"\b{re.escape(name)}\b", text)}
    fixed = {name: values[name] for name in ("purpose", "record_type", "requester", "provider")}
    varied = fixed | named
    if prod(len(each) for each in varied.values()) > _MOST:
        return None
    return (dict(zip(varied, each, strict=True)) for each in product(*varied.values()))


def _words(text: str) -> dict[str, tuple[str, ...]]:
    """What each name is compared with: the word, and one that begins and ends with it."""
    found: dict[str, dict[str, None]] = {}
    pairs = [(m[1], m[2] or m[3] or "") for m in _COMPARED.finditer(text)]
    pairs += [(m[3], m[1] or m[2] or "") for m in _REVERSED.finditer(text)]
    for name, word in pairs:
        each = found.setdefault(name, {})
        each.update(dict.fromkeys((word, f"{word}2026-11-21/0042", f"{word}-{word}")))
    return {name: tuple(each) for name, each in found.items()}


def _strings(text: str) -> list[str]:
    return [m[1] or m[2] or "" for m in re.finditer(_STRING, text)]
